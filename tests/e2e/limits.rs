//! What a runner process may use, and what happens when it wants more.

use std::fs;

use dropsonde_tests::{Agent, Footprint, fixture, skipped, wait_for};

/// A collector that goes wrong from its third round on, beside a healthy one.
fn agent(fault: &str, limits: &str) -> Agent {
    let config = format!(
        "[restart]\ninitial = \"50ms\"\nmax = \"100ms\"\nlimit = 1000\n\
         [collectors.steady]\ninterval = \"50ms\"\n[collectors.faulty]\ninterval = \"50ms\"\nallow = [\"exec\"]\ndeadline = \"20s\"\n\
         [collectors.faulty.settings]\nfault = \"{fault}\"\nround = 3\n\
         [collectors.faulty.limits]\n{limits}\n"
    );
    let agent = Agent::with_plugins(&config, &[&fixture("faulty"), &fixture("steady_v1")]);
    agent.running("steady");
    agent
}

/// It is ended with the limit as the cause and comes back; the host and the others are well.
#[track_caller]
fn ends_with(fault: &str, limits: &str, cause: &str) {
    let mut agent = agent(fault, limits);
    let hit = agent.until("faulty", cause, |now| {
        now["restarts"].as_u64() > Some(1) && now["last_error"].is_string()
    });
    assert!(hit["last_error"].as_str().unwrap().contains(cause), "{fault}: {hit:#}");
    let before = agent.collector("steady").unwrap()["batches"].as_u64();
    let steady = agent.until("steady", "going on", |now| now["batches"].as_u64() > before);
    assert_eq!((&steady["restarts"], &steady["failed_rounds"]), (&0.into(), &0.into()));
    assert!(agent.is_alive());
}

#[test]
fn memory_past_the_limit_is_the_cause_of_the_restart() {
    ends_with("memory_bomb", "memory = \"64MiB\"", "memory limit 64 MiB exceeded");
    ends_with("slow_leak", "memory = \"48MiB\"", "memory limit 48 MiB exceeded");
}

#[test]
fn open_files_past_the_limit_are_the_cause_of_the_restart() {
    ends_with("open_files", "open_files = 64", "open files limit 64 exceeded");
}

#[test]
fn a_file_past_the_limit_is_the_cause_of_the_restart() {
    ends_with("disk", "file_size = \"1MiB\"", "file size limit 1 MiB exceeded");
}

#[test]
fn threads_past_the_limit_are_the_cause_of_the_restart() {
    if !has_cgroup("pids") {
        skipped("no cgroup for pids may be made here");
        return;
    }
    ends_with("thread_bomb", "processes = 32", "processes limit 32 exceeded");
}

#[test]
fn rows_past_the_limit_are_left_out_and_named() {
    for isolation in ["process", "thread"] {
        let agent =
            agent("many_rows", &format!("rows = 1000\n[defaults]\nisolation = \"{isolation}\""));
        let degraded = agent.until("faulty", "degraded", |now| now["phase"] == "degraded");
        let error = degraded["last_error"].as_str().unwrap();
        let expected = "19000 rows of `rows` beyond limits.rows = 1000 were left out";
        assert!(error.contains(expected), "{error}");
        assert_eq!(degraded["restarts"], 0);
        assert!(degraded["rows_left_out"].as_u64() >= Some(19_000));
        let rows = agent.snapshot()["faulty"]["rows"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(rows, 1000);
    }
}

/// What the trial delivered is published too.
#[test]
fn the_first_batch_holds_no_more_rows_than_are_allowed() {
    let agent = agent("many_rows", "rows = 1000\n[defaults]\ninterval = \"1h\"");
    let degraded = agent.until("faulty", "degraded", |now| now["phase"] == "degraded");
    let expected = "19000 rows of `rows` beyond limits.rows = 1000 were left out";
    assert!(degraded["last_error"].as_str().unwrap().contains(expected), "{degraded:#}");
    assert_eq!(degraded["rows_left_out"], 19_000, "of one batch");
    let rows = agent.snapshot()["faulty"]["rows"].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(rows, 1000);
}

#[test]
fn new_keys_without_end_take_no_more_memory_than_one_round_of_them() {
    for isolation in ["process", "thread"] {
        let agent =
            agent("many_rows", &format!("rows = 1000\n[defaults]\nisolation = \"{isolation}\""));
        let past = |rounds: u64| {
            agent.until("faulty", "past some rounds", |now| {
                now["rows_left_out"].as_u64() >= Some(19_000 * rounds)
            });
            Footprint::of(agent.pid()).resident_kib
        };
        let (first, last) = (past(20), past(100));
        println!("{isolation}: {first} KiB after 20,000 keys, {last} KiB after 100,000");
        assert!(last < first + 4096, "{isolation}: {first} KiB, then {last} KiB");
        let rows = agent.snapshot()["faulty"]["rows"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(rows, 1000);
        let page = agent.page("/metrics").1;
        let left_out = "dropsonde_collector_rows_left_out_total{collector=\"faulty\"} ";
        let left_out = page.lines().find_map(|line| line.strip_prefix(left_out)).unwrap();
        assert!(left_out.parse::<f64>().unwrap() >= 1_900_000.0, "{left_out}");
    }
}

#[test]
fn far_too_many_rows_are_refused_as_a_whole() {
    let agent = agent("too_many_rows", "rows = 1000");
    let degraded = agent.until("faulty", "degraded", |now| now["phase"] == "degraded");
    let error = degraded["last_error"].as_str().unwrap();
    assert!(error.contains("bad batch: 200000 rows in one batch of `rows`"), "{error}");
    assert_eq!(degraded["restarts"], 0);
}

#[test]
fn a_flood_of_log_lines_is_cut_and_counted() {
    for fault in ["log_flood", "print_flood"] {
        let agent = agent(fault, "");
        let batches = agent.running("faulty")["batches"].as_u64();
        agent.until("faulty", "past its third round", |now| {
            now["batches"].as_u64() > batches.map(|batches| batches + 60)
        });
        agent.logged("were suppressed");
        let lines = agent.log().iter().filter(|line| line.contains("of a flood")).count();
        assert!(lines < 2000, "{lines} of a flood of 200,000 lines and more");
    }
}

#[test]
fn what_a_runner_started_ends_with_it() {
    if !has_cgroup("pids") {
        skipped("no cgroup for pids may be made here");
        return;
    }
    let agent = agent("fork", "processes = 32");
    agent.until("faulty", "restarted", |now| now["restarts"].as_u64() > Some(3));
    fs::remove_file(agent.path("libfaulty.so")).unwrap();
    agent.until("faulty", "stopped", |now| now["phase"] == "stopped");
    wait_for("the end of all that it started", || (processes_named("3600.25") == 0).then_some(()));
}

#[test]
fn cgroups_are_gone_when_the_host_is() {
    if !has_cgroup("pids") {
        skipped("no cgroup for pids may be made here");
        return;
    }
    let mut agent = Agent::with_plugins("", &[&fixture("steady_v1")]);
    agent.running("steady");
    let own = format!("dropsonde-{}", agent.pid());
    let found = |name: &str| {
        fs::read_dir("/sys/fs/cgroup/pids")
            .into_iter()
            .flatten()
            .flatten()
            .any(|entry| entry.file_name().to_str() == Some(name))
    };
    let at_root = fs::read_to_string("/proc/self/cgroup").unwrap().contains("pids:/\n");
    assert_eq!(found(&own), at_root);
    assert!(agent.terminate().success());
    assert!(!found(&own));
}

#[test]
fn a_limit_that_makes_no_sense_names_its_line() {
    let agent = Agent::start("");
    agent.configure("[collectors.a.limits]\nmemory = \"lots\"\nopen_file = 5\n");
    let line = agent.logged(":2:10: collectors.a.limits.memory: expected a size such as");
    assert!(line.contains("64MiB"), "{line}");
    agent.logged(":3:1: collectors.a.limits: unknown key `open_file`; did you mean `open_files`?");
}

pub(crate) fn has_cgroup(controller: &str) -> bool {
    let agent = Agent::start("");
    let lacking = agent
        .log()
        .iter()
        .any(|line| line.contains("no cgroup may be made for") && line.contains(controller));
    !lacking
}

fn processes_named(argument: &str) -> usize {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines
        .filter(|line| line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes()))
        .count()
}
