//! One round of six collectors together, on threads of this process, beside opening, reading and
//! closing the same files: one right after another, and after a second of sleep, when caches are
//! cold.

use std::time::Duration;

use dropsonde::Isolation;
use dropsonde::bench::{Runner, Runners};
use tokio::runtime::Runtime;

use crate::measure::{in_turn, per_call};
use crate::roles::read_files;
use crate::table::{Figure, Row};
use crate::{Effort, build};

const COLLECTORS: [&str; 6] =
    ["cpu", "memory", "network", "disk", "memory_bandwidth", "perf_events"];
const ROUNDS: u64 = 1_000;
const SLEEP: Duration = Duration::from_secs(1);

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let rounds = ROUNDS / u64::from(effort.haste);
    let runtime = crate::runtime();
    let runners = runtime.block_on(async { Runners::new() }).unwrap();
    let mut six = COLLECTORS.map(|name| {
        runtime.block_on(runners.start(&build::plugin(name), Isolation::Thread)).unwrap()
    });
    let mut buffer = vec![0; 64 << 10];
    let [hot, hot_floor] = in_turn(
        effort,
        [
            &mut || per_call(rounds, || (0..rounds).for_each(|_| round(&runtime, &mut six))),
            &mut || per_call(rounds, || (0..rounds).for_each(|_| read_files(&mut buffer))),
        ],
    )
    .map(microseconds);
    let [cold, cold_floor] = in_turn(
        effort,
        [&mut || after_sleep(|| round(&runtime, &mut six)), &mut || {
            after_sleep(|| read_files(&mut buffer))
        }],
    )
    .map(microseconds);
    for runner in six {
        runtime.block_on(runner.stop());
    }
    let floor = "opening, reading, closing 7 of their files, and 3 statvfs";
    let work = |when| format!("one round of six collectors together, on threads, {when}");
    vec![
        Row::new(work("one after another"), hot, floor, hot_floor),
        Row::new(work("after a second of sleep"), cold, floor, cold_floor),
    ]
}

fn microseconds(nanoseconds: f64) -> Figure {
    Figure::Microseconds(nanoseconds / 1e3)
}

fn after_sleep(work: impl FnOnce()) -> f64 {
    std::thread::sleep(SLEEP);
    per_call(1, work)
}

/// As when all are due at the same tick.
fn round(runtime: &Runtime, [a, b, c, d, e, f]: &mut [Runner; 6]) {
    let rows = runtime.block_on(async {
        tokio::join!(a.round(), b.round(), c.round(), d.round(), e.round(), f.round())
    });
    let all = [rows.0, rows.1, rows.2, rows.3, rows.4, rows.5];
    assert!(all.iter().all(|rows| matches!(rows, Ok(1..))), "{all:?}");
}
