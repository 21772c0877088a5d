//! Signals that come while a replacement is being tried or started: nothing is left behind.

use std::fs;
use std::path::Path;

use dropsonde_tests::{Agent, fixture, is_running, wait_for};

/// Where a reload is when the signal comes.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// The trial of the new file, in a process of its own.
    Trial,
    /// The new generation, on a thread of the host, before its first batch.
    Thread,
}

const STAGES: [Stage; 2] = [Stage::Trial, Stage::Thread];

/// An agent in the middle of a reload. The replacement is created as soon as the file `slow` is
/// gone.
fn reloading(stage: Stage) -> Agent {
    let isolation = match stage {
        Stage::Trial => "process",
        Stage::Thread => "thread",
    };
    let on_thread = matches!(stage, Stage::Thread);
    let agent = Agent::with_plugins(
        &format!(
            "[defaults]\ninterval = \"50ms\"\nisolation = \"{isolation}\"\ndeadline = \"60s\"\n\
             [collectors.steady.settings]\n\
             slow = {{ build = 2, while_file = \"{{root}}/run/slow\", on_thread = {on_thread} }}\n"
        ),
        &[&fixture("steady_v1")],
    );
    agent.running("steady");
    fs::write(agent.root().join("run/slow"), "").unwrap();
    agent.put("libsteady_v1.so", &fs::read(fixture("steady_v2")).unwrap());
    agent.logged("steady build 2 takes its time");
    agent
}

/// Private directories for copies of plugins.
fn copies(root: &Path) -> usize {
    let entries = fs::read_dir(root.join("run")).unwrap().flatten();
    entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("dropsonde-")).count()
}

fn all_have_ended(runners: &[u32]) {
    wait_for("the end of all runners", || {
        (!runners.iter().any(|pid| is_running(*pid))).then_some(())
    });
}

#[test]
fn a_reload_that_is_asked_to_end_drains_and_leaves_nothing() {
    for (signal, stage) in
        ["TERM", "INT"].into_iter().flat_map(|signal| STAGES.map(|stage| (signal, stage)))
    {
        let agent = reloading(stage);
        let runners = agent.children();
        agent.signal(signal);
        let remains = agent.ended();
        assert!(remains.status.success(), "{signal} {stage:?}: {}", remains.status);
        all_have_ended(&runners);
        assert_eq!(copies(remains.root()), 0, "{signal} {stage:?}");
    }
}

#[test]
fn a_reload_that_is_killed_leaves_no_runner_and_the_next_start_clears_up() {
    for stage in STAGES {
        let agent = reloading(stage);
        let runners = agent.children();
        agent.signal("KILL");
        let remains = agent.ended();
        all_have_ended(&runners);
        assert_eq!(copies(remains.root()), 1, "{stage:?}: its copies are still there");
        fs::remove_file(remains.root().join("run/slow")).unwrap();
        let again = remains.start_again();
        let running = again.running("steady");
        assert_eq!(running["moved"], serde_json::Value::Null, "{stage:?}: nobody is accused");
        assert_eq!(again.snapshot()["steady"]["build"], 2);
        assert_eq!(copies(again.root()), 1, "{stage:?}: only its own are there");
    }
}

#[test]
fn a_reload_in_which_another_is_asked_for_completes() {
    for stage in STAGES {
        let agent = reloading(stage);
        let batches = agent.collector("steady").unwrap()["batches"].as_u64();
        agent.signal("HUP");
        agent.logged("SIGHUP: reloading");
        // The old generation goes on meanwhile.
        agent.until("steady", "going on", |now| {
            now["generation"] == 1 && now["batches"].as_u64() > batches.map(|batches| batches + 3)
        });
        fs::remove_file(agent.root().join("run/slow")).unwrap();
        let now = agent.until("steady", "replaced", |now| now["generation"] == 2);
        assert_eq!((&now["restarts"], &now["failed_rounds"]), (&0.into(), &0.into()), "{stage:?}");
        wait_for("batches of the new one", || {
            (agent.snapshot()["steady"]["build"] == 2).then_some(())
        });
    }
}
