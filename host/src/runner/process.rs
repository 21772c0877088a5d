//! A runner process, from the outside.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::cgroup::Cgroup;
use super::frame;
use super::limits::show_bytes;
use super::log_gate::LogGate;
use super::protocol::{Begin, Failure, Reply, Request};
use super::replies;
use super::spawner::{Spawned, Spawner};
use super::{Isolation, Link, Runner};
use crate::clock;
use crate::config::Limits;
use crate::text::plain;

/// Replies that wait for the slot; a runner that is faster waits at its socket.
const QUEUE: usize = 64;
/// Longest line of a plugin's output that is logged whole.
const LINE: usize = 1024;

#[derive(Debug)]
struct ProcessLink {
    requests: mpsc::UnboundedSender<Request>,
    /// Its number, once it was started.
    pid: Arc<OnceLock<u32>>,
}

impl Link for ProcessLink {
    fn send(&self, request: Request) {
        // Gone: the replies say so. The queue is bounded by the slot, which has one request
        // under way at a time.
        let _ = self.requests.send(request);
    }

    fn process(&self) -> Option<u32> {
        self.pid.get().copied()
    }
}

/// Starts a child process and has it begin. Never fails at once: a process that can't be
/// started closes with the reason.
pub(crate) fn start(spawner: &Spawner, begin: Begin) -> Runner {
    let (requests, queue) = mpsc::unbounded_channel();
    let (sender, replies) = replies::channel(QUEUE);
    let spawner = spawner.clone();
    let pid = Arc::new(OnceLock::new());
    let started = pid.clone();
    let carrier = Box::pin(async move {
        let failure = match spawner.spawn(&begin.collector, begin.limits).await {
            Ok(spawned) => {
                if let Some(pid) = spawned.child.id() {
                    let _ = started.set(pid); // the only one
                }
                pump(spawned, begin, queue, &sender, &spawner).await
            }
            Err(error) => Some(Failure::Spawn(error.to_string())),
        };
        let _ = sender.send(vec![Reply::Closed(failure)]).await;
    });
    let replies = replies.carried_by(carrier);
    let link = Box::new(ProcessLink { requests, pid });
    Runner { isolation: Isolation::Process, replies, link }
}

/// Carries requests and replies until either side ends; then sees to it that the child has
/// ended too, and says why.
async fn pump(
    spawned: Spawned,
    begin: Begin,
    mut queue: mpsc::UnboundedReceiver<Request>,
    replies: &replies::Sender,
    spawner: &Spawner,
) -> Option<Failure> {
    let Spawned { mut child, mut socket, output, cgroup } = spawned;
    let bounds = Bounds { pid: child.id(), limits: begin.limits, cgroup };
    let last_line = Arc::new(Mutex::new(String::new()));
    let mut log = tokio::spawn(log_output(output, begin.collector.clone(), last_line.clone()));
    let ended = carry(&mut socket, begin, &mut queue, replies, &bounds).await;
    let said_last = match ended {
        Ended::Closed(failure) => Some(failure),
        Ended::Broken(what) => Some(Some(Failure::Protocol(what))),
        Ended::Eof => None,
        Ended::LetGo => Some(None),
        Ended::Exceeded(limit) => Some(Some(Failure::Limit(limit))),
    };
    // It has said its last, or nobody listens. What it has started ends with it.
    bounds.kill_group();
    let status = child.wait().await;
    // A process that the plugin left behind may hold the pipe open.
    if tokio::time::timeout(Duration::from_millis(100), &mut log).await.is_err() {
        log.abort();
    }
    let failure = match said_last {
        Some(Some(Failure::Panicked(message))) => {
            // Rust panics where a thread can't be started.
            Some(bounds.exceeded().map_or(Failure::Panicked(message), Failure::Limit))
        }
        Some(said) => said,
        None => Some(
            bounds
                .exceeded()
                .map_or_else(|| cause(status, &last_line, &bounds.limits), Failure::Limit),
        ),
    };
    if let Some(cgroup) = bounds.cgroup {
        spawner.bury(cgroup);
    }
    failure
}

enum Ended {
    /// It said why it ends.
    Closed(Option<Failure>),
    /// It sent nonsense.
    Broken(String),
    /// It ended without a word.
    Eof,
    /// The slot dropped it.
    LetGo,
    /// It used up what it may use.
    Exceeded(String),
}

/// What bounds a runner process.
struct Bounds {
    pid: Option<u32>,
    limits: Limits,
    cgroup: Option<Cgroup>,
}

impl Bounds {
    /// Which limit was hit, if one was.
    fn exceeded(&self) -> Option<String> {
        let open =
            |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        let open = self.pid.map_or(0, open) as u64;
        if open + 1 >= self.limits.open_files {
            return Some(format!("open files limit {}", self.limits.open_files));
        }
        self.cgroup.as_ref().and_then(Cgroup::exceeded)
    }

    /// Ends the process and those that it started, but for any that made a group of their own:
    /// those end with the cgroup. The process was not waited for yet, so the number is its own.
    fn kill_group(&self) {
        if let Some(pid) = self.pid.and_then(|pid| Pid::from_raw(pid as i32)) {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

async fn carry(
    socket: &mut UnixStream,
    begin: Begin,
    queue: &mut mpsc::UnboundedReceiver<Request>,
    replies: &replies::Sender,
    bounds: &Bounds,
) -> Ended {
    let mut received = Vec::with_capacity(4096);
    let mut next = Some(Request::Begin(begin));
    loop {
        if let Some(request) = next.take() {
            let mut bytes = Vec::new();
            if let Err(error) = frame::append(&mut bytes, &request) {
                return Ended::Broken(error.to_string());
            }
            // A failed write means that the child is gone; the read below says so.
            let _ = socket.write_all(&bytes).await;
        }
        tokio::select! {
            request = queue.recv() => match request {
                Some(request) => next = Some(request),
                None => return Ended::LetGo,
            },
            // Cancel-safe: nothing is taken off the socket unless it is returned.
            read = socket.read_buf(&mut received) => {
                if !read.is_ok_and(|read| read > 0) {
                    return Ended::Eof;
                }
                let mut bundle = Vec::new();
                let ended = loop {
                    match frame::take::<Reply>(&mut received) {
                        Ok(Some(Reply::Closed(failure))) => break Some(Ended::Closed(failure)),
                        Ok(Some(reply)) => {
                            let failed = matches!(
                                &reply,
                                Reply::Done { outcome: Err(Failure::Failed(_)), .. }
                            );
                            if failed && let Some(limit) = bounds.exceeded() {
                                break Some(Ended::Exceeded(limit));
                            }
                            bundle.push(reply);
                        }
                        Ok(None) => break None,
                        Err(error) => break Some(Ended::Broken(error.to_string())),
                    }
                };
                if !bundle.is_empty() && replies.send(bundle).await.is_err() {
                    return Ended::LetGo;
                }
                if let Some(ended) = ended {
                    return ended;
                }
                if received.capacity() > 1 << 20 && received.is_empty() {
                    received = Vec::with_capacity(4096);
                }
            }
        }
    }
}

/// Why a process ended without a word.
fn cause(
    status: std::io::Result<ExitStatus>,
    last_line: &Mutex<String>,
    limits: &Limits,
) -> Failure {
    let said = last_line.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let status = match status {
        Ok(status) => status,
        Err(error) => return Failure::Protocol(format!("its end can't be known: {error}")),
    };
    if status.signal() == Some(SIGABRT) && said.contains(OUT_OF_MEMORY) {
        return Failure::Limit(format!("memory limit {}", show_bytes(limits.memory)));
    }
    match status.signal() {
        Some(SIGXFSZ) => {
            Failure::Limit(format!("file size limit {}", show_bytes(limits.file_size)))
        }
        Some(signal) if said.is_empty() => Failure::Killed(signal_name(signal)),
        Some(signal) => {
            Failure::Killed(format!("{} (its last words: {said})", signal_name(signal)))
        }
        None => Failure::Exited(status.code().unwrap_or(-1)),
    }
}

/// What Rust says when the allocator gives nothing, before it aborts.
const OUT_OF_MEMORY: &str = "memory allocation of";
const SIGABRT: i32 = 6;
const SIGXFSZ: i32 = 25;

pub(crate) fn signal_name(signal: i32) -> String {
    // signal(7); the ones that a program dies of.
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        5 => "SIGTRAP",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}

/// The module of the events by which [`log_output`] logs what plugins print.
pub(crate) const OUTPUT: &str = module_path!();

/// Logs what the plugin prints, line by line, under the collector's name; a line that is too
/// long is cut. Ends when every holder of the pipe has closed it or the child has ended.
async fn log_output(output: pipe::Receiver, collector: String, last: Arc<Mutex<String>>) {
    let mut line = Vec::new();
    let mut gate = LogGate::default();
    let mut chunk = [0; 1024];
    loop {
        if output.readable().await.is_err() {
            return;
        }
        let read = match output.try_read(&mut chunk) {
            Ok(0) => {
                if !line.is_empty() {
                    *last.lock().unwrap_or_else(PoisonError::into_inner) =
                        String::from_utf8_lossy(&line).into_owned();
                }
                return;
            }
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        };
        for byte in &chunk[..read] {
            if *byte != b'\n' {
                if line.len() < LINE {
                    line.push(*byte);
                }
                continue;
            }
            let text = String::from_utf8_lossy(&line).into_owned();
            if let Some(suppressed) = gate.pass(clock::monotonic()) {
                if suppressed > 0 {
                    tracing::warn!(target: "plugin", collector, "{suppressed} lines of output were suppressed");
                }
                tracing::info!(target: "plugin", collector, "{}", plain(&text));
            }
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            // What follows is a backtrace.
            if !text.trim().is_empty() && !last.contains(OUT_OF_MEMORY) {
                *last = text;
            }
            line.clear();
        }
    }
}
