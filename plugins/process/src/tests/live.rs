//! The machine that runs the tests.

use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::*;

#[test]
fn this_process_is_shown_as_it_is() {
    let mut process = collector("/proc", json!({ "all": true, "statm": true }));
    let round = process.collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    let row = round.row("processes", "pid", std::process::id());
    assert_eq!(row["ppid"], std::os::unix::process::parent_id());
    let name = std::fs::read_to_string("/proc/self/comm").unwrap();
    assert_eq!(row["name"], name.trim_end());
    assert!(row["threads"].as_u64() >= Some(2), "{row:?}"); // the test's own is a second one
    assert!(row["resident_bytes"].as_u64() > row["shared_bytes"].as_u64(), "{row:?}");
    assert!(row["virtual_bytes"].as_u64() > row["resident_bytes"].as_u64(), "{row:?}");
    assert!(row["read_count"].as_u64() > Some(0), "one's own I/O is open to everybody: {row:?}");
    let start = row["start_time_seconds"].as_f64().unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    assert!((0.0..3600.0).contains(&(now.as_secs_f64() - start + 1.0)), "{start}");
}

#[test]
fn every_process_that_can_be_seen_is_counted() {
    let mut process = collector("/proc", json!({ "all": true }));
    let round = process.collect().unwrap();
    let summary = &round.rows("")[0];
    let states = ["running", "sleeping", "blocked", "stopped", "zombie", "idle", "unknown"];
    let sum: u64 = states.iter().map(|state| summary[*state].as_u64().unwrap()).sum();
    assert_eq!(summary["count"], sum);
    assert!(summary["threads"].as_u64().unwrap() >= sum);
    assert!(summary["created"].as_u64() > Some(sum));
    let rows = round.rows("processes").len() as u64;
    assert!(rows <= sum && rows > sum / 2, "{rows} of {sum}"); // some ended meanwhile
}

#[test]
fn processes_that_start_and_end_during_rounds_do_no_harm() {
    let (stop, ended) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    assert!(Command::new("true").status().unwrap().success());
                    ended.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut process = collector("/proc", json!({ "all": true, "statm": true }));
        let mut rounds = 0;
        while ended.load(Ordering::Relaxed) < 300 || rounds < 100 {
            let round = process.collect().unwrap();
            assert!(round.partial.is_empty(), "{:?}", round.partial);
            let mut shown = pids(&round);
            assert!(shown.contains(&u64::from(std::process::id())));
            shown.sort_unstable();
            assert!(shown.windows(2).all(|pair| pair[0] < pair[1]), "one pid, one process");
            rounds += 1;
        }
        stop.store(true, Ordering::Relaxed);
    });
}

dropsonde_plugin_api::contract_test!(collector = ProcessCollector, streams = "streams.txt");
