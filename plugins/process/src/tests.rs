mod live;
mod ranking;
mod rows;
mod tree;
mod vanishing;

use dropsonde_plugin_api::testing::{Harness, Round};
use serde_json::{Value, json};

use crate::ProcessCollector;
use crate::choice::{By, Choice};
use tree::{Fields, Tree};

fn fixture(more: Value) -> Harness<ProcessCollector> {
    collector(format!("{}/fixtures/host/proc", env!("CARGO_MANIFEST_DIR")), more)
}

/// A collector with this root, and `more` settings.
fn collector(root: impl AsRef<std::path::Path>, more: Value) -> Harness<ProcessCollector> {
    Harness::new(settings(root, more)).unwrap()
}

fn settings(root: impl AsRef<std::path::Path>, mut more: Value) -> Value {
    more["proc_root"] = json!(root.as_ref());
    more
}

fn pids(round: &Round) -> Vec<u64> {
    round.rows("processes").iter().map(|row| row["pid"].as_u64().unwrap()).collect()
}

/// Shows and reads everything.
fn everything() -> Choice {
    Choice {
        most: usize::MAX,
        by: By::Cpu,
        include: vec!["*".into()],
        exclude: Vec::new(),
        kernel_threads: true,
        io: true,
        statm: true,
    }
}
