//! Memory of the whole agent, collector by collector.

use std::fs;

use crate::roles::{Other, Role};
use crate::table::{Figure, Row};
use crate::whole_agent::{Agent, MODES};
use crate::{Effort, clock};

/// Memory of one process in KiB, from /proc/PID/smaps_rollup (proc_pid_smaps(5)).
#[derive(Default, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) proportional: u64,
    pub(crate) private: u64,
}

/// All zero if the process is gone.
pub(crate) fn of(pid: u32) -> Memory {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let mut memory = Memory::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let (name, value) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let value: u64 = value.parse().unwrap_or(0);
        match name {
            "Rss:" => memory.resident += value,
            "Pss:" => memory.proportional += value,
            "Private_Clean:" | "Private_Dirty:" => memory.private += value,
            _ => {}
        }
    }
    memory
}

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let idle = Other::start(Role::Idle);
    let mut rows = Vec::new();
    for mode in MODES {
        let agent = Agent::start(mode);
        agent.settle(effort);
        let empty = of(idle.pid());
        rows.extend(of_agent(&agent, mode, empty));
    }
    rows
}

fn of_agent(agent: &Agent, mode: &str, empty: Memory) -> Vec<Row> {
    let kib = |value: u64| Figure::KiB(value as f64);
    let host = of(agent.pid());
    let children: Vec<Memory> = clock::children(agent.pid()).into_iter().map(of).collect();
    let all = || children.iter().chain([&host]);
    let idle = "an empty program of the same runtime";
    let row = |what: &str, value, floor| {
        Row::new(format!("{what}, {mode} mode"), kib(value), idle, kib(floor))
    };
    let mut rows = vec![
        row("resident memory of the host", host.resident, empty.resident),
        row("PSS of host and runners", all().map(|one| one.proportional).sum(), empty.proportional),
    ];
    if let Some(most) = children.iter().map(|one| one.private).max() {
        let mean = children.iter().map(|one| one.private).sum::<u64>() / children.len() as u64;
        rows.push(row("private memory of a runner, mean", mean, empty.private));
        rows.push(row("private memory of a runner, most", most, empty.private));
    }
    rows
}
