//! Ten collectors, six of which go wrong at random: the other four don't notice. Fifteen seconds
//! of it; `DROPSONDE_SOAK=1` makes it five minutes.

use std::collections::HashMap;
use std::fmt::Write;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use dropsonde_tests::{Agent, Footprint, Options, PATIENCE, fixture, soak};
use serde_json::Value;

const HEALTHY: [(&str, &str); 4] =
    [("h1", "process"), ("h2", "process"), ("h3", "thread"), ("h4", "thread")];
/// Of the last two the faults are those that a thread can't take the host down with.
const FAULTY: [(&str, &str); 6] = [
    ("f1", "process"),
    ("f2", "process"),
    ("f3", "process"),
    ("f4", "process"),
    ("f5", "thread"),
    ("f6", "thread"),
];
const OF_A_PROCESS: [&str; 16] = [
    "error",
    "panic",
    "hang",
    "segfault",
    "abort",
    "exit",
    "slow_leak",
    "memory_bomb",
    "open_files",
    "busy",
    "deadlock",
    "stack_overflow",
    "illegal_instruction",
    "panic_payload",
    "many_rows",
    "log_flood",
];
const OF_A_THREAD: [&str; 6] =
    ["error", "panic", "every_third", "panic_payload", "many_rows", "log_flood"];

/// 100 ms: what is due is due ten times a second.
const INTERVAL: u64 = 100;

fn config(faults: &HashMap<&str, &str>) -> String {
    let mut text = format!(
        "[defaults]\ninterval = \"{INTERVAL}ms\"\n\
         [restart]\ninitial = \"20ms\"\nmax = \"200ms\"\nlimit = 1000000\n\
         [plugins]\nautostart = false\n"
    );
    for (name, isolation) in HEALTHY {
        let _ =
            write!(text, "[collectors.{name}]\nplugin = \"steady\"\nisolation = \"{isolation}\"\n");
    }
    for (name, isolation) in FAULTY {
        let fault = faults.get(name).unwrap_or(&"");
        let _ = write!(
            text,
            "[collectors.{name}]\nplugin = \"faulty\"\nisolation = \"{isolation}\"\n\
             deadline = \"300ms\"\nlimits.memory = \"32MiB\"\nlimits.open_files = 64\n\
             limits.cpu_percent = 20\n\
             [collectors.{name}.settings]\nfault = \"{fault}\"\nround = 2\n"
        );
    }
    text
}

/// The healthy collectors' batches of their main stream: sequence, and tick in milliseconds.
fn batches(agent: &Agent) -> HashMap<String, Vec<(u64, u64)>> {
    let mut batches: HashMap<String, Vec<(u64, u64)>> = HashMap::new();
    // Not under the lock: the agent would lose what is not read meanwhile.
    let lines = agent.stdout.lock().unwrap().clone();
    for line in lines.iter().filter(|line| line.contains("\"collector\":\"h")) {
        let Ok(batch) = serde_json::from_str::<Value>(line) else { continue };
        let Some(name) = batch["topic"].as_str().and_then(|topic| topic.strip_prefix("metrics."))
        else {
            continue;
        };
        let Some((name, _)) = HEALTHY.iter().find(|(healthy, _)| *healthy == name) else {
            continue;
        };
        let due = humantime::parse_rfc3339(batch["due"].as_str().unwrap()).unwrap();
        let due = due.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis() as u64;
        let batch = (batch["sequence"].as_u64().unwrap(), due);
        batches.entry((*name).to_owned()).or_default().push(batch);
    }
    batches
}

#[test]
fn healthy_collectors_lose_and_repeat_nothing_whatever_the_others_do() {
    let mut random = fastrand::Rng::with_seed(20_261_121);
    let mut faults = HashMap::new();
    let agent = Agent::with(Options {
        config: config(&faults),
        plugins: vec![
            (fixture("steady_v1"), "steady.so".into()),
            (fixture("faulty"), "faulty.so".into()),
        ],
        arguments: vec!["--output".into(), "ndjson".into()],
        ..Options::default()
    });
    for (name, _) in HEALTHY.iter().chain(&FAULTY) {
        agent.running(name);
    }
    let before = Footprint::of(agent.pid());
    let end = Instant::now() + soak(Duration::from_secs(15), Duration::from_secs(300));
    let mut done = 0;
    while Instant::now() < end {
        let (name, isolation) = FAULTY[random.usize(..FAULTY.len())];
        let known: &[&str] = if isolation == "thread" { &OF_A_THREAD } else { &OF_A_PROCESS };
        match random.u8(..4) {
            0 => drop(faults.remove(name)),
            1 => kill_runner(name, &agent),
            _ => drop(faults.insert(name, known[random.usize(..known.len())])),
        }
        agent.configure(&config(&faults));
        done += 1;
        std::thread::sleep(Duration::from_millis(random.u64(20..300)));
    }
    // The faults are gone: everybody comes back by itself.
    faults.clear();
    agent.configure(&config(&faults));
    for (name, _) in FAULTY {
        let before = agent.collector(name).and_then(|now| now["batches"].as_u64());
        agent.until(name, "well again", |now| {
            now["phase"] == "running" && now["batches"].as_u64() > before.map(|batches| batches + 5)
        });
    }
    let subscriptions = agent.json("/api/v1/status")["bus"]["subscriptions"].clone();
    let lost = subscriptions[0]["lost"].as_object().unwrap();
    assert!(lost.values().all(|count| count == 0), "the test reads all: {subscriptions}");
    let statuses = HEALTHY.map(|(name, _)| agent.collector(name).unwrap());
    let mut batches = batches(&agent);
    let mut missed_in_all = 0;
    for ((name, isolation), status) in HEALTHY.into_iter().zip(statuses) {
        assert_eq!((&status["restarts"], &status["failed_rounds"]), (&0.into(), &0.into()));
        assert_eq!((&status["isolation"], &status["generation"]), (&isolation.into(), &1.into()));
        let missed = status["missed_ticks"].as_u64().unwrap();
        let batches = batches.remove(name).unwrap();
        let sequence: Vec<u64> = batches.iter().map(|batch| batch.0).collect();
        let expected: Vec<u64> = (1..=batches.len() as u64).collect();
        assert_eq!(sequence, expected, "{name}: none lost, none twice, in order");
        // The first is of the start; from then on one for each tick, but for those that the
        // machine itself was late for, which are counted.
        let ticks: Vec<u64> = batches[1..].iter().map(|batch| batch.1 / INTERVAL).collect();
        assert!(ticks.is_sorted_by(|a, b| a < b), "{name}: {ticks:?}");
        let skipped = ticks.last().unwrap() - ticks[0] + 1 - ticks.len() as u64;
        assert!(skipped <= missed, "{name}: {skipped} ticks without a batch, {missed} counted");
        missed_in_all += missed;
        println!("{name} ({isolation}): {} batches, {missed} late ticks", batches.len());
    }
    println!("{done} changes; late ticks of all healthy collectors: {missed_in_all}");
    // One that has used up the budget of loads runs in a process by now: a socket, a pipe and the
    // process itself.
    let moved = |name: &&(&str, _)| agent.collector(name.0).unwrap()["moved"].is_string();
    let more = 2 + 3 * FAULTY.iter().filter(moved).count();
    let mut now = Footprint::of(agent.pid());
    let start = Instant::now();
    while now.descriptors > before.descriptors + more || now.threads > before.threads + 2 {
        assert!(start.elapsed() < PATIENCE, "before {before:?}, after {now:?}, {more} more");
        std::thread::sleep(Duration::from_millis(50));
        now = Footprint::of(agent.pid());
    }
    println!("before {before:?}\nafter  {now:?}");
    assert!(now.resident_kib < before.resident_kib + 64 * 1024, "{before:?} then {now:?}");
}

fn kill_runner(name: &str, agent: &Agent) {
    let title = format!("dropsonde: {name}");
    for pid in agent.children() {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if line.split(|byte| *byte == 0).next() == Some(title.as_bytes()) {
            let _ = Command::new("kill").args(["-9", &pid.to_string()]).status();
        }
    }
}
