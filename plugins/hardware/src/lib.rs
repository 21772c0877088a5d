//! What the machine is made of, and how its parts hang together.
//!
//! Each stream describes one kind of part; the stream `nodes` is the graph of them all. Nothing
//! here asks a device or a file system: all is what the kernel already knows.

mod arm;
mod block;
mod caches;
mod cpuinfo;
mod graph;
mod interfaces;
mod machine;
mod memory;
mod mountinfo;
mod processors;
mod records;
mod storage;
mod sysfs;
#[cfg(test)]
mod tests;
mod topology;

use std::path::PathBuf;
use std::time::Duration;

use dropsonde_plugin_api::prelude::*;

use crate::cpuinfo::CpuInfo;
use crate::graph::Node;
use crate::records::{
    Cache, Core, Disk, Interface, Machine, Memory, Mount, NumaNode, Package, Partition, Thread,
};
use crate::topology::Topology;

/// What the user may set.
#[settings]
struct Settings {
    /// Where procfs is mounted.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
    /// Where sysfs is mounted.
    #[serde(default = "default_sys_root")]
    sys_root: PathBuf,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

fn default_sys_root() -> PathBuf {
    "/sys".into()
}

struct HardwareCollector {
    proc_root: PathBuf,
    sys_root: PathBuf,
}

impl Collector for HardwareCollector {
    type Settings = Settings;
    type Streams = (
        Machine,
        Package,
        Core,
        Thread,
        Cache,
        Memory,
        NumaNode,
        Disk,
        Partition,
        Mount,
        Interface,
        Node,
    );

    /// Hardware seldom changes.
    const INTERVAL: Duration = Duration::from_secs(5 * 60);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        let Settings { proc_root, sys_root } = settings;
        Ok(Self { proc_root, sys_root })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let Self { proc_root, sys_root } = self;
        if let Err(error) = std::fs::metadata(&*sys_root) {
            let error = Error::from(error).context(sys_root.display());
            if !proc_root.is_dir() {
                return Err(error);
            }
            out.partial(error);
        }
        let graph = out.wants::<Node>();
        if graph
            || out.wants::<Machine>()
            || out.wants::<Package>()
            || out.wants::<Core>()
            || out.wants::<Thread>()
            || out.wants::<Cache>()
        {
            self.report_processors(out)?;
        }
        if graph || out.wants::<Memory>() || out.wants::<NumaNode>() {
            memory::report(&self.proc_root, &self.sys_root, out)?;
        }
        if graph || out.wants::<Disk>() || out.wants::<Partition>() || out.wants::<Mount>() {
            storage::report(&self.proc_root, &self.sys_root, out)?;
        }
        if graph || out.wants::<Interface>() {
            interfaces::report(&self.proc_root, &self.sys_root, out)?;
        }
        Ok(())
    }
}

impl HardwareCollector {
    fn report_processors(&self, out: &mut Batch) -> Result<()> {
        let Self { proc_root, sys_root } = self;
        let path = proc_root.join("cpuinfo");
        let bytes = std::fs::read(&path).unwrap_or_else(|error| {
            out.partial(Error::from(error).context(path.display()));
            Vec::new()
        });
        let text = String::from_utf8_lossy(&bytes);
        let info = CpuInfo::parse(&text);
        let topology = Topology::read(sys_root, &info);
        machine::report(proc_root, sys_root, &topology, &info, out)?;
        processors::report(sys_root, &topology, &info, out)?;
        caches::report(&topology, out)
    }
}

export_plugin!(collector = HardwareCollector, name = "hardware");
