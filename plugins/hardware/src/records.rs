//! The streams that the plugin declares, but for the graph. In each of them `node` is the id of
//! the record's node in the stream `nodes`.

mod network;
mod processor;
mod storage;

use dropsonde_plugin_api::Record;

pub(crate) use network::Interface;
pub(crate) use processor::{Cache, Core, Package, Thread};
pub(crate) use storage::{Disk, Mount, Partition};

/// The machine as a whole.
#[derive(Debug, Record)]
pub(crate) struct Machine {
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: &'static str,
    /// Name of the host.
    #[attribute(otel = "host.name")]
    pub(crate) hostname: Option<String>,
    /// Release of the kernel.
    #[attribute]
    pub(crate) kernel: Option<String>,
    /// What the kernel was built for: `x86_64`.
    #[attribute(otel = "host.arch")]
    pub(crate) architecture: String,
    /// Who made the machine, by its firmware (SMBIOS).
    #[attribute]
    pub(crate) vendor: Option<String>,
    /// The machine's model, by its firmware (SMBIOS or device tree).
    #[attribute]
    pub(crate) product: Option<String>,
    /// Version of the model.
    #[attribute]
    pub(crate) product_version: Option<String>,
    /// Who made the board.
    #[attribute]
    pub(crate) board_vendor: Option<String>,
    /// The board's model.
    #[attribute]
    pub(crate) board: Option<String>,
    /// Version of the firmware.
    #[attribute]
    pub(crate) bios_version: Option<String>,
    /// Date of the firmware, as it writes it.
    #[attribute]
    pub(crate) bios_date: Option<String>,
    /// Whether the CPU says that it is a virtual machine's; known on x86 only.
    #[attribute]
    pub(crate) is_virtual: Option<bool>,
    /// Packages with a CPU that is online.
    #[gauge(unit = "{package}")]
    pub(crate) package_count: Option<usize>,
    /// Cores with a CPU that is online.
    #[gauge(unit = "{core}", otel = "system.cpu.physical.count")]
    pub(crate) core_count: Option<usize>,
    /// CPUs as the kernel sees them, hardware threads, whether online or not.
    #[gauge(unit = "{cpu}")]
    pub(crate) thread_count: Option<usize>,
}

/// The memory as a whole.
#[derive(Debug, Record)]
#[record(stream = "memory")]
pub(crate) struct Memory {
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: &'static str,
    /// What the kernel has, without what it keeps for its own image.
    #[gauge(unit = "By")]
    pub(crate) total_bytes: Option<u64>,
}

/// One NUMA node: memory, and the CPUs that are close to it.
#[derive(Debug, Record)]
#[record(stream = "numa_nodes")]
pub(crate) struct NumaNode {
    /// Name of the node: `node0`.
    #[key]
    pub(crate) numa_node: String,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// The CPUs close to it.
    #[attribute]
    pub(crate) threads: Vec<String>,
    /// How far its CPUs have to each node's memory, in the order of the nodes; 10 is their own.
    #[attribute]
    pub(crate) distances: Vec<String>,
    /// Its memory.
    #[gauge(unit = "By")]
    pub(crate) total_bytes: Option<u64>,
}
