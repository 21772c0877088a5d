//! `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::collections::HashMap;

/// One file system, at the place where it is mounted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Device number of the file system: `8:1`. Some, such as btrfs, have one that is no
    /// device's.
    pub(crate) number: String,
    pub(crate) root: String,
    pub(crate) mount_point: String,
    pub(crate) read_only: bool,
    pub(crate) fs_type: String,
    pub(crate) source: String,
}

/// The mounts in the kernel's order, and the numbers of the lines that could not be read. Of
/// several mounts on one mount point only the last is there: it covers the others.
pub(crate) fn parse(text: &[u8]) -> (Vec<Line>, Vec<usize>) {
    let mut malformed = Vec::new();
    let mut mounts = Vec::new();
    for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        match Line::parse(line) {
            Some(mount) => mounts.push(mount),
            None => malformed.push(index + 1),
        }
    }
    let last: HashMap<_, _> = mounts
        .iter()
        .enumerate()
        .map(|(index, mount): (usize, &Line)| (mount.mount_point.clone(), index))
        .collect();
    let mut index = 0..;
    mounts.retain(|mount| last.get(&mount.mount_point).copied() == index.next());
    (mounts, malformed)
}

impl Line {
    /// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`, with any
    /// number of fields before the hyphen.
    fn parse(line: &[u8]) -> Option<Self> {
        let mut words = line.split(|byte| *byte == b' ');
        let number = text_of(words.nth(2)?);
        let root = text_of(words.next()?);
        let mount_point = text_of(words.next()?);
        let options = words.next()?;
        words.find(|word| *word == b"-")?;
        let fs_type = text_of(words.next()?);
        let source = text_of(words.next()?);
        if !number.contains(':') || !mount_point.starts_with('/') {
            return None;
        }
        let read_only = options.split(|byte| *byte == b',').any(|option| option == b"ro");
        Some(Self { number, root, mount_point, read_only, fs_type, source })
    }
}

/// Undoes the kernel's escapes: a backslash and three octal digits stand for a byte
/// (`mangle_path` in fs/seq_file.c). Bytes that are not UTF-8 show as U+FFFD.
fn text_of(bytes: &[u8]) -> String {
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
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_before_the_hyphen_are_as_many_as_there_are() {
        let text = b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,ro\n\
                     37 35 8:1 / /a\\040b ro - xfs /dev/sda1 rw\n\
                     38 35 0:50 / /c rw shared:1 master:2 propagate_from:3 - btrfs  rw\n";
        let (mounts, malformed) = parse(text);
        assert!(malformed.is_empty(), "{malformed:?}");
        let expected = Line {
            number: "98:0".into(),
            root: "/mnt1".into(),
            mount_point: "/mnt2".into(),
            read_only: false,
            fs_type: "ext3".into(),
            source: "/dev/root".into(),
        };
        assert_eq!(mounts[0], expected);
        assert_eq!((mounts[1].mount_point.as_str(), mounts[1].read_only), ("/a b", true));
        assert_eq!((mounts[2].fs_type.as_str(), mounts[2].source.as_str()), ("btrfs", ""));
    }

    #[test]
    fn of_mounts_on_the_same_point_only_the_last_counts() {
        let text = b"1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 0 8:2 / /b rw - xfs /dev/sda2 rw\n\
                     3 0 8:3 / / rw - ext4 /dev/sda3 rw\n";
        let (mounts, _) = parse(text);
        let numbers: Vec<_> = mounts.iter().map(|mount| mount.number.as_str()).collect();
        assert_eq!(numbers, ["8:2", "8:3"]);
    }

    #[test]
    fn a_line_that_can_not_be_read_costs_only_itself() {
        let text = b"what\n1 0 8:1 / / rw - ext4 /dev/sda1 rw\n2 0 8:1 / /x rw no hyphen\n\
                     3 0 8:1 / x rw - ext4 /dev/sda1 rw\n4 0 81 / /y rw - a b\n5 0 8:2 / /z";
        let (mounts, malformed) = parse(text);
        assert_eq!((mounts.len(), malformed), (1, vec![1, 3, 4, 5, 6]));
        assert_eq!(parse(b"1 0 8:1 / /\xff rw - a b").0[0].mount_point, "/\u{fffd}");
    }
}
