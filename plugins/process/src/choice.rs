//! Which processes are shown, in which order, and what is read of them.

use dropsonde_plugin_api::matches_pattern;
use serde::Deserialize;

use crate::seen::Seen;

/// The user's choice; see the settings.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Most that are shown.
    pub(crate) most: usize,
    pub(crate) by: By,
    pub(crate) include: Vec<String>,
    pub(crate) exclude: Vec<String>,
    pub(crate) kernel_threads: bool,
    pub(crate) io: bool,
    pub(crate) statm: bool,
}

/// What processes are ordered by, the greatest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    /// CPU time since the last round.
    Cpu,
    /// Resident memory.
    Memory,
    /// Bytes read and written since the last round.
    Io,
    /// Number of threads.
    Threads,
}

impl Choice {
    /// Whether a process may be shown at all.
    pub(crate) fn admits(&self, name: &str, seen: &Seen) -> bool {
        let is_in =
            |patterns: &[String]| patterns.iter().any(|pattern| matches_pattern(pattern, name));
        (self.kernel_threads || !seen.stat.is_kernel)
            && is_in(&self.include)
            && !is_in(&self.exclude)
    }

    /// What decides a process's place; what is missing comes last. Without an earlier round,
    /// growth is since the process's start.
    pub(crate) fn rank(&self, seen: &Seen) -> Option<u64> {
        match self.by {
            By::Cpu => Some(seen.cpu_growth),
            By::Memory => Some(seen.stat.resident_pages), // `statm` is read of few
            By::Io => seen.io_growth(),
            By::Threads => Some(seen.stat.threads),
        }
    }
}
