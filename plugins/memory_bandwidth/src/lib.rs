//! Paging, swapping and page faults: one record, read from `/proc/vmstat` (proc_vmstat(5)).

#[cfg(test)]
mod tests;
mod vmstat;

use std::path::{Path, PathBuf};
use std::time::Duration;

use dropsonde_plugin_api::prelude::*;

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

/// Paging, swapping and page faults since boot.
#[derive(Debug, Default, PartialEq, Record)]
struct Paging {
    // The kernel counts pgpgin and pgpgout in sectors and prints them halved, hence KiB
    // (mm/vmstat.c); system.paging.operations counts operations, so they can't have that name.
    /// Data read from block devices.
    #[counter(unit = "KiBy")]
    pgpgin: Option<u64>,
    /// Data written to block devices.
    #[counter(unit = "KiBy")]
    pgpgout: Option<u64>,
    /// Pages read from swap.
    #[counter(
        unit = "{page}",
        otel = "system.paging.operations",
        attributes(direction = "page_in", type = "major")
    )]
    pswpin: Option<u64>,
    /// Pages written to swap.
    #[counter(
        unit = "{page}",
        otel = "system.paging.operations",
        attributes(direction = "page_out", type = "major")
    )]
    pswpout: Option<u64>,
    // Without an OpenTelemetry name: system.paging.faults has only major or minor ones.
    /// Page faults, major and minor.
    #[counter(unit = "{fault}")]
    pgfault: Option<u64>,
    /// Page faults that had to read from storage.
    #[counter(unit = "{fault}", otel = "system.paging.faults", attributes(type = "major"))]
    pgmajfault: Option<u64>,
}

struct PagingCollector {
    vmstat: KeptFile,
}

impl Collector for PagingCollector {
    type Settings = Settings;
    type Streams = (Paging,);

    /// Statistics over some time; `/proc/vmstat` is the dearest of the files that agents read.
    const INTERVAL: Duration = Duration::from_secs(10);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        Ok(Self { vmstat: KeptFile::new(Path::join(&settings.proc_root, "vmstat")) })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        if !out.wants::<Paging>() {
            return Ok(());
        }
        let parsed = vmstat::parse(self.vmstat.read()?);
        out.push(parsed.map_err(|error| error.context(self.vmstat.path().display()))?)
    }
}

export_plugin!(collector = PagingCollector, name = "memory_bandwidth");
