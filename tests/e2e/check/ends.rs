//! How it ends: in the time that it has, or by a signal; and what it leaves running.

use std::process::Stdio;

use dropsonde_tests::{PATIENCE, wait_for};

use super::*;
use crate::limits::has_cgroup;

/// How many run of the processes that plugins leave behind, in this time zone: a runner hands that
/// on.
fn sleeping(zone: &str) -> usize {
    let zone = format!("TZ={zone}");
    let is_one = |process: &Path| {
        let read = |name| fs::read(process.join(name)).unwrap_or_default();
        read("cmdline") == b"sleep\x003600.5\0"
            && read("environ").split(|byte| *byte == 0).any(|text| text == zone.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().filter(|entry| is_one(&entry.path())).count()
}

#[test]
fn the_time_that_is_given_is_kept() {
    let arguments = ["--rounds", "100000", "--time", "500ms", "--reloads", "250"];
    let found = faulty("", 1, &arguments);
    found.came_out("pass", "collect.outcome", "rounds in the time that there was, of 100000");
    // All that was asked for would take minutes.
    assert!(
        found.json["seconds"].as_f64() < Some(PATIENCE.as_secs_f64()),
        "{}",
        found.json["seconds"]
    );
    assert_eq!(found.code, Some(0));
}

#[test]
fn once_the_time_is_over_no_more_is_tried() {
    let found = faulty("connect", 1, &["--time", "1ms", "--reloads", "3"]);
    let ids = [
        "settings.default",
        "settings.unknown",
        "settings.type",
        "sandbox.needed",
        "sandbox.denied",
        "reload.outcome",
    ];
    for id in ids {
        found.came_out("skip", id, "there was no time left");
    }
}

#[test]
fn a_load_that_does_not_come_back_fails_though_the_time_is_over() {
    let mut command =
        faulty_command("stop_on_thread", 1, &["--rounds", "5", "--reloads", "3", "--time", "10s"]);
    let found = Found::by(command.env("DROPSONDE__DEFAULTS__DEADLINE", "500ms"));
    found.fails("reload.outcome", "load 1: deadline 500ms exceeded");
}

#[test]
fn processes_that_are_left_running_are_found_and_ended() {
    let zone = "left-running";
    let mut command = faulty_command("leave_process", 1, &["--rounds", "5", "--reloads", "3"]);
    let found = Found::by(command.env("TZ", zone));
    found.fails("reload.left", "left 3 processes running, such as `sleep`");
    if has_cgroup("pids") {
        // What a runner leaves in it ends with its cgroup.
        found.came_out("pass", "collect.processes", "none was left running");
    } else {
        found.fails("collect.processes", "left 5 processes running, such as `sleep`");
    }
    assert_eq!(sleeping(zone), 0);
}

/// What the plugin runs has started more in a session of its own, and that again.
#[test]
fn a_signal_ends_it_and_leaves_no_process_and_nothing_in_the_temporary_directory() {
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let directory = tempfile::tempdir().unwrap();
        let inner = "setsid sleep 3600.5 & sleep 3600.5";
        let outer = format!("setsid sh -c \\\"{inner}\\\" & sleep 3600.5");
        let settings = format!("command = [\"sh\", \"-c\", \"{outer}\"]");
        let mut command = command(&[&plugin("exec")], &["--settings", &settings]);
        let zone = format!("ended-by-{signal}");
        command.env("TMPDIR", directory.path()).env("TZ", &zone).stdout(Stdio::null());
        let mut child = command.spawn().unwrap();
        wait_for("processes of three levels", || (sleeping(&zone) == 3).then_some(()));
        let pid = child.id().to_string();
        Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(code), "{signal}");
        assert_eq!(sleeping(&zone), 0, "{signal}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "{signal}");
    }
}
