//! The lines of `/proc/meminfo` that the plugin shows.

use dropsonde_plugin_api::{Error, Result};

/// Figures of proc_meminfo(5), in bytes; `None` for a line that the kernel does not have.
///
/// Not procfs-core's type of the same name: that one refuses the whole file when one of 17
/// lines is missing, as in some containers, and allocates each key to keep all 55.
#[derive(Debug, Default)]
pub(crate) struct Meminfo {
    pub(crate) total: u64,
    pub(crate) available: Option<u64>,
    pub(crate) free: Option<u64>,
    pub(crate) buffers: Option<u64>,
    pub(crate) cached: Option<u64>,
    pub(crate) shared: Option<u64>,
    pub(crate) slab: Option<u64>,
    pub(crate) slab_reclaimable: Option<u64>,
    pub(crate) swap_total: Option<u64>,
    pub(crate) swap_free: Option<u64>,
}

impl Meminfo {
    /// Fails if a line that is needed can't be understood, or if there is no MemTotal.
    pub(crate) fn parse(text: &[u8]) -> Result<Self> {
        let mut meminfo = Self::default();
        let mut total = None;
        for line in text.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else { continue };
            let slot = match &line[..colon] {
                b"MemTotal" => &mut total,
                b"MemAvailable" => &mut meminfo.available,
                b"MemFree" => &mut meminfo.free,
                b"Buffers" => &mut meminfo.buffers,
                b"Cached" => &mut meminfo.cached,
                b"Shmem" => &mut meminfo.shared,
                b"Slab" => &mut meminfo.slab,
                b"SReclaimable" => &mut meminfo.slab_reclaimable,
                b"SwapTotal" => &mut meminfo.swap_total,
                b"SwapFree" => &mut meminfo.swap_free,
                _ => continue,
            };
            let bytes = bytes_of(&line[colon + 1..]).ok_or_else(|| {
                let line = String::from_utf8_lossy(line);
                Error::msg(format_args!("the line `{line}` is not `NAME: NUMBER kB`"))
            })?;
            *slot = Some(bytes);
        }
        meminfo.total = total.ok_or_else(|| Error::msg("there is no line `MemTotal`"))?;
        Ok(meminfo)
    }
}

/// The bytes of `   24684084 kB`. The kernel's kB are 1024 bytes (proc_meminfo(5)).
fn bytes_of(value: &[u8]) -> Option<u64> {
    let kib = value.trim_ascii().strip_suffix(b" kB")?;
    let kib: u64 = std::str::from_utf8(kib.trim_ascii_end()).ok()?.parse().ok()?;
    kib.checked_mul(1024)
}
