//! Runs a plugin as the agent does: the trial, then rounds on the runner that passed it, then the
//! stop; and notes what it sees. The plugin is in a process of its own all the time.

use std::collections::BTreeSet;
use std::time::Duration;

use dropsonde_plugin_api::abi::Kind;
use dropsonde_plugin_api::schema::StreamSchema;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::{Instant, timeout_at};

use super::series::Seen;
use super::usage::Usage;
use crate::admission::{Image, Probed, probe};
use crate::clock;
use crate::config::CollectorSpec;
use crate::control::{LogLine, Services};
use crate::model::{RawBatch, check};
use crate::runner::{Failure, Reply, Request, Runner, Sandbox};
use crate::slot::Ready;

/// Most texts of one kind that are kept.
const MAX_TEXTS: usize = 16;
/// How often what the process holds is looked at, over all rounds.
const LOOKS: u32 = 25;

/// How much is to be done.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// Rounds of a polled collector.
    pub(super) rounds: u32,
    /// How long an event source is listened to.
    pub(super) listen: Duration,
    /// No more rounds are begun after this.
    pub(super) until: Instant,
}

/// How the trial came out.
#[derive(Debug)]
pub(super) enum Trial {
    /// The agent would admit it.
    Passed,
    /// It is sound, and could not be created with these settings or here.
    NotCreated(Failure),
    /// The agent would reject it.
    Rejected(Failure),
}

/// One round after the trial's.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    pub(super) wall: Duration,
    pub(super) cpu: Duration,
}

/// What was seen of a plugin.
#[derive(Debug)]
pub(super) struct Observed {
    pub(super) trial: Trial,
    /// From the start of its process to the end of its first round.
    pub(super) first: Duration,
    pub(super) interval: Duration,
    pub(super) sandbox: Option<Sandbox>,
    pub(super) streams: Vec<Seen>,
    pub(super) rounds: Vec<Round>,
    /// Rounds that failed and left the instance usable, the trial's included; of an event source
    /// bad batches.
    pub(super) failed: u32,
    /// What they, partial rounds and log lines said.
    pub(super) errors: BTreeSet<String>,
    pub(super) partial: BTreeSet<String>,
    pub(super) logged: BTreeSet<String>,
    /// Lines that it logged in its trial, and in the rounds after that.
    pub(super) trial_lines: u32,
    pub(super) log_lines: u32,
    /// In which round it ended that should have gone on, and why.
    pub(super) ended: Option<(u32, Failure)>,
    /// What its process held after rounds.
    pub(super) usage: Vec<(u32, Usage)>,
    /// How long it took to stop, and how that ended; `None` if it was not asked to.
    pub(super) stop: Option<(Duration, Result<(), Failure>)>,
}

impl Observed {
    pub(super) fn new(first: Duration) -> Self {
        Self {
            trial: Trial::Passed,
            first,
            interval: Duration::from_secs(1),
            sandbox: None,
            streams: Vec::new(),
            rounds: Vec::new(),
            failed: 0,
            errors: BTreeSet::new(),
            partial: BTreeSet::new(),
            logged: BTreeSet::new(),
            trial_lines: 0,
            log_lines: 0,
            ended: None,
            usage: Vec::new(),
            stop: None,
        }
    }

    /// All that it, or the agent of it, has said.
    pub(super) fn said(&self) -> impl Iterator<Item = String> {
        let trial = match &self.trial {
            Trial::Passed => None,
            Trial::NotCreated(failure) | Trial::Rejected(failure) => Some(failure.to_string()),
        };
        let ended = self.ended.as_ref().map(|(_, failure)| failure.to_string());
        let texts = self.errors.iter().chain(&self.partial).chain(&self.logged).cloned();
        trial.into_iter().chain(ended).chain(texts)
    }

    fn outcome(&mut self, outcome: Result<Vec<String>, Failure>) {
        match outcome {
            Ok(parts) => parts.into_iter().for_each(|part| keep(&mut self.partial, part)),
            Err(failure) => {
                self.failed += 1;
                keep(&mut self.errors, failure.to_string());
            }
        }
    }

    fn log(&mut self, line: String) {
        self.log_lines += 1;
        keep(&mut self.logged, line);
    }

    /// Takes the lines that were noted since the last time; how many there were.
    fn noted(&mut self, log: &mut Receiver<LogLine>) -> u32 {
        let mut lines = 0_u32;
        loop {
            match log.try_recv() {
                Ok(line) => {
                    lines += 1;
                    keep(&mut self.logged, line.message);
                }
                Err(TryRecvError::Lagged(missed)) => {
                    lines = lines.saturating_add(u32::try_from(missed).unwrap_or(u32::MAX));
                }
                Err(TryRecvError::Empty | TryRecvError::Closed) => return lines,
            }
        }
    }

    fn take(&mut self, batch: RawBatch, late: bool, most_rows: usize) {
        if let Some(seen) = self.streams.get_mut(batch.stream as usize) {
            seen.take(batch, late, most_rows);
        }
    }
}

fn keep(texts: &mut BTreeSet<String>, text: String) {
    if texts.len() < MAX_TEXTS {
        texts.insert(text);
    }
}

/// Runs it. `progress` is told the number of each round.
pub(super) async fn observe(
    services: &Services,
    image: &Image,
    spec: &CollectorSpec,
    plan: Plan,
    progress: &dyn Fn(u32),
) -> Observed {
    let (_, mut log) = services.logs.follow(&spec.name, 0);
    let start = clock::monotonic();
    let probed = probe(services, image, spec.clone()).await;
    let mut observed = Observed::new(clock::monotonic().saturating_sub(start));
    observed.trial_lines = observed.noted(&mut log);
    let ready = match probed {
        Ok(Probed::Ready(ready)) => *ready,
        Ok(Probed::NotCreated(failure)) => {
            observed.trial = Trial::NotCreated(failure);
            return observed;
        }
        Err(failure) => {
            observed.trial = Trial::Rejected(failure);
            return observed;
        }
    };
    let Ready { runner, sandbox, streams, interval, mut held, outcome, .. } = ready;
    observed.streams = streams.iter().map(Seen::new).collect();
    (observed.interval, observed.sandbox) = (spec.interval.unwrap_or(interval), sandbox);
    let rows = spec.limits.rows as usize;
    held.take().into_iter().for_each(|batch| observed.take(batch, false, rows));
    observed.outcome(outcome);
    let mut session = Session { observed, runner, streams, rows, deadline: spec.deadline };
    match image.manifest.kind {
        Kind::Polled => session.rounds(plan, progress).await,
        Kind::Events => session.listen(plan).await,
    }
    let mut observed = session.stop().await;
    let printed = observed.noted(&mut log);
    observed.log_lines = observed.log_lines.saturating_add(printed);
    observed
}

/// A runner at work.
struct Session {
    observed: Observed,
    runner: Runner,
    streams: Vec<StreamSchema>,
    /// Most rows of a batch.
    rows: usize,
    deadline: Duration,
}

impl Session {
    /// The trial's round is the first.
    async fn rounds(&mut self, plan: Plan, progress: &dyn Fn(u32)) {
        let every = (plan.rounds / LOOKS).max(1);
        for round in 2..=plan.rounds {
            if Instant::now() > plan.until {
                return;
            }
            progress(round);
            let failed = self.observed.failed;
            let outcome = self.round(round, round > plan.rounds / 2).await;
            // However many of its batches are bad, one round failed.
            self.observed.failed = self.observed.failed.min(failed + 1);
            if let Err(failure) = outcome {
                self.observed.ended = Some((round, failure));
                return;
            }
            if round % every == 0 || round == plan.rounds {
                self.look(round);
            }
        }
    }

    fn look(&mut self, round: u32) {
        let process = self.runner.process().map(|pid| pid.to_string());
        let usage = process.and_then(|pid| Usage::of(&pid));
        self.observed.usage.extend(usage.map(|usage| (round, usage)));
    }

    /// One round; an error if the instance must not be called again.
    async fn round(&mut self, round: u32, late: bool) -> Result<(), Failure> {
        let by = Instant::now() + self.deadline;
        let start = clock::monotonic();
        self.runner.send(Request::Collect { id: round.into(), wanted: u64::MAX });
        loop {
            match self.reply(by).await? {
                Reply::Batch(batch) => self.accept(batch, late),
                Reply::Done { outcome, cpu_ns, .. } => {
                    let wall = clock::monotonic().saturating_sub(start);
                    let cpu = Duration::from_nanos(cpu_ns);
                    self.observed.rounds.push(Round { wall, cpu });
                    let fatal = outcome.as_ref().err().filter(|failure| failure.is_fatal());
                    if let Some(failure) = fatal.cloned() {
                        return Err(failure);
                    }
                    self.observed.outcome(outcome);
                    return Ok(());
                }
                Reply::Log { message, .. } => self.observed.log(message),
                _ => {}
            }
        }
    }

    /// The next reply that is not the last.
    async fn reply(&mut self, by: Instant) -> Result<Reply, Failure> {
        match timeout_at(by, self.runner.replies.recv()).await {
            Ok(Some(Reply::Closed(failure))) => Err(failure.unwrap_or(Failure::Returned)),
            Ok(Some(reply)) => Ok(reply),
            Ok(None) => Err(Failure::Returned),
            Err(_) => {
                let deadline = humantime::format_duration(self.deadline);
                Err(Failure::Deadline(deadline.to_string()))
            }
        }
    }

    fn accept(&mut self, mut batch: RawBatch, late: bool) {
        match check(&self.streams, &mut batch) {
            Ok(()) => self.observed.take(batch, late, self.rows),
            Err(error) => {
                let failure = Failure::BadBatch(error.to_string());
                self.observed.outcome(Err(failure));
            }
        }
    }

    /// Hears what an event source has to say. Its rounds are tenths of that time.
    async fn listen(&mut self, plan: Plan) {
        const PARTS: u32 = 10;
        for part in 1..=PARTS {
            let by = Instant::now() + plan.listen / PARTS;
            loop {
                let reply = match timeout_at(by, self.runner.replies.recv()).await {
                    Err(_) => break,
                    Ok(reply) => reply,
                };
                match reply {
                    Some(Reply::Batch(batch)) => self.accept(batch, part > PARTS / 2),
                    Some(Reply::Log { message, .. }) => self.observed.log(message),
                    Some(Reply::Refused(failure)) => self.observed.outcome(Err(failure)),
                    Some(Reply::Closed(failure)) => {
                        let failure = failure.unwrap_or(Failure::Returned);
                        self.observed.ended = Some((part, failure));
                        return;
                    }
                    Some(_) => {}
                    None => return,
                }
            }
            self.look(part);
        }
    }

    /// Asks it to stop, unless it has ended; and waits no longer than the deadline.
    async fn stop(mut self) -> Observed {
        if self.observed.ended.is_some() {
            return self.observed;
        }
        let start = clock::monotonic();
        let by = Instant::now() + self.deadline;
        self.runner.send(Request::Stop);
        let ended = loop {
            match timeout_at(by, self.runner.replies.recv()).await {
                Ok(Some(Reply::Closed(failure))) => break failure.map_or(Ok(()), Err),
                Ok(None) => break Ok(()),
                Ok(Some(Reply::Log { message, .. })) => self.observed.log(message),
                Ok(Some(_)) => {}
                Err(_) => {
                    let deadline = humantime::format_duration(self.deadline).to_string();
                    break Err(Failure::Deadline(deadline));
                }
            }
        };
        self.observed.stop = Some((clock::monotonic().saturating_sub(start), ended));
        self.observed
    }
}
