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
        if joined && is_quiet(&end.name, &end.before) {
            drop(loaded);
            counts.closed.fetch_add(1, Ordering::Relaxed);
        } else {
            loaded.leak();
            counts.leaked.fetch_add(1, Ordering::Relaxed);
            let what = "it left a thread running in the host, and its library mapped";
            strayed(&end.collector, what);
        }
    }
}

/// No thread has come since, but for the host's own: those carry its names. A thread that a
/// plugin starts without a name inherits its collector's.
fn is_quiet(name: &str, before: &HashSet<String>) -> bool {
    tasks().difference(before).all(|task| {
        match fs::read_to_string(format!("/proc/self/task/{task}/comm")) {
            Ok(comm) => {
                let comm = comm.trim_end();
                comm != name && (serial_of(comm).is_some() || is_host(comm))
            }
            Err(_) => true, // ended meanwhile
        }
    })
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
