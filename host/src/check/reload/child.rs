//! The child: loads the plugin on threads, as the host does, and says after each what is left.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{CLOSING, Loaded, Order};
use crate::check::usage::Usage;
use crate::runner::child::{confine, take_socket};
use crate::runner::{
    Failure, Reply, Request, Runner, Threads, apply_limits, apply_sandbox, close_inherited, frame,
};

/// An event source runs for so long.
const RUNS: Duration = Duration::from_millis(20);
/// Why a library was left is told a moment after it was counted.
const TELLING: Duration = Duration::from_millis(10);

/// What plugins did that they must not, as it becomes known.
type Strayed = Arc<Mutex<Vec<String>>>;

/// Serves the process that started this one; its number is `parent`.
pub(crate) fn serve(parent: Option<i32>) -> ExitCode {
    let Ok(mut socket) = confine(parent).and_then(|()| take_socket()) else {
        return ExitCode::FAILURE;
    };
    let closed = close_inherited(socket.as_fd());
    let Some(order) = receive(&mut socket) else { return ExitCode::FAILURE };
    if apply_limits(&order.begin.limits).is_err() {
        return ExitCode::FAILURE;
    }
    // Confined as a runner process is, before there is a second thread: nobody has said yet that
    // the plugin may do more.
    apply_sandbox(&order.begin, closed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let done = runtime.and_then(|runtime| runtime.block_on(reload(&order, socket)));
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn receive(socket: &mut UnixStream) -> Option<Order> {
    let mut received = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(order) = frame::take(&mut received).ok()? {
            return Some(order);
        }
        let length = socket.read(&mut chunk).ok().filter(|length| *length > 0)?;
        received.extend_from_slice(&chunk[..length]);
    }
}

async fn reload(order: &Order, mut socket: UnixStream) -> std::io::Result<()> {
    let strayed = Strayed::default();
    let told = strayed.clone();
    // Nothing can be written there: how this process ends is seen by who started it.
    let records = Path::new(&order.begin.state_dir).with_extension("crashes");
    let threads = Threads::new(&records, move |_, what| note(&told, what.to_owned()))?;
    let threads = threads.looking_always();
    let image = order.begin.image.to_string_lossy();
    let at_first = libraries()?;
    let until = Instant::now() + order.time;
    for number in 1..=order.reloads {
        if number > 1 && Instant::now() > until {
            break;
        }
        let left = || threads.quiet().leaked.load(Ordering::Relaxed);
        let before = left();
        let outcome = load(order, &threads, &strayed).await;
        let ended = outcome.is_err() || closed(&threads, number).await;
        let leaked = left() > before || !ended;
        if leaked {
            tokio::time::sleep(TELLING).await;
        }
        let now = libraries()?;
        let strayed = std::mem::take(&mut *strayed.lock().unwrap_or_else(PoisonError::into_inner));
        let failed = outcome.is_err();
        let usage = Usage::of("self").unwrap_or_default();
        let mapped = !leaked && now.contains(&*image);
        let stayed = now.difference(&at_first).filter(|path| **path != *image).cloned().collect();
        let mut bytes = Vec::new();
        let loaded = Loaded { outcome, mapped, stayed, leaked, strayed, usage };
        frame::append(&mut bytes, &loaded).map_err(std::io::Error::other)?;
        socket.write_all(&bytes)?;
        if failed {
            break;
        }
    }
    threads.end();
    Ok(())
}

/// The files that this process has mapped, as proc(5) writes them.
fn libraries() -> std::io::Result<BTreeSet<String>> {
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    let path = |line: &str| line.find('/').and_then(|at| line.get(at..)).map(str::to_owned);
    Ok(maps.lines().filter_map(path).collect())
}

fn note(strayed: &Strayed, what: String) {
    strayed.lock().unwrap_or_else(PoisonError::into_inner).push(what);
}

/// One life on a thread: created, asked once, destroyed.
async fn load(order: &Order, threads: &Threads, strayed: &Strayed) -> Result<(), Failure> {
    let mut runner = threads.start(order.begin.clone(), &order.hash);
    let mut life = Life { runner: &mut runner, deadline: order.deadline, strayed };
    life.until(|reply| matches!(reply, Reply::Created)).await?;
    if order.begin.events {
        tokio::time::sleep(RUNS).await;
    } else {
        life.runner.send(Request::Collect { id: 1, wanted: u64::MAX });
        life.until(|reply| matches!(reply, Reply::Done { .. })).await?;
    }
    life.runner.send(Request::Stop);
    life.closed().await
}

struct Life<'a> {
    runner: &'a mut Runner,
    deadline: Duration,
    strayed: &'a Strayed,
}

impl Life<'_> {
    /// Waits for a reply; an error if the instance has ended, or must not be called again.
    async fn until(&mut self, wanted: impl Fn(&Reply) -> bool) -> Result<(), Failure> {
        loop {
            match self.next().await? {
                Some(Reply::Closed(failure)) => return Err(failure.unwrap_or(Failure::Returned)),
                Some(Reply::Done { outcome: Err(failure), .. }) if failure.is_fatal() => {
                    return Err(failure);
                }
                Some(reply) if wanted(&reply) => return Ok(()),
                Some(_) => {}
                None => return Err(Failure::Returned),
            }
        }
    }

    /// Waits for its end.
    async fn closed(&mut self) -> Result<(), Failure> {
        loop {
            match self.next().await? {
                Some(Reply::Closed(failure)) => return failure.map_or(Ok(()), Err),
                Some(_) => {}
                None => return Ok(()),
            }
        }
    }

    async fn next(&mut self) -> Result<Option<Reply>, Failure> {
        let late = |_| Failure::Deadline(humantime::format_duration(self.deadline).to_string());
        let reply =
            tokio::time::timeout(self.deadline, self.runner.replies.recv()).await.map_err(late)?;
        if let Some(Reply::Strayed(what)) = &reply {
            note(self.strayed, what.clone());
        }
        Ok(reply)
    }
}

/// Waits until so many libraries were closed or left. False if the last one's thread goes on.
async fn closed(threads: &Threads, loads: u32) -> bool {
    let by = Instant::now() + CLOSING;
    let counts = threads.quiet();
    while counts.closed.load(Ordering::Relaxed) + counts.leaked.load(Ordering::Relaxed) < loads {
        if Instant::now() > by {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    true
}
