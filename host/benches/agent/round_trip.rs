//! A round: request, collect, reply, check; in both modes. All on one core: what a wake-up
//! costs otherwise depends on whether the other core sleeps, threefold.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use dropsonde::Isolation;
use dropsonde::bench::{Runner, Runners};
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};
use tokio::runtime::Runtime;

use crate::measure::{in_turn, per, per_call};
use crate::roles::{Other, Role};
use crate::table::{Figure, Row};
use crate::{Effort, build, clock};

const ROUNDS: u64 = 5_000;

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let rounds = ROUNDS / u64::from(effort.haste);
    let _pinned = Pinned::here();
    let runtime = crate::runtime();
    let still = build::fixture("bench_still");
    let runners = runtime.block_on(async { Runners::new() }).unwrap();
    let start = |isolation| runtime.block_on(runners.start(&still, isolation)).unwrap();
    let mut process = start(Isolation::Process);
    let mut thread = start(Isolation::Thread);
    let child = clock::children(std::process::id())[0];
    let mut echo = Other::start(Role::Echo);
    let (mut there, mut back) = echo_thread();
    let [process_cost, echo_cost, thread_cost, channel_cost] = in_turn(
        effort,
        [
            &mut || with(child, rounds, || run(&runtime, &mut process, rounds)),
            &mut || with(echo.pid(), rounds, || ping(&mut echo, rounds)),
            &mut || per_call(rounds, || run(&runtime, &mut thread, rounds)),
            &mut || per_call(rounds, || hand_over(&mut there, &mut back, rounds)),
        ],
    )
    .map(|nanoseconds| Figure::Microseconds(nanoseconds / 1e3));
    runtime.block_on(async {
        process.stop().await;
        thread.stop().await;
    });
    let between = "1 byte there and back between two processes";
    let threads = "1 byte there and back between two threads";
    vec![
        Row::new("round in process mode, both sides", process_cost, between, echo_cost),
        Row::new("round in thread mode, both sides", thread_cost, threads, channel_cost),
    ]
}

/// Keeps this thread, and the threads and processes that it starts, on one core.
struct Pinned(CpuSet);

impl Pinned {
    fn here() -> Self {
        let all = sched_getaffinity(None).unwrap();
        let mut one = CpuSet::new();
        one.set(sched_getcpu());
        sched_setaffinity(None, &one).unwrap();
        Self(all)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// CPU of this process and a child, for each of `count`.
fn with(child: u32, count: u64, work: impl FnOnce()) -> f64 {
    let cpu = || -> Duration { clock::own() + clock::of(child) };
    let start = cpu();
    work();
    per(cpu() - start, count)
}

fn run(runtime: &Runtime, runner: &mut Runner, rounds: u64) {
    runtime.block_on(async {
        for _ in 0..rounds {
            assert_eq!(runner.round().await, Ok(1));
        }
    });
}

fn ping(echo: &mut Other, rounds: u64) {
    let mut byte = [1];
    for _ in 0..rounds {
        echo.socket.write_all(&byte).unwrap();
        echo.socket.read_exact(&mut byte).unwrap();
    }
}

fn echo_thread() -> (mpsc::Sender<u8>, mpsc::Receiver<u8>) {
    let (there, arrived) = mpsc::channel();
    let (answer, back) = mpsc::channel();
    std::thread::spawn(move || {
        while let Ok(byte) = arrived.recv() {
            let _ = answer.send(byte);
        }
    });
    (there, back)
}

fn hand_over(there: &mut mpsc::Sender<u8>, back: &mut mpsc::Receiver<u8>, rounds: u64) {
    for _ in 0..rounds {
        there.send(1).unwrap();
        back.recv().unwrap();
    }
}
