//! A runner process, from the inside: the host's own binary, re-executed. It starts no reactor;
//! the main thread serves the plugin, and an event source has another to read requests.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Signal};

use super::frame;
use super::limits;
use super::protocol::{Begin, Failure, Reply, Request};
use super::sandbox;
use super::worker::{self, Out, Requests, StopFlag};

/// First argument of a runner process; the second is the host's process id.
pub(super) const RUNNER_FLAG: &str = "--dropsonde-runner";

/// The same of a process in which `dropsonde check` loads a plugin on threads, again and again.
pub(crate) const RELOADS_FLAG: &str = "--dropsonde-reloads";

/// Bytes that are gathered before they are written without a flush.
const GATHER: usize = 64 << 10;

/// Serves a plugin and ends the process, if this process was started as a runner; returns at
/// once if it was not. A program that embeds the host calls this first in `main`, since runners
/// are its own binary re-executed.
pub fn enter_if_runner() {
    let mut arguments = std::env::args_os().skip(1);
    let serve: fn(Option<i32>) -> ExitCode = match arguments.next() {
        Some(flag) if flag == RUNNER_FLAG => serve,
        Some(flag) if flag == RELOADS_FLAG => crate::check::serve_reloads,
        _ => return,
    };
    let parent = arguments.next().and_then(|pid| pid.to_str()?.parse().ok());
    let code = serve(parent);
    std::io::stderr().flush().ok();
    std::process::exit(i32::from(code != ExitCode::SUCCESS));
}

fn serve(parent: Option<i32>) -> ExitCode {
    let socket = match confine(parent).and_then(|()| take_socket()) {
        Ok(socket) => socket,
        Err(error) => {
            eprintln!("the runner could not start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let closed = sandbox::close_inherited(socket.as_fd());
    // Far from the numbers that a plugin may close or take for its own.
    let out: Arc<dyn Out> = match far_away(socket.as_fd()) {
        Ok(socket) => {
            Arc::new(SocketOut { state: Mutex::new((UnixStream::from(socket), Vec::new())) })
        }
        Err(_) => return ExitCode::FAILURE,
    };
    let mut incoming = Incoming { socket, received: Vec::new() };
    let Request::Begin(begin) = incoming.next() else { return ExitCode::FAILURE };
    // Limits and sandbox come before the second thread: Landlock confines the calling thread and
    // what that starts, and a plugin could have its signal handlers run on any other.
    if let Err(error) = limits::apply(&begin.limits) {
        let failure = Failure::Spawn(format!("its limits were refused: {error}"));
        out.send(Reply::Closed(Some(failure)));
        return ExitCode::SUCCESS;
    }
    out.send(Reply::Confined(sandbox::apply(&begin, closed)));
    let stop = Arc::new(StopFlag::default());
    let (loaded, failure) = if begin.events {
        let Some(mut requests) = read_beside(begin, incoming, stop.clone()) else {
            return ExitCode::FAILURE;
        };
        worker::run(&mut requests, out.clone(), stop, None)
    } else {
        worker::run(&mut Polled { begin: Some(begin), incoming }, out.clone(), stop, None)
    };
    out.send(Reply::Closed(failure));
    // The process ends here; what the plugin left running ends with it, so the library is not
    // closed under it.
    if let Some(loaded) = loaded {
        loaded.leak();
    }
    ExitCode::SUCCESS
}

/// Ties this process to the host's life and takes away what no collector needs.
pub(crate) fn confine(parent: Option<i32>) -> rustix::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    let alive = rustix::process::getppid().map(Pid::as_raw_nonzero).map(i32::from);
    if alive != parent {
        // The host ended before the line above could take effect.
        return Err(rustix::io::Errno::CHILD);
    }
    rustix::thread::set_no_new_privs(true)
}

/// The socket comes as standard input, and is moved out of the plugin's way.
pub(crate) fn take_socket() -> rustix::io::Result<UnixStream> {
    let socket = far_away(rustix::stdio::stdin())?;
    let null =
        rustix::fs::open("/dev/null", rustix::fs::OFlags::RDONLY, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(UnixStream::from(socket))
}

/// A copy with a number that a plugin is unlikely to take for its own; where few descriptors are
/// allowed, a lower one.
fn far_away(descriptor: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(descriptor, 100)
        .or_else(|_| rustix::io::fcntl_dupfd_cloexec(descriptor, 10))
}

/// Requests to a polled collector: nothing is asked of it while it is at work, so the thread that
/// serves it reads them.
struct Polled {
    begin: Option<Begin>,
    incoming: Incoming,
}

impl Requests for Polled {
    fn next(&mut self) -> Option<Request> {
        Some(self.begin.take().map_or_else(|| self.incoming.next(), Request::Begin))
    }
}

/// Requests to an event source, which is told to stop while it runs: a thread of their own reads
/// them. `None` if the kernel refuses it.
fn read_beside(
    begin: Begin,
    incoming: Incoming,
    stop: Arc<StopFlag>,
) -> Option<mpsc::Receiver<Request>> {
    let (sender, requests) = mpsc::channel();
    sender.send(Request::Begin(begin)).ok()?;
    std::thread::Builder::new()
        .name("dropsonde-read".into())
        .stack_size(256 << 10)
        .spawn(move || read_requests(incoming, &sender, &stop))
        .ok()?;
    Some(requests)
}

fn read_requests(mut incoming: Incoming, sender: &Sender<Request>, stop: &StopFlag) {
    loop {
        let request = incoming.next();
        if matches!(request, Request::Stop) {
            stop.stop();
        }
        if sender.send(request).is_err() {
            return;
        }
    }
}

/// What the host asks.
struct Incoming {
    socket: UnixStream,
    received: Vec<u8>,
}

impl Incoming {
    /// Waits for the next request. The process ends when there can be none any more.
    fn next(&mut self) -> Request {
        let mut chunk = [0; 4096];
        loop {
            match frame::take(&mut self.received) {
                Ok(Some(request)) => return request,
                Ok(None) => {}
                Err(error) => {
                    eprintln!("the host sent no request: {error}");
                    std::process::exit(1);
                }
            }
            // A thread that waits in read(2) is also woken when the host has taken what this end
            // wrote; poll(2) is not.
            let mut waited = [PollFd::new(&self.socket, PollFlags::IN)];
            let _ = rustix::event::poll(&mut waited, None);
            match self.socket.read(&mut chunk) {
                Ok(0) => std::process::exit(0), // the host let go
                Ok(length) => self.received.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => std::process::exit(1),
            }
        }
    }
}

/// Writes replies to the host. Batches are gathered until the round is over.
struct SocketOut {
    state: Mutex<(UnixStream, Vec<u8>)>,
}

impl Out for SocketOut {
    fn send(&self, reply: Reply) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, pending) = &mut *state;
        if let Err(error) = frame::append(pending, &reply) {
            eprintln!("a reply could not be sent: {error}");
            return false;
        }
        let gather = matches!(reply, Reply::Batch(_)) && pending.len() < GATHER;
        gather || write_out(socket, pending)
    }

    fn flush(&self) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (socket, pending) = &mut *state;
        write_out(socket, pending)
    }
}

fn write_out(socket: &mut UnixStream, pending: &mut Vec<u8>) -> bool {
    let written = socket.write_all(pending).is_ok();
    pending.clear();
    if pending.capacity() > 4 * GATHER {
        pending.shrink_to(GATHER);
    }
    written
}
