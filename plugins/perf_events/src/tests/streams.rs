//! What the streams hold.

use rustix::io::Errno;

use super::fake::Fake;
use super::*;

const MANY: usize = 1000;

#[test]
fn counts_are_summed_over_cpus_and_scaled_each_by_its_own_times() {
    let fake = Fake::default();
    let mut perf = fake.collector(settings(&["cycles", "page-faults"]), MANY);
    fake.counts("cycles", 0, 100, 2_000_000_000, 1_000_000_000);
    fake.counts("cycles", 1, 7, 1_000_000_000, 1_000_000_000);
    let round = perf.collect().unwrap();
    let expected = json!({
        "event": "cycles",
        "value": 207,
        "unit": "{cycle}",
        "time_enabled_seconds": 3.0,
        "time_running_seconds": 2.0,
    });
    assert_eq!(event(&round, "cycles"), expected);
    assert_eq!(event(&round, "page-faults")["value"], 0);
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(fake.open_now(), 4);
}

#[test]
fn the_overview_says_what_is_counted_when() {
    let fake = Fake::default();
    fake.fails("cycles", 0, Errno::NOENT);
    fake.fails("LLC-loads", 0, Errno::INVAL);
    fake.fails("branches", 1, Errno::BUSY);
    let names = ["cycles", "LLC-loads", "branches", "cpu-clock"];
    let mut perf = fake.collector(settings(&names), MANY);
    let round = perf.collect().unwrap();
    let overview = overview(&round);
    assert_eq!(overview["available"], true);
    assert_eq!(overview["reason"], Value::Null);
    assert_eq!(overview["cpu_cores"], 2);
    assert_eq!(overview["missing_events"], json!(["branches"]));
    assert_eq!(overview["unsupported_events"], json!(["cycles", "LLC-loads"]));
    assert!(overview["interval_ms"].as_f64().unwrap() > 0.0);
    assert!(overview["sample_time"].as_f64().unwrap() > 1.7e9);
    // What is not counted has no record, and no descriptor that was opened for a part of it.
    assert_eq!(round.rows("events").len(), 1);
    assert_eq!(fake.open_now(), 2);
}

#[test]
fn an_event_that_had_no_turn_is_null_not_zero() {
    let fake = Fake::default();
    let mut perf = fake.collector(settings(&["cycles"]), MANY);
    fake.counts("cycles", 0, 5, 1_000_000_000, 1_000_000_000);
    fake.counts("cycles", 1, 0, 1_000_000_000, 0);
    let round = perf.collect().unwrap();
    assert_eq!(event(&round, "cycles")["value"], Value::Null);
    assert_eq!(event(&round, "cycles")["time_enabled_seconds"], 2.0);
    assert_eq!(event(&round, "cycles")["time_running_seconds"], 1.0);
    fake.counts("cycles", 1, 4, 2_000_000_000, 500_000_000);
    assert_eq!(event(&perf.collect().unwrap(), "cycles")["value"], 5 + 16);
}

#[test]
fn a_counter_that_can_not_be_read_is_null_and_named() {
    let fake = Fake::default();
    let mut perf = fake.collector(settings(&["cycles", "cpu-clock"]), MANY);
    fake.counts("cpu-clock", 0, 9, 1, 1);
    fake.fails("cycles", 1, Errno::IO);
    let round = perf.collect().unwrap();
    assert_eq!(event(&round, "cycles")["value"], Value::Null);
    assert_eq!(event(&round, "cycles")["time_enabled_seconds"], Value::Null);
    assert_eq!(event(&round, "cpu-clock")["value"], 9);
    assert_eq!(round.partial.len(), 1);
    assert!(round.partial[0].starts_with("cycles on CPU 1: "), "{:?}", round.partial);
}

#[test]
fn counters_are_opened_once_and_closed_with_the_collector() {
    let fake = Fake::default();
    let mut perf = fake.collector(settings(&["cycles"]), MANY);
    for _ in 0..3 {
        perf.collect().unwrap();
    }
    assert_eq!((fake.opened(), fake.open_now()), (2, 2));
    drop(perf);
    assert_eq!(fake.open_now(), 0);
}

#[test]
fn counters_that_nobody_wants_are_not_read() {
    let fake = Fake::default();
    let mut perf = fake.collector(settings(&["cycles"]), MANY);
    let round = perf.collect_only(&[""]).unwrap();
    assert_eq!(round.streams().collect::<Vec<_>>(), [""]);
    assert_eq!(fake.reads(), 0);
    let round = perf.collect_only(&["events"]).unwrap();
    assert_eq!(round.streams().collect::<Vec<_>>(), ["events"]);
    assert_eq!(fake.reads(), 2);
}

#[test]
fn what_would_take_too_many_descriptors_is_missing() {
    let fake = Fake::default();
    let mut perf = fake.collector(settings(&["cycles", "cpu-clock", "branches"]), 5);
    let overview = overview(&perf.collect().unwrap());
    assert_eq!(overview["available"], true);
    assert_eq!(overview["missing_events"], json!(["branches"]));
    assert_eq!(fake.opened(), 4);
}

#[test]
fn settings_are_checked() {
    assert_eq!(error(settings(&["cycles", "foo"])).path(), "events[1]");
    let mut unknown = settings(&["cycles"]);
    unknown["event"] = json!(["cycles"]);
    assert_eq!(error(unknown).path(), "event");
    for pid in [0_u32, u32::MAX] {
        let mut wrong = settings(&["cycles"]);
        wrong["pid"] = json!(pid);
        assert_eq!(error(wrong).path(), "pid");
    }
}

#[test]
fn a_missing_or_malformed_list_of_cpus_is_an_error_that_names_the_file() {
    let root = tempfile::tempdir().unwrap();
    let settings = settings_at(root.path().to_str().unwrap(), &["cycles"]);
    let file = root.path().join("sys/devices/system/cpu/online");
    assert!(error(settings.clone()).message().starts_with(&format!("{}: ", file.display())));
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(&file, "0-x\n").unwrap();
    let expected = format!("{}: malformed list of CPUs", file.display());
    assert_eq!(error(settings).message(), expected);
}
