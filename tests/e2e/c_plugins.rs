//! Plugins in C and C++: the same admission, runners, supervision and checks as those in Rust.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dropsonde_tests::{Agent, Options, target_dir, wait_for, workspace};
use serde_json::{Value, json};

/// Compiles a plugin with what a careful author would have on. Tests that run at the same time
/// compile the same one: none sees a file that is half written.
pub(crate) fn compile(source: &str, name: &str, flags: &[&str]) -> PathBuf {
    let directory = target_dir().join("c");
    fs::create_dir_all(&directory).unwrap();
    let library = directory.join(format!("lib{name}.so"));
    let is_cpp = source.ends_with(".cpp");
    let (compiler, standard): (_, &[&str]) =
        if is_cpp { ("c++", &["-std=c++20"]) } else { ("cc", &["-std=gnu11"]) };
    let written = tempfile::NamedTempFile::new_in(&directory).unwrap().into_temp_path();
    let output = Command::new(compiler)
        .args(standard)
        .args(["-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"])
        .args(flags)
        .arg("-I")
        .arg(workspace().join("plugin-api/include"))
        .arg("-o")
        .arg(&written)
        .arg(workspace().join(source))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{source} can't be compiled:\n{text}");
    written.persist(&library).unwrap();
    library
}

fn lines_of(source: &str) -> usize {
    fs::read_to_string(workspace().join(source)).unwrap().lines().count()
}

fn agent_with(config: &str, library: &Path) -> Agent {
    Agent::with(Options {
        config: config.to_owned(),
        plugins: vec![(library.to_owned(), library.file_name().unwrap().to_str().unwrap().into())],
        ..Options::default()
    })
}

#[test]
fn a_collector_in_c_of_under_80_lines_does_what_one_in_rust_does() {
    let source = "examples/softirqs/softirqs.c";
    assert!(lines_of(source) < 80, "{}", lines_of(source));
    let library = compile(source, "softirqs", &[]);
    for isolation in ["process", "thread"] {
        let config = format!("[defaults]\nisolation = \"{isolation}\"\ninterval = \"100ms\"\n");
        let mut agent = agent_with(&config, &library);
        assert_eq!(agent.running("softirqs")["isolation"], isolation);
        assert_eq!(agent.plugin("libsoftirqs.so").unwrap()["language"], "c");
        let sum = |text: &str| -> u64 {
            let line = text.lines().find(|line| line.contains("TIMER:")).unwrap();
            line.split_whitespace().skip(1).map(|count| count.parse::<u64>().unwrap()).sum()
        };
        let proc = || sum(&fs::read_to_string("/proc/softirqs").unwrap());
        let before = proc();
        let timer = agent.json("/api/v1/snapshot?max_age=0s")["softirqs"]["TIMER"].clone();
        let runs = timer["runs"].as_u64().unwrap();
        assert!((before..=proc()).contains(&runs), "{before} {timer}");
        // What the host derives for others, it derives for these.
        wait_for("a rate", || {
            agent.snapshot()["softirqs"]["TIMER"]["runs_per_sec"]
                .as_f64()
                .filter(|rate| *rate > 0.0)
        });
        let stream = agent.told(&["describe", "softirqs"]);
        assert!(stream.contains("Times that it ran since boot."), "{stream}");
        // A replacement takes over while it runs.
        let other = compile(source, "softirqs_2", &["-DANOTHER_BUILD", "-g"]);
        agent.put("libsoftirqs.so", &fs::read(other).unwrap());
        agent.until("softirqs", "the second generation", |collector| {
            collector["generation"] == 2 && collector["phase"] == "running"
        });
        assert!(agent.terminate().success());
    }
}

#[test]
fn an_event_source_in_cpp_tells_of_changes_until_it_is_stopped() {
    let library = compile("examples/watch_file/watch_file.cpp", "watch_file", &[]);
    for isolation in ["process", "thread"] {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("watched");
        let config = format!(
            "[collectors.watch_file]\nisolation = \"{isolation}\"\n\
             [collectors.watch_file.settings]\npath = {file:?}\n"
        );
        let mut agent = agent_with(&config, &library);
        agent.logged(&format!("watching {}", file.display()));
        let follow = agent.follow("topic=events.>");
        fs::write(&file, "12345").unwrap();
        let events = follow.at_least(1);
        let record = &events[0]["records"][0];
        assert_eq!(events[0]["topic"], "events.watch_file.changed");
        assert_eq!(record, &json!({"path": file, "size_bytes": 5, "exists": true}));
        fs::remove_file(&file).unwrap();
        let record = follow.at_least(2)[1]["records"][0].clone();
        assert_eq!(record, json!({"path": file, "size_bytes": null, "exists": false}));
        assert!(agent.terminate().success());
        assert_eq!(agent.log().iter().filter(|line| line.contains("deadline")).count(), 0);
    }
}

#[test]
fn settings_are_checked_as_strictly_as_those_of_a_plugin_in_rust() {
    let library = compile("tests/fixtures/faulty.c", "faulty_c", &[]);
    let config = |settings: &str| format!("[collectors.faulty_c.settings]\n{settings}\n");
    let agent = agent_with(&config("fault = \"none\"\ndeep = { number = 5 }"), &library);
    agent.running("faulty_c");
    let rows = [
        (
            "falt = \"none\"",
            "collectors.faulty_c.settings.falt: unknown key `falt`; did you mean `fault`?",
        ),
        ("fault = 5", "collectors.faulty_c.settings.fault: expected a text without NUL, found 5"),
        ("deep = { numer = 5 }", "collectors.faulty_c.settings.deep.numer: unknown key `numer`"),
        ("deep = { number = 0.5 }", "deep.number: expected a whole number, found 0.5"),
        (
            "fault = \"0123456789012345678901234567890123456789\"",
            "collectors.faulty_c.settings.fault: `0123456789012345678901234567890123456789` is no fault",
        ),
    ];
    for (settings, expected) in rows {
        agent.configure(&config(settings));
        agent.logged(expected);
        assert_eq!(agent.collector("faulty_c").unwrap()["phase"], "running");
    }
}

/// An agent with a collector that goes wrong.
fn with_fault(library: &Path, fault: &str, isolation: &str) -> Agent {
    let config = format!(
        "[collectors.faulty_c]\nisolation = \"{isolation}\"\ndeadline = \"500ms\"\n\
         [collectors.faulty_c.settings]\nfault = \"{fault}\"\n"
    );
    agent_with(&config, library)
}

#[test]
fn nonsense_is_refused_and_named() {
    let library = compile("tests/fixtures/faulty.c", "faulty_c", &[]);
    let rows = [
        ("too_few", "a row of the main stream: it has 5 values, declared are 6"),
        ("no_stream", "stream 7 was not declared; the plugin declares 1"),
        ("no_values", "a row of the main stream: its values are at 0x0"),
        ("odd_values", "a row of the main stream: its values are at 0x"),
        ("wrong_type", "column `count`: a value of type 1, declared is 0"),
        ("no_type", "column `count`: a value of type 77, declared is 0"),
        ("long_text", "column `name`: a text of 1099511627776 bytes that can't be there"),
        ("no_text", "column `name`: a text of 1 bytes that can't be there"),
        ("flush", "flush() and wait() are for run() alone"),
        ("rows", "there are 100000, which is the most"),
        ("failed", "failed: the end of 1"),
        ("silent", "failed: it did not say why"),
        ("no_code", "it returned 42, which is no DROPSONDE_…"),
        ("no_nul", "it returned 42, which is no DROPSONDE_…: xxxxx"),
        ("crash", "killed by SIGSEGV"),
        ("abort", "killed by SIGABRT"),
        ("hang", "deadline"),
    ];
    for (fault, expected) in rows {
        let mut agent = with_fault(&library, fault, "process");
        // It is refused as it is tried out, or the collector is degraded.
        wait_for(&format!("{fault}: {expected}"), || {
            let of = |value: Option<Value>| value.unwrap_or_default().to_string();
            let told = of(agent.plugin("libfaulty_c.so")) + &of(agent.collector("faulty_c"));
            told.contains(expected).then_some(())
        });
        assert!(agent.is_alive());
    }
}

#[test]
fn every_kind_of_value_comes_through() {
    let library = compile("tests/fixtures/faulty.c", "faulty_c", &[]);
    let whole = json!({"count": 1, "half": 0.5, "less": -1, "on": true, "list": ["b", "c d"]});
    let records = |fault: &str, isolation: &str| {
        let agent = with_fault(&library, fault, isolation);
        agent.until("faulty_c", "a batch", |collector| !collector["streams"][0].is_null());
        agent.json("/api/v1/snapshot?max_age=0s")["faulty_c"].clone()
    };
    for (fault, isolation) in [("none", "process"), ("none", "thread"), ("partial", "process")] {
        let mut record = records(fault, isolation)["a"].clone();
        record.as_object_mut().unwrap().retain(|key, _| key != "count_per_sec");
        assert_eq!(record, whole, "{fault}");
    }
    assert_eq!(records("not_utf8", "process")["a\u{fffd}b"]["count"], 1);
    for (fault, missing) in [("missing", ["half", "list"]), ("not_finite", ["half", "half"])] {
        let record = records(fault, "process")["a"].clone();
        assert!(missing.iter().all(|column| record[column].is_null()), "{record}");
        assert_eq!(record["count"], 1);
    }
    assert_eq!(records("empty", "process"), json!({}));
    let agent = with_fault(&library, "partial", "process");
    agent.until("faulty_c", "what is partial", |collector| {
        collector["last_error"].as_str().is_some_and(|error| error.contains("half of it"))
    });
}

/// What a plugin says ends up on terminals, and in a log that others read by lines.
#[test]
fn what_a_plugin_says_forges_no_line_and_commands_no_terminal() {
    let agent =
        with_fault(&compile("tests/fixtures/faulty.c", "faulty_c", &[]), "control", "process");
    agent.logged("one\\nforged in the log");
    agent.until("faulty_c", "its error", |collector| !collector["last_error"].is_null());
    let list = agent.told(&["list"]);
    assert!(list.contains("\\u{1b}[31mred\\r\\nforged in the list"), "{list}");
    for text in [list, agent.told(&["explain", "faulty_c.half"]), agent.log().join("\n")] {
        assert!(!text.contains(['\u{1b}', '\r']), "{text}");
        assert!(!text.lines().any(|line| line.trim().starts_with("forged")), "{text}");
    }
}

/// Why a plugin is refused that was compiled so.
fn rejection(name: &str, flags: &[&str]) -> String {
    let library = compile("tests/fixtures/faulty.c", name, flags);
    let mut agent = Agent::start("");
    agent.put("libfaulty_c.so", &fs::read(library).unwrap());
    let why = agent.rejected("libfaulty_c.so");
    assert!(agent.is_alive());
    why
}

#[test]
fn another_version_or_layout_is_refused_with_the_struct_at_fault() {
    // As a header of a later version of the interface would have it.
    let why = rejection("faulty_abi", &["-DANOTHER_VERSION"]);
    assert!(why.contains("is of version 2 of the C interface, this host knows 1"), "{why}");
    // As a compiler for another machine would have it.
    let why = rejection("faulty_size", &["-DANOTHER_SIZE", "-Wno-override-init"]);
    assert!(why.contains("takes struct dropsonde_value to have 16 bytes, here it has 24"), "{why}");
    let why = rejection("faulty_create", &["-DWITHOUT_CREATE", "-Wno-unused-function"]);
    assert!(why.contains("has no create()"), "{why}");
    let why = rejection("faulty_collect", &["-DWITHOUT_COLLECT", "-Wno-error"]);
    assert!(why.contains("it is polled, and there is no collect()"), "{why}");
    let why = rejection("faulty_hidden", &["-Ddropsonde_c_plugin=another_name"]);
    assert!(why.contains("does not export `dropsonde_c_plugin`"), "{why}");
}
