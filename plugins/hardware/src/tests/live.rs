//! The machine that runs the tests, beside what the system's own tools say of it.

use std::io::Write;
use std::process::Command;

use dropsonde_plugin_api::testing::{Harness, Round};
use serde_json::{Map, Value, json};

use super::machine::{check_graph, parents, texts};
use crate::HardwareCollector;

fn round() -> Round {
    Harness::<HardwareCollector>::new(json!({})).unwrap().collect().unwrap()
}

/// Past the capture of the test's output: a person shall see it.
fn skipped(why: impl std::fmt::Display) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {why}");
}

/// What a tool prints as JSON; nothing if there is no such tool, or it can't.
fn tool(name: &str, arguments: &[&str]) -> Option<Value> {
    let output = match Command::new(name).args(arguments).env("LC_ALL", "C").output() {
        Ok(output) if output.status.success() => output,
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            skipped(format_args!("{name} {arguments:?}: {text}"));
            return None;
        }
        Err(error) => {
            skipped(format_args!("no {name} to compare with: {error}"));
            return None;
        }
    };
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// All objects below a value that have this field, however deep.
fn objects<'a>(value: &'a Value, field: &str) -> Vec<&'a Map<String, Value>> {
    let below: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(object) => object.values().collect(),
        _ => Vec::new(),
    };
    let own = value.as_object().filter(|object| object.contains_key(field));
    own.into_iter().chain(below.into_iter().flat_map(|value| objects(value, field))).collect()
}

/// A value as text: some releases print numbers in quotes, and flags as 0 and 1.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => u8::from(*flag).to_string(),
        other => other.to_string(),
    }
}

/// Until two readings that may have something change in between agree.
fn agree(mut differences: impl FnMut() -> Option<Vec<String>>) {
    let mut found = Vec::new();
    for _ in 0..20 {
        match differences() {
            Some(differences) if !differences.is_empty() => found = differences,
            _ => return,
        }
    }
    panic!("{}", found.join("\n"));
}

#[test]
fn this_machine_s_graph_is_sound() {
    let round = round();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    check_graph(&round);
    assert!(round.rows("threads").len() >= std::thread::available_parallelism().unwrap().get());
    assert!(round.rows("interfaces").iter().any(|row| row["interface"] == "lo"));
}

#[test]
fn the_processors_are_those_that_lscpu_shows() {
    let Some(lscpu) = tool("lscpu", &["-J"]) else { return };
    let field = |name: &str| {
        let is_it = |object: &&Map<String, Value>| object["field"] == format!("{name}:");
        objects(&lscpu, "field").into_iter().find(is_it).map(|object| plain(&object["data"]))
    };
    let round = round();
    let machine = &round.rows("")[0];
    let package = &round.rows("packages")[0];
    let text = |value: &Value| Some(plain(value)).filter(|_| !value.is_null());
    let cores = field("Core(s) per socket").zip(field("Socket(s)")).and_then(|(cores, sockets)| {
        Some((cores.parse::<u64>().ok()? * sockets.parse::<u64>().ok()?).to_string())
    });
    let flags = texts(&package["flags"]).join(" ");
    for (theirs, ours) in [
        (field("CPU(s)"), text(&machine["thread_count"])),
        (field("Architecture"), text(&machine["architecture"])),
        (field("Vendor ID"), text(&package["vendor"])),
        (field("Model name"), text(&package["model"])),
        (field("Socket(s)"), text(&machine["package_count"])),
        (cores, text(&machine["core_count"])),
        (field("Flags"), Some(flags)),
    ] {
        if theirs.is_some() {
            assert_eq!(ours, theirs);
        }
    }
}

#[test]
fn the_caches_are_those_that_lscpu_shows() {
    let Some(lscpu) = tool("lscpu", &["-J", "-B", "-C"]) else { return };
    let round = round();
    for cache in objects(&lscpu, "one-size") {
        let name = plain(&cache["name"]);
        let is_it =
            |row: &&Map<String, Value>| plain(&row["cache"]).split(':').next() == Some(&name);
        let ours: Vec<_> = round.rows("caches").iter().filter(is_it).collect();
        let sum: u64 = ours.iter().filter_map(|row| row["size_bytes"].as_u64()).sum();
        assert_eq!(sum.to_string(), plain(&cache["all-size"]), "{name}: {ours:?}");
        assert_eq!(plain(&ours[0]["size_bytes"]), plain(&cache["one-size"]), "{name}");
        assert_eq!(plain(&ours[0]["ways"]), plain(&cache["ways"]), "{name}");
        assert_eq!(plain(&ours[0]["line_bytes"]), plain(&cache["coherency-size"]), "{name}");
    }
}

#[test]
fn the_block_devices_are_those_that_lsblk_shows() {
    let columns = "KNAME,PKNAME,TYPE,SIZE,RO,RM,ROTA,SCHED,LOG-SEC,PHY-SEC,MAJ:MIN,MOUNTPOINT";
    agree(|| {
        let lsblk = tool("lsblk", &["-J", "-b", "-o", columns])?;
        let round = round();
        let shown = objects(&lsblk, "kname");
        Some(shown.into_iter().flat_map(|device| block_device(&round, device)).collect())
    });
}

/// What we say otherwise of a device than lsblk does.
fn block_device(round: &Round, theirs: &Map<String, Value>) -> Vec<String> {
    let name = plain(&theirs["kname"]);
    let find = |stream, key| round.rows(stream).iter().find(|row| row[key] == name.as_str());
    let Some(ours) = find("disks", "disk").or_else(|| find("partitions", "partition")) else {
        return vec![format!("{name} is missing")];
    };
    let mut differences = Vec::new();
    for (their, our) in [
        ("type", "type"),
        ("size", "size_bytes"),
        ("ro", "read_only"),
        ("rm", "removable"),
        ("rota", "rotational"),
        ("sched", "scheduler"),
        ("log-sec", "logical_block_bytes"),
        ("phy-sec", "physical_block_bytes"),
        ("maj:min", "number"),
    ] {
        let (Some(theirs), Some(ours)) = (theirs.get(their), ours.get(our)) else { continue };
        let same = plain(theirs) == plain(ours) || (their == "type" && *ours == "zram");
        if !theirs.is_null() && !same {
            differences.push(format!("{name}: {our} is {ours}, lsblk says {theirs}"));
        }
    }
    let node = format!("block:{name}");
    if let Some(parent) = theirs["pkname"].as_str()
        && !parents(round, &node).contains(&format!("block:{parent}").as_str())
    {
        differences.push(format!("{name} does not hang on {parent}"));
    }
    match theirs["mountpoint"].as_str() {
        Some(path) if path.starts_with('/') => {
            let mount = round.rows("mounts").iter().find(|mount| mount["mount_point"] == path);
            if mount.is_none_or(|mount| mount["device"] != name.as_str()) {
                differences.push(format!("{name} is mounted on {path}, we say {mount:?}"));
            }
        }
        _ => {}
    }
    differences
}

#[test]
fn the_interfaces_are_those_that_ip_shows() {
    agree(|| {
        let links = tool("ip", &["-d", "-j", "link"])?;
        let round = round();
        let shown = objects(&links, "ifname");
        let ours =
            |name: &Value| round.rows("interfaces").iter().find(|row| row["interface"] == *name);
        if !shown.iter().any(|link| link["ifname"] != "lo" && ours(&link["ifname"]).is_some())
            && shown.len() != round.rows("interfaces").len()
        {
            skipped("/sys is of another network namespace than the tests");
            return None;
        }
        let mut differences: Vec<_> = shown
            .iter()
            .flat_map(|link| match ours(&link["ifname"]) {
                Some(ours) => interface(ours, link),
                None => vec![format!("{} is missing", link["ifname"])],
            })
            .collect();
        if shown.len() != round.rows("interfaces").len() {
            differences.push(format!("there are {}", shown.len()));
        }
        Some(differences)
    });
}

/// What we say otherwise of an interface than ip does.
fn interface(ours: &Map<String, Value>, theirs: &Map<String, Value>) -> Vec<String> {
    let name = &theirs["ifname"];
    let mut differences = Vec::new();
    for (their, our) in [("address", "mac"), ("mtu", "mtu_bytes"), ("master", "master")] {
        if let Some(value) = theirs.get(their)
            && *value != ours[our]
        {
            differences.push(format!("{name}: {our} is {}, ip says {value}", ours[our]));
        }
    }
    let state = plain(&theirs["operstate"]).to_lowercase();
    if ours["state"] != state.as_str() {
        differences.push(format!("{name}: state is {}, ip says {state}", ours["state"]));
    }
    let kind = theirs.get("linkinfo").map(|info| &info["info_kind"]);
    if let Some(kind @ ("bridge" | "bond" | "vlan" | "vxlan")) = kind.and_then(Value::as_str)
        && ours["type"] != kind
    {
        differences.push(format!("{name}: type is {}, ip says {kind}", ours["type"]));
    }
    differences
}

dropsonde_plugin_api::contract_test!(collector = HardwareCollector, streams = "streams.txt");
