//! `[history]`: what is stored, where, and for how long.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::node::{Node, Tree};
use super::section::{Problems, Section, duration, path as path_of, size, text};
use super::validate::interval;
use crate::bus::Pattern;

/// What is stored of the streams, and for how long.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// The streams.
    pub streams: Vec<Pattern>,
    /// The SQLite file.
    pub path: PathBuf,
    /// One batch of each `metrics.*` stream is stored per interval; nothing is read for it.
    pub interval: Duration,
    /// Longest that a batch waits to be written: what a SIGKILL can lose.
    pub flush: Duration,
    /// How long what is stored is kept.
    pub keep: Keep,
}

/// How long what is stored is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// Records as they were read.
    pub raw: Duration,
    /// One record a minute.
    pub minute: Duration,
    /// One record an hour.
    pub hour: Duration,
    /// Most that the file takes, bytes; the oldest gives way.
    pub size: u64,
}

impl Default for Keep {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        Self { raw: DAY, minute: 30 * DAY, hour: 365 * DAY, size: 512 << 20 }
    }
}

/// The smallest file that has room for some streams and their tiers.
const LEAST_SIZE: u64 = 1 << 20;

/// `None` if nothing is to be stored.
pub(super) fn read(
    node: Option<&Node>,
    state_dir: &Path,
    problems: &mut Problems,
) -> Option<History> {
    let mut section = Section::new("history", node, problems);
    let path = section.child("streams");
    let streams = section.node("streams").map(|node| patterns(node, &path, problems));
    let path = section.value("path", problems, path_of);
    let path = path.unwrap_or_else(|| state_dir.join("history").join("history.db"));
    let default = Duration::from_secs(10);
    let history = History {
        streams: streams.unwrap_or_default(),
        path: std::path::absolute(&path).unwrap_or(path),
        interval: section.value("interval", problems, interval).unwrap_or(default),
        flush: section.value("flush", problems, interval).unwrap_or(default),
        keep: keep(&mut section, problems),
    };
    section.finish(problems);
    (!history.streams.is_empty()).then_some(history)
}

fn keep(section: &mut Section<'_>, problems: &mut Problems) -> Keep {
    let path = section.child("keep");
    let mut section = Section::new(&path, section.node("keep"), problems);
    let default = Keep::default();
    let size = |node: &Node| match size(node)? {
        small if small < LEAST_SIZE => Err("the smallest size is \"1MiB\"".to_owned()),
        size => Ok(size),
    };
    let keep = Keep {
        raw: section.value("raw", problems, duration).unwrap_or(default.raw),
        minute: section.value("minute", problems, duration).unwrap_or(default.minute),
        hour: section.value("hour", problems, duration).unwrap_or(default.hour),
        size: section.value("size", problems, size).unwrap_or(default.size),
    };
    section.finish(problems);
    keep
}

/// Each wrong pattern is named with its own place.
fn patterns(node: &Node, path: &str, problems: &mut Problems) -> Vec<Pattern> {
    let Tree::Array(items) = &node.tree else {
        let found = node.type_name();
        problems.add(&node.at, path, format!("expected an array of strings, found {found}"));
        return Vec::new();
    };
    let mut patterns = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match text(item).and_then(|text| text.parse::<Pattern>().map_err(|error| error.to_string()))
        {
            Ok(pattern) => patterns.push(pattern),
            Err(message) => problems.add(&item.at, &format!("{path}[{index}]"), message),
        }
    }
    patterns
}
