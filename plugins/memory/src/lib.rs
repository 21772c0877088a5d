//! Use of memory and swap: one record, read from `/proc/meminfo` (proc_meminfo(5)).

mod meminfo;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use dropsonde_plugin_api::prelude::*;

use crate::meminfo::Meminfo;

/// What the user may set.
#[settings]
struct Settings {
    /// Where procfs is mounted.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

/// Use of memory and swap.
#[derive(Record)]
struct Memory {
    /// Memory that the kernel manages.
    #[gauge(unit = "By", otel = "system.memory.limit")]
    total_bytes: u64,
    /// Estimate of what new programs could use without swapping (MemAvailable).
    #[gauge(unit = "By", otel = "system.linux.memory.available")]
    available_bytes: Option<u64>,
    // So computes the host metrics receiver of the OpenTelemetry Collector too, with its feature
    // gate UseLinuxMemAvailable; without it, it takes total - free - buffered - cached.
    /// Total less available.
    #[gauge(unit = "By", otel = "system.memory.usage", attributes(state = "used"))]
    used_bytes: Option<u64>,
    /// Used memory as a share of the total.
    #[gauge(unit = "%")]
    percent: Option<f64>,
    /// Memory that nothing uses, not even as cache.
    #[gauge(unit = "By", otel = "system.memory.usage", attributes(state = "free"))]
    free_bytes: Option<u64>,
    /// Cached blocks of block devices.
    #[gauge(unit = "By", otel = "system.memory.usage", attributes(state = "buffered"))]
    buffers_bytes: Option<u64>,
    /// Page cache and reclaimable slab, as free(1) shows it; holds shared_bytes too.
    #[gauge(unit = "By", otel = "system.memory.usage", attributes(state = "cached"))]
    cached_bytes: Option<u64>,
    /// Shared memory and tmpfs files (Shmem).
    #[gauge(unit = "By")]
    shared_bytes: Option<u64>,
    /// The kernel's own data structures, reclaimable or not.
    #[gauge(unit = "By")]
    slab_bytes: Option<u64>,
    /// Swap space.
    #[gauge(unit = "By")]
    swap_total_bytes: Option<u64>,
    /// Swap space in use.
    #[gauge(unit = "By", otel = "system.paging.usage", attributes(state = "used"))]
    swap_used_bytes: Option<u64>,
    /// Swap space not in use.
    #[gauge(unit = "By", otel = "system.paging.usage", attributes(state = "free"))]
    swap_free_bytes: Option<u64>,
    /// Swap in use as a share of all swap; 0 on a machine without swap.
    #[gauge(unit = "%")]
    swap_percent: Option<f64>,
}

struct MemoryCollector {
    meminfo: KeptFile,
}

impl Collector for MemoryCollector {
    type Settings = Settings;
    type Streams = (Memory,);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        Ok(Self { meminfo: KeptFile::new(Path::join(&settings.proc_root, "meminfo")) })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        if !out.wants::<Memory>() {
            return Ok(());
        }
        let parsed = Meminfo::parse(self.meminfo.read()?);
        let meminfo = parsed.map_err(|error| error.context(self.meminfo.path().display()))?;
        out.push(Memory::from(meminfo))
    }
}

impl From<Meminfo> for Memory {
    fn from(meminfo: Meminfo) -> Self {
        let total = meminfo.total;
        // A container's view may mix figures of the container and of the machine, so a part may
        // exceed its whole: then the difference is unknown.
        let used = meminfo.available.and_then(|available| total.checked_sub(available));
        let swap_used =
            meminfo.swap_total.zip(meminfo.swap_free).and_then(|(all, free)| all.checked_sub(free));
        Self {
            total_bytes: total,
            available_bytes: meminfo.available,
            used_bytes: used,
            percent: used.map(|used| percent(used, total)),
            free_bytes: meminfo.free,
            buffers_bytes: meminfo.buffers,
            // A kernel without the SReclaimable line has no slab to add.
            cached_bytes: meminfo
                .cached
                .map(|cached| cached.saturating_add(meminfo.slab_reclaimable.unwrap_or(0))),
            shared_bytes: meminfo.shared,
            slab_bytes: meminfo.slab,
            swap_total_bytes: meminfo.swap_total,
            swap_used_bytes: swap_used,
            swap_free_bytes: meminfo.swap_free,
            swap_percent: swap_used.zip(meminfo.swap_total).map(|(used, all)| percent(used, all)),
        }
    }
}

fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 * 100.0 }
}

export_plugin!(collector = MemoryCollector, name = "memory");
