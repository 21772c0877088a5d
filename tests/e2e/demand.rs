//! Whatever is read is read once: counted by the kernel's own record of the reads.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime};

use dropsonde_tests::{Agent, Options, plugin, skipped, wait_for};
use serde_json::Value;

/// The system calls of a process, as strace(1) writes them down.
struct Traced {
    strace: Child,
    file: PathBuf,
}

impl Traced {
    /// `None` where there is no strace(1), or it may not trace.
    fn start(pid: u32, file: PathBuf) -> Option<Self> {
        let strace = Command::new("strace")
            .args(["-f", "-y", "-ttt", "-e", "trace=read,pread64,openat", "-p", &pid.to_string()])
            .arg("-o")
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut strace = match strace {
            Ok(strace) => strace,
            Err(error) => {
                skipped(format!("strace can't be run ({error}); install it to count reads"));
                return None;
            }
        };
        let traced = wait_for("strace to trace", || {
            if let Some(status) = strace.try_wait().unwrap() {
                skipped(format!("strace may not trace ({status})"));
                return Some(false);
            }
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).unwrap();
            (tracer.trim() != "0").then_some(true)
        });
        traced.then_some(Self { strace, file })
    }

    /// When a file was read from its start, in seconds since 1970.
    fn reads_of(&self, path: &str) -> Vec<f64> {
        let lines = fs::read_to_string(&self.file).unwrap();
        let file = format!("<{path}>");
        let from_its_start = |line: &&str| {
            let call = line.split_whitespace().nth(2).unwrap_or_default();
            let is_read = call.starts_with("pread64(") && line.contains(", 0) = ");
            (is_read || call.starts_with("read(")) && line.contains(&file)
        };
        lines
            .lines()
            .filter(from_its_start)
            .map(|line| line.split_whitespace().nth(1).unwrap().parse().unwrap())
            .collect()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let _ = self.strace.kill();
        let _ = self.strace.wait();
    }
}

fn seconds(line: &Value) -> f64 {
    let time = humantime::parse_rfc3339(line["timestamp"].as_str().unwrap()).unwrap();
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

fn sequence(line: &Value) -> u64 {
    line["sequence"].as_u64().unwrap()
}

/// Reads after one batch's and up to another's: one for each, if none was for nothing.
fn reads_between(traced: &Traced, first: &Value, last: &Value) -> u64 {
    // The time of a batch is cut to milliseconds, and lies after its read.
    let within = |time: &&f64| **time >= seconds(first) + 0.001 && **time < seconds(last) + 0.001;
    wait_for("strace to have written", || {
        let reads = traced.reads_of("/proc/meminfo");
        reads.iter().any(|time| *time >= seconds(last) + 0.001).then_some(())
    });
    traced.reads_of("/proc/meminfo").iter().filter(within).count() as u64
}

/// Two subscribers at 100 ms and 5 s, a page that is scraped at odd times and a snapshot cause
/// the reads that the fastest needs, and no other; when it leaves, the rate falls back.
#[test]
fn several_consumers_cause_exactly_the_reads_of_the_fastest() {
    let agent = Agent::with(Options {
        config: "[defaults]\ninterval = \"1h\"\n".into(),
        plugins: vec![(plugin("memory"), "memory.so".into())],
        ..Options::default()
    });
    agent.running("memory");
    let runner = wait_for("the runner", || {
        let children = agent.children();
        (children.len() == 1).then(|| children[0])
    });
    let Some(traced) = Traced::start(runner, agent.root().join("strace")) else { return };
    let bus = || agent.json("/api/v1/status")["bus"].clone();
    let slow = agent.follow("topic=metrics.memory&every=5s&name=slow");
    let fast = agent.follow("topic=metrics.memory&every=100ms&name=fast");
    fast.at_least(2);
    let before = bus();
    let pages = 40;
    for odd in 0..pages {
        assert_eq!(agent.page("/metrics").0, 200);
        assert!(agent.snapshot()["memory"]["total_bytes"].is_u64());
        assert!(agent.json("/api/v1/snapshot?max_age=5min")["memory"].is_object());
        // Scrapes within 20 ms share a page: each of these is one of its own.
        std::thread::sleep(Duration::from_millis(21 + 7 * odd % 61));
    }
    let count = fast.lines().len() + 30;
    let lines = fast.at_least(count);
    let after = bus();
    drop(fast);
    let (first, last) = (&lines[0], &lines[lines.len() - 2]);
    let published = sequence(last) - sequence(first);
    assert_eq!(published, lines.len() as u64 - 2, "each batch came to the fast one");
    assert_eq!(reads_between(&traced, first, last), published, "of /proc/meminfo");
    let grown = |key: &str| after[key].as_u64().unwrap() - before[key].as_u64().unwrap();
    assert!(grown("cache_hits") >= 3 * pages, "{before} {after}");
    assert!(grown("reads_saved") >= grown("cache_hits"), "{before} {after}");
    // It has left: what remains is one read for each five seconds.
    wait_for("the end of its subscription", || {
        let all = bus()["subscriptions"].as_array().unwrap().len();
        (all == 1).then_some(())
    });
    let from = slow.lines().len();
    let lines = slow.at_least(from + 3);
    let (first, last) = (&lines[from], &lines[from + 1]);
    assert_eq!(sequence(last) - sequence(first), 1, "nothing is read for one that has left");
    assert_eq!(reads_between(&traced, first, last), 1);
    let apart = seconds(last) - seconds(first);
    assert!((4.0..6.0).contains(&apart), "{apart} s");
}

/// Hardware rarely changes, statistics need no second: what each plugin proposes, and what
/// somebody asks for beyond that.
#[test]
fn tiers_come_by_themselves_unless_demand_says_otherwise() {
    let agent = Agent::with(Options {
        plugins: ["hardware", "memory_bandwidth", "cpu"]
            .map(|name| (plugin(name), format!("{name}.so")))
            .into(),
        ..Options::default()
    });
    for (name, interval) in [("hardware", 300.0), ("memory_bandwidth", 10.0), ("cpu", 1.0)] {
        let interval_of = &agent.running(name)["interval_seconds"];
        assert_eq!(interval_of.as_f64(), Some(interval), "{name}");
    }
    let follow = agent.follow("topic=metrics.memory_bandwidth&every=50ms");
    let lines = follow.at_least(10);
    let apart = seconds(&lines[9]) - seconds(&lines[4]);
    assert!(apart < 5.0, "five batches took {apart} s, though somebody asks for 50 ms");
}
