//! What the agent costs, beside what the same work costs at least on the same machine at the
//! same time: `cargo bench -p dropsonde [-- FILTER] [--quick]`.
//!
//! Figures are CPU time (user and system, all threads, children included) unless they say
//! otherwise, and medians of several repetitions. The bundled plugins and the agent are built
//! with the release profile first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a row that was not measured

mod allocations;
mod build;
mod call;
mod clock;
mod events;
mod first_value;
mod growth;
mod history;
mod latency;
mod load;
mod many;
mod measure;
mod memory;
mod otlp;
mod peer;
mod peers;
mod processes;
mod publish;
mod reference;
mod reload;
mod roles;
mod round_trip;
mod rounds;
mod table;
mod whole_agent;
mod wildcards;

use std::panic::{AssertUnwindSafe, catch_unwind};

use table::Row;

#[global_allocator]
static ALLOCATOR: allocations::Counting = allocations::Counting;

/// How thoroughly to measure.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) repetitions: u32,
    /// Divides the counts and times of a repetition.
    pub(crate) haste: u32,
}

type Group = (&'static str, fn(Effort) -> Vec<Row>);

/// In the order of the path of a sample.
const GROUPS: [Group; 21] = [
    ("call", call::rows),
    ("round-trip", round_trip::rows),
    ("six", rounds::rows),
    ("processes", processes::rows),
    ("publish", publish::rows),
    ("latency", latency::rows),
    ("wildcards", wildcards::rows),
    ("allocations", allocations::rows),
    ("events", events::rows),
    ("otlp", otlp::rows),
    ("history", history::rows),
    ("agent", whole_agent::rows),
    ("peers", peers::rows),
    ("first-value", first_value::rows),
    ("memory", memory::rows),
    ("reload", reload::rows),
    ("many", many::rows),
    ("load", load::rows),
    ("growth-collectors", growth::collectors),
    ("growth-subscribers", growth::subscribers),
    ("growth-rows", growth::rows),
];

fn main() {
    dropsonde::enter_if_runner();
    roles::enter_if_role();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let effort = if quick {
        Effort { repetitions: 3, haste: 5 }
    } else {
        Effort { repetitions: 7, haste: 1 }
    };
    table::head();
    for (name, rows) in GROUPS {
        if filter.is_none_or(|filter| name.contains(filter.as_str())) {
            print(name, catch_unwind(AssertUnwindSafe(|| rows(effort))));
        }
    }
}

fn print(name: &str, measured: std::thread::Result<Vec<Row>>) {
    match measured {
        Ok(rows) => rows.iter().for_each(|row| println!("{row}")),
        Err(payload) => {
            let reason = payload.downcast_ref::<String>().map(String::as_str);
            let reason = reason.or_else(|| payload.downcast_ref::<&str>().copied());
            let reason = reason.unwrap_or("a panic without a message").replace('\n', " ");
            println!("| {name} | not measured: {reason} | – | – | – |");
        }
    }
}

/// The kind of runtime that the agent runs on.
pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}
