//! What the book says of debugging a plugin, done.

use std::fs;
use std::process::Command;

use dropsonde_tests::{Agent, Options, binary, fixture, is_installed, skipped, workspace};
use tempfile::TempDir;

use crate::packages;

#[test]
fn the_backtrace_of_a_panic_is_in_the_log_and_names_the_line() {
    let agent = Agent::with(Options {
        config: "[collectors.faulty.settings]\nfault = \"panic\"\nround = 2\n".into(),
        plugins: vec![(fixture("faulty"), "libfaulty.so".into())],
        environment: vec![("RUST_BACKTRACE".into(), "1".into())],
        ..Options::default()
    });
    agent.logged("stack backtrace:");
    agent.logged("fixtures/faulty.rs:");
    agent.logged("panicked");
}

/// In its sandbox: a debugger is not kept out by what binds the runner.
#[test]
fn gdb_stops_a_runner_in_the_code_of_its_plugin() {
    if !is_installed("gdb") {
        return;
    }
    let agent = Agent::with_plugins("[defaults]\ninterval = \"50ms\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    let [runner] = agent.children()[..] else { panic!("one runner") };
    let source = fs::read_to_string(workspace().join("tests/fixtures/steady.rs")).unwrap();
    let line = 1 + source.lines().position(|line| line.contains("self.reads += 1")).unwrap();
    let gdb = Command::new("timeout") // a breakpoint that is never met is waited for without end
        .args(["60", "gdb", "-nx", "-batch", "-p", &runner.to_string()])
        .args(["-ex", &format!("break steady.rs:{line}"), "-ex", "continue"])
        .args(["-ex", "backtrace 1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&gdb.stdout);
    let complaint = String::from_utf8_lossy(&gdb.stderr);
    if complaint.contains("ptrace: Operation not permitted") {
        skipped(format!("this kernel lets nobody attach: {complaint}"));
        return;
    }
    let place = format!("steady.rs:{line}");
    let stopped = said.lines().any(|frame| frame.starts_with("#0") && frame.ends_with(&place));
    assert!(stopped, "{said}\n{complaint}");
    // It goes on as if nothing had been.
    let before = agent.collector("steady").unwrap()["batches"].as_u64();
    agent.until("steady", "collected again", |now| now["batches"].as_u64() > before);
    assert_eq!(agent.collector("steady").unwrap()["restarts"], 0);
}

#[test]
fn valgrind_runs_the_tests_of_a_new_plugin_and_finds_nothing() {
    if !is_installed("valgrind") {
        return;
    }
    let directory = TempDir::new().unwrap();
    let api = workspace().to_str().unwrap();
    let new = Command::new(binary())
        .current_dir(directory.path())
        .args(["new", "open_files", "--minimal", "--api", api])
        .output()
        .unwrap();
    assert!(new.status.success(), "{}", String::from_utf8_lossy(&new.stderr));
    let runner = format!("CARGO_TARGET_{}_UNKNOWN_LINUX_GNU_RUNNER", arch());
    let valgrind = [(runner.as_str(), "valgrind --error-exitcode=1")];
    let tested = packages::test(&directory.path().join("open_files"), &valgrind);
    assert!(tested.contains("keeps_the_contract ... ok"), "{tested}");
}

fn arch() -> String {
    std::env::consts::ARCH.to_uppercase()
}
