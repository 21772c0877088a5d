//! Which block devices are disks, so that a total counts each byte once.

use std::fs;
use std::path::{Path, PathBuf};

use dropsonde_plugin_api::{Error, Result};

use crate::diskstats::Line;

/// Devices that are no disk or lie on one that is counted: loop devices, RAM disks, compressed
/// RAM, device mapper, RAID, ZFS volumes. By name, since a mapped device appears before the
/// devices below it are linked.
const NOT_A_DISK: [&str; 6] = ["loop", "ram", "zram", "dm-", "md", "zd"];

/// Tells disks from partitions and from devices stacked on disks. What it found is kept for as
/// long as the same devices are listed.
#[derive(Debug)]
pub(crate) struct WholeDisks {
    /// `/sys/block`, which has a directory for each device that is no partition.
    block: PathBuf,
    names: Vec<String>,
    whole: Vec<bool>,
}

impl WholeDisks {
    pub(crate) fn new(sys_root: &Path) -> Self {
        Self { block: sys_root.join("block"), names: Vec::new(), whole: Vec::new() }
    }

    /// The lines of disks. An error names the directory that can't be read.
    pub(crate) fn select<'a>(&mut self, lines: &'a [Line]) -> Result<Vec<&'a Line>> {
        if !lines.iter().map(|line| line.name()).eq(self.names.iter().map(String::as_str)) {
            self.names.clear();
            fs::metadata(&self.block)
                .map_err(|error| Error::from(error).context(self.block.display()))?;
            self.whole = lines.iter().map(|line| self.is_whole(line.name())).collect();
            self.names = lines.iter().map(|line| line.name().to_owned()).collect();
        }
        let whole = lines.iter().zip(&self.whole).filter(|(_, whole)| **whole);
        let disks = whole.filter(|(line, _)| !is_counted_by_its_head(line, lines));
        Ok(disks.map(|(line, _)| line).collect())
    }

    fn is_whole(&self, name: &str) -> bool {
        // Some drivers put a slash into the name, which can't be in a file's.
        let device = self.block.join(name.replace('/', "!"));
        let is_stacked =
            || fs::read_dir(device.join("slaves")).is_ok_and(|mut dir| dir.next().is_some());
        !NOT_A_DISK.iter().any(|prefix| is_numbered(name, prefix))
            && device.exists()
            && !is_stacked()
    }
}

/// Whether the name is the prefix and a number, as `md127` or `md_d0`; `mdraid` isn't.
fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .map(|rest| rest.strip_prefix("_d").unwrap_or(rest))
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Of an NVMe disk with several paths, `nvme0c1n1` is a path and `nvme0n1` the disk. Since Linux
/// 6.4 the disk counts what its paths do; before, only the paths count.
fn is_counted_by_its_head(line: &Line, lines: &[Line]) -> bool {
    let Some(head) = nvme_head(line.name()) else { return false };
    lines.iter().any(|line| line.name() == head && line.has_counted())
}

/// `nvme0n1` of `nvme0c1n1`; `None` if the name isn't that of a path.
fn nvme_head(name: &str) -> Option<String> {
    let (subsystem, path) = name.strip_prefix("nvme")?.split_once('c')?;
    let (controller, namespace) = path.split_once('n')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(subsystem) && is_number(controller) && is_number(namespace))
        .then(|| format!("nvme{subsystem}n{namespace}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, reads: u64) -> String {
        format!("0 0 {name} {reads} 0 0 0 0 0 0 0 0 0 0")
    }

    fn selected(texts: &[String], sys_root: &Path) -> Vec<String> {
        let lines: Vec<_> = texts.iter().filter_map(|text| Line::parse(text)).collect();
        let mut disks = WholeDisks::new(sys_root);
        disks.select(&lines).unwrap().iter().map(|line| line.name().to_owned()).collect()
    }

    fn sysfs(devices: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for device in devices {
            fs::create_dir_all(root.path().join("block").join(device).join("slaves")).unwrap();
        }
        root
    }

    #[test]
    fn partitions_and_devices_without_a_disk_of_their_own_are_left_out() {
        let names = ["sda", "sda1", "loop0", "ram1", "zram0", "dm-3", "md127", "md_d0", "zd16"];
        let root = sysfs(&names.map(|name| if name == "sda1" { "sdb" } else { name }));
        let lines = names.map(|name| line(name, 1));
        assert_eq!(selected(&lines, root.path()), ["sda"]);
    }

    #[test]
    fn a_device_with_others_below_it_is_left_out() {
        let root = sysfs(&["sda", "bcache0"]);
        fs::write(root.path().join("block/bcache0/slaves/sda"), "").unwrap();
        assert_eq!(selected(&[line("sda", 1), line("bcache0", 1)], root.path()), ["sda"]);
    }

    #[test]
    fn a_slash_in_a_name_is_found_as_an_exclamation_mark() {
        let root = sysfs(&["cciss!c0d0"]);
        assert_eq!(selected(&[line("cciss/c0d0", 1)], root.path()), ["cciss/c0d0"]);
    }

    #[test]
    fn the_paths_of_an_nvme_disk_are_not_counted_beside_it() {
        let root = sysfs(&["nvme0n1", "nvme0c0n1", "nvme0c1n1"]);
        let paths = [line("nvme0c0n1", 1), line("nvme0c1n1", 1)];
        let head_counts = [[line("nvme0n1", 2)].as_slice(), &paths].concat();
        assert_eq!(selected(&head_counts, root.path()), ["nvme0n1"]);
        let head_is_idle = [[line("nvme0n1", 0)].as_slice(), &paths].concat();
        assert_eq!(selected(&head_is_idle, root.path()), ["nvme0n1", "nvme0c0n1", "nvme0c1n1"]);
    }

    #[test]
    fn a_disk_that_is_plugged_in_is_counted_from_then_on() {
        let root = sysfs(&["sda"]);
        let mut disks = WholeDisks::new(root.path());
        let [one, two] = [line("sda", 1), line("sdb", 1)];
        let first = [Line::parse(&one).unwrap()];
        assert_eq!(disks.select(&first).unwrap().len(), 1);
        fs::create_dir_all(root.path().join("block/sdb")).unwrap();
        let second = [Line::parse(&one).unwrap(), Line::parse(&two).unwrap()];
        assert_eq!(disks.select(&second).unwrap().len(), 2);
    }
}
