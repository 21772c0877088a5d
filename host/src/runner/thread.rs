//! A runner on a thread of the host. Plugin code, drops included, runs on that thread alone.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use tokio::sync::mpsc as async_mpsc;

use super::protocol::{Begin, Failure, Reply, Request};
use super::worker::{self, Out, StopFlag};
use super::{Isolation, Link, Runner};
use crate::loader::Loaded;

/// Loads into the host in its whole life. Each load of a Rust cdylib takes one of the process's
/// 1,024 `pthread` keys for ever, and the process aborts when they are used up.
pub(crate) const THREAD_LOADS_MAX: u32 = 256;

const QUEUE: usize = 64;

/// The host's collector threads, and what becomes of their libraries.
#[derive(Debug)]
pub(crate) struct Threads {
    ended: Sender<Notice>,
    quiet: Arc<Quiet>,
    serial: AtomicU32,
}

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

enum Notice {
    Started { serial: u32, thread: JoinHandle<()> },
    Ended { serial: u32, name: String, before: HashSet<String>, loaded: Option<Loaded> },
}

#[derive(Debug)]
struct ThreadLink {
    requests: Sender<Request>,
    stop: Arc<StopFlag>,
}

impl Link for ThreadLink {
    fn send(&self, request: Request) {
        if matches!(request, Request::Stop) {
            self.stop.stop();
        }
        let _ = self.requests.send(request);
    }
}

impl Drop for ThreadLink {
    fn drop(&mut self) {
        // The worker ends when it next looks at its requests; if it never does, it is abandoned.
        self.stop.stop();
    }
}

struct ChannelOut(Mutex<async_mpsc::Sender<Reply>>);

impl Out for ChannelOut {
    fn send(&self, reply: Reply) -> bool {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        sender.blocking_send(reply).is_ok()
    }
}

impl Threads {
    pub(crate) fn new() -> io::Result<Self> {
        let (ended, notices) = mpsc::channel();
        let quiet = Arc::new(Quiet::default());
        let counts = quiet.clone();
        std::thread::Builder::new()
            .name("dropsonde-unload".into())
            .spawn(move || unload(&notices, &counts))?;
        Ok(Self { ended, quiet, serial: AtomicU32::new(0) })
    }

    pub(crate) fn quiet(&self) -> &Quiet {
        &self.quiet
    }

    /// Whether one more library may be loaded into the host.
    pub(crate) fn has_room(&self) -> bool {
        self.quiet.loads.load(Ordering::Relaxed) < THREAD_LOADS_MAX
    }

    /// Starts a thread and has it begin.
    pub(crate) fn start(&self, begin: Begin) -> Runner {
        let (requests, queue) = mpsc::channel();
        let (sender, replies) = async_mpsc::channel(QUEUE);
        let stop = Arc::new(StopFlag::default());
        let link = ThreadLink { requests, stop: stop.clone() };
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let name: String = format!("ds{serial}:{}", begin.collector).chars().take(15).collect();
        self.quiet.loads.fetch_add(1, Ordering::Relaxed);
        let (ended, thread_name, closing) = (self.ended.clone(), name.clone(), sender.clone());
        link.send(Request::Begin(begin));
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let before = tasks();
            let out = Arc::new(ChannelOut(Mutex::new(sender.clone())));
            let (loaded, failure) = worker::run(&queue, out, stop);
            let _ = sender.blocking_send(Reply::Closed(failure));
            let _ = ended.send(Notice::Ended { serial, name: thread_name, before, loaded });
        });
        match thread {
            Ok(thread) => {
                let _ = self.ended.send(Notice::Started { serial, thread });
            }
            Err(error) => {
                let _ = closing.try_send(Reply::Closed(Some(Failure::Spawn(error.to_string()))));
            }
        }
        Runner { isolation: Isolation::Thread, replies, link: Box::new(link) }
    }
}

/// Closes a library once its thread has been joined (its thread-local values run their drops in
/// the plugin's code) and no thread that it started is left; otherwise leaves it mapped.
fn unload(notices: &Receiver<Notice>, counts: &Quiet) {
    let mut threads = HashMap::new();
    let mut early = HashMap::new();
    while let Ok(notice) = notices.recv() {
        let (serial, ended) = match notice {
            Notice::Started { serial, thread } => {
                threads.insert(serial, thread);
                (serial, early.remove(&serial))
            }
            Notice::Ended { serial, name, before, loaded } => {
                (serial, Some((name, before, loaded)))
            }
        };
        let Some((name, before, loaded)) = ended else { continue };
        let Some(thread) = threads.remove(&serial) else {
            early.insert(serial, (name, before, loaded));
            continue;
        };
        let joined = thread.join().is_ok();
        let Some(loaded) = loaded else { continue };
        if joined && is_quiet(&name, &before) {
            drop(loaded);
            counts.closed.fetch_add(1, Ordering::Relaxed);
        } else {
            loaded.leak();
            counts.leaked.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                thread = name,
                "the plugin left a thread running; its library stays mapped"
            );
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
                comm != name && (is_collector(comm) || comm.starts_with("dropsonde"))
            }
            Err(_) => true, // ended meanwhile
        }
    })
}

fn is_collector(comm: &str) -> bool {
    comm.strip_prefix("ds")
        .and_then(|rest| rest.split_once(':'))
        .is_some_and(|(serial, _)| serial.parse::<u32>().is_ok())
}

fn tasks() -> HashSet<String> {
    let entries = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
