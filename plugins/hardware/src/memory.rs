//! The memory and its NUMA nodes.

use std::path::Path;

use dropsonde_plugin_api::{Batch, Error, Result};

use crate::graph;
use crate::processors::thread_names;
use crate::records::{Memory, NumaNode};
use crate::sysfs;

/// Pushes the records and nodes of the memory. Without `/proc/meminfo` its size is not known.
pub(crate) fn report(proc_root: &Path, sys_root: &Path, out: &mut Batch) -> Result<()> {
    let path = proc_root.join("meminfo");
    let total_bytes = match std::fs::read(&path) {
        Ok(bytes) => total(&String::from_utf8_lossy(&bytes)),
        Err(error) => {
            out.partial(Error::from(error).context(path.display()));
            None
        }
    };
    graph::add(out, graph::MEMORY, "memory", "memory", Vec::new())?;
    out.push(Memory { node: graph::MEMORY, total_bytes })?;

    out.publish_empty::<NumaNode>()?;
    for (_, entry) in sysfs::numbered(sys_root.join("devices/system/node"), "node") {
        let node = graph::numa_node(&entry.name);
        let parents = vec![graph::MEMORY.to_owned()];
        graph::add(out, node.clone(), "numa_node", entry.name.clone(), parents)?;
        let text = |name: &str| sysfs::text(entry.path.join(name));
        let distances = text("distance").unwrap_or_default();
        out.push(NumaNode {
            numa_node: entry.name.clone(),
            node,
            threads: thread_names(&sysfs::cpu_list(&text("cpulist").unwrap_or_default())),
            distances: distances.split_whitespace().map(str::to_owned).collect(),
            total_bytes: text("meminfo").and_then(|text| total(&text)),
        })?;
    }
    Ok(())
}

/// Of the line `MemTotal: 16316412 kB` (proc_meminfo(5)); `Node 0 MemTotal: …` in a NUMA node's.
fn total(meminfo: &str) -> Option<u64> {
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (name.split_whitespace().last()? == "MemTotal").then_some(())?;
        value.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
    };
    meminfo.lines().find_map(value)
}
