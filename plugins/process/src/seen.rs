//! One process in one round.

use std::ops::Range;

use crate::details::{Io, Memory};
use crate::past::{Past, Pasts};
use crate::procfs::Unread;
use crate::stat::{self, Stat};

/// One process in this round.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) pid: u32,
    pub(crate) stat: Stat,
    /// Where its name lies among all names.
    pub(crate) name: Range<usize>,
    /// CPU time since the last round, in ticks; since its start if it was not there.
    pub(crate) cpu_growth: u64,
    pub(crate) io: Option<Io>,
    pub(crate) memory: Option<Memory>,
    /// Its `io` was refused, now or earlier, or is not there.
    pub(crate) io_closed: bool,
    /// What it had read and written by the last round.
    io_before: Option<u64>,
    /// More than its `stat` was read.
    pub(crate) is_whole: bool,
    pub(crate) is_shown: bool,
}

/// Why a process is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    Unread(Unread),
    /// The line is not what it should be.
    Malformed,
}

impl From<Unread> for Loss {
    fn from(unread: Unread) -> Self {
        Self::Unread(unread)
    }
}

impl Seen {
    /// A process by the line of its `stat`; its name is added to `names`.
    pub(crate) fn new(
        pid: u32,
        line: &[u8],
        names: &mut Vec<u8>,
        pasts: &Pasts,
    ) -> Result<Self, Loss> {
        let (stat, name) = stat::parse(line).ok_or(Loss::Malformed)?;
        let start = names.len();
        names.extend_from_slice(name);
        let past = pasts.of(pid, stat.start);
        Ok(Self {
            pid,
            stat,
            name: start..names.len(),
            cpu_growth: stat.cpu().saturating_sub(past.map_or(0, |past| past.cpu)),
            io: None,
            memory: None,
            io_closed: past.is_some_and(|past| past.io_closed),
            io_before: past.and_then(|past| past.io_bytes),
            is_whole: false,
            is_shown: false,
        })
    }

    /// Whether this is the same process, not another with its pid.
    pub(crate) fn is(&self, other: &Self) -> bool {
        (self.pid, self.stat.start) == (other.pid, other.stat.start)
    }

    /// What is kept of it.
    pub(crate) fn past(&self) -> Past {
        Past {
            pid: self.pid,
            start: self.stat.start,
            cpu: self.stat.cpu(),
            io_bytes: self.io.map(|io| io.bytes()).or(self.io_before),
            io_closed: self.io_closed,
            shown: self.is_shown,
        }
    }

    pub(crate) fn resident_pages(&self) -> u64 {
        self.memory.map_or(self.stat.resident_pages, |memory| memory.resident)
    }

    /// Bytes read and written since the last round, or since its start if they were not read then.
    pub(crate) fn io_growth(&self) -> Option<u64> {
        Some(self.io?.bytes().saturating_sub(self.io_before.unwrap_or(0)))
    }
}
