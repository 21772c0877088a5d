//! What the host uses at a moment: the soft limits of thread mode compare two of these.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::config::Limits;
use crate::runner::limits::show_bytes;

/// Memory, threads and files at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Footprint {
    /// Anonymous memory of the whole host, bytes.
    pub(super) memory: u64,
    /// Threads of the whole host.
    pub(super) threads: u64,
    /// The largest file in the collector's state directory, bytes.
    pub(super) file: u64,
}

impl Footprint {
    /// Reads it; some ten microseconds.
    pub(crate) fn now(state_dir: &Path) -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        // The directory has a link for each thread, and two of its own.
        let links = fs::metadata("/proc/self/task").map_or(0, |meta| meta.nlink());
        let files = fs::read_dir(state_dir).into_iter().flatten().flatten();
        let sizes = files.filter_map(|file| file.metadata().ok()).map(|meta| meta.len());
        Self {
            memory: anonymous(&statm),
            threads: links.saturating_sub(2),
            file: sizes.max().unwrap_or(0),
        }
    }

    /// Which limit was passed between `before` and this.
    pub(crate) fn passed(&self, before: &Self, limits: &Limits) -> Option<String> {
        if self.memory.saturating_sub(before.memory) > limits.memory {
            Some(format!("memory limit {}", show_bytes(limits.memory)))
        } else if self.threads.saturating_sub(before.threads) > limits.processes {
            Some(format!("processes limit {}", limits.processes))
        } else if self.file > limits.file_size {
            Some(format!("file size limit {}", show_bytes(limits.file_size)))
        } else {
            None
        }
    }
}

/// Resident memory that no file backs, of the text of /proc/PID/statm (proc(5)), bytes.
pub(super) fn anonymous(statm: &str) -> u64 {
    let mut pages = statm.split_ascii_whitespace().skip(1).map_while(|field| field.parse().ok());
    let (resident, shared): (u64, u64) = (pages.next().unwrap_or(0), pages.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_backs_is_nobody_s_memory() {
        assert_eq!(anonymous("5000 300 100 1 0 900 0\n") / rustix::param::page_size() as u64, 200);
        assert_eq!(anonymous(""), 0);
    }

    #[test]
    fn the_limit_that_was_passed_is_named() {
        let limits = Limits { memory: 48 << 20, processes: 32, ..Limits::default() };
        let before = Footprint { memory: 10 << 20, threads: 8, file: 0 };
        assert_eq!(before.passed(&before, &limits), None);
        let memory = Footprint { memory: 59 << 20, ..before };
        assert_eq!(memory.passed(&before, &limits).as_deref(), Some("memory limit 48 MiB"));
        let threads = Footprint { threads: 41, ..before };
        assert_eq!(threads.passed(&before, &limits).as_deref(), Some("processes limit 32"));
        let file = Footprint { file: 65 << 20, ..before };
        assert_eq!(file.passed(&before, &limits).as_deref(), Some("file size limit 64 MiB"));
    }
}
