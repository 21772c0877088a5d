//! Space of the mounted file systems and I/O of the block devices.

mod diskstats;
mod filter;
mod mounts;
mod prober;
mod records;
mod selection;
mod space;
#[cfg(test)]
mod tests;
mod whole_disks;

use std::path::PathBuf;
use std::time::Duration;

use dropsonde_plugin_api::prelude::*;

use crate::diskstats::Line;
use crate::filter::Filter;
use crate::mounts::Mount;
use crate::prober::{Answer, Prober};
use crate::records::{Device, Disks, Partition};
use crate::selection::Selection;
use crate::space::Space;
use crate::whole_disks::WholeDisks;

/// What the user may set. Lists of file system types and mount points take patterns, in which
/// `*` stands for any run of characters.
#[settings]
struct Settings {
    /// Where procfs is mounted.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
    /// Where sysfs is mounted.
    #[serde(default = "default_sys_root")]
    sys_root: PathBuf,
    /// Shows all mounts instead of the root and one of each device.
    #[serde(default)]
    all: bool,
    /// Shows the file systems of these types, instead of the default choice.
    #[serde(default)]
    include_fs: Vec<String>,
    /// Never shows file systems of these types.
    #[serde(default)]
    exclude_fs: Vec<String>,
    /// Shows these mount points, instead of the default choice.
    #[serde(default)]
    include_mounts: Vec<String>,
    /// Never shows these mount points.
    #[serde(default)]
    exclude_mounts: Vec<String>,
    /// How long all file systems together may take to say how much room they have.
    #[serde(default = "default_timeout_ms")]
    timeout_ms: u64,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

fn default_sys_root() -> PathBuf {
    "/sys".into()
}

fn default_timeout_ms() -> u64 {
    500
}

/// Longest limit that can be set; the host's own deadline is far shorter.
const MAX_TIMEOUT_MS: u64 = 3_600_000;

struct DiskCollector {
    diskstats: KeptFile,
    whole_disks: WholeDisks,
    selection: Selection,
    prober: Prober,
    timeout_ms: u64,
}

impl Collector for DiskCollector {
    type Settings = Settings;
    type Streams = (Disks, Partition<'static>, Device<'static>);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        let Settings { proc_root, sys_root, timeout_ms, .. } = settings;
        if !(1..=MAX_TIMEOUT_MS).contains(&timeout_ms) {
            let text = format_args!("must be from 1 to {MAX_TIMEOUT_MS} milliseconds");
            return Err(Error::setting("timeout_ms", text));
        }
        let filter = Filter {
            all: settings.all,
            include_fs: settings.include_fs,
            exclude_fs: settings.exclude_fs,
            include_mounts: settings.include_mounts,
            exclude_mounts: settings.exclude_mounts,
        };
        Ok(Self {
            diskstats: KeptFile::new(proc_root.join("diskstats")),
            whole_disks: WholeDisks::new(&sys_root),
            selection: Selection::new(&proc_root, filter),
            prober: Prober::new(Duration::from_millis(timeout_ms), Box::new(space::statvfs)),
            timeout_ms,
        })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let wants_devices = out.wants::<Disks>() || out.wants::<Device<'_>>();
        let devices = wants_devices.then(|| self.collect_devices(out));
        let partitions = out.wants::<Partition<'_>>().then(|| self.collect_partitions(out));
        match (devices, partitions) {
            // One of the two is there to show.
            (Some(Err(error)), Some(Ok(()))) | (Some(Ok(())), Some(Err(error))) => {
                out.partial(error);
                Ok(())
            }
            (Some(Err(error)), _) | (_, Some(Err(error))) => Err(error),
            _ => Ok(()),
        }
    }
}

impl DiskCollector {
    fn collect_devices(&mut self, out: &mut Batch) -> Result<()> {
        let mut lines = Vec::new();
        let mut malformed = Vec::new();
        for (index, text) in self.diskstats.read_text()?.lines().enumerate() {
            match Line::parse(text) {
                Some(line) => lines.push(line),
                None => malformed.push(index + 1),
            }
        }
        if out.wants::<Device<'_>>() {
            out.publish_empty::<Device<'_>>()?;
            lines.iter().try_for_each(|line| out.push(line.device()))?;
        }
        if out.wants::<Disks>() {
            let disks = self.whole_disks.select(&lines).unwrap_or_else(|error| {
                out.partial(error);
                Vec::new()
            });
            // A total that lacks a disk would look like a counter that was reset.
            out.push(diskstats::total(if malformed.is_empty() { &disks } else { &[] }))?;
        }
        let path = self.diskstats.path().display();
        for line in malformed {
            out.partial(format_args!("{path}: line {line}: malformed"));
        }
        Ok(())
    }

    fn collect_partitions(&mut self, out: &mut Batch) -> Result<()> {
        let selected = self.selection.read()?;
        selected.partial.iter().for_each(|what| out.partial(what));
        out.publish_empty::<Partition<'_>>()?;
        let slow = selected.mounts.iter().filter(|mount| !mount.is_prompt);
        let answers = self
            .prober
            .ask(slow.map(|mount| &mount.path))
            .map_err(|error| Error::from(error).context("starting a thread for statvfs"))?;
        let mut slow = answers.into_iter();
        let mut failed = false;
        for mount in &selected.mounts {
            let answer = if mount.is_prompt {
                self.prober.ask_now(&mount.path)
            } else {
                slow.next().unwrap_or(Answer::NotReached)
            };
            let space = space_of(answer, self.timeout_ms).unwrap_or_else(|why| {
                out.partial(format_args!("{}: {why}", mount.mount_point));
                failed = true;
                None
            });
            out.push(partition(mount, space))?;
        }
        if failed {
            self.selection.doubt();
        }
        Ok(())
    }
}

/// The space, or why it is missing.
fn space_of(answer: Answer, timeout_ms: u64) -> Result<Option<Space>, String> {
    match answer {
        Answer::Returned(Ok(space)) => Ok(Some(space)),
        Answer::Returned(Err(error)) => Err(format!("statvfs: {error}")),
        Answer::TimedOut => Err(format!("statvfs has not answered within {timeout_ms} ms")),
        Answer::StillHung => Err("an earlier statvfs has still not answered".to_owned()),
        Answer::NotReached => {
            Err(format!("not read within {timeout_ms} ms, held up by other mounts"))
        }
    }
}

fn partition(mount: &Mount, space: Option<Space>) -> Partition<'_> {
    Partition {
        mount_point: &mount.mount_point,
        device: &mount.device,
        fs_type: &mount.fs_type,
        total_bytes: space.and_then(|space| space.total_bytes()),
        used_bytes: space.and_then(|space| space.used_bytes()),
        free_bytes: space.and_then(|space| space.free_bytes()),
        percent: space.and_then(|space| space.percent()),
    }
}

export_plugin!(collector = DiskCollector, name = "disk");
