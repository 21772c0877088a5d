//! What other programs say of themselves, as records: Prometheus text, Influx line protocol and
//! JSON. The plugins `exec`, `textfile` and `scrape` share it.
//!
//! A reader takes bytes that anybody may have written. It is strict with each line and loses no
//! other for it; what it keeps is bounded in bytes, in samples, and in what is said of faults.

#![warn(missing_docs)]

mod fault;
mod influx;
mod json;
mod labels;
mod names;
mod prometheus;
mod reading;
mod sample;
pub mod settings;
#[cfg(test)]
mod tests;

pub use fault::Fault;
pub use labels::Labels;
pub use reading::Reading;
pub use sample::{Kind, Sample};

use std::sync::Arc;

use serde::Deserialize;

/// Longest line, in bytes.
pub const MAX_LINE: usize = 64 << 10;
/// Most samples of one reading: the host takes no more rows in one batch.
pub const MAX_SAMPLES: usize = 100_000;
/// Longest name of a metric or label, in bytes.
pub const MAX_NAME: usize = 256;
/// Most bytes of a sample's labels, as they are written.
pub const MAX_LABELS: usize = 8 << 10;
/// Longest description of a metric, in bytes; what is beyond is cut off.
pub const MAX_HELP: usize = 1 << 10;

/// What a program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Prometheus text 0.0.4, and of OpenMetrics what is the same or differs in names only.
    Prometheus,
    /// Influx line protocol.
    Influx,
    /// JSON: samples, or any document, of which each number becomes one.
    Json,
}

impl Format {
    /// Reads all that was written. Never fails as a whole: the reading says what was refused.
    pub fn read(self, bytes: &[u8]) -> Reading {
        let reading = match self {
            Self::Prometheus => prometheus::read(bytes),
            Self::Influx => influx::read(bytes),
            Self::Json => json::read(bytes),
        };
        reading.finished()
    }
}

/// The lines, numbered from 1, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<&str, Fault>)> {
    let lines = bytes.split(|byte| *byte == b'\n');
    lines.enumerate().map(|(index, line)| {
        let text = if line.len() > MAX_LINE {
            Err(Fault::LongLine(line.len()))
        } else {
            std::str::from_utf8(line).map_err(|_| Fault::NotText)
        };
        (index + 1, text.map(|line| line.strip_suffix('\r').unwrap_or(line)))
    })
}

/// The same of a format each line of which must end: of a number that was cut off, another one is
/// left. Only what says nothing need not.
fn ended_lines(bytes: &[u8]) -> impl Iterator<Item = (usize, Result<&str, Fault>)> {
    let ended = bytes.iter().filter(|byte| **byte == b'\n').count();
    let says_nothing = |line: &&str| matches!(line.trim(), "" | "# EOF");
    lines(bytes).map(move |(number, line)| {
        let is_cut = number > ended && !line.as_ref().is_ok_and(says_nothing);
        (number, if is_cut { Err(Fault::Cut) } else { line })
    })
}

/// A description that is no longer than it may be.
fn cut(text: &str) -> Arc<str> {
    let mut end = text.len().min(MAX_HELP);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().into()
}
