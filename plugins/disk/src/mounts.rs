//! `/proc/self/mounts` (fstab(5), proc_pid_mounts(5)) and `/proc/filesystems`.
//!
//! Parsed here rather than by `procfs-core`, which leaves `\040` (a space) as it is and gives up
//! the whole file for one line.

use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;
use std::sync::Arc;

/// One file system, at the place where it is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// Shared with the thread that asks for its space.
    pub(crate) path: Arc<Path>,
    /// The same for people: bytes that are not UTF-8 are replaced.
    pub(crate) mount_point: String,
    pub(crate) device: String,
    pub(crate) fs_type: String,
    /// It says how much room it has without waiting for anything; see [`mark_prompt`].
    pub(crate) is_prompt: bool,
}

/// Types whose statfs answers from memory (`s_op->statfs` in the kernel's `fs/`): local file
/// systems that keep the counts of their superblock there, and those that are in memory
/// altogether. Not FAT, which may first count its free clusters on the device, nor ZFS, whose
/// pool may be suspended.
const PROMPT: [&str; 15] = [
    "bpf", "btrfs", "cgroup", "cgroup2", "devpts", "devtmpfs", "ext2", "ext3", "ext4", "f2fs",
    "proc", "ramfs", "sysfs", "tmpfs", "xfs",
];

/// Whether a file system of this type answers from memory.
pub(crate) fn answers_from_memory(fs_type: &str) -> bool {
    PROMPT.contains(&fs_type)
}

/// Marks the mounts that may be asked without fear that the call hangs: they and all mounts on
/// the way to them are of a type that `answers` from memory.
pub(crate) fn mark_prompt(mounts: &mut [Mount], answers: fn(&str) -> bool) {
    let slow = mounts.iter().filter(|mount| !answers(&mount.fs_type));
    let slow: Vec<Arc<Path>> = slow.map(|mount| mount.path.clone()).collect();
    for mount in mounts {
        mount.is_prompt = !slow.iter().any(|slow| mount.path.starts_with(slow));
    }
}

/// Types that people divide into volumes with mount points of their own.
const WITH_VOLUMES: [&str; 2] = ["bcachefs", "btrfs"];

/// Leaves out bind mounts, such as a service manager makes for those that it confines: of several
/// mounts of one device the one with the shortest path stays, as with df(1).
pub(crate) fn leave_out_binds(mounts: &mut Vec<Mount>) {
    let mut shortest: HashMap<String, Arc<Path>> = HashMap::new();
    for mount in mounts.iter() {
        let kept = shortest.entry(mount.device.clone()).or_insert_with(|| mount.path.clone());
        if mount.path.as_os_str().len() < kept.as_os_str().len() {
            *kept = mount.path.clone();
        }
    }
    mounts.retain(|mount| {
        WITH_VOLUMES.contains(&mount.fs_type.as_str())
            || shortest.get(&mount.device).is_some_and(|kept| *kept == mount.path)
    });
}

/// The mounts in the kernel's order, and the numbers of the lines that could not be read. Of
/// several mounts on one mount point only the last is there: it covers the others.
pub(crate) fn parse(text: &[u8]) -> (Vec<Mount>, Vec<usize>) {
    let mut malformed = Vec::new();
    let mut last: HashMap<&[u8], usize> = HashMap::new();
    let mut lines = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        // By single spaces: the device may be empty.
        let mut words = line.split(|byte| *byte == b' ');
        match (words.next(), words.next(), words.next()) {
            (Some(device), Some(point), Some(fs_type)) if point.starts_with(b"/") => {
                last.insert(point, lines.len());
                lines.push((device, point, fs_type));
            }
            _ => malformed.push(index + 1),
        }
    }
    let visible = lines.iter().enumerate().filter(|(index, line)| last.get(line.1) == Some(index));
    let mounts = visible.map(|(_, (device, point, fs_type))| {
        let point = unescape(point);
        Mount {
            mount_point: String::from_utf8_lossy(&point).into_owned(),
            path: Arc::from(Path::new(&OsString::from_vec(point.into_owned()))),
            device: text_of(device),
            fs_type: text_of(fs_type),
            is_prompt: false,
        }
    });
    (mounts.collect(), malformed)
}

/// File system types that store on a device: those not marked `nodev`, and zfs, which manages
/// its devices itself.
pub(crate) fn physical_types(filesystems: &str) -> Vec<&str> {
    let types = filesystems.lines().filter_map(|line| match line.split_once('\t')? {
        ("", name) => Some(name.trim()),
        (_, name) if name.trim() == "zfs" => Some("zfs"),
        _ => None,
    });
    types.collect()
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&unescape(bytes)).into_owned()
}

/// Undoes the kernel's escapes: a backslash and three octal digits stand for a byte
/// (`mangle_path` in fs/seq_file.c; space, tab, newline, `\` and `#`).
fn unescape(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.contains(&b'\\') {
        return Cow::Borrowed(bytes);
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, after @ ..] = rest {
        match rest {
            [b'\\', high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', after @ ..] => {
                plain.push((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'));
                rest = after;
            }
            _ => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(text: &str) -> Vec<(String, String)> {
        let (mounts, malformed) = parse(text.as_bytes());
        assert!(malformed.is_empty(), "{malformed:?}");
        mounts.into_iter().map(|mount| (mount.mount_point, mount.device)).collect()
    }

    #[test]
    fn octal_escapes_are_decoded_once() {
        let text = r"/dev/sd\043a /a\040b\011c\012d\134e xfs rw 0 0
/dev/sdb /literal\134040 xfs rw 0 0
/dev/sdc /odd\08\9 xfs rw 0 0";
        let expected = [
            ("/a b\tc\nd\\e", "/dev/sd#a"),
            (r"/literal\040", "/dev/sdb"),
            (r"/odd\08\9", "/dev/sdc"),
        ];
        assert_eq!(points(text), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn of_the_mounts_of_one_device_the_shortest_path_is_left() {
        let text = "/dev/sda /var/tmp ext4 rw 0 0
/dev/sda / ext4 ro 0 0
/dev/sda /tmp ext4 rw 0 0
/dev/sdb /data xfs rw 0 0
/dev/sdc /home btrfs rw,subvol=/home 0 0
/dev/sdc /srv btrfs rw,subvol=/srv 0 0
/dev/sdb /data/old xfs rw 0 0
";
        let (mut mounts, _) = parse(text.as_bytes());
        leave_out_binds(&mut mounts);
        let left: Vec<&str> = mounts.iter().map(|mount| mount.mount_point.as_str()).collect();
        assert_eq!(left, ["/", "/data", "/home", "/srv"]);
    }

    #[test]
    fn a_path_that_is_not_utf_8_keeps_its_bytes() {
        let (mounts, _) = parse(b"/dev/sda /x\xffy xfs rw 0 0\n");
        assert_eq!(mounts[0].path.as_os_str().as_encoded_bytes(), b"/x\xffy");
        assert_eq!(mounts[0].mount_point, "/x\u{fffd}y");
    }

    #[test]
    fn of_mounts_on_the_same_point_only_the_last_counts() {
        let text = "rootfs / rootfs rw 0 0\n/dev/sdb /b xfs rw 0 0\n/dev/sda / ext4 rw 0 0\n";
        let expected = [("/b", "/dev/sdb"), ("/", "/dev/sda")];
        assert_eq!(points(text), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }

    #[test]
    fn a_mount_below_one_that_may_hang_may_hang_too() {
        let text = "/dev/sda / ext4 rw 0 0\ns:/e /nfs nfs4 rw 0 0\n\
                    /dev/sdb /nfs/below xfs rw 0 0\n/dev/sdc /nfs2 xfs rw 0 0\n";
        let (mut mounts, _) = parse(text.as_bytes());
        mark_prompt(&mut mounts, answers_from_memory);
        let prompt: Vec<bool> = mounts.iter().map(|mount| mount.is_prompt).collect();
        assert_eq!(prompt, [true, false, false, true]);
    }

    #[test]
    fn an_empty_device_is_no_shift_of_the_fields() {
        assert_eq!(points(" /x tmpfs rw 0 0\n"), [("/x".to_owned(), String::new())]);
    }

    #[test]
    fn a_malformed_line_costs_only_itself() {
        let (mounts, malformed) = parse(b"what\n/dev/sda / ext4 rw 0 0\na b c\n");
        assert_eq!((mounts.len(), malformed), (1, vec![1, 3]));
    }

    #[test]
    fn types_without_a_device_are_not_physical_but_zfs_is() {
        let text = "nodev\tproc\n\text4\nnodev\tzfs\nnodev\toverlay\n\tfuseblk\n";
        assert_eq!(physical_types(text), ["ext4", "zfs", "fuseblk"]);
    }
}
