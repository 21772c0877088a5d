//! Closing a plugin's library, once nothing of it can still run.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;

use super::Strayed;
use super::separate;
use crate::loader::Loaded;
use crate::memory;
use crate::runner::protocol::Reply;
use crate::runner::replies::Sender;

/// Counts for the status page.
#[derive(Debug, Default)]
pub(crate) struct Quiet {
    /// Libraries loaded into the host so far.
    pub(crate) loads: AtomicU32,
    /// Libraries closed because nothing of theirs could still run.
    pub(crate) closed: AtomicU32,
    /// Libraries left mapped because something might.
    pub(crate) leaked: AtomicU32,
}

/// What the unloading thread is told.
pub(super) enum Notice {
    Started {
        serial: u32,
        thread: JoinHandle<()>,
    },
    Ended {
        serial: u32,
        end: End,
    },
    /// A word of a thread that can't say it itself.
    Relay {
        to: Sender,
        bundle: Vec<Reply>,
    },
}

/// How a collector's thread ended.
pub(super) struct End {
    pub(super) collector: String,
    /// The thread's name.
    pub(super) name: String,
    /// The tasks of the process when it began.
    pub(super) before: HashSet<String>,
    pub(super) loaded: Option<Loaded>,
}

/// Closes a library once its thread has been joined (its thread-local values run their drops in
/// the plugin's code) and no thread that it started is left; otherwise leaves it mapped.
pub(super) fn unload(notices: &Receiver<Notice>, counts: &Quiet, strayed: &Strayed) {
    // A library's destructors may close descriptors by number: not the host's.
    separate::separate(&[]);
    let mut threads = HashMap::new();
    let mut early = HashMap::new();
    while let Ok(notice) = notices.recv() {
        let (serial, end) = match notice {
            Notice::Started { serial, thread } => {
                threads.insert(serial, thread);
                (serial, early.remove(&serial))
            }
            Notice::Ended { serial, end } => (serial, Some(end)),
            Notice::Relay { to, bundle } => {
                let _ = to.blocking_send(bundle); // it has been let go of
                continue;
            }
        };
        let Some(end) = end else { continue };
        let Some(thread) = threads.remove(&serial) else {
            early.insert(serial, end);
            continue;
        };
        let joined = thread.join().is_ok();
        memory::give_back();
        let Some(loaded) = end.loaded else { continue };
        let left =
            if joined { left(&end.name, &end.before, threads.is_empty()) } else { Left::Own };
        if left == Left::Nothing {
            drop(loaded);
            counts.closed.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        loaded.leak();
        counts.leaked.fetch_add(1, Ordering::Relaxed);
        if left == Left::Own {
            let what = "it left a thread running in the host, and its library mapped";
            strayed(&end.collector, what);
        }
    }
}

/// What an instance has left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// A thread of its own.
    Own,
    /// A thread that may be its own or another collector's: its library stays, and nobody is
    /// accused.
    Unclear,
}

/// Which threads have come since, but for the host's own: those carry its names. A thread that a
/// plugin starts without a name inherits its collector's; one with a name of its own is told from
/// others' only if nobody else is there.
fn left(name: &str, before: &HashSet<String>, alone: bool) -> Left {
    let names = tasks().difference(before).filter_map(comm).collect::<Vec<_>>();
    let foreign = |comm: &&String| serial_of(comm).is_none() && !is_host(comm);
    if names.iter().any(|comm| comm == name) {
        Left::Own
    } else if names.iter().find(foreign).is_none() {
        Left::Nothing
    } else if alone {
        Left::Own
    } else {
        Left::Unclear
    }
}

/// `None`: it has ended meanwhile.
fn comm(task: &String) -> Option<String> {
    let comm = fs::read_to_string(format!("/proc/self/task/{task}/comm")).ok()?;
    Some(comm.trim_end().to_owned())
}

/// The name of a collector's thread: 15 bytes are all that the kernel keeps.
pub(super) fn thread_name(serial: u32, collector: &str) -> String {
    format!("ds{serial}:{collector}").chars().take(15).collect()
}

/// Whose thread this is, by its name.
pub(super) fn serial_of(name: &str) -> Option<u32> {
    name.strip_prefix("ds")?.split_once(':')?.0.parse().ok()
}

/// Whether a thread is the host's, by its name.
pub(super) fn is_host(name: &str) -> bool {
    name.starts_with("dropsonde")
}

pub(super) fn tasks() -> HashSet<String> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
