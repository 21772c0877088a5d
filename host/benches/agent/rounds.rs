//! One round of six collectors together, on threads of this process, beside opening, reading and
//! closing the same files: one right after another, and after a second of sleep, when caches are
//! cold. And one of five: `perf_events` reads counters, for which the floor has no file.

use std::cell::RefCell;
use std::time::Duration;

use dropsonde::Isolation;
use dropsonde::bench::{Runner, Runners};
use futures_util::future::join_all;

use crate::measure::{in_turn, per_call};
use crate::roles::read_files;
use crate::table::{Figure, Row};
use crate::{Effort, build};

/// The last is what five are without.
const COLLECTORS: [&str; 6] =
    ["cpu", "memory", "network", "disk", "memory_bandwidth", "perf_events"];
const ROUNDS: u64 = 1_000;
const SLEEP: Duration = Duration::from_secs(1);

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let rounds = ROUNDS / u64::from(effort.haste);
    let runtime = crate::runtime();
    let runners = runtime.block_on(async { Runners::new() }).unwrap();
    let six = RefCell::new(COLLECTORS.map(|name| {
        runtime.block_on(runners.start(&build::plugin(name), Isolation::Thread)).unwrap()
    }));
    // As when all are due at the same tick.
    let round = |count| {
        let mut six = six.borrow_mut();
        let all = runtime.block_on(join_all(six[..count].iter_mut().map(Runner::round)));
        assert!(all.iter().all(|rows| matches!(rows, Ok(1..))), "{all:?}");
    };
    let mut buffer = vec![0; 64 << 10];
    let hot = |count| per_call(rounds, || (0..rounds).for_each(|_| round(count)));
    let [hot_six, hot_five, hot_floor] = in_turn(
        effort,
        [&mut || hot(6), &mut || hot(5), &mut || {
            per_call(rounds, || (0..rounds).for_each(|_| read_files(&mut buffer)))
        }],
    )
    .map(microseconds);
    let [cold_six, cold_five, cold_floor] = in_turn(
        effort,
        [&mut || after_sleep(|| round(6)), &mut || after_sleep(|| round(5)), &mut || {
            after_sleep(|| read_files(&mut buffer))
        }],
    )
    .map(microseconds);
    for runner in six.into_inner() {
        runtime.block_on(runner.stop());
    }
    let floor = "opening, reading, closing 7 of their files, and 3 statvfs";
    let row = |collectors, when, measured, reference| {
        let work = format!("one round of {collectors} together, on threads, {when}");
        Row::new(work, measured, floor, reference)
    };
    let (hot, cold) = ("one after another", "after a second of sleep");
    let five = "five of them, all but perf_events,";
    vec![
        row("six collectors", hot, hot_six, hot_floor),
        row(five, hot, hot_five, hot_floor),
        row("six collectors", cold, cold_six, cold_floor),
        row(five, cold, cold_five, cold_floor),
    ]
}

fn microseconds(nanoseconds: f64) -> Figure {
    Figure::Microseconds(nanoseconds / 1e3)
}

fn after_sleep(work: impl FnOnce()) -> f64 {
    std::thread::sleep(SLEEP);
    per_call(1, work)
}
