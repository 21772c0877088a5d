//! Block devices (Documentation/ABI/stable/sysfs-block): disks, volumes that lie on others, and
//! their partitions.

use std::path::Path;

use crate::graph;
use crate::records::{Disk, Partition};
use crate::sysfs::{self, Entry};

/// A block device that is no partition, and its partitions.
#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) disk: Disk,
    /// What it is in the graph.
    pub(crate) kind: &'static str,
    pub(crate) partitions: Vec<Partition>,
}

/// Sizes in `/sys` are in sectors of this many bytes, whatever the device's own.
const SECTOR: u64 = 512;

/// All that there are, by name.
pub(crate) fn read(sys_root: &Path) -> Vec<Device> {
    let entries = sysfs::entries(sys_root.join("block"));
    let mut devices: Vec<_> =
        entries.into_iter().filter(|entry| !is_idle(entry)).map(Device::read).collect();
    // A disk lies on the paths that lead to it.
    let names: Vec<_> = devices.iter().map(|device| device.disk.disk.clone()).collect();
    for path in names {
        let Some(head) = nvme_head(&path) else { continue };
        if let Some(head) = devices.iter_mut().find(|device| device.disk.disk == head) {
            head.disk.lower.push(path);
        }
    }
    devices
}

/// A RAM disk, or a loop device that shows no file: the kernel makes some of each in advance.
fn is_idle(entry: &Entry) -> bool {
    is_numbered(&entry.name, "ram")
        || (is_numbered(&entry.name, "loop")
            && !entry.path.join("loop").is_dir()
            && sysfs::number::<u64>(entry.path.join("size")).is_none_or(|size| size == 0))
}

fn is_numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix).is_some_and(is_number)
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The kernel's name of a device: a file's can't have a slash, and has `!` for it.
fn device_name(file_name: &str) -> String {
    file_name.replace('!', "/")
}

impl Device {
    fn read(entry: Entry) -> Self {
        let Entry { name: file_name, path } = entry;
        let name = device_name(&file_name);
        let text = |attribute: &str| sysfs::text(path.join(attribute));
        let lower: Vec<_> = sysfs::entries(path.join("slaves"))
            .into_iter()
            .map(|slave| device_name(&slave.name))
            .collect();
        let r#type = device_type(&file_name, &path);
        let kind = match r#type.as_str() {
            "path" => "path",
            "disk" | "rom" if lower.is_empty() => "disk",
            _ => "volume",
        };
        let disk = Disk {
            node: graph::block(&name),
            r#type,
            number: text("dev"),
            model: text("device/model").or_else(|| text("device/name")),
            vendor: text("device/vendor"),
            serial: text("serial").or_else(|| text("device/serial")).or_else(|| scsi_serial(&path)),
            firmware: text("device/firmware_rev").or_else(|| text("device/rev")),
            driver: driver(&path),
            scheduler: text("queue/scheduler").map(|line| chosen(&line).to_owned()),
            mapped_name: text("dm/name"),
            backing_file: text("loop/backing_file"),
            rotational: sysfs::flag(path.join("queue/rotational")),
            removable: sysfs::flag(path.join("removable")),
            read_only: sysfs::flag(path.join("ro")),
            lower,
            size_bytes: sectors(&path.join("size")),
            logical_block_bytes: sysfs::number(path.join("queue/logical_block_size")),
            physical_block_bytes: sysfs::number(path.join("queue/physical_block_size")),
            disk: name,
        };
        let partitions = sysfs::entries(&path)
            .into_iter()
            .filter(|entry| entry.name.starts_with(&file_name))
            .filter_map(|entry| partition(entry, &disk.disk))
            .collect();
        Self { disk, kind, partitions }
    }
}

/// `None` if the directory is no partition's.
fn partition(entry: Entry, disk: &str) -> Option<Partition> {
    let Entry { name, path } = entry;
    let index = sysfs::text(path.join("partition"))?;
    let name = device_name(&name);
    let uevent = sysfs::text(path.join("uevent")).unwrap_or_default();
    let label = uevent.lines().find_map(|line| line.strip_prefix("PARTNAME="));
    Some(Partition {
        node: graph::block(&name),
        disk: disk.to_owned(),
        number: sysfs::text(path.join("dev")),
        index: Some(index),
        label: label.map(str::to_owned),
        read_only: sysfs::flag(path.join("ro")),
        size_bytes: sectors(&path.join("size")),
        start_bytes: sectors(&path.join("start")),
        partition: name,
    })
}

/// By the names that lsblk(8) gives.
fn device_type(name: &str, path: &Path) -> String {
    let text = |attribute: &str| sysfs::text(path.join(attribute));
    if nvme_head(name).is_some() {
        return "path".to_owned();
    }
    if path.join("dm").is_dir() {
        // `LVM-…`, `CRYPT-…`, `mpath-…`; `part1-mpath-…` is a partition on another.
        let uuid = text("dm/uuid").unwrap_or_default();
        let prefix = uuid.split_once('-').map(|(prefix, _)| prefix.to_lowercase());
        return match prefix {
            Some(prefix) if prefix.starts_with("part") => "part".to_owned(),
            Some(prefix) if !prefix.is_empty() => prefix,
            _ => "dm".to_owned(),
        };
    }
    if path.join("md").is_dir() {
        return text("md/level").unwrap_or_else(|| "md".to_owned());
    }
    let by_name = ["loop", "zram"].into_iter().find(|prefix| is_numbered(name, prefix));
    // 5 is a CD-ROM's type in SCSI.
    let is_rom = || text("device/type").as_deref() == Some("5");
    by_name.unwrap_or_else(|| if is_rom() { "rom" } else { "disk" }).to_owned()
}

/// `nvme0n1` of `nvme0c1n1`: with several paths to an NVMe disk, each has a device of its own.
/// `None` if the name isn't that of a path.
fn nvme_head(name: &str) -> Option<String> {
    let (subsystem, path) = name.strip_prefix("nvme")?.split_once('c')?;
    let (controller, namespace) = path.split_once('n')?;
    (is_number(subsystem) && is_number(controller) && is_number(namespace))
        .then(|| format!("nvme{subsystem}n{namespace}"))
}

/// The driver of the device; the device of an NVMe disk is a controller, and that one's is on a
/// bus.
fn driver(path: &Path) -> Option<String> {
    let driver = |device: &str| sysfs::link_name(path.join(device).join("driver"));
    driver("device").or_else(|| driver("device/device"))
}

/// Page 0x80 of SCSI's vital product data: four bytes, of which the last two are the length of
/// the text that follows (SPC-4, 7.8.15).
fn scsi_serial(path: &Path) -> Option<String> {
    let page = std::fs::read(path.join("device/vpd_pg80")).ok()?;
    let length = usize::from(u16::from_be_bytes([*page.get(2)?, *page.get(3)?]));
    let serial = page.get(4..)?;
    let text = String::from_utf8_lossy(&serial[..length.min(serial.len())]);
    let text = text.trim_matches(|character: char| character.is_whitespace() || character == '\0');
    (!text.is_empty()).then(|| text.to_owned())
}

/// The one in brackets of `none [mq-deadline] kyber`; `none` may stand alone.
fn chosen(schedulers: &str) -> &str {
    let inner = schedulers.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
    inner.map_or(schedulers, |(chosen, _)| chosen)
}

fn sectors(path: &Path) -> Option<u64> {
    sysfs::number::<u64>(path)?.checked_mul(SECTOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheduler_in_use_stands_in_brackets_or_alone() {
        assert_eq!(chosen("none [mq-deadline] kyber bfq"), "mq-deadline");
        assert_eq!(chosen("[none] mq-deadline"), "none");
        assert_eq!(chosen("none"), "none");
    }

    #[test]
    fn only_a_path_s_name_has_a_controller() {
        assert_eq!(nvme_head("nvme0c12n3").as_deref(), Some("nvme0n3"));
        for name in ["nvme0n1", "nvme0n1p1", "nvme0cn1", "nvmec1n1", "sda"] {
            assert_eq!(nvme_head(name), None, "{name}");
        }
    }
}
