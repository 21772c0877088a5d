//! What a plugin in a runner process can reach: a plugin that tries, under each configuration.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use dropsonde_tests::{Agent, BUNDLED, Options, binary, fixture, plugin, skipped};
use serde_json::Value;

const DENIED: &str = "errno 1"; // EPERM
const NO_ACCESS: &str = "errno 13"; // EACCES
const NO_CALL: &str = "errno 38"; // ENOSYS
const REFUSED: &str = "errno 111"; // ECONNREFUSED: the attempt reached the network

/// Whatever the configuration allows: what needs a capability, and what nothing permits.
const BY_CAPABILITY: [&str; 6] = ["tcp", "tcp_in_a_thread", "udp", "netlink", "exec", "perf"];
const NEVER: [&str; 4] = ["packet", "ptrace", "unshare", "clone"];
/// What changes files, a process's memory among them.
const CHANGES: [&str; 12] = [
    "create",
    "overwrite",
    "write",
    "empty",
    "rename",
    "remove",
    "link",
    "symlink",
    "mkdir",
    "socket_file",
    "fifo",
    "memory",
];

fn config(rest: &str) -> String {
    format!(
        "[defaults]\ninterval = \"50ms\"\n[restart]\ninitial = \"50ms\"\nmax = \"50ms\"\n\
         [collectors.reaches.settings]\noutside = \"{{root}}/run\"\n[collectors.reaches]\n{rest}\n"
    )
}

/// A host with one build of the plugin that tries things, and a file that is not the plugin's.
fn agent(build: &str, rest: &str) -> Agent {
    let agent = Agent::with_plugins(&config(rest), &[&fixture(build)]);
    fs::write(agent.root().join("run/victim"), "text").unwrap();
    agent.running("reaches");
    agent
}

/// What came of each attempt, in a round that began after this call.
fn attempts(agent: &Agent) -> Value {
    agent.json("/api/v1/snapshot?max_age=0s")["reaches"]["attempts"].clone()
}

#[track_caller]
fn all_are(attempts: &Value, actions: &[&str], outcome: &str) {
    for action in actions {
        assert_eq!(attempts[action]["outcome"], outcome, "{action}: {attempts:#}");
    }
}

/// Whether the kernel has what a test is about.
fn in_force(agent: &Agent, what: &str) -> bool {
    let sandbox = agent.collector("reaches").unwrap()["sandbox"].clone();
    let found = sandbox["in_force"].as_array().unwrap().iter().any(|part| part == what);
    if !found {
        skipped(format!("this kernel does not enforce `{what}`: {sandbox}"));
    }
    found
}

const CALLS: &str = "system calls are filtered";
const WRITES: &str = "writes only to its state directory";

#[test]
fn what_the_manifest_does_not_ask_for_is_denied_whatever_is_allowed() {
    let agent = agent("reaches_bare", "allow = [\"network\", \"netlink\", \"exec\", \"perf\"]");
    if in_force(&agent, CALLS) {
        let attempts = attempts(&agent);
        all_are(&attempts, &BY_CAPABILITY, DENIED);
        all_are(&attempts, &NEVER, DENIED);
        all_are(&attempts, &["read", "unix", "null", "state"], "ok");
        all_are(&attempts, &["unfiltered_threads"], "0");
    }
}

#[test]
fn a_network_socket_needs_the_manifest_and_the_configuration() {
    let agent = agent("reaches_network", "");
    if !in_force(&agent, CALLS) {
        return;
    }
    all_are(&attempts(&agent), &["tcp", "tcp_in_a_thread", "udp"], DENIED);
    agent.logged(
        "asks for `network`, which the configuration does not allow; \
         set collectors.reaches.allow = [\"network\"]",
    );
    reconfigure(&agent, "allow = [\"network\"]");
    let attempts = attempts(&agent);
    all_are(&attempts, &["tcp", "tcp_in_a_thread"], REFUSED);
    all_are(&attempts, &["udp"], "ok");
    all_are(&attempts, &["netlink", "exec", "perf"], DENIED);
    all_are(&attempts, &NEVER, DENIED);
    all_are(&attempts, &["clone3"], NO_CALL); // threads start by clone(2), and exec is above
}

#[test]
fn each_capability_permits_what_it_names_and_nothing_else() {
    let agent = agent("reaches_all", "allow = []");
    if !in_force(&agent, CALLS) {
        return;
    }
    let none = attempts(&agent);
    for (capability, action) in [("netlink", "netlink"), ("exec", "exec"), ("perf", "perf")] {
        reconfigure(&agent, &format!("allow = [\"{capability}\"]"));
        let one = attempts(&agent);
        for other in BY_CAPABILITY.iter().chain(&NEVER) {
            let permitted = *other == action;
            let same = one[other]["outcome"] == none[other]["outcome"];
            assert_ne!(permitted, same, "{capability}, {other}: {one:#}");
        }
    }
    let all = "allow = [\"perf\", \"network\", \"netlink\", \"bpf\", \"exec\", \"inspect\"]";
    reconfigure(&agent, all);
    all_are(&attempts(&agent), &NEVER, DENIED);
    assert!(!agent.log().last().unwrap().contains("asks for"));
}

#[test]
fn only_the_state_directory_can_be_written_and_it_outlives_a_crash() {
    let agent = agent("reaches_bare", "");
    if !in_force(&agent, WRITES) {
        return;
    }
    let attempted = attempts(&agent);
    all_are(&attempted, &CHANGES, NO_ACCESS);
    all_are(&attempted, &["chmod"], DENIED);
    if in_force(&agent, "truncates files only there") {
        all_are(&attempted, &["truncate"], NO_ACCESS);
    }
    assert_eq!(fs::read_to_string(agent.root().join("run/victim")).unwrap(), "text");

    let state = agent.root().join("state/collectors/reaches");
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    let [runner] = agent.children()[..] else { panic!("one runner") };
    assert!(Command::new("kill").args(["-9", &runner.to_string()]).status().unwrap().success());
    agent.until("reaches", "restarted", |now| {
        now["restarts"].as_u64() > Some(0) && now["phase"] == "running"
    });
    all_are(&attempts(&agent), &["state"], "ok");
    let lines = fs::read_to_string(state.join("log")).unwrap();
    assert_eq!(lines.lines().count(), 2, "one line of each process: {lines}");
    assert!(lines.lines().any(|line| line == runner.to_string()), "{lines}");
}

#[test]
fn inspect_opens_other_processes_and_closes_all_files_to_writing() {
    let agent = agent("reaches_inspect", "allow = [\"inspect\"]");
    if !in_force(&agent, CALLS) {
        return;
    }
    for part in ["writes no file", "no ioctl on devices", "no signals to processes outside"] {
        assert!(in_force(&agent, part), "{part}");
    }
    let attempted = attempts(&agent);
    all_are(&attempted, &["inspect", "read", "unix", "signal_self"], "ok");
    all_are(&attempted, &CHANGES, DENIED);
    all_are(&attempted, &["truncate", "chmod", "touch", "null"], DENIED);
    all_are(&attempted, &["signal", "signal_by_fcntl", "ioctl"], DENIED);
    all_are(&attempted, &BY_CAPABILITY, DENIED);
    all_are(&attempted, &NEVER, DENIED);
    all_are(&attempted, &["openat2"], NO_CALL);
    assert_ne!(attempted["state"]["outcome"], "ok");
    assert!(!agent.root().join("state/collectors/reaches").exists());
    assert_eq!(fs::read_to_string(agent.root().join("run/victim")).unwrap(), "text");
    // What is not in force is said, in the status and once in the log.
    let missing = "no abstract sockets of processes outside: `inspect` needs Landlock left out";
    let sandbox = agent.collector("reaches").unwrap()["sandbox"].clone();
    assert!(sandbox["missing"].as_array().unwrap().iter().any(|part| part == missing));
    agent.logged(missing);
}

#[test]
fn without_inspect_other_processes_are_closed_and_the_log_says_once_what_to_set() {
    let agent = agent("reaches_inspect", "");
    if !in_force(&agent, WRITES) {
        return;
    }
    let attempted = attempts(&agent);
    all_are(&attempted, &["inspect"], NO_ACCESS);
    all_are(&attempted, &["openat2", "state", "null"], "ok");
    let [runner] = agent.children()[..] else { panic!("one runner") };
    assert!(Command::new("kill").args(["-9", &runner.to_string()]).status().unwrap().success());
    agent.until("reaches", "restarted", |now| {
        now["restarts"].as_u64() > Some(0) && now["phase"] == "running"
    });
    let hint = "asks for `inspect`, which the configuration does not allow; \
                set collectors.reaches.allow = [\"inspect\"]";
    assert_eq!(agent.log().iter().filter(|line| line.contains(hint)).count(), 1);
}

#[test]
fn no_signal_reaches_the_host() {
    let agent = agent("reaches_bare", "");
    if in_force(&agent, "no signals to processes outside and no abstract sockets of theirs") {
        all_are(&attempts(&agent), &["signal"], DENIED);
    }
}

#[test]
fn what_the_host_inherited_is_closed_in_a_runner() {
    let directory = tempfile::tempdir().unwrap();
    let wrapper = directory.path().join("wrapper");
    let left_open = directory.path().join("left-open");
    fs::write(&left_open, "").unwrap();
    let script = format!(
        "#!/bin/sh\nexec 9<'{}'\nexec '{}' \"$@\"\n",
        left_open.display(),
        binary().display()
    );
    fs::write(&wrapper, script).unwrap();
    fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).unwrap();
    let agent = Agent::with(Options {
        config: config(""),
        plugins: vec![(fixture("reaches_bare"), "libreaches.so".to_owned())],
        binary: Some(wrapper),
        ..Options::default()
    });
    agent.running("reaches");
    let host = fs::read_link(format!("/proc/{}/fd/9", agent.pid())).unwrap();
    assert_eq!(host, left_open, "the host has it");
    if in_force(&agent, "no inherited descriptors") {
        let open = attempts(&agent)["descriptors"]["outcome"].as_str().unwrap().to_owned();
        assert!(!open.contains("left-open"), "{open}");
        // Standard input, output and error, and the socket with its second handle.
        assert_eq!(open.split(' ').count(), 5, "{open}");
    }
}

#[test]
fn without_the_sandbox_all_is_permitted_and_the_log_says_so() {
    let agent = agent("reaches_bare", "sandbox = false");
    agent.logged("runs without a sandbox, since the configuration says `sandbox = false`");
    let attempted = attempts(&agent);
    all_are(&attempted, &["tcp", "tcp_in_a_thread"], REFUSED);
    all_are(
        &attempted,
        &["udp", "netlink", "create", "overwrite", "chmod", "state", "exec", "unshare", "signal"],
        "ok",
    );
    all_are(&attempted, &["clone", "clone3"], "errno 22"); // EINVAL: they were looked at
    assert_ne!(attempted["unfiltered_threads"]["outcome"], "0");
    let text = agent.told(&["list"]);
    let expected = "not in its sandbox: files and system calls: switched off by the configuration";
    assert!(text.contains(expected), "{text}");

    // Switched on again, it holds from the next instance on.
    reconfigure(&agent, "");
    if in_force(&agent, CALLS) {
        all_are(&attempts(&agent), &["tcp", "udp"], DENIED);
    }
}

#[test]
fn every_bundled_plugin_delivers_in_its_sandbox() {
    let plugins = BUNDLED.map(plugin);
    let agent = Agent::with_plugins(
        "[defaults]\ninterval = \"100ms\"\n",
        &plugins.each_ref().map(std::path::PathBuf::as_path),
    );
    for name in BUNDLED {
        let collector = agent.running(name);
        assert_eq!(collector["last_error"], Value::Null, "{collector:#}");
        assert!(!collector["sandbox"]["in_force"].as_array().unwrap().is_empty());
    }
    let log = agent.log();
    let refused = |line: &&String| line.contains("which the configuration does not allow");
    let refused: Vec<&String> = log.iter().filter(refused).collect();
    assert!(refused.len() == 1 && refused[0].contains("collectors.process.allow"), "{refused:?}");
    // Where counting is open to this user without a sandbox, it is open in one.
    let counts = agent.snapshot()["perf_events"].clone();
    let without = Agent::with_plugins(
        "[defaults]\ninterval = \"100ms\"\nsandbox = false\n",
        &[&plugin("perf_events")],
    );
    without.running("perf_events");
    let plain = without.snapshot()["perf_events"].clone();
    let events = |snapshot: &Value| snapshot["events"].as_object().map(serde_json::Map::len);
    assert_eq!(events(&counts), events(&plain), "{counts:#}\n{plain:#}");
}

#[test]
fn a_state_directory_that_was_never_used_is_removed() {
    let mut agent = Agent::with_plugins("", &[&fixture("steady_v1"), &fixture("pulse")]);
    agent.running("steady");
    agent.running_or_started("pulse"); // its trial is over: one that is cut short is not the promise
    assert!(agent.terminate().success());
    assert!(!agent.root().join("state/collectors").exists());
}

#[test]
fn a_check_of_the_settings_makes_no_state_directory() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.toml"), "[collectors.steady]\n").unwrap();
    fs::copy(fixture("steady_v1"), directory.path().join("libsteady.so")).unwrap();
    let output = Command::new(binary())
        .arg("validate")
        .arg(directory.path().join("a.toml"))
        .arg("--plugins")
        .arg(directory.path())
        .env("DROPSONDE__HOST__STATE_DIR", directory.path().join("state"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!directory.path().join("state").exists());
}

#[test]
fn a_sandbox_that_is_no_flag_names_its_line() {
    let agent = Agent::start("");
    agent.configure("[defaults]\nsandbox = \"off\"\n[collectors.a]\nsandbox = 0\n");
    agent.logged(":2:11: defaults.sandbox: expected true or false, found a string");
    agent.logged(":4:11: collectors.a.sandbox: expected true or false, found a number");
}

/// Changes the collector's keys, and waits for the instance that has them.
fn reconfigure(agent: &Agent, rest: &str) {
    let took_over = || agent.log().iter().filter(|line| line.contains("took over")).count();
    let before = took_over();
    let root = agent.root().to_str().unwrap();
    agent.configure(&config(rest).replace("{root}", root));
    dropsonde_tests::wait_for("the new instance", || (took_over() > before).then_some(()));
}
