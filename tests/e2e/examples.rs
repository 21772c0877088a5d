//! The examples do what they are there to show.

use std::collections::HashMap;
use std::fs;
use std::process::Command;

use dropsonde_tests::{Agent, fixture, workspace};
use serde_json::Value;
use tempfile::TempDir;

use crate::packages;

#[test]
fn every_example_is_run_by_a_test() {
    let tests = fs::read_dir(workspace().join("tests/e2e")).unwrap();
    let tests = tests.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
    let tests: String = tests.map(|path| fs::read_to_string(path).unwrap()).collect();
    let examples = fs::read_dir(workspace().join("examples")).unwrap();
    for example in examples.map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = example.file_name().into_string().unwrap();
        assert!(tests.contains(&format!("examples/{name}")), "no test names examples/{name}");
    }
}

#[test]
fn the_smallest_plugin_stays_under_25_lines_and_works() {
    let source = fs::read_to_string(workspace().join("examples/uptime/src/lib.rs")).unwrap();
    let lines = source.lines().count();
    assert!(lines < 25, "it has {lines}");

    let plugin = packages::build_plugin("examples/uptime").join("libuptime.so");
    let agent = Agent::start("");
    agent.put("libuptime.so", &fs::read(plugin).unwrap());
    agent.running("uptime");
    let uptime = agent.snapshot()["uptime"]["uptime_seconds"].as_f64();
    assert!(uptime > Some(0.0), "{uptime:?}");
}

/// What `embed` printed.
struct Printed {
    /// Sequence numbers of the batches that each subscriber got, in order.
    sequences: HashMap<String, Vec<u64>>,
    /// The counts at the end, by their name.
    counts: HashMap<String, u64>,
}

impl Printed {
    fn parse(text: &str) -> Self {
        let mut printed = Self { sequences: HashMap::new(), counts: HashMap::new() };
        for line in text.lines() {
            if let Some((name, batch)) = line.split_once(" {") {
                let batch: Value = serde_json::from_str(&format!("{{{batch}")).unwrap();
                let sequence = batch["sequence"].as_u64().unwrap();
                printed.sequences.entry(name.to_owned()).or_default().push(sequence);
            } else {
                let line = line.split(',').next().unwrap();
                let (name, count) = line.rsplit_once(' ').unwrap();
                printed.counts.insert(name.to_owned(), count.parse().unwrap());
            }
        }
        printed
    }
}

#[test]
fn two_subscribers_at_different_rates_cost_the_reads_of_the_faster_one() {
    let embed = packages::build("examples/embed", &[]).join("embed");
    let directory = TempDir::new().unwrap();
    let root = directory.path();
    fs::create_dir(root.join("plugins")).unwrap();
    fs::copy(fixture("steady_v1"), root.join("plugins/libsteady.so")).unwrap();
    let output = Command::new(embed)
        .arg(root.join("plugins"))
        .args(["15", "metrics.steady"])
        .env("DROPSONDE__COLLECTORS__STEADY__SETTINGS__COUNT_READS", "true")
        .env("DROPSONDE__HOST__RUNTIME_DIR", root)
        .env("DROPSONDE__HOST__STATE_DIR", root.join("state"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let Printed { sequences, counts } = Printed::parse(&text);
    let (fast, slow) = (&sequences["fast"], &sequences["slow"]);
    assert_eq!(fast.len() + slow.len(), 15);

    // The faster one got every batch that was read from the first on: none was read beside.
    assert_eq!(*fast, (1..=fast.len() as u64).collect::<Vec<_>>());
    // The slower one got some of the same.
    let came = |name: &str| counts[&format!("{name} got")] + counts[&format!("{name} left")];
    assert!(slow.iter().all(|sequence| *sequence <= came("fast")), "{text}");
    assert_eq!(counts["reads saved"], came("slow"), "{text}");
    assert!(counts["reads saved"] > 0);

    // The plugin wrote a line per round, which says whether its other stream was read as well.
    let lines = fs::read_to_string(root.join("state/collectors/steady/reads")).unwrap();
    let streams: Vec<u64> = lines.lines().map(|line| if line == "true" { 2 } else { 1 }).collect();
    let (first, last) = streams.split_at(streams.len() - 1);
    let (before, reads) = (first.iter().sum::<u64>(), counts["reads of all streams"]);
    // A round that the end overtook was not published.
    assert!(reads == before + last[0] || reads == before, "{text}{lines}");
}
