mod fake;
mod hotplug;
mod live;
mod permissions;
mod streams;

use dropsonde_plugin_api::testing::{Harness, Round};
use serde_json::{Value, json};

use crate::PerfEvents;

fn settings(events: &[&str]) -> Value {
    let root = format!("{}/fixtures/two_cpus", env!("CARGO_MANIFEST_DIR"));
    settings_at(&root, events)
}

fn settings_at(root: &str, events: &[&str]) -> Value {
    json!({
        "proc_root": format!("{root}/proc"),
        "sys_root": format!("{root}/sys"),
        "events": events,
    })
}

fn error(settings: Value) -> dropsonde_plugin_api::Error {
    Harness::<PerfEvents>::new(settings).err().unwrap()
}

fn overview(round: &Round) -> Value {
    assert_eq!(round.rows("").len(), 1);
    round.rows("")[0].clone().into()
}

fn event(round: &Round, name: &str) -> Value {
    round.row("events", "event", name).clone().into()
}
