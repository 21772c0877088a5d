//! The machine as a whole: what its firmware and the kernel call it.

use std::path::Path;

use dropsonde_plugin_api::{Batch, Result};

use crate::cpuinfo::CpuInfo;
use crate::graph;
use crate::records::Machine;
use crate::sysfs;
use crate::topology::Topology;

/// Pushes the record and the node of the host.
pub(crate) fn report(
    proc_root: &Path,
    sys_root: &Path,
    topology: &Topology,
    info: &CpuInfo<'_>,
    out: &mut Batch,
) -> Result<()> {
    let kernel = |name: &str| sysfs::text(proc_root.join("sys/kernel").join(name));
    let firmware = |name: &str| sysfs::text(sys_root.join("class/dmi/id").join(name));
    let device_tree = || sysfs::text(sys_root.join("firmware/devicetree/base/model"));
    // Only x86 has the flag, and only x86 calls the list so.
    let flags = info.numbers().next().and_then(|first| info.field(first, &["flags"]));
    let count = |count: usize| (count > 0).then_some(count);
    let hostname = kernel("hostname");
    let name = hostname.clone().unwrap_or_else(|| graph::HOST.to_owned());
    graph::add(out, graph::HOST, "host", name, Vec::new())?;
    out.push(Machine {
        node: graph::HOST,
        hostname,
        kernel: kernel("osrelease"),
        // Since Linux 6.1; before, what the plugin itself was built for.
        architecture: kernel("arch").unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
        vendor: firmware("sys_vendor"),
        product: firmware("product_name").or_else(device_tree),
        product_version: firmware("product_version"),
        board_vendor: firmware("board_vendor"),
        board: firmware("board_name"),
        bios_version: firmware("bios_version"),
        bios_date: firmware("bios_date"),
        is_virtual: flags.map(|flags| flags.split_whitespace().any(|flag| flag == "hypervisor")),
        package_count: count(topology.packages.len()),
        core_count: count(topology.cores.len()),
        thread_count: count(topology.threads.len()),
    })
}
