//! The machine that runs the tests, as far as it lets us.

use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use perf_event::Builder;
use perf_event::events::Software;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::*;
use crate::kernel::Counter;
use crate::scale::{Estimate, Reading};

/// The software events that grow with the work below.
const SOFTWARE: [&str; 3] = ["cpu-clock", "context-switches", "page-faults"];
const SWITCHES: usize = 64;

fn harness(settings: Value) -> Harness<PerfEvents> {
    Harness::new(settings).unwrap()
}

/// Whether perf_event_open is refused here; says so on stderr.
fn refused(round: &Round) -> bool {
    let overview = overview(round);
    let refused = overview["available"] == false;
    if refused {
        eprintln!("SKIPPED: {}", overview["reason"]);
    }
    refused
}

fn value(round: &Round, name: &str) -> u64 {
    event(round, name)["value"].as_u64().unwrap()
}

/// Runs a program, which faults in its pages, and hands a token to and fro between two threads.
fn work() {
    assert!(std::process::Command::new("true").status().unwrap().success());
    let (ask, asked) = mpsc::sync_channel::<()>(0);
    let (answer, answered) = mpsc::sync_channel::<()>(0);
    std::thread::scope(|scope| {
        scope.spawn(move || asked.iter().try_for_each(|()| answer.send(())));
        for _ in 0..SWITCHES {
            ask.send(()).unwrap();
            answered.recv().unwrap();
        }
        drop(ask);
    });
}

fn assert_grows(perf: &mut Harness<PerfEvents>) {
    let before = perf.collect().unwrap();
    if refused(&before) {
        return;
    }
    work();
    let after = perf.collect().unwrap();
    assert!(after.partial.is_empty(), "{:?}", after.partial);
    let grown = |name: &str| value(&after, name) - value(&before, name);
    for name in SOFTWARE {
        assert!(grown(name) > 0, "{name}");
    }
    assert!(overview(&after)["interval_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn software_events_of_the_whole_machine_grow_with_work() {
    assert_grows(&mut harness(json!({ "events": SOFTWARE })));
}

/// Whichever comes first leads the group of a CPU.
#[test]
fn software_events_grow_in_any_order() {
    for first in 0..SOFTWARE.len() {
        let mut events = SOFTWARE;
        events.rotate_left(first);
        assert_grows(&mut harness(json!({ "events": events })));
    }
}

#[test]
fn software_events_of_one_process_grow_with_its_work() {
    let mut perf = harness(json!({ "events": SOFTWARE, "pid": std::process::id() }));
    assert_grows(&mut perf);
}

#[test]
fn each_event_is_counted_or_missing_or_unsupported_and_never_zero_for_want_of_hardware() {
    let mut perf = harness(json!({}));
    let round = perf.collect().unwrap();
    if refused(&round) {
        return;
    }
    let overview = overview(&round);
    let listed = |column: &str| overview[column].as_array().unwrap().len();
    let counted = round.rows("events").len();
    assert_eq!(counted + listed("missing_events") + listed("unsupported_events"), 17);
    assert!(counted >= SOFTWARE.len());
    let has_pmu = ["cpu", "cpu_core", "armv8_pmuv3_0"]
        .iter()
        .any(|pmu| Path::new("/sys/bus/event_source/devices").join(pmu).exists());
    if has_pmu {
        eprintln!("SKIPPED: this machine has a PMU, so hardware events may be supported");
        return;
    }
    assert_eq!(listed("unsupported_events"), 13, "{overview}");
    assert!(round.rows("events").iter().all(|row| row["event"] != "cycles"));
}

#[test]
fn a_process_that_ends_is_reported_and_its_counts_stay() {
    let mut child = std::process::Command::new("cat")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut perf = harness(json!({ "events": ["page-faults"], "pid": child.id() }));
    let round = perf.collect().unwrap();
    let was_refused = refused(&round);
    drop(child.stdin.take()); // its end of input
    child.wait().unwrap();
    if was_refused {
        return;
    }
    let after = perf.collect().unwrap();
    assert!(value(&after, "page-faults") >= value(&round, "page-faults"));
    assert_eq!(after.partial, ["the process has ended: its counts stand still"]);
}

fn move_to(cpu: usize) {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).unwrap();
}

/// Works until the counter says so.
fn read_until(counter: &mut perf_event::Counter, wanted: impl Fn(Reading) -> bool) -> Reading {
    let patience = Instant::now() + Duration::from_secs(60);
    loop {
        let reading = counter.reading().unwrap();
        if wanted(reading) {
            return reading;
        }
        assert!(Instant::now() < patience, "{reading:?}");
    }
}

#[test]
fn the_time_in_which_an_event_could_not_be_counted_is_made_up_for() {
    let allowed = sched_getaffinity(None).unwrap();
    let mut cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let (Some(home), Some(away)) = (cpus.next(), cpus.next()) else {
        eprintln!("SKIPPED: only one CPU may be used");
        return;
    };
    // Bound to one CPU, and so without a turn while this thread is on another.
    move_to(home);
    let mut builder = Builder::new(Software::CPU_CLOCK);
    let mut counter = match builder.observe_self().one_cpu(home).enabled(true).build() {
        Ok(counter) => counter,
        Err(error) => {
            eprintln!("SKIPPED: perf_event_open: {error}");
            return;
        }
    };
    let mut estimate = Estimate::default();
    let at_home = read_until(&mut counter, |reading| reading.running_ns > 0);
    let first = estimate.advance(at_home).unwrap();

    move_to(away);
    let enough = at_home.enabled_ns + 2_000_000;
    let gone = read_until(&mut counter, |reading| reading.enabled_ns > enough);
    let before_leaving = gone.running_ns > at_home.running_ns;
    // Whatever it counted between the two readings at home is scaled, the rest is pending.
    let second = estimate.advance(gone);
    assert_eq!(second.is_some(), before_leaving, "{at_home:?} {gone:?}");
    let still_gone = read_until(&mut counter, |reading| reading.enabled_ns > gone.enabled_ns);
    assert_eq!(estimate.advance(still_gone), None, "{still_gone:?}");

    move_to(home);
    let back = read_until(&mut counter, |reading| reading.running_ns > gone.running_ns);
    let third = estimate.advance(back).unwrap();
    assert!(third >= first.max(second.unwrap_or_default()));
    assert!(third > back.count, "{third} is not scaled up from {back:?}");
}

dropsonde_plugin_api::contract_test!(collector = PerfEvents, streams = "streams.txt");
