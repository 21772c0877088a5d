mod hung;
mod live;
mod streams;

use std::io;
use std::path::Path;
use std::time::Duration;

use dropsonde_plugin_api::testing::Harness;
use serde_json::{Value, json};

use crate::DiskCollector;
use crate::prober::Prober;
use crate::space::Space;

fn fixture() -> String {
    format!("{}/fixtures/host", env!("CARGO_MANIFEST_DIR"))
}

fn settings(root: &str) -> Value {
    json!({ "proc_root": format!("{root}/proc"), "sys_root": format!("{root}/sys") })
}

/// A collector that asks `call`, not the kernel, how much room there is.
fn collector_with(
    settings: Value,
    limit: Duration,
    call: impl Fn(&Path) -> io::Result<Space> + Send + Sync + 'static,
) -> Harness<DiskCollector> {
    let mut harness = Harness::<DiskCollector>::new(settings).unwrap();
    harness.collector().prober = Prober::new(limit, Box::new(call));
    harness.collector().selection.answers = |_| false; // any may hang
    harness
}

/// Far longer than any answer takes: not reached unless something hangs.
const LONG: Duration = Duration::from_secs(60);

fn room(_: &Path) -> io::Result<Space> {
    Ok(Space { fragment_bytes: 1024, blocks: 1000, blocks_free: 400, blocks_available: 200 })
}
