//! Hot reload: from the rename of a new file to the first batch of the new generation.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dropsonde::{Host, Subscribe, Subscription};
use tempfile::TempDir;

use crate::events::start_host;
use crate::measure::median;
use crate::roles::{Other, Role};
use crate::table::{Figure, Row};
use crate::{Effort, build, memory};

const RELOADS: u32 = 100;
/// A collector's interval that is small beside what is measured.
const INTERVAL: &str = "10ms";
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let reloads = RELOADS / effort.haste;
    let directory = TempDir::new().unwrap();
    let plugin = build::fixture("bench_still");
    let (took, grown) = crate::runtime().block_on(async {
        let settings = [("DEFAULTS__INTERVAL", INTERVAL), ("DEFAULTS__ISOLATION", "process")];
        let host = start_host(directory.path(), &[&plugin], &settings);
        let mut batches = host.subscribe(Subscribe::to("metrics.bench_still").unwrap());
        host.settled().await;
        let measured = reload_often(&mut batches, directory.path(), &plugin, reloads).await;
        stop(host).await;
        measured
    });
    let starts = (0..reloads).map(|_| start_and_end()).collect();
    vec![
        Row::new(
            format!("wall time from the rename of a plugin to its first batch, {reloads} reloads"),
            Figure::Milliseconds(median(took)),
            "wall time from the start of a process to its end",
            Figure::Milliseconds(median(starts)),
        ),
        Row::alone("resident memory that the host gained per reload", Figure::KiB(grown)),
    ]
}

/// Milliseconds of each, and KiB per reload that stayed.
async fn reload_often(
    batches: &mut Subscription,
    root: &Path,
    plugin: &Path,
    reloads: u32,
) -> (Vec<f64>, f64) {
    let mut bytes = fs::read(plugin).unwrap();
    let mut took = Vec::new();
    let (mut before, warm) = (0, reloads / 4);
    for reload in 0..reloads + warm {
        if reload == warm {
            before = memory::of(std::process::id()).resident;
        }
        bytes.push(reload as u8); // behind the end of the file's sections: another hash, no more
        let milliseconds = reload_once(batches, root, plugin, &bytes).await;
        if reload >= warm {
            took.push(milliseconds);
        }
    }
    let after = memory::of(std::process::id()).resident;
    (took, (after as f64 - before as f64) / f64::from(reloads))
}

async fn reload_once(batches: &mut Subscription, root: &Path, plugin: &Path, bytes: &[u8]) -> f64 {
    while batches.try_recv().is_some() {}
    let old = batches.recv().await.generation;
    let temporary = root.join("next.so.tmp");
    fs::write(&temporary, bytes).unwrap();
    let name = plugin.file_name().unwrap();
    fs::rename(&temporary, root.join("plugins").join(name)).unwrap();
    let start = Instant::now();
    let next = async { while batches.recv().await.generation == old {} };
    tokio::time::timeout(PATIENCE, next).await.expect("the new generation did not come");
    start.elapsed().as_secs_f64() * 1e3
}

async fn stop(host: Host) {
    host.shutdown().await;
}

/// Milliseconds.
fn start_and_end() -> f64 {
    let start = Instant::now();
    Other::start(Role::Nothing).wait();
    start.elapsed().as_secs_f64() * 1e3
}
