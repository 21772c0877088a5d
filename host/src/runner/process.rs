//! A runner process, from the outside.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

use super::frame;
use super::protocol::{Begin, Failure, Reply, Request};
use super::spawner::{Spawned, Spawner};
use super::{Isolation, Link, Runner};

/// Replies that wait for the slot; a runner that is faster waits at its socket.
const QUEUE: usize = 64;
/// Longest line of a plugin's output that is logged whole.
const LINE: usize = 1024;

#[derive(Debug)]
struct ProcessLink {
    requests: mpsc::UnboundedSender<Request>,
}

impl Link for ProcessLink {
    fn send(&self, request: Request) {
        // Gone: the replies say so. The queue is bounded by the slot, which has one request
        // under way at a time.
        let _ = self.requests.send(request);
    }
}

/// Starts a child process and has it begin. Never fails at once: a process that can't be
/// started closes with the reason.
pub(crate) fn start(spawner: &Spawner, begin: Begin) -> Runner {
    let (requests, queue) = mpsc::unbounded_channel();
    let (sender, replies) = mpsc::channel(QUEUE);
    let spawner = spawner.clone();
    tokio::spawn(async move {
        let failure = match spawner.spawn(&begin.collector).await {
            Ok(spawned) => pump(spawned, begin, queue, &sender).await,
            Err(error) => Some(Failure::Spawn(error.to_string())),
        };
        let _ = sender.send(Reply::Closed(failure)).await;
    });
    Runner { isolation: Isolation::Process, replies, link: Box::new(ProcessLink { requests }) }
}

/// Carries requests and replies until either side ends; then sees to it that the child has
/// ended too, and says why.
async fn pump(
    spawned: Spawned,
    begin: Begin,
    mut queue: mpsc::UnboundedReceiver<Request>,
    replies: &mpsc::Sender<Reply>,
) -> Option<Failure> {
    let Spawned { mut child, mut socket, output } = spawned;
    let last_line = Arc::new(Mutex::new(String::new()));
    let mut log = tokio::spawn(log_output(output, begin.collector.clone(), last_line.clone()));
    let ended = carry(&mut socket, begin, &mut queue, replies).await;
    let said_last = match ended {
        Ended::Closed(failure) => Some(failure),
        Ended::Broken(what) => Some(Some(Failure::Protocol(what))),
        Ended::Eof => None,
        Ended::LetGo => Some(None),
    };
    if said_last.is_some() {
        let _ = child.start_kill(); // it has said its last, or nobody listens
    }
    let status = child.wait().await;
    // A process that the plugin left behind may hold the pipe open.
    if tokio::time::timeout(Duration::from_millis(100), &mut log).await.is_err() {
        log.abort();
    }
    said_last.unwrap_or_else(|| Some(cause(status, &last_line)))
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
}

async fn carry(
    socket: &mut UnixStream,
    begin: Begin,
    queue: &mut mpsc::UnboundedReceiver<Request>,
    replies: &mpsc::Sender<Reply>,
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
            ready = socket.readable() => {
                if ready.is_err() {
                    return Ended::Eof;
                }
                match socket.try_read_buf(&mut received) {
                    Ok(0) => return Ended::Eof,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                    Err(_) => return Ended::Eof,
                }
                loop {
                    match frame::take::<Reply>(&mut received) {
                        Ok(Some(Reply::Closed(failure))) => return Ended::Closed(failure),
                        Ok(Some(reply)) => {
                            if replies.send(reply).await.is_err() {
                                return Ended::LetGo;
                            }
                        }
                        Ok(None) => break,
                        Err(error) => return Ended::Broken(error.to_string()),
                    }
                }
                if received.capacity() > 1 << 20 && received.is_empty() {
                    received = Vec::with_capacity(4096);
                }
            }
        }
    }
}

fn cause(status: std::io::Result<ExitStatus>, last_line: &Mutex<String>) -> Failure {
    let said = last_line.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let said = if said.is_empty() { said } else { format!(" (its last words: {said})") };
    match status {
        Ok(status) => match status.signal() {
            Some(signal) => Failure::Killed(format!("{}{said}", signal_name(signal))),
            None => Failure::Exited(status.code().unwrap_or(-1)),
        },
        Err(error) => Failure::Protocol(format!("its end can't be known: {error}")),
    }
}

fn signal_name(signal: i32) -> String {
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

/// Logs what the plugin prints, line by line, under the collector's name; a line that is too
/// long is cut. Ends when every holder of the pipe has closed it or the child has ended.
async fn log_output(output: pipe::Receiver, collector: String, last: Arc<Mutex<String>>) {
    let mut line = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        if output.readable().await.is_err() {
            return;
        }
        let read = match output.try_read(&mut chunk) {
            Ok(0) => return,
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
            tracing::info!(target: "plugin", collector, "{text}");
            if !text.trim().is_empty() {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = text;
            }
            line.clear();
        }
    }
}
