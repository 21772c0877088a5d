//! The collector of processes on the real host: pids that are used again, what is closed to a
//! confined runner, and a procfs that hides others' processes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use dropsonde_tests::{Agent, binary, plugin, skipped, wait_for};
use serde_json::{Map, Value};
use tempfile::TempDir;

/// A process of a made-up procfs.
fn put(root: &Path, pid: u32, start: u64, ticks: u64) {
    let directory = root.join(pid.to_string());
    fs::create_dir_all(&directory).unwrap();
    let line = format!("{pid} (a) S 1 0 0 0 -1 0 0 0 0 0 {ticks} 0 0 0 20 0 1 0 {start} 0 0 0\n");
    fs::write(directory.join("stat"), line).unwrap();
}

/// The process of this pid, and when it started.
fn of_pid(snapshot: &Value, pid: u32) -> Option<(String, Map<String, Value>)> {
    let starts = snapshot["process"]["processes"].get(pid.to_string())?.as_object()?;
    assert_eq!(starts.len(), 1, "one pid, one process");
    let (start, process) = starts.iter().next()?;
    Some((start.clone(), process.as_object()?.clone()))
}

#[test]
fn no_rate_is_derived_across_two_processes_of_one_pid() {
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    put(root, 7, 100, 50);
    put(root, 8, 100, 50);
    let config = format!(
        "[collectors.process]\ninterval = \"1h\"\n[collectors.process.settings]\nproc_root = {root:?}\n"
    );
    let agent = Agent::with_plugins(&config, &[&plugin("process")]);
    agent.running("process");
    let look = |pid| of_pid(&agent.json("/api/v1/snapshot?max_age=0s"), pid).unwrap();
    let rate = |process: &Map<String, Value>| process["user_seconds_per_sec"].clone();
    put(root, 7, 100, 150);
    let (start, process) = look(7);
    assert_eq!(start, "1000");
    assert!(rate(&process).as_f64() > Some(0.0), "{process:#?}");
    put(root, 7, 900, 5000);
    put(root, 8, 100, 5000);
    let snapshot = agent.json("/api/v1/snapshot?max_age=0s");
    let (start, process) = of_pid(&snapshot, 7).unwrap();
    assert_eq!((start.as_str(), rate(&process)), ("9000", Value::Null), "{process:#?}");
    assert_eq!(process["user_seconds"], 50.0);
    let (_, neighbour) = of_pid(&snapshot, 8).unwrap();
    assert!(rate(&neighbour).as_f64() > Some(0.0), "{neighbour:#?}");
    put(root, 7, 900, 5001);
    assert!(rate(&look(7).1).as_f64() > Some(0.0));
}

#[test]
fn the_io_of_others_is_missing_until_inspect_is_allowed() {
    let config = |allow: &str| {
        format!(
            "[collectors.process]\ninterval = \"50ms\"\n{allow}\n\
             [collectors.process.settings]\nall = true\nstatm = true\n"
        )
    };
    let agent = Agent::with_plugins(&config(""), &[&plugin("process")]);
    let collector = agent.running("process");
    agent.logged(
        "asks for `inspect`, which the configuration does not allow; \
         set collectors.process.allow = [\"inspect\"]",
    );
    let me = |agent: &Agent| {
        let snapshot = agent.json("/api/v1/snapshot?max_age=0s");
        of_pid(&snapshot, std::process::id()).unwrap().1
    };
    let columns = ["read_bytes", "write_bytes", "read_count", "write_count"];
    let in_force = collector["sandbox"]["in_force"].to_string();
    let process = me(&agent);
    if in_force.contains("writes only to its state directory") {
        assert!(columns.iter().all(|column| process[*column].is_null()), "{process:#?}");
    } else {
        skipped(format!("no Landlock here: {in_force}"));
    }
    assert!(process["shared_bytes"].as_u64() > Some(0), "that is open: {process:#?}");
    let collector = agent.collector("process").unwrap();
    assert_eq!((&collector["phase"], &collector["last_error"]), (&"running".into(), &Value::Null));

    agent.configure(&config("allow = [\"inspect\"]"));
    let process = wait_for("I/O", || {
        let process = me(&agent);
        process["read_count"].is_u64().then_some(process)
    });
    assert!(columns.iter().all(|column| process[*column].is_u64()), "{process:#?}");
}

/// As root, since it mounts; in a mount namespace of its own, as a user who owns nothing else.
#[test]
fn a_procfs_that_hides_processes_shows_fewer_and_is_no_error() {
    const NOBODY: u32 = 65534;
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    fs::set_permissions(root, fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(binary(), root.join("dropsonde")).unwrap();
    fs::create_dir(root.join("plugins")).unwrap();
    fs::copy(plugin("process"), root.join("plugins/libprocess.so")).unwrap();
    fs::create_dir(root.join("own")).unwrap();
    if chown(root.join("own"), Some(NOBODY), Some(NOBODY)).is_err() {
        skipped("only root can mount a procfs");
        return;
    }
    let snapshot = |option: &str, allow: &str| -> Option<Value> {
        fs::write(root.join("dropsonde.toml"), format!("[defaults]\nallow = [{allow}]\n")).unwrap();
        let script = format!(
            "mount -t proc -o {option} proc /proc && exec setpriv --reuid={NOBODY} \
             --regid={NOBODY} --clear-groups ./dropsonde run --once --wait 0s --plugins plugins \
             --config dropsonde.toml"
        );
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .current_dir(root)
            .env("DROPSONDE__HOST__RUNTIME_DIR", root.join("own"))
            .env("DROPSONDE__HOST__STATE_DIR", root.join("own/state"))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        if said.contains("mount:") || said.contains("unshare:") {
            skipped(format!("no procfs with {option}: {said}"));
            return None;
        }
        assert!(output.status.success(), "{option}: {said}");
        assert!(!said.contains("ERROR") && !said.contains("partial"), "{option}: {said}");
        Some(serde_json::from_slice(&output.stdout).unwrap())
    };
    for option in ["hidepid=1", "hidepid=2"] {
        // A confined runner sees itself; one that may look into others, its user's.
        for (allow, least) in [("", 1), ("\"inspect\"", 2)] {
            let Some(snapshot) = snapshot(option, allow) else { continue };
            let count = snapshot["process"]["count"].as_u64();
            assert!(count >= Some(least), "{option}: {snapshot:#}");
            assert_eq!(of_pid(&snapshot, 1), None, "{option}");
        }
    }
    if let Some(snapshot) = snapshot("subset=pid", "") {
        assert!(of_pid(&snapshot, 1).is_some(), "{snapshot:#}");
        assert_eq!(snapshot["process"]["created"], Value::Null);
    }
}
