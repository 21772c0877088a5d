//! One round: every process is looked at once, and those that are to be shown a second time if
//! more than their `stat` is wanted.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::path::Path;

use dropsonde_plugin_api::Result;

use crate::choice::{By, Choice};
use crate::details::{Io, Memory};
use crate::past::Pasts;
use crate::procfs::{Directory, Procfs, Unread};
use crate::seen::{Loss, Seen};

/// The processes, as the last round found them.
#[derive(Debug)]
pub(crate) struct Survey {
    procfs: Procfs,
    choice: Choice,
    pids: Vec<u32>,
    seen: Vec<Seen>,
    names: Vec<u8>,
    /// Indices of those to show, in their order.
    chosen: Vec<usize>,
    pasts: Pasts,
    round: u64,
}

/// Processes that were left out though they are there for this user.
#[derive(Debug)]
pub(crate) struct Trouble {
    count: usize,
    pid: u32,
    why: Loss,
}

/// Rounds after which a process whose `io` was refused is asked again: it may have changed its
/// user since.
const ASK_AGAIN: u64 = 60;

impl Survey {
    pub(crate) fn new(root: &Path, choice: Choice) -> Self {
        Self {
            procfs: Procfs::new(root),
            choice,
            pids: Vec::new(),
            seen: Vec::new(),
            names: Vec::new(),
            chosen: Vec::new(),
            pasts: Pasts::default(),
            round: 0,
        }
    }

    /// Looks at every process; with `rows`, those to show are ready afterwards. What vanishes
    /// meanwhile, and what is hidden from this user, is left out without a word.
    pub(crate) fn run(&mut self, rows: bool) -> Result<Option<Trouble>> {
        let trouble = self.look(rows)?;
        if rows {
            self.choose();
            self.complete();
        }
        self.pasts.replace(self.seen.iter().map(Seen::past));
        Ok(trouble)
    }

    /// All that were seen.
    pub(crate) fn seen(&self) -> &[Seen] {
        &self.seen
    }

    /// Those to show, in their order.
    pub(crate) fn shown(&self) -> impl Iterator<Item = &Seen> {
        self.chosen.iter().map(|index| &self.seen[*index]).filter(|seen| seen.is_shown)
    }

    /// Bytes that are no text are replaced.
    pub(crate) fn name(&self, seen: &Seen) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.names[seen.name.clone()])
    }

    pub(crate) fn look(&mut self, rows: bool) -> Result<Option<Trouble>> {
        let mut pids = std::mem::take(&mut self.pids);
        let listed = self.procfs.list(&mut pids);
        self.pids = pids;
        listed?;
        self.round += 1;
        self.seen.clear();
        self.names.clear();
        self.chosen.clear();
        let mut trouble: Option<Trouble> = None;
        for index in 0..self.pids.len() {
            let pid = self.pids[index];
            match self.read(pid, rows) {
                Ok(seen) => self.seen.push(seen),
                Err(Loss::Unread(Unread::Vanished | Unread::Closed)) => {}
                Err(why) => trouble.get_or_insert(Trouble { count: 0, pid, why }).count += 1,
            }
        }
        Ok(trouble)
    }

    fn read(&mut self, pid: u32, rows: bool) -> Result<Seen, Loss> {
        let past = self.pasts.of_pid(pid);
        // Whoever was shown is likely to be shown again: that saves its second look.
        let is_likely = self.choice.by == By::Io || past.is_some_and(|past| past.shown);
        if rows && is_likely && self.wants_more(past.is_some_and(|past| past.io_closed)) {
            return self.read_whole(pid);
        }
        let line = self.procfs.read(pid, "stat")?;
        Seen::new(pid, line, &mut self.names, &self.pasts)
    }

    /// All that is wanted of one and the same process.
    fn read_whole(&mut self, pid: u32) -> Result<Seen, Loss> {
        let process = self.procfs.open(pid)?;
        let line = self.procfs.read_in(&process, "stat")?;
        let mut seen = Seen::new(pid, line, &mut self.names, &self.pasts)?;
        if self.asks_io(seen.io_closed) {
            let text = optional(self.procfs.read_in(&process, "io"), &process)?;
            seen.io = text.map(Io::parse);
            seen.io_closed = seen.io.is_none();
        }
        if self.choice.statm {
            let text = optional(self.procfs.read_in(&process, "statm"), &process)?;
            seen.memory = text.and_then(Memory::parse);
        }
        seen.is_whole = true;
        Ok(seen)
    }

    /// Whether more than `stat` is to be read of a process.
    fn wants_more(&self, io_closed: bool) -> bool {
        self.choice.statm || self.asks_io(io_closed)
    }

    fn asks_io(&self, io_closed: bool) -> bool {
        self.choice.io && (!io_closed || self.round.is_multiple_of(ASK_AGAIN))
    }

    pub(crate) fn choose(&mut self) {
        let Self { seen, names, choice, chosen, .. } = self;
        let admitted = seen.iter().enumerate().filter(|(_, seen)| {
            choice.admits(&String::from_utf8_lossy(&names[seen.name.clone()]), seen)
        });
        chosen.extend(admitted.map(|(index, _)| index));
        chosen.sort_unstable_by_key(|index| {
            let seen = &seen[*index];
            // Those that did nothing keep their places from round to round.
            (Reverse(choice.rank(seen)), Reverse(seen.stat.cpu()), seen.pid)
        });
        chosen.truncate(choice.most);
        chosen.iter().for_each(|index| seen[*index].is_shown = true);
    }

    /// Reads what is still wanted of those to show. One that vanished, or whose pid is another's
    /// by now, is not shown.
    pub(crate) fn complete(&mut self) {
        for index in 0..self.chosen.len() {
            let index = self.chosen[index];
            let seen = &self.seen[index];
            if seen.is_whole || !self.wants_more(seen.io_closed) {
                continue;
            }
            match self.read_whole(seen.pid) {
                Ok(again) if again.is(&self.seen[index]) => {
                    let seen = &mut self.seen[index];
                    (seen.io, seen.memory) = (again.io, again.memory);
                    (seen.io_closed, seen.is_whole) = (again.io_closed, true);
                }
                Ok(_) | Err(Loss::Unread(Unread::Vanished)) => self.seen[index].is_shown = false,
                Err(_) => {} // what was read stands
            }
        }
    }
}

/// A file that a living process need not have, or not for everybody.
fn optional<'a>(
    read: Result<&'a [u8], Unread>,
    process: &Directory,
) -> Result<Option<&'a [u8]>, Unread> {
    match read {
        Ok(text) => Ok(Some(text)),
        Err(Unread::Vanished) if !process.is_alive() => Err(Unread::Vanished),
        Err(_) => Ok(None),
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, pid, why } = self;
        match why {
            Loss::Unread(Unread::Failed(error)) => write!(f, "{pid}/stat: {error}")?,
            _ => write!(f, "{pid}/stat: not what it should be")?,
        }
        if *count > 1 { write!(f, ", and {} more", count - 1) } else { Ok(()) }
    }
}
