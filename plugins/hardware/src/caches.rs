//! Caches, each once, however many CPUs share it
//! (Documentation/ABI/testing/sysfs-devices-system-cpu, `cache/index*`).

use std::collections::HashSet;
use std::path::Path;

use dropsonde_plugin_api::{Batch, Result};

use crate::graph;
use crate::processors::thread_names;
use crate::records::Cache;
use crate::sysfs;
use crate::topology::Topology;

/// Pushes the records and nodes of the caches.
pub(crate) fn report(topology: &Topology, out: &mut Batch) -> Result<()> {
    out.publish_empty::<Cache>()?;
    let mut seen = HashSet::new();
    for thread in &topology.threads {
        for (_, index) in sysfs::numbered(thread.directory.join("cache"), "index") {
            let Some(found) = Found::read(&index.path, thread.number) else { continue };
            let key = found.key();
            if seen.insert(key.clone()) {
                let node = graph::cache(&key);
                let parents = parents(&found.sharers, topology);
                graph::add(out, node.clone(), "cache", found.name(), parents)?;
                out.push(found.record(key, node, &index.path))?;
            }
        }
    }
    Ok(())
}

/// What tells a cache from others.
struct Found {
    level: String,
    kind: Option<String>,
    sharers: Vec<u32>,
}

impl Found {
    /// `None` if not even the level is known.
    fn read(directory: &Path, thread: u32) -> Option<Self> {
        let level = sysfs::text(directory.join("level"))?;
        let kind = sysfs::text(directory.join("type")).map(|kind| kind.to_lowercase());
        let list = sysfs::text(directory.join("shared_cpu_list"));
        let mut sharers = list.map(|list| sysfs::cpu_list(&list)).unwrap_or_default();
        if sharers.is_empty() {
            sharers.push(thread);
        }
        Some(Self { level, kind, sharers })
    }

    /// `L1d`, `L1i`, `L2`.
    fn name(&self) -> String {
        let suffix = match self.kind.as_deref() {
            Some("data") => "d",
            Some("instruction") => "i",
            _ => "",
        };
        format!("L{}{suffix}", self.level)
    }

    /// A CPU has one cache of a level and type at most.
    fn key(&self) -> String {
        let lowest = self.sharers.iter().min().copied().unwrap_or_default();
        format!("{}:{lowest}", self.name())
    }

    fn record(self, cache: String, node: String, directory: &Path) -> Cache {
        Cache {
            cache,
            node,
            threads: thread_names(&self.sharers),
            level: self.level,
            r#type: self.kind,
            size_bytes: sysfs::text(directory.join("size")).and_then(|text| size(&text)),
            line_bytes: sysfs::number(directory.join("coherency_line_size")),
            ways: sysfs::number(directory.join("ways_of_associativity")).filter(|ways| *ways > 0),
        }
    }
}

/// The cores of these CPUs; a CPU whose core is not known stands for itself.
fn parents(sharers: &[u32], topology: &Topology) -> Vec<String> {
    let of = |number: &u32| {
        let core = topology.thread(*number)?.core;
        Some(core.map_or_else(|| graph::thread(*number), graph::core))
    };
    let mut parents: Vec<_> = sharers.iter().filter_map(of).collect();
    let mut seen = HashSet::new();
    parents.retain(|parent| seen.insert(parent.clone()));
    parents
}

/// `32K` is 32,768; the kernel prints no other unit, and an unknown size as `0K`.
fn size(text: &str) -> Option<u64> {
    let kibibytes: u64 = text.strip_suffix('K')?.parse().ok()?;
    kibibytes.checked_mul(1024).filter(|bytes| *bytes > 0)
}
