//! Content that nobody expects, and what is not there.

use std::fs;

use dropsonde_plugin_api::testing::Harness;
use serde_json::{Value, json};

use super::machine::{Machine, check_graph, column, parents, texts};
use crate::HardwareCollector;

#[test]
fn a_machine_that_tells_nothing_has_a_host_and_memory() {
    let round = Machine::new().round();
    assert_eq!(column(&round, "nodes", "id"), ["host", "memory"]);
    let machine = &round.rows("")[0];
    assert_eq!(machine["hostname"], Value::Null);
    assert_eq!(machine["package_count"], Value::Null, "never zero");
    assert_eq!(round.row("nodes", "id", "host")["name"], "host");
    // What is empty is published all the same, so that nothing that has gone stays.
    assert_eq!(round.streams().count(), 12);
}

#[test]
fn a_model_that_is_not_utf_8_shows_in_part() {
    let machine = Machine::new();
    machine.file("proc/cpuinfo", b"processor : 0\nmodel name : Pro\xffcessor\nflags : a b\n");
    machine.file("sys/block/sda/device/model", b"  Disk\xfe 1\0\0");
    machine.write("sys/block/sda/size = 8");
    let round = machine.round();
    assert_eq!(round.rows("packages")[0]["model"], "Pro\u{fffd}cessor");
    assert_eq!(texts(&round.rows("packages")[0]["flags"]), ["a", "b"]);
    assert_eq!(round.rows("disks")[0]["model"], "Disk\u{fffd} 1");
}

#[test]
fn a_list_of_flags_may_be_long() {
    let flags: Vec<_> = (0..50_000).map(|number| format!("flag{number}")).collect();
    let machine = Machine::new();
    machine.file("proc/cpuinfo", format!("processor : 0\nflags : {}\n", flags.join(" ")));
    let round = machine.round();
    assert_eq!(texts(&round.rows("packages")[0]["flags"]), flags);
}

#[test]
fn a_cpuinfo_that_is_cut_short_costs_only_what_is_missing() {
    let text = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\n\
                physical id\t: 0\ncore id\t\t: 0\n\nprocessor\t: 1\nvendor_id\t: Authen";
    for length in 0..text.len() {
        let machine = Machine::new();
        machine.file("proc/cpuinfo", &text[..length]);
        machine.round();
    }
    let machine = Machine::new();
    machine.file("proc/cpuinfo", text);
    let round = machine.round();
    assert_eq!(round.row("packages", "package", "0")["vendor"], "AuthenticAMD");
    assert_eq!(parents(&round, "thread:cpu1"), ["package:unknown"]);
}

#[test]
fn numbers_that_are_none_are_missing() {
    let machine = Machine::new();
    machine.cpu(0, [0, 0], "0-", &[("L2", "lots", "x"), ("L3", "99999999999999999999K", "0")]);
    machine.write(
        "proc/meminfo = MemTotal: many kB
sys/block/sda/size = 18446744073709551615
sys/block/sda/ro = 7
sys/block/sda/queue/rotational = yes
sys/block/sda/queue/scheduler =
sys/class/net/eth0/mtu = -5
sys/devices/system/node/node0/meminfo =
sys/devices/system/node/nodeX/cpulist = 0",
    );
    let round = machine.round();
    assert_eq!(column(&round, "caches", "size_bytes"), [Value::Null, Value::Null]);
    assert_eq!(parents(&round, "cache:L2:0"), ["core:0"]);
    assert_eq!(column(&round, "memory", "total_bytes"), [Value::Null]);
    let disk = &round.rows("disks")[0];
    for missing in ["size_bytes", "read_only", "rotational", "scheduler"] {
        assert_eq!(disk[missing], Value::Null, "{missing}");
    }
    assert_eq!(column(&round, "interfaces", "mtu_bytes"), [Value::Null]);
    assert_eq!(column(&round, "numa_nodes", "numa_node"), ["node0"]);
}

#[test]
fn what_every_kernel_has_is_named_if_it_is_missing_and_the_rest_is_shown() {
    let machine = Machine::with(include_str!("../../fixtures/storage.txt"));
    for file in ["cpuinfo", "meminfo", "self/mountinfo"] {
        fs::remove_file(machine.path("proc").join(file)).unwrap();
    }
    let round = machine.collector().collect().unwrap();
    check_graph(&round);
    assert_eq!(round.partial.len(), 3, "{:?}", round.partial);
    for (what, file) in round.partial.iter().zip(["cpuinfo", "meminfo", "self/mountinfo"]) {
        assert!(what.starts_with(&format!("{}: ", machine.path("proc").join(file).display())));
    }
    assert_eq!(column(&round, "memory", "total_bytes"), [Value::Null]);
    assert_eq!(round.rows("disks").len(), 17);
    assert!(!round.streams().any(|stream| stream == "mounts"), "none would be wrong");
}

#[test]
fn a_mount_that_can_not_be_read_is_named_and_costs_only_itself() {
    let machine = Machine::with("sys/block/sda/dev = 8:0");
    machine.file("proc/self/mountinfo", "garbage\n1 0 8:0 / / rw - ext4 /dev/sda rw\n");
    let round = machine.collector().collect().unwrap();
    assert_eq!(round.partial.len(), 1);
    assert!(round.partial[0].ends_with("/self/mountinfo: line 1: malformed"));
    assert_eq!(parents(&round, "mount:/"), ["block:sda"]);
}

#[test]
fn a_root_that_is_not_there_is_named() {
    let machine = Machine::new();
    let failure = |proc_root: &str, sys_root: &str| {
        let roots =
            json!({ "proc_root": machine.path(proc_root), "sys_root": machine.path(sys_root) });
        Harness::<HardwareCollector>::new(roots).unwrap().collect()
    };
    let round = failure("proc", "gone").unwrap();
    let gone = format!("{}: ", machine.path("gone").display());
    assert!(round.partial[0].starts_with(&gone), "{:?}", round.partial);
    let error = failure("gone", "gone").unwrap_err().to_string();
    assert!(error.starts_with(&gone), "{error}");
}

#[test]
fn an_interface_with_an_odd_name_is_one_like_any() {
    use std::os::unix::ffi::OsStrExt;
    let machine = Machine::new();
    let name = std::ffi::OsStr::from_bytes(b"e\xff|*=");
    let directory = machine.path("sys/class/net").join(name);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("mtu"), "1500\n").unwrap();
    let round = machine.round();
    let row = round.row("interfaces", "interface", "e\u{fffd}|*=");
    assert_eq!(row["mtu_bytes"], 1500);
}

#[test]
fn streams_that_nobody_wants_are_not_read() {
    let machine = Machine::with(include_str!("../../fixtures/network.txt"));
    fs::remove_dir_all(machine.path("proc/self")).unwrap();
    fs::remove_file(machine.path("proc/cpuinfo")).unwrap();
    let round = machine.collector().collect_only(&["interfaces"]).unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(round.rows("interfaces").len(), 11);
    let round = machine.collector().collect_only(&["nodes"]).unwrap();
    assert_eq!(round.partial.len(), 2, "the graph needs all: {:?}", round.partial);
}

#[test]
fn a_setting_that_is_unknown_is_an_error() {
    let error = Harness::<HardwareCollector>::new(json!({ "sysroot": "/sys" })).err().unwrap();
    assert!(error.message().contains("sys_root"), "{error}");
}
