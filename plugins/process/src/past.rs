//! What is kept of each process from one round to the next.

/// One process, as the last round left it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Past {
    pub(crate) pid: u32,
    /// With the pid, says which process it was.
    pub(crate) start: u64,
    /// CPU time, in ticks.
    pub(crate) cpu: u64,
    /// Bytes read and written, once they were read.
    pub(crate) io_bytes: Option<u64>,
    /// Its `io` was refused, or is not there.
    pub(crate) io_closed: bool,
    /// It was shown.
    pub(crate) shown: bool,
}

/// All of them, in ascending order of the pid.
#[derive(Debug, Default)]
pub(crate) struct Pasts {
    last: Vec<Past>,
    next: Vec<Past>,
}

impl Pasts {
    /// The process that had this pid in the last round, whichever it was.
    pub(crate) fn of_pid(&self, pid: u32) -> Option<&Past> {
        let at = self.last.binary_search_by_key(&pid, |past| past.pid).ok()?;
        self.last.get(at)
    }

    /// The same process in the last round.
    pub(crate) fn of(&self, pid: u32, start: u64) -> Option<&Past> {
        self.of_pid(pid).filter(|past| past.start == start)
    }

    /// Replaces them all. The new ones must come in order, too.
    pub(crate) fn replace(&mut self, new: impl Iterator<Item = Past>) {
        self.next.clear();
        self.next.extend(new);
        std::mem::swap(&mut self.last, &mut self.next);
    }
}
