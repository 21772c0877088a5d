//! Whether a plugin on a thread of the host keeps to itself. Looked at after its calls, on its
//! own thread: what can be told of a thread that runs inside the host.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::Duration;

use super::footprint::{Footprint, anonymous};
use super::process_wide;
use super::separate::Separate;
use super::unload::tasks;
use crate::clock;
use crate::config::Limits;
use crate::runner::limits::show_bytes;
use crate::runner::worker::Watch;

/// How often is looked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Calls are looked at no more often: some microseconds.
    often: Duration,
    /// Files, threads and directories are looked at no more often: a hundred microseconds.
    seldom: Duration,
}

impl Pace {
    /// A little under a second, so that of a collector of that interval each call is looked at.
    pub(super) const USUAL: Self =
        Self { often: Duration::from_millis(900), seldom: Duration::from_secs(10) };
    /// Everything after each call.
    pub(super) const ALWAYS: Self = Self { often: Duration::ZERO, seldom: Duration::ZERO };
}

/// The conduct of one instance.
pub(super) struct Conduct {
    limits: Limits,
    separate: Separate,
    /// Serial number and name of the thread.
    thread: u32,
    thread_name: String,
    state_dir: PathBuf,
    directory: Option<PathBuf>,
    umask: Option<String>,
    statm: Option<File>,
    /// Memory that came in its calls, less what went.
    grown: u64,
    /// Calls since one was looked at.
    calls: u64,
    /// This call is looked at.
    sampled: bool,
    before_call: u64,
    at_start: u64,
    start: Footprint,
    pace: Pace,
    often: Duration,
    seldom: Duration,
    /// Said once: the slot replaces it.
    told: bool,
}

impl Conduct {
    /// Starts to watch the calling thread.
    pub(super) fn new(
        pace: Pace,
        limits: Limits,
        separate: Separate,
        (thread, thread_name): (u32, String),
        state_dir: PathBuf,
    ) -> Self {
        let mut conduct = Self {
            limits,
            separate,
            thread,
            thread_name,
            start: Footprint::now(&state_dir),
            state_dir,
            directory: std::env::current_dir().ok(),
            umask: umask(),
            statm: File::open("/proc/self/statm").ok(),
            grown: 0,
            calls: 0,
            sampled: false,
            before_call: 0,
            at_start: 0,
            pace,
            often: Duration::ZERO,
            seldom: Duration::ZERO,
            told: false,
        };
        conduct.at_start = conduct.memory();
        conduct
    }

    fn memory(&self) -> u64 {
        let mut bytes = [0; 128];
        let read = self.statm.as_ref().and_then(|file| file.read_at(&mut bytes, 0).ok());
        std::str::from_utf8(&bytes[..read.unwrap_or(0)]).map_or(0, anonymous)
    }

    /// Memory that it took in its calls. Other threads take some meanwhile, so the host as a
    /// whole must have grown as much.
    fn grew(&mut self) -> Option<String> {
        let now = self.memory();
        // The calls that were not looked at are taken to be like this one.
        let calls = std::mem::take(&mut self.calls);
        let (more, less) =
            (now.saturating_sub(self.before_call), self.before_call.saturating_sub(now));
        self.grown = (self.grown + more * calls).saturating_sub(less * calls);
        let most = self.limits.memory;
        let host = now.saturating_sub(self.at_start);
        (self.grown > most && host > most)
            .then(|| format!("memory limit {} exceeded", show_bytes(most)))
    }

    fn look(&self) -> Option<String> {
        if self.directory.is_some() && std::env::current_dir().ok() != self.directory {
            return Some("it changed its working directory".to_owned());
        }
        if umask() != self.umask {
            return Some("it changed its umask".to_owned());
        }
        let most = self.limits.open_files;
        if self.separate.files && open_files() > most {
            return Some(format!("open files limit {most} exceeded"));
        }
        let now = Footprint::now(&self.state_dir);
        if now.file > self.limits.file_size {
            let most = show_bytes(self.limits.file_size);
            return Some(format!("file size limit {most} exceeded"));
        }
        let most = self.limits.processes;
        let more = now.threads.saturating_sub(self.start.threads) > most;
        if more && threads_named(&self.thread_name) > most {
            return Some(format!("processes limit {most} exceeded"));
        }
        None
    }
}

impl Drop for Conduct {
    fn drop(&mut self) {
        process_wide::forget(self.thread);
        if self.separate.files {
            // The plugin may have closed it, or whatever has its number by now may be the
            // plugin's. It goes with the thread's table.
            std::mem::forget(self.statm.take());
        }
    }
}

impl Watch for Conduct {
    fn before_call(&mut self) {
        if self.told {
            return;
        }
        let now = clock::monotonic();
        self.calls += 1;
        self.sampled = now.saturating_sub(self.often) >= self.pace.often;
        if self.sampled {
            self.often = now;
            self.before_call = self.memory();
        }
        process_wide::before_call(self.thread, self.sampled, now);
    }

    fn during_call(&mut self) -> Option<String> {
        let due = clock::monotonic().saturating_sub(self.often) >= self.pace.often;
        let found = due.then(|| self.after_call()).flatten();
        if due {
            self.before_call();
        }
        found
    }

    fn after_call(&mut self) -> Option<String> {
        if self.told {
            return None;
        }
        let now = clock::monotonic();
        let mut found = process_wide::after_call(self.thread, now);
        if self.sampled {
            found = self.grew().or(found);
        }
        if found.is_none() && now.saturating_sub(self.seldom) >= self.pace.seldom {
            self.seldom = now;
            found = self.look();
        }
        self.told = found.is_some();
        found
    }
}

/// The calling thread's umask, as the kernel writes it (proc(5)); asking umask(2) would set it.
fn umask() -> Option<String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix("Umask:")).map(|mask| mask.trim().to_owned())
}

/// Open files of the calling thread's table.
fn open_files() -> u64 {
    let entries = std::fs::read_dir("/proc/thread-self/fd").map_or(0, Iterator::count);
    (entries as u64).saturating_sub(1) // the directory itself
}

/// A thread that a plugin starts without a name of its own carries its collector's.
fn threads_named(name: &str) -> u64 {
    let named = |task: &String| {
        std::fs::read_to_string(format!("/proc/self/task/{task}/comm"))
            .is_ok_and(|comm| comm.trim_end() == name)
    };
    tasks().iter().filter(|task| named(task)).count() as u64
}
