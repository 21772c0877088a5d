mod sensors;
mod streams;

use dropsonde_plugin_api::testing::Harness;
use serde_json::json;

use crate::CpuCollector;

fn collector(fixture: &str) -> Harness<CpuCollector> {
    let root = format!("{}/fixtures/{fixture}", env!("CARGO_MANIFEST_DIR"));
    collector_at(&root)
}

fn collector_at(root: &str) -> Harness<CpuCollector> {
    Harness::new(json!({ "proc_root": format!("{root}/proc"), "sys_root": format!("{root}/sys") }))
        .unwrap()
}
