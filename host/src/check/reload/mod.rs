//! Reloads on threads, as the agent makes them in thread mode: in a child process that is this
//! program re-executed, so that what a plugin does to the process that it is loaded into is done
//! to that child.

mod child;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, timeout, timeout_at};

use super::collect::memory_growth;
use super::report::Check;
use super::strays::{self, Strays};
use super::usage::{Growth, Usage};
use crate::admission::Image;
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::runner::child::RELOADS_FLAG;
use crate::runner::{Begin, Failure, frame, signal_name};
use crate::slot::begin;

pub(crate) use child::serve;

/// What the child is to do.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    begin: Begin,
    /// SHA-256 of the image.
    hash: String,
    reloads: u32,
    deadline: Duration,
    /// None but the first is begun after it.
    time: Duration,
}

impl Order {
    /// Longest that a load may take: creation, a round and the stop have the deadline each. Of
    /// one that hangs the child tells earlier, unless the child itself does.
    fn longest_load(&self) -> Duration {
        self.deadline * 3 + 2 * CLOSING
    }

    fn late(&self) -> Failure {
        Failure::Deadline(humantime::format_duration(self.deadline).to_string())
    }
}

/// What the child says after each load.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Loaded {
    outcome: Result<(), Failure>,
    /// The image is still mapped, though it was closed.
    mapped: bool,
    /// Other files that came with it and are still mapped.
    stayed: Vec<String>,
    /// It was not closed, since something of it may still run.
    leaked: bool,
    /// What it did to the process.
    strayed: Vec<String>,
    usage: Usage,
}

/// Longest that a library is waited for to be closed.
const CLOSING: Duration = Duration::from_secs(2);

/// A reload below this in each half is what the process itself takes.
const NOISE_KIB: u64 = 256;
/// More than this for each reload fails.
const LEAK_KIB: f64 = 64.0;
/// The checks that are made of it.
const IDS: [&str; 5] =
    ["reload.outcome", "reload.unmapped", "reload.memory", "reload.left", "reload.conduct"];

/// Why no reload is tried.
pub(super) fn skipped(why: &str) -> Vec<Check> {
    IDS.map(|id| Check::skip(id, why)).to_vec()
}

/// What is to be reloaded, and how often.
pub(super) struct Reload<'a> {
    pub(super) image: &'a Image,
    pub(super) spec: &'a CollectorSpec,
    pub(super) reloads: u32,
    /// No load is begun after this.
    pub(super) until: Instant,
    pub(super) strays: &'a Strays,
}

impl Reload<'_> {
    /// `progress` is told the number of each load.
    pub(super) async fn checks(&self, services: &Services, progress: &dyn Fn(u32)) -> Vec<Check> {
        let &Self { image, spec, reloads, until, strays } = self;
        if reloads == 0 {
            return skipped("no reloads were asked for");
        }
        let time = until.saturating_duration_since(Instant::now());
        if time.is_zero() {
            return skipped("there was no time left for the first");
        }
        let begin = begin(services, image, spec);
        let order = Order { begin, hash: image.sha256(), reloads, deadline: spec.deadline, time };
        let done = run(&order, until, progress).await;
        let left = strays.end().await;
        match done {
            Ok((loads, ended)) => verdicts(image, reloads, &loads, ended.as_ref(), &left),
            Err(error) => skipped(&format!("no process could be started for it: {error}")),
        }
    }
}

/// Why the child ended before it had done all.
#[derive(Debug)]
enum Ended {
    /// There was no time for more.
    Late,
    /// It ended by itself.
    Died(Failure),
    /// A load did not come back.
    Hung(Failure),
}

/// Has a child do it. What it said, and why it ended early if it did.
async fn run(
    order: &Order,
    until: Instant,
    progress: &dyn Fn(u32),
) -> std::io::Result<(Vec<Loaded>, Option<Ended>)> {
    let (ours, theirs) = StdStream::pair()?;
    ours.set_nonblocking(true)?;
    let mut socket = UnixStream::from_std(ours)?;
    let mut child = spawn(&order.begin.collector, theirs)?;
    let mut bytes = Vec::new();
    frame::append(&mut bytes, order).map_err(std::io::Error::other)?;
    socket.write_all(&bytes).await?;
    let mut loads: Vec<Loaded> = Vec::new();
    let mut received = Vec::new();
    while (loads.len() as u32) < order.reloads {
        let by = Instant::now() + order.longest_load();
        match timeout_at(by, socket.read_buf(&mut received)).await {
            Ok(Ok(length)) if length > 0 => {}
            Ok(_) => {
                let ended = match timeout_at(by, child.wait()).await {
                    Ok(status) => ended(status?, until),
                    Err(_) => Ended::Hung(order.late()),
                };
                return Ok((loads, Some(ended)));
            }
            Err(_) => return Ok((loads, Some(Ended::Hung(order.late())))),
        }
        while let Some(load) = frame::take(&mut received).map_err(std::io::Error::other)? {
            loads.push(load);
            progress(loads.len() as u32);
        }
    }
    drop(socket);
    let _ = timeout(CLOSING, child.wait()).await;
    Ok((loads, None))
}

/// How a child ended that had not done all.
fn ended(status: ExitStatus, until: Instant) -> Ended {
    match status.signal() {
        Some(signal) => Ended::Died(Failure::Killed(signal_name(signal))),
        None if status.success() && Instant::now() > until => Ended::Late,
        None => Ended::Died(Failure::Exited(status.code().unwrap_or(-1))),
    }
}

/// Killed when it is dropped, and by the kernel if this process ends.
fn spawn(collector: &str, socket: StdStream) -> std::io::Result<Child> {
    let kept = ["PATH", "LANG", "TZ"].into_iter();
    let kept = kept.filter_map(|name| std::env::var_os(name).map(|value| (name, value)));
    Command::new("/proc/self/exe")
        .arg0(format!("dropsonde: reloads of {collector}"))
        .arg(RELOADS_FLAG)
        .arg(std::process::id().to_string())
        .env_clear()
        .envs(kept)
        .stdin(OwnedFd::from(socket))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .process_group(0) // a Ctrl-C at the terminal ends it by the end of its parent
        .kill_on_drop(true)
        .spawn()
}

fn verdicts(
    image: &Image,
    reloads: u32,
    loads: &[Loaded],
    ended: Option<&Ended>,
    strays: &[String],
) -> Vec<Check> {
    vec![
        outcome(reloads, loads, ended),
        unmapped(image, loads),
        memory(loads),
        left(loads, strays),
        conduct(loads),
    ]
}

fn outcome(reloads: u32, loads: &[Loaded], ended: Option<&Ended>) -> Check {
    const ID: &str = "reload.outcome";
    let done = loads.len();
    let failed = loads.iter().enumerate().find_map(|(index, load)| {
        load.outcome.as_ref().err().map(|failure| format!("load {}: {failure}", index + 1))
    });
    let mend = "it shares a process with its former self: look for statics, handlers and threads that outlive it";
    let check = match (failed, ended) {
        (Some(failed), _) => Check::fail(ID, failed, mend),
        (None, Some(Ended::Died(how))) => {
            Check::fail(ID, format!("load {}: the process was {how}", done + 1), mend)
        }
        (None, Some(Ended::Hung(late))) => {
            Check::fail(ID, format!("load {}: {late}", done + 1), mend)
        }
        (None, Some(Ended::Late)) => {
            Check::pass(ID, format!("{done} loads in the time that there was, of {reloads}"))
        }
        (None, None) => Check::pass(ID, format!("{done} loads in one process")),
    };
    check.figure("loads", done)
}

fn unmapped(image: &Image, loads: &[Loaded]) -> Check {
    const ID: &str = "reload.unmapped";
    let leaked = loads.iter().filter(|load| load.leaked).count();
    let mapped = loads.iter().filter(|load| load.mapped).count();
    if loads.is_empty() {
        return Check::skip(ID, "it was never loaded to the end");
    }
    if leaked > 0 {
        let found =
            format!("left mapped {leaked} times of {}: a thread of its own still ran", loads.len());
        return Check::fail(ID, found, "end and join the threads that it starts, in its `drop`");
    }
    if mapped == 0 {
        return Check::pass(ID, "unmapped each time");
    }
    let stayed = loads.iter().flat_map(|load| &load.stayed).next();
    let (by, mend) = match (image.notes.nodelete, image.notes.gnu_unique, stayed) {
        (true, ..) => ("it is marked NODELETE".to_owned(), "link it without `-z nodelete`"),
        (_, true, _) => ("it has GNU_UNIQUE symbols".to_owned(), "build it with -fno-gnu-unique"),
        (.., Some(library)) => (
            format!("{library} came with it, stays, and may have bound symbols of it"),
            "export nothing but `dropsonde_*`, by a version script of the linker",
        ),
        _ => (
            "a thread-local destructor, or a handle to itself, holds it".to_owned(),
            "let no value of a thread that goes on, and no dlopen of its own, outlive `drop`",
        ),
    };
    let cost = "in thread mode each new version of it costs its size anew";
    let found = format!("pinned: {by}; closed {mapped} times, and still mapped: {cost}");
    Check::warn(ID, found, &format!("{mend}, or keep it in process mode"))
}

/// A quantity over the loads.
fn over(loads: &[Loaded], of: impl Fn(&Usage) -> u64) -> Option<Growth> {
    let samples = loads.iter().zip(1..).map(|(load, number)| (number, of(&load.usage)));
    Growth::of(&samples.collect::<Vec<_>>())
}

fn memory(loads: &[Loaded]) -> Check {
    let growth = over(loads, |usage| usage.memory_kib);
    let mend = "free in `drop` what `create` and `collect` have made; statics of each load stay unless they are unmapped";
    memory_growth("reload.memory", growth, (LEAK_KIB, NOISE_KIB), mend)
}

fn left(loads: &[Loaded], strays: &[String]) -> Check {
    const ID: &str = "reload.left";
    let mut problems: Vec<Check> = strays::found(ID, strays).into_iter().collect();
    let mut well = Vec::new();
    let descriptors = over(loads, |usage| usage.descriptors);
    let threads = over(loads, |usage| usage.threads);
    for (what, growth) in [("descriptors", descriptors), ("threads", threads)] {
        let Some(growth) = growth else {
            let seen = (!problems.is_empty()).then(|| Check::of(ID, problems, ""));
            return seen.unwrap_or_else(|| Check::skip(ID, "too little was seen of it"));
        };
        let found = format!("{} {what}, then {}", growth.from, growth.to);
        if growth.per_round >= 0.5 {
            let mend =
                "close and join in `drop` what `create` and `collect` have opened and started";
            problems.push(Check::fail(ID, found, mend));
        } else {
            well.push(found);
        }
    }
    Check::of(ID, problems, well.join("; "))
}

fn conduct(loads: &[Loaded]) -> Check {
    const ID: &str = "reload.conduct";
    let mut told: Vec<&String> = loads.iter().flat_map(|load| &load.strayed).collect();
    told.sort();
    told.dedup();
    let mend =
        "leave what belongs to the whole process alone: the agent moves it to a process of its own";
    let problems = told.into_iter().map(|what| Check::fail(ID, what.clone(), mend)).collect();
    if loads.is_empty() {
        return Check::skip(ID, "it was never loaded to the end");
    }
    let well = "it left directory, umask, handlers, environment and threads of the process alone";
    Check::of(ID, problems, well)
}
