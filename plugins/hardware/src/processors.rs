//! Packages, cores and hardware threads.

use std::path::Path;

use dropsonde_plugin_api::{Batch, Result};

use crate::cpuinfo::{CpuInfo, Identity};
use crate::graph;
use crate::records::{Core, Package, Thread};
use crate::sysfs;
use crate::topology::{self, Topology};

/// Pushes the records and nodes of the packages and of what is in them.
pub(crate) fn report(
    sys_root: &Path,
    topology: &Topology,
    info: &CpuInfo<'_>,
    out: &mut Batch,
) -> Result<()> {
    out.publish_empty::<Package>()?;
    out.publish_empty::<Core>()?;
    out.publish_empty::<Thread>()?;
    let cores = cores(sys_root, topology, info);
    for (name, threads) in &topology.packages {
        graph::add(out, graph::package(name), "package", format!("package {name}"), Vec::new())?;
        let in_it = cores.iter().filter(|core| core.package == *name);
        out.push(package(name, threads, in_it, info))?;
    }
    for core in cores {
        let parents = vec![graph::package(&core.package)];
        graph::add(out, core.node.clone(), "core", format!("core {}", core.core), parents)?;
        out.push(core)?;
    }
    for thread in &topology.threads {
        let name = format!("cpu{}", thread.number);
        let core = thread.core.map(graph::core);
        let parent = core.or_else(|| thread.package.as_deref().map(graph::package));
        let node = graph::thread(thread.number);
        graph::add(out, node.clone(), "thread", name.clone(), parent.into_iter().collect())?;
        out.push(Thread {
            thread: name,
            node,
            online: thread.online,
            package: thread.package.clone(),
            core: thread.core.map(|core| core.to_string()),
            numa_node: thread.numa_node.clone(),
        })?;
    }
    Ok(())
}

fn package<'a>(
    name: &str,
    threads: &[u32],
    cores: impl Iterator<Item = &'a Core> + Clone,
    info: &CpuInfo<'_>,
) -> Package {
    let first = threads.iter().copied().find(|thread| info.has(*thread));
    let Identity { vendor, model, family, model_id, stepping, microcode } =
        first.map(|first| info.identity(first)).unwrap_or_default();
    let core_count = cores.clone().count();
    Package {
        package: name.to_owned(),
        node: graph::package(name),
        vendor,
        model,
        family,
        model_id,
        stepping,
        microcode,
        flags: first.map(|first| info.flags(first)).unwrap_or_default(),
        core_count: (core_count > 0).then_some(core_count),
        thread_count: threads.len(),
        max_mhz: cores.filter_map(|core| core.max_mhz).reduce(f64::max),
    }
}

fn cores(sys_root: &Path, topology: &Topology, info: &CpuInfo<'_>) -> Vec<Core> {
    let types = core_types(sys_root);
    let core = |(number, core): (&u32, &topology::Core)| {
        let thread = core.threads.first().unwrap_or(number);
        let found = topology.thread(*thread);
        let directory = found.map(|thread| thread.directory.as_path());
        let mhz = |name: &str| {
            let khz: f64 = sysfs::number(directory?.join("cpufreq").join(name))?;
            Some(khz / 1000.0)
        };
        let core_type = types.iter().find(|(_, cpus)| cpus.contains(thread));
        Core {
            core: *number,
            node: graph::core(*number),
            package: core.package.clone(),
            die: core.die.clone(),
            cluster: core.cluster.clone(),
            core_id: core.core_id.clone(),
            core_type: core_type.map(|(name, _)| name.clone()),
            model: info.identity(*thread).model,
            numa_node: found.and_then(|thread| thread.numa_node.clone()),
            threads: thread_names(&core.threads),
            min_mhz: mhz("cpuinfo_min_freq"),
            max_mhz: mhz("cpuinfo_max_freq"),
            capacity: directory.and_then(capacity),
        }
    };
    topology.cores.iter().map(core).collect()
}

/// The kernel gives the fastest cores 1024 (Documentation/scheduler/sched-capacity.rst).
fn capacity(directory: &Path) -> Option<f64> {
    Some(sysfs::number::<f64>(directory.join("cpu_capacity"))? / 1024.0)
}

/// Where cores differ, each kind has counters of its own: `/sys/devices/cpu_core/cpus`
/// (Documentation/admin-guide/perf/intel-hybrid.rst).
fn core_types(sys_root: &Path) -> Vec<(String, Vec<u32>)> {
    let of = |entry: sysfs::Entry| {
        let name = entry.name.strip_prefix("cpu_")?.to_owned();
        let cpus = sysfs::cpu_list(&sysfs::text(entry.path.join("cpus"))?);
        Some((name, cpus))
    };
    sysfs::entries(sys_root.join("devices")).into_iter().filter_map(of).collect()
}

/// CPUs by the names that the kernel gives them.
pub(crate) fn thread_names(numbers: &[u32]) -> Vec<String> {
    numbers.iter().map(|number| format!("cpu{number}")).collect()
}
