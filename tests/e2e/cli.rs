//! `run --once`, `run --output ndjson`, `list`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use dropsonde_tests::{Agent, BUNDLED, Options, binary, fixture, plugin, wait_for};
use serde_json::Value;

use crate::terminal::Terminal;

#[test]
fn once_prints_one_snapshot_with_real_rates() {
    let directory = tempfile::tempdir().unwrap();
    for name in BUNDLED {
        fs::copy(plugin(name), directory.path().join(format!("{name}.so"))).unwrap();
    }
    for isolation in ["process", "thread"] {
        let output = Command::new(binary())
            .args(["run", "--once", "--wait", "200ms", "--plugins"])
            .arg(directory.path())
            .env("DROPSONDE__DEFAULTS__ISOLATION", isolation)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert_eq!(text.lines().count(), 1);
        let snapshot: Value = serde_json::from_str(&text).unwrap();
        assert!(snapshot["memory"]["total_bytes"].as_u64() > Some(0));
        assert!(snapshot["cpu"]["usage_percent"].is_f64(), "{isolation}: {snapshot:#}");
        assert!(snapshot["network"]["interfaces"]["lo"]["bytes_recv_per_sec"].is_f64());
        assert!(snapshot["memory_bandwidth"]["pgfault_per_sec"].as_f64() > Some(0.0));
        assert!(snapshot["disk"]["partitions"]["/"]["total_bytes"].as_u64() > Some(0));
        assert_eq!(snapshot["hardware"]["nodes"]["host"]["kind"], "host");
        assert!(snapshot["process"]["count"].as_u64() > Some(1));
        let processes = snapshot["process"]["processes"].as_object().unwrap().values();
        let mut starts = processes.flat_map(|starts| starts.as_object().unwrap().values());
        assert!(starts.any(|process| process["cpu_percent"].is_f64()), "{isolation}");
    }
}

#[test]
fn once_that_is_told_to_end_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let (plugins, copies) = (directory.path().join("plugins"), directory.path().join("run"));
    fs::create_dir(&plugins).unwrap();
    fs::copy(fixture("steady_v1"), plugins.join("steady.so")).unwrap();
    let mut child = Command::new(binary())
        .args(["run", "--once", "--wait", "1h", "--plugins"])
        .arg(&plugins)
        .env("DROPSONDE__HOST__RUNTIME_DIR", &copies)
        .env("DROPSONDE__HOST__STATE_DIR", directory.path().join("state"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let entries = || fs::read_dir(&copies).map_or(0, Iterator::count);
    wait_for("its copies", || (entries() > 0).then_some(()));
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(log.any(|line| line.contains("admitted")));
    let killed = Command::new("kill").arg(child.id().to_string()).status();
    assert!(killed.unwrap().success());
    let rest: Vec<String> = log.collect();
    assert!(rest.iter().any(|line| line.contains("SIGTERM: no snapshot was taken")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert_eq!(entries(), 0);
}

#[test]
fn once_with_nothing_to_show_fails_and_says_why() {
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(binary())
        .args(["run", "--once", "--wait", "10ms", "--plugins"])
        .arg(directory.path())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("no collector delivered anything"), "{text}");
}

#[test]
fn ndjson_streams_and_ends_quietly_when_its_reader_does() {
    let directory = tempfile::tempdir().unwrap();
    fs::copy(fixture("steady_v1"), directory.path().join("steady.so")).unwrap();
    let mut child = Command::new(binary())
        .args(["run", "--output", "ndjson", "--listen", ":0", "--plugins"])
        .arg(directory.path())
        .env("DROPSONDE__DEFAULTS__INTERVAL", "20ms")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut topics = std::collections::HashSet::new();
    let mut batches = 0;
    while batches < 10 {
        let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        topics.insert(line["topic"].as_str().unwrap().to_owned());
        if line["collector"] == "steady" {
            assert!(line["records"][0]["build"] == 1 || line["records"][0]["part"].is_string());
            batches += 1;
        }
    }
    for topic in ["metrics.steady", "metrics.steady.parts", "health.steady", "host.plugin.loaded"] {
        assert!(topics.contains(topic), "{topics:?}");
    }
    drop(lines);
    let status = wait_for("its end", || child.try_wait().unwrap());
    assert!(status.success(), "{status:?}");
}

fn explain(agent: &Agent, arguments: &[&str]) -> std::process::Output {
    agent.ask(&[&["explain"], arguments].concat())
}

#[test]
fn explain_says_where_a_value_comes_from_by_any_of_its_names() {
    let agent = Agent::with(Options {
        plugins: vec![(plugin("network"), "network.so".into())],
        arguments: vec!["--output".into(), "ndjson".into()],
        ..Options::default()
    });
    agent.running("network");
    for name in ["network.interfaces.bytes_recv", "metrics.network.interfaces.bytes_recv"] {
        let output = explain(&agent, &[name]);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{name}");
        for part in [
            "network.interfaces.bytes_recv [By]",
            "stream metrics.network.interfaces: ",
            "system_network_io_bytes_total",
            "network.so",
            "running, in a process, every ",
            "of generation 1",
            "stdout: ",
            " 0 lost",
            " requests had the last batch",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
    let output = explain(&agent, &["--json", "system_network_io_bytes_total"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let interfaces = json.as_array().unwrap().iter();
    let interfaces = interfaces.map(|stream| (stream["stream"].clone(), stream["columns"].clone()));
    let found: Vec<_> = interfaces.filter(|(name, _)| name == "network.interfaces").collect();
    assert_eq!(found[0].1.as_array().unwrap().len(), 2, "both directions: {json:#}");
    assert!(json[0]["last_read"]["age_seconds"].as_f64() < Some(60.0));
    assert_eq!(json[0]["plugin"]["sha256"].as_str().unwrap().len(), 64);
}

#[test]
fn explain_of_what_is_not_there_says_so() {
    let mut agent = Agent::start("");
    let output = explain(&agent, &["no such thing"]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("nothing is called `no such thing`"), "{text}");
    assert_eq!(agent.page("/api/v1/explain").0, 400);
    agent.terminate();
    let output = explain(&agent, &["cpu"]);
    assert_eq!(output.status.code(), Some(69));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("no agent answers at"), "{text}");
}

#[test]
fn list_shows_what_a_running_host_says() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    let list: Value = serde_json::from_str(&agent.told(&["list", "--json"])).unwrap();
    let row = &list["plugins"][0];
    assert_eq!((&row["plugin"], &row["api_version"]), (&"steady".into(), &"1.0".into()));
    let collector = &row["collectors"][0];
    assert_eq!((&collector["phase"], &collector["generation"]), (&"running".into(), &1.into()));
    assert!(collector["last_batch_age_seconds"].is_f64());
}

#[test]
fn an_address_that_is_taken_is_a_clear_error() {
    let agent = Agent::start("");
    let output = Command::new(binary())
        .args(["run", "--listen", &agent.address(), "--plugins"])
        .arg(agent.root().join("plugins"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("can't listen on") && text.contains("choose another --listen"), "{text}");
}

#[test]
fn a_plugin_s_log_lines_carry_its_collector_s_name() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    let line = agent.logged("steady build 1 is up");
    assert!(line.contains("collector=\"steady\""), "{line}");
}

#[test]
fn a_reload_that_takes_long_is_told_of_on_a_terminal() {
    let agent = Agent::start("");
    // Of an agent that stands still, the connection is made by the kernel.
    agent.signal("STOP");
    let mut terminal = Terminal::start(&agent.command(&["reload"]), 24, 80);
    terminal.shows("waiting for the reload: 1 s");
    agent.signal("CONT");
    terminal.shows("the configuration is as it was");
    assert!(!terminal.text().contains("waiting for"), "{}", terminal.text());
    assert_eq!(terminal.ended().code(), Some(0));
}
