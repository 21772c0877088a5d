//! The control socket, by the commands that people use.

mod socket;

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use dropsonde_tests::{Agent, Options, binary, fixture, wait_for};
use serde_json::Value;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A command that goes on; ended when dropped.
struct Going {
    child: Child,
    lines: Receiver<String>,
    complaints: Receiver<String>,
}

impl Going {
    fn start(agent: &Agent, arguments: &[&str]) -> Self {
        let mut child =
            agent.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = read(child.stdout.take().unwrap());
        let complaints = read(child.stderr.take().unwrap());
        Self { child, lines, complaints }
    }

    #[track_caller]
    fn line(&self) -> String {
        self.lines.recv_timeout(dropsonde_tests::PATIENCE).unwrap()
    }

    #[track_caller]
    fn complaint(&self, part: &str) {
        loop {
            let line = self.complaints.recv_timeout(dropsonde_tests::PATIENCE).unwrap();
            if line.contains(part) {
                return;
            }
        }
    }
}

impl Drop for Going {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(source).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[test]
fn without_an_agent_every_command_says_so_and_ends_with_69() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("none.sock");
    let commands: &[&[&str]] = &[
        &["describe"],
        &["tap"],
        &["get", "cpu"],
        &["snapshot"],
        &["query", "select 1"],
        &["explain", "cpu"],
        &["restart", "cpu"],
        &["enable", "cpu"],
        &["disable", "cpu"],
        &["pace", "cpu", "1s"],
        &["reload"],
        &["log", "cpu"],
    ];
    for arguments in commands {
        let output =
            Command::new(binary()).args(*arguments).arg("--control").arg(&socket).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(69), "{arguments:?}: {text}");
        let expected =
            format!("no agent answers at {}: there is no socket; start", socket.display());
        assert!(text.contains(&expected), "{text}");
    }
}

#[test]
fn describe_shows_streams_columns_and_units() {
    let agent = Agent::steady();
    let list = agent.told(&["describe"]);
    assert!(list.lines().any(|line| line.starts_with("steady.parts ")), "{list}");
    let columns = agent.told(&["describe", "steady.parts"]);
    assert!(columns.starts_with("metrics.steady.parts: "), "{columns}");
    let all = json(&agent.told(&["describe", "--json", "metrics.>"]));
    let streams = all.as_array().unwrap();
    assert_eq!(streams.len(), 2, "{all:#}");
    for stream in streams {
        for column in stream["columns"].as_array().unwrap() {
            assert!(!column["description"].as_str().unwrap().is_empty(), "{column}");
        }
    }
    let refusal = agent.refused(1, &["describe", "stedy"]);
    assert!(refusal.contains("there is no stream `stedy`; did you mean `steady`?"), "{refusal}");
    let refusal = agent.refused(1, &["describe", "metrics..>"]);
    assert!(refusal.contains("topic: "), "{refusal}");
}

#[test]
fn get_and_snapshot_print_what_the_pages_have() {
    let agent = Agent::steady();
    let batch = json(&agent.told(&["get", "--json", "metrics.steady"]));
    assert_eq!(batch["topic"], "metrics.steady");
    let before = batch["sequence"].as_u64().unwrap();
    let fresh = json(&agent.told(&["get", "--json", "--max-age", "0s", "steady"]));
    assert!(fresh["sequence"].as_u64().unwrap() > before, "{fresh}");
    let table = agent.told(&["get", "steady"]);
    assert!(table.starts_with("COLUMN") && table.contains("\nelapsed "), "{table}");
    let snapshot = json(&agent.told(&["snapshot"]));
    let keys = |json: &Value| json.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&snapshot), keys(&agent.snapshot()));
    assert_eq!(keys(&snapshot["steady"]), keys(&agent.snapshot()["steady"]));
}

#[test]
fn a_tap_takes_batches_at_its_own_rate_and_by_its_predicate() {
    let agent = Agent::steady();
    let tap = ["tap", "--json", "--every", "20ms", "--limit", "4", "metrics.steady"];
    let text = agent.told(&tap);
    let batches: Vec<Value> = text.lines().map(json).collect();
    assert_eq!(batches.len(), 4);
    let at = |batch: &Value| humantime::parse_rfc3339(batch["due"].as_str().unwrap()).unwrap();
    let apart = at(&batches[3]).duration_since(at(&batches[2])).unwrap();
    assert_eq!(apart, Duration::from_millis(20), "{text}");
    for (arguments, complaint) in [
        (
            &["tap", "metrics.stead"][..],
            "there is no stream `metrics.stead`; did you mean `metrics.steady`?",
        ),
        (&["tap", "--every", "1ms"], "interval: the shortest is 10ms"),
        (&["tap", "--where", "label ="], "filter: "),
        (&["tap", "--where", "lable = 'x'", "metrics.steady"], "no column `lable`"),
        (&["tap", "--room", "7", "--overflow", "latest"], "room goes with drop-oldest"),
    ] {
        let refusal = agent.refused(1, arguments);
        assert!(refusal.contains(complaint), "{arguments:?}: {refusal}");
    }
    for (arguments, complaint) in [
        (["tap", "--room", "70000"], "70000 is not in 1..=65536"),
        (["tap", "--sample", "0"], "invalid value '0' for '--sample <N>'"),
    ] {
        let refusal = agent.refused(2, &arguments);
        assert!(refusal.contains(complaint), "{arguments:?}: {refusal}");
    }
}

#[test]
fn a_tap_outlives_the_agent_and_goes_on_when_it_is_back() {
    let agent = Agent::steady();
    let tap = Going::start(&agent, &["tap", "--json", "metrics.steady"]);
    let generation = |line: &str| json(line)["sequence"].as_u64().unwrap();
    assert!(generation(&tap.line()) > 0);
    agent.signal("KILL");
    tap.complaint("the agent has gone");
    let agent = agent.ended().start_again();
    tap.complaint("the agent is back");
    agent.running("steady");
    while tap.lines.try_recv().is_ok() {}
    tap.line();
    let status = agent.json("/api/v1/status");
    let subscriptions = status["bus"]["subscriptions"].as_array().unwrap().iter();
    assert_eq!(subscriptions.filter(|one| one["name"] == "tap").count(), 1, "{status:#}");
}

#[test]
fn a_tap_that_is_not_read_loses_its_own_batches_and_is_told_how_many() {
    let agent = Agent::steady();
    let mut tap = agent
        .command(&["tap", "--every", "10ms", "--room", "2", "metrics.steady.>", "metrics.steady"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let complaints = read(tap.stderr.take().unwrap());
    // Its pipe fills, then what the connection holds, then its queue in the agent.
    let lost = wait_for("losses of the tap", || {
        let status = agent.json("/api/v1/status");
        let all = status["bus"]["subscriptions"].as_array().unwrap().clone();
        let own = all.into_iter().find(|one| one["name"] == "tap")?;
        own["lost"]["overflow"].as_u64().filter(|lost| *lost > 10)
    });
    let lines = read(tap.stdout.take().unwrap());
    let told = complaints.recv_timeout(dropsonde_tests::PATIENCE).unwrap();
    assert!(told.contains("too slow: "), "{told}");
    let told: u64 = told.split_whitespace().find_map(|word| word.parse().ok()).unwrap();
    assert!(told >= lost, "{told} of {lost}");
    assert!(lines.recv_timeout(dropsonde_tests::PATIENCE).is_ok());
    let _ = tap.kill();
    let _ = tap.wait();
    let before = agent.running("steady")["batches"].as_u64();
    agent.until("steady", "going on", |collector| collector["batches"].as_u64() > before);
}

#[test]
fn a_collector_is_disabled_enabled_and_restarted_without_a_change_to_the_files() {
    let agent = Agent::steady();
    let batches = || agent.collector("steady").unwrap()["batches"].as_u64().unwrap();
    assert_eq!(agent.told(&["disable", "steady"]), "steady: disabled\n");
    assert_eq!(agent.told(&["disable", "steady"]), "steady: already disabled\n");
    let disabled = agent.until("steady", "disabled", |collector| collector["disabled"] == true);
    assert_eq!(disabled["phase"], "stopped");
    wait_for("the end of its runner", || agent.children().is_empty().then_some(()));
    assert!(agent.told(&["list"]).contains(" disabled "));
    let refusal = agent.refused(1, &["restart", "steady"]);
    assert!(refusal.contains("the collector `steady` is disabled; enable it first"), "{refusal}");
    // A reload of the files leaves it as it was told.
    assert!(agent.told(&["reload"]).contains("the configuration is as it was"));
    assert_eq!(agent.collector("steady").unwrap()["disabled"], true);

    assert_eq!(agent.told(&["enable", "steady"]), "steady: enabled\n");
    agent.running("steady");
    let runner = agent.children();
    assert_eq!(agent.told(&["restart", "steady"]), "steady: restarted\n");
    wait_for("another runner", || {
        let now = agent.children();
        (now.len() == 1 && now != runner).then_some(())
    });
    let before = batches();
    wait_for("its batches", || (batches() > before).then_some(()));
    let refusal = agent.refused(1, &["restart", "steddy"]);
    assert!(refusal.contains("no collector `steddy`; did you mean `steady`?"), "{refusal}");
}

#[test]
fn a_required_collector_that_somebody_disabled_is_not_ready() {
    let config = "[collectors.steady]\nrequired = true\n";
    let agent = Agent::with_plugins(config, &[&fixture("steady_v1")]);
    agent.running("steady");
    agent.told(&["disable", "steady"]);
    let (code, text) = agent.page("/readyz");
    assert!(code == 503 && text.contains("it is disabled"), "{code}: {text}");
}

#[test]
fn a_pace_holds_for_a_while_and_its_end_is_the_own_interval() {
    let agent = Agent::steady();
    let own = agent.collector("steady").unwrap()["interval_seconds"].as_f64();
    assert_eq!(
        agent.told(&["pace", "steady", "30ms", "--for", "1s"]),
        "steady: each 30ms for 1s\n"
    );
    let paced = agent.until("steady", "paced", |collector| collector["interval_seconds"] == 0.03);
    assert!(paced["paced"]["remaining_seconds"].as_f64() <= Some(1.0), "{paced:#}");
    agent.until("steady", "at its own interval", |collector| {
        collector["interval_seconds"].as_f64() == own && collector["paced"].is_null()
    });
    assert_eq!(agent.told(&["pace", "steady", "50ms"]), "steady: each 50ms\n");
    assert_eq!(agent.told(&["pace", "steady"]), "steady: its own interval again\n");
    agent.until("steady", "at its own interval", |collector| {
        collector["interval_seconds"].as_f64() == own
    });
    assert!(agent.refused(1, &["pace", "steady", "1ms"]).contains("the shortest interval is 10ms"));
    assert_eq!(agent.collector("steady").unwrap()["generation"], 1);
}

#[test]
fn a_log_is_followed_through_a_crash() {
    let config = "[collectors.faulty.settings]\nfault = \"none\"\n";
    let agent = Agent::with_plugins(config, &[&fixture("faulty")]);
    agent.running("faulty");
    let log = Going::start(&agent, &["log", "--follow", "--json", "faulty"]);
    let line = |part: &str| loop {
        let line = log.line();
        if line.contains(part) {
            return json(&line);
        }
    };
    line("running, was starting");
    agent.configure("[collectors.faulty.settings]\nfault = \"segfault\"\n");
    assert_eq!(line("SIGSEGV")["level"], "error");
    let last = agent.told(&["log", "-n", "1", "faulty"]);
    assert_eq!(last.lines().count(), 1);
    assert!(agent.refused(1, &["log", "falty"]).contains("did you mean `faulty`?"));
}

#[test]
fn a_log_that_is_followed_outlives_the_agent_and_goes_on_with_what_the_next_one_says() {
    let agent = Agent::steady();
    let log = Going::start(&agent, &["log", "--follow", "steady"]);
    let is_running = || while !log.line().contains("running, was starting") {};
    is_running();
    agent.signal("KILL");
    log.complaint("the agent has gone");
    let agent = agent.ended().start_again();
    log.complaint("the agent is back");
    is_running();
    agent.running("steady");
}

#[test]
fn a_reload_says_what_it_changed_and_what_is_wrong() {
    let agent = Agent::with(Options {
        plugins: vec![(fixture("steady_v1"), "steady.so".into())],
        ..Options::default()
    });
    agent.running("steady");
    assert!(agent.told(&["reload"]).contains("the configuration is as it was"));
    // By rename, so that the watch may be first: either way it is applied once.
    agent.configure("[collectors.steady]\ninterval = \"3s\"\n");
    agent.told(&["reload"]);
    agent.until("steady", "slower", |collector| collector["interval_seconds"] == 3.0);
    agent.configure("[collectors.steady]\nintervall = \"3s\"\n");
    let refusal = agent.refused(78, &["reload"]);
    assert!(agent.told(&["list"]).contains("configuration rejected: "));
    assert!(refusal.contains("dropsonde.toml:2:1") && refusal.contains("`interval`?"), "{refusal}");
    assert_eq!(agent.collector("steady").unwrap()["interval_seconds"], 3.0);
}

#[test]
fn what_is_asked_of_a_collector_that_does_not_run_says_so() {
    let agent = Agent::steady();
    agent.told(&["tap", "--limit", "1", "steady"]); // a name does as well as a topic
    agent.told(&["disable", "steady"]);
    agent.until("steady", "stopped", |collector| collector["phase"] == "stopped");
    let why = "its collector is `steady`: it is disabled";
    for arguments in
        [&["get", "steady.parts"][..], &["tap", "metrics.steady"], &["describe", "steady"]]
    {
        let refusal = wait_for("the end of its streams", || {
            let output = agent.ask(arguments);
            (!output.status.success()).then(|| String::from_utf8(output.stderr).unwrap())
        });
        assert!(refusal.contains(why), "{arguments:?}: {refusal}");
    }
    let refusal = agent.refused(1, &["describe", "metrics.nothing.>"]);
    assert!(refusal.contains("no stream matches `metrics.nothing.>`; topics begin"), "{refusal}");
    let tap = Going::start(&agent, &["tap", "network.>"]);
    tap.complaint("nothing matches `network.>` yet");
}

#[test]
fn orders_stand_in_the_list_and_in_the_log() {
    let agent = Agent::with_plugins("", &[&fixture("steady_v1"), &fixture("pulse")]);
    agent.running("steady");
    agent.running_or_started("pulse");
    agent.told(&["pace", "steady", "2s", "--for", "1h"]);
    assert!(agent.told(&["list"]).contains("\n  paced: each 2 s, for 3"));
    agent.told(&["restart", "steady"]);
    let log = agent.told(&["log", "steady"]);
    assert!(
        log.contains("by request: each 2s for 1h") && log.contains("restarted by request"),
        "{log}"
    );
    let refusal = agent.refused(1, &["pace", "pulse", "1s"]);
    assert!(refusal.contains("`pulse` is an event source: it has no interval"), "{refusal}");
    let refusal = agent.refused(2, &["pace", "steady", "200years"]);
    assert!(refusal.contains("100 years at most"), "{refusal}");
}

#[test]
fn completions_name_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = Command::new(binary()).args(["completions", shell]).output().unwrap();
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success());
        for command in ["describe", "snapshot", "restart"] {
            assert!(script.contains(command), "{shell}: {command}");
        }
    }
    // A reader that has gone has read enough.
    let mut child = Command::new(binary())
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait_with_output().unwrap().status.success());
}
