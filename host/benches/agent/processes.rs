//! A round of `process`, in a runner process as users have it, beside the least that it takes:
//! opening, reading and closing the same files. Per 100 processes, of which there are at least
//! as many.

use std::collections::HashSet;
use std::fs::File;
use std::hint::black_box;
use std::io::Read;

use dropsonde::Isolation;
use dropsonde::bench::{Runner, Runners};
use dropsonde_plugin_api::abi::Capability;
use tokio::runtime::Runtime;

use crate::measure::{in_turn, per, per_call};
use crate::roles::{Other, Role, pids};
use crate::table::{Figure, Row};
use crate::{Effort, build, clock};

const ROUNDS: u64 = 200;
const LEAST: usize = 100;
/// How many it shows by default, and so reads more of than `stat`.
const SHOWN: usize = 50;

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let rounds = ROUNDS / u64::from(effort.haste);
    let runtime = crate::runtime();
    let runners = runtime.block_on(async { Runners::new() }).unwrap();
    let mut default = Started::new(&runtime, &runners, "{}", &[]);
    let mut inspecting = Started::new(&runtime, &runners, "{}", &[Capability::Inspect]);
    let mut all = Started::new(&runtime, &runners, r#"{"all": true, "io": false}"#, &[]);
    let _idle: Vec<Other> = (pids().len()..LEAST).map(|_| Other::start(Role::Idle)).collect();
    let pids = pids();
    let path = |file: &'static str| move |pid: &u32| format!("/proc/{pid}/{file}");
    let stats: Vec<String> = pids.iter().map(path("stat")).collect();
    let ios = pids.iter().rev().take(SHOWN).map(path("io"));
    let more: Vec<String> = stats.iter().cloned().chain(ios).collect();
    let hundreds = pids.len() as f64 / 100.0;
    let [default_cost, all_cost, inspecting_cost, stat, stat_and_io] = in_turn(
        effort,
        [
            &mut || default.cost(&runtime, rounds),
            &mut || all.cost(&runtime, rounds),
            &mut || inspecting.cost(&runtime, rounds),
            &mut || per_call(rounds, || (0..rounds).for_each(|_| read(&stats))),
            &mut || per_call(rounds, || (0..rounds).for_each(|_| read(&more))),
        ],
    )
    .map(|nanoseconds| Figure::Microseconds(nanoseconds / 1e3 / hundreds));
    for started in [default, inspecting, all] {
        runtime.block_on(started.runner.stop());
    }
    let each = "opening, reading, closing each `/proc/PID/stat`";
    let and_io = "the same, and `/proc/PID/io` of 50";
    vec![
        Row::new("round of `process` per 100 processes, 50 shown", default_cost, each, stat),
        Row::new("round of `process` per 100 processes, all shown", all_cost, each, stat),
        Row::new(
            "round of `process` per 100 processes, 50 shown with their I/O",
            inspecting_cost,
            and_io,
            stat_and_io,
        ),
    ]
}

/// A runner process with the plugin in it.
struct Started {
    runner: Runner,
    pid: u32,
}

impl Started {
    fn new(
        runtime: &Runtime,
        runners: &Runners,
        settings: &str,
        capabilities: &[Capability],
    ) -> Self {
        let children = || clock::children(std::process::id()).into_iter().collect::<HashSet<u32>>();
        let (before, plugin) = (children(), build::plugin("process"));
        let start = runners.start_with(&plugin, Isolation::Process, settings, capabilities);
        let runner = runtime.block_on(start).unwrap();
        let pid = children().difference(&before).copied().next().unwrap();
        Self { runner, pid }
    }

    /// CPU nanoseconds of a round, both sides.
    fn cost(&mut self, runtime: &Runtime, rounds: u64) -> f64 {
        let cpu = || clock::own() + clock::of(self.pid);
        let start = cpu();
        runtime.block_on(async {
            for _ in 0..rounds {
                assert!(self.runner.round().await.unwrap() > SHOWN);
            }
        });
        per(cpu() - start, rounds)
    }
}

fn read(paths: &[String]) {
    let mut buffer = [0; 4096];
    for path in paths {
        // One that has ended since costs less, on both sides.
        let read = File::open(path).and_then(|mut file| file.read(&mut buffer));
        black_box(read.unwrap_or(0));
    }
}
