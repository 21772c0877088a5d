//! Panic, error, hang and crash in each runner mode: the others don't notice.

use std::fs;
use std::path::PathBuf;

use dropsonde_tests::{Agent, Footprint, Options, fixture, is_running, skipped, wait_for};
use serde_json::Value;

/// An agent with a healthy collector and one that goes wrong from its third round on, for as
/// long as the file `fault` is there.
fn agent(isolation: &str, fault: &str, extra: &str) -> Agent {
    let agent = healthy_agent(isolation, fault, extra);
    go_wrong(&agent);
    agent
}

fn healthy_agent(isolation: &str, fault: &str, extra: &str) -> Agent {
    let config = format!(
        "[defaults]\ninterval = \"50ms\"\n[restart]\ninitial = \"50ms\"\nmax = \"200ms\"\n{extra}\n\
         [collectors.faulty]\nisolation = \"{isolation}\"\ndeadline = \"400ms\"\n\
         [collectors.faulty.settings]\nfault = \"{fault}\"\nround = 3\nwhile_file = \"{{root}}/run/fault\"\n"
    );
    let agent = Agent::with(Options {
        config,
        plugins: vec![
            (fixture("faulty"), "libfaulty.so".into()),
            (fixture("steady_v1"), "libsteady_v1.so".into()),
        ],
        arguments: vec!["--output".into(), "ndjson".into()],
        ..Options::default()
    });
    agent.running("steady");
    agent
}

fn go_wrong(agent: &Agent) {
    fs::write(agent.root().join("run/fault"), "").unwrap();
}

fn mend(agent: &Agent) {
    fs::remove_file(agent.root().join("run/fault")).unwrap();
}

fn has_error(collector: &Value, text: &str) -> bool {
    collector["last_error"].as_str().is_some_and(|error| error.contains(text))
}

/// The healthy collector has missed nothing.
fn others_are_well(agent: &mut Agent) {
    let before = agent.collector("steady").unwrap()["batches"].as_u64();
    let steady = agent.until("steady", "going on", |now| now["batches"].as_u64() > before);
    assert_eq!(steady["restarts"], 0);
    assert_eq!(steady["failed_rounds"], 0);
    assert!(agent.is_alive());
}

/// It restarts with this cause, and recovers when the fault is gone.
fn restarts_with_cause(isolation: &str, fault: &str, cause: &str) -> Agent {
    let mut agent = healthy_agent(isolation, fault, "limit = 1000");
    agent.running("faulty");
    let before = Footprint::of(agent.pid());
    go_wrong(&agent);
    agent.until("faulty", cause, |now| has_error(now, cause) && now["restarts"].as_u64() > Some(0));
    cause_is_shown(&agent, cause);
    others_are_well(&mut agent);
    mend(&agent);
    let batches = agent.collector("faulty").unwrap()["batches"].as_u64().unwrap();
    agent.until("faulty", "well again", |now| {
        now["phase"] == "running" && now["batches"].as_u64() > Some(batches + 10)
    });
    wait_for("the descriptors and threads of before", || {
        let now = Footprint::of(agent.pid());
        (now.descriptors <= before.descriptors && now.threads <= before.threads).then_some(())
    });
    let now = Footprint::of(agent.pid());
    assert!(now.resident_kib < before.resident_kib + 8192, "{fault}: {before:?}, then {now:?}");
    agent
}

/// In `list`, on the bus and in the metrics stand the phase, the restarts and the cause.
#[track_caller]
fn cause_is_shown(agent: &Agent, cause: &str) {
    let list = agent.told(&["list"]);
    let lines = list.lines().skip_while(|line| !line.starts_with("faulty "));
    let last = lines.take_while(|line| !line.starts_with("steady ")).collect::<Vec<_>>().join(" ");
    assert!(last.contains("last error: ") && last.contains(cause), "{list}");
    wait_for(&format!("health.faulty: {cause}"), || {
        let lines = agent.stdout.lock().unwrap();
        let health = lines.iter().filter(|line| line.contains("\"topic\":\"health.faulty\""));
        let backing_off = health.filter(|line| line.contains("\"phase\":\"backing_off\""));
        let mut status =
            backing_off.filter(|line| line.contains("\"status\":\"StatusRecoverableError\""));
        status.any(|line| line.contains(cause)).then_some(())
    });
    let page = agent.page("/metrics").1;
    let line = |start: &str, end: &str| {
        page.lines().any(|line| line.starts_with(start) && line.contains(end))
    };
    assert!(line("dropsonde_collector_last_error_info{collector=\"faulty\",", cause), "{page}");
    assert!(line("dropsonde_collector_failures_total{cause=", "collector=\"faulty\"}"), "{page}");
    assert!(line("dropsonde_collector_phase{collector=\"faulty\",phase=", " 1"), "{page}");
    assert!(!line("dropsonde_collector_restarts_total{collector=\"faulty\"}", " 0"), "{page}");
}

#[test]
fn a_panic_ends_the_instance_and_not_the_host() {
    restarts_with_cause("process", "panic", "panicked: round 3 went wrong");
    let agent = restarts_with_cause("thread", "panic", "panicked: round 3 went wrong");
    assert_eq!(agent.collector("faulty").unwrap()["isolation"], "thread");
}

#[test]
fn a_hang_ends_at_its_deadline() {
    restarts_with_cause("process", "hang", "deadline 400ms exceeded");
}

#[test]
fn a_thread_that_hangs_is_abandoned_and_its_collector_moves_to_a_process() {
    let mut agent = agent("thread", "hang", "limit = 1000");
    let moved = agent.until("faulty", "moved", |now| {
        now["isolation"] == "process" && now["restarts"].as_u64() > Some(0)
    });
    assert!(moved["moved"].as_str().unwrap().contains("deadline 400ms exceeded"), "{moved}");
    others_are_well(&mut agent);
    mend(&agent);
    agent.running("faulty");
    assert!(agent.terminate().success(), "an abandoned thread does not hold up the end");
}

#[test]
fn a_crash_ends_the_process_and_not_the_host() {
    restarts_with_cause("process", "segfault", "killed by SIGSEGV");
    restarts_with_cause("process", "abort", "killed by SIGABRT");
    restarts_with_cause("process", "exit", "exited with code 7");
}

#[test]
fn a_stack_overflow_and_an_illegal_instruction_end_the_process_and_not_the_host() {
    restarts_with_cause("process", "stack_overflow", "killed by SIGABRT");
    restarts_with_cause("process", "illegal_instruction", "killed by SIGILL");
}

/// A frozen task does not even die of SIGKILL, as one that waits for a disk does not.
struct Frozen {
    cgroup: PathBuf,
    pid: u32,
}

impl Frozen {
    /// `None` where no freezer (cgroup v1) can be had.
    fn freeze(pid: u32) -> Option<Self> {
        let cgroup = PathBuf::from(format!("/sys/fs/cgroup/freezer/dropsonde-test-{pid}"));
        fs::create_dir(&cgroup).ok()?;
        let frozen = Self { cgroup, pid };
        fs::write(frozen.cgroup.join("cgroup.procs"), pid.to_string()).ok()?;
        frozen.set("FROZEN").then_some(frozen)
    }

    fn set(&self, state: &str) -> bool {
        fs::write(self.cgroup.join("freezer.state"), state).is_ok()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        self.set("THAWED");
        wait_for("the end of what was frozen", || (!is_running(self.pid)).then_some(()));
        wait_for("the end of its cgroup", || fs::remove_dir(&self.cgroup).ok());
    }
}

#[test]
fn a_runner_that_not_even_sigkill_ends_holds_up_nobody() {
    let config = "[defaults]\ninterval = \"50ms\"\ndeadline = \"400ms\"\n\
                  [restart]\ninitial = \"50ms\"\n";
    let mut agent = Agent::with_plugins(config, &[&fixture("faulty"), &fixture("steady_v1")]);
    agent.running("steady");
    agent.running("faulty");
    let title = |pid: &u32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let runner =
        agent.children().into_iter().find(|pid| title(pid).starts_with(b"dropsonde: faulty"));
    let Some(frozen) = Frozen::freeze(runner.unwrap()) else {
        skipped("no freezer (cgroup v1) here");
        return;
    };
    let back =
        agent.until("faulty", "back", |now| now["restarts"] == 1 && now["phase"] == "running");
    assert!(has_error(&back, "deadline 400ms exceeded"), "{back}");
    assert!(is_running(frozen.pid), "it is still there: that is the point");
    others_are_well(&mut agent);
    let others = agent.children();
    assert!(agent.terminate().success(), "nor does it hold up the end");
    drop(frozen);
    wait_for("the end of all runners", || {
        (!others.iter().any(|pid| is_running(*pid))).then_some(())
    });
}

#[test]
fn a_busy_loop_and_a_deadlock_end_at_their_deadline() {
    restarts_with_cause("process", "busy", "deadline 400ms exceeded");
    restarts_with_cause("process", "deadlock", "deadline 400ms exceeded");
}

#[test]
fn a_panic_whose_payload_panics_when_it_is_dropped_is_caught() {
    for isolation in ["process", "thread"] {
        restarts_with_cause(isolation, "panic_payload", "panicked: a panic without a message");
    }
}

#[test]
fn an_error_every_third_time_degrades_and_recovers_each_time() {
    let agent = agent("process", "every_third", "");
    let failed = agent
        .until("faulty", "failing now and then", |now| now["failed_rounds"].as_u64() > Some(2));
    assert_eq!(failed["restarts"], 0);
    assert!(failed["rounds"].as_u64() > failed["failed_rounds"].as_u64(), "{failed}");
    mend(&agent);
    agent.until("faulty", "well again", |now| now["phase"] == "running");
}

#[test]
fn all_runners_killed_at_once_come_back() {
    let agent = Agent::with_plugins(
        "[restart]\ninitial = \"50ms\"\n",
        &[&fixture("steady_v1"), &fixture("faulty"), &fixture("pulse")],
    );
    for name in ["steady", "faulty", "pulse"] {
        agent.running_or_started(name);
    }
    for runner in agent.children() {
        let status = std::process::Command::new("kill").args(["-9", &runner.to_string()]).status();
        assert!(status.unwrap().success());
    }
    for name in ["steady", "faulty", "pulse"] {
        agent.until(name, "back", |now| now["restarts"] == 1 && now["phase"] == "running");
    }
}

#[test]
fn an_error_degrades_and_does_not_restart() {
    for isolation in ["process", "thread"] {
        let mut agent = agent(isolation, "error", "");
        let degraded = agent.until("faulty", "degraded", |now| now["phase"] == "degraded");
        assert!(has_error(&degraded, "failed: no such luck"), "{degraded}");
        assert_eq!(degraded["restarts"], 0);
        others_are_well(&mut agent);
        mend(&agent);
        let again = agent.until("faulty", "well again", |now| now["phase"] == "running");
        assert_eq!(again["restarts"], 0);
    }
}

#[test]
fn what_is_partial_is_published_and_degraded() {
    let agent = agent("process", "partial", "");
    let degraded = agent.until("faulty", "degraded", |now| now["phase"] == "degraded");
    assert!(has_error(&degraded, "partial: the other half is missing"), "{degraded}");
    let before = degraded["batches"].as_u64();
    agent.until("faulty", "publishing", |now| now["batches"].as_u64() > before);
}

#[test]
fn a_collector_that_fails_again_and_again_is_quarantined_until_its_settings_change() {
    let agent = agent("process", "panic", "limit = 3");
    let quarantined = agent.until("faulty", "quarantined", |now| now["phase"] == "quarantined");
    assert_eq!(quarantined["restarts"], 2, "{quarantined}");
    let path = agent.root().join("dropsonde.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replace("fault = \"panic\"", "fault = \"\"")).unwrap();
    agent.running("faulty");
}

#[test]
fn a_panic_in_drop_is_caught() {
    for isolation in ["process", "thread"] {
        let mut agent = agent(isolation, "panic_in_drop", "");
        agent.running("faulty");
        fs::remove_file(agent.path("libfaulty.so")).unwrap();
        agent.until("faulty", "stopped", |now| has_error(now, "there is no plugin `faulty`"));
        wait_for("the end of its process", || (agent.children().len() <= 1).then_some(()));
        others_are_well(&mut agent);
    }
}

#[test]
fn a_plugin_that_leaves_a_thread_running_stays_mapped() {
    let mut agent = agent("thread", "thread", "");
    let batches = agent.running("faulty")["batches"].as_u64().unwrap();
    agent
        .until("faulty", "past its third round", |now| now["batches"].as_u64() > Some(batches + 5));
    fs::remove_file(agent.path("libfaulty.so")).unwrap();
    wait_for("the count of libraries left mapped", || {
        (agent.json("/api/v1/status")["libraries"]["left_mapped"] == 1).then_some(())
    });
    others_are_well(&mut agent);
}

#[test]
fn a_runner_that_is_killed_from_outside_comes_back() {
    let agent = Agent::with_plugins("[restart]\ninitial = \"50ms\"\n", &[&fixture("steady_v1")]);
    agent.running("steady");
    let runner = agent.children()[0];
    let status =
        std::process::Command::new("kill").args(["-s", "KILL", &runner.to_string()]).status();
    assert!(status.unwrap().success());
    let back =
        agent.until("steady", "back", |now| now["restarts"] == 1 && now["phase"] == "running");
    assert!(has_error(&back, "killed by SIGKILL"), "{back}");
}

#[test]
fn no_runner_outlives_its_host() {
    for signal in ["KILL", "TERM"] {
        let agent = Agent::with_plugins(
            "",
            &[&fixture("steady_v1"), &fixture("faulty"), &fixture("pulse")],
        );
        for name in ["steady", "faulty", "pulse"] {
            agent.running_or_started(name);
        }
        let runners = agent.children();
        assert_eq!(runners.len(), 3);
        agent.signal(signal);
        wait_for("the end of all runners", || {
            runners.iter().all(|pid| !is_running(*pid)).then_some(())
        });
    }
}
