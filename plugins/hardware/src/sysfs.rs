//! Attributes, links and directories of `/sys` and `/proc`. What is not there is `None`, or an
//! empty list: a part of the machine that does not tell is no fault.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Highest CPU number that is believed; the kernel's own limit is 8191 (NR_CPUS).
const MAX_CPU: u32 = 65_535;

/// An entry of a directory.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    /// Bytes that are not UTF-8 show as U+FFFD.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

/// The text of an attribute, without white space and NULs around it; `None` if it is empty or
/// can't be read. Bytes that are not UTF-8 show as U+FFFD.
pub(crate) fn text(path: impl AsRef<Path>) -> Option<String> {
    let bytes = fs::read(path).ok()?;
    let text = String::from_utf8_lossy(&bytes);
    let trimmed =
        text.trim_matches(|character: char| character.is_whitespace() || character == '\0');
    (!trimmed.is_empty()).then(|| trimmed.to_owned())
}

/// The number that an attribute holds.
pub(crate) fn number<T: FromStr>(path: impl AsRef<Path>) -> Option<T> {
    text(path)?.parse().ok()
}

/// An attribute that is `0` or `1`.
pub(crate) fn flag(path: impl AsRef<Path>) -> Option<bool> {
    match text(path)?.as_str() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// A number of the firmware's or the kernel's for something; negative ones stand for "unknown".
pub(crate) fn identifier(path: impl AsRef<Path>) -> Option<String> {
    text(path).filter(|text| !text.starts_with('-'))
}

/// The last component of where a symbolic link points to.
pub(crate) fn link_name(path: impl AsRef<Path>) -> Option<String> {
    let target = fs::read_link(path).ok()?;
    Some(target.file_name()?.to_string_lossy().into_owned())
}

/// The entries of a directory, numbers at the end of a name in numeric order.
pub(crate) fn entries(directory: impl AsRef<Path>) -> Vec<Entry> {
    let Ok(found) = fs::read_dir(directory) else { return Vec::new() };
    let mut entries: Vec<_> = found
        .flatten()
        .map(|entry| Entry {
            name: entry.file_name().to_string_lossy().into_owned(),
            path: entry.path(),
        })
        .collect();
    entries.sort_by(|a, b| order(&a.name).cmp(&order(&b.name)));
    entries
}

/// The entries that are called `prefix` and a number, with the number.
pub(crate) fn numbered(directory: impl AsRef<Path>, prefix: &str) -> Vec<(u32, Entry)> {
    let number = |entry: Entry| Some((parse_number(entry.name.strip_prefix(prefix)?)?, entry));
    entries(directory).into_iter().filter_map(number).collect()
}

/// Without signs, which `parse` would take.
fn parse_number(digits: &str) -> Option<u32> {
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// Names and the number that they end in, so that `cpu2` comes before `cpu10`.
fn order(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|character: char| character.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

/// The CPUs of a list such as `0-3,8` (Documentation/admin-guide/cputopology.rst), in its order.
/// Empty if it is not one.
pub(crate) fn cpu_list(text: &str) -> Vec<u32> {
    let mut cpus = Vec::new();
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (parse_number(first), parse_number(last)) {
            (Some(first), Some(last)) if last <= MAX_CPU => cpus.extend(first..=last),
            _ => return Vec::new(),
        }
    }
    cpus
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_list_has_numbers_and_ranges() {
        assert_eq!(cpu_list("0-3,8, 10-11\n"), [0, 1, 2, 3, 8, 10, 11]);
        assert!(cpu_list("").is_empty());
        for text in ["x", "1-", "-1", "+1", "3-0-1", "0-4294967295", "0,y"] {
            assert!(cpu_list(text).is_empty(), "{text}");
        }
    }

    #[test]
    fn names_stand_in_the_order_of_their_numbers() {
        let mut names = ["sdb", "cpu10", "cpu2", "sda", "nvme0n10", "nvme0n9", "cpu"];
        names.sort_by(|a, b| order(a).cmp(&order(b)));
        assert_eq!(names, ["cpu", "cpu2", "cpu10", "nvme0n9", "nvme0n10", "sda", "sdb"]);
    }
}
