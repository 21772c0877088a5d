//! The task of one slot: starts runners, gives them their ticks, swaps generations, and starts
//! anew what has failed.

mod failure;
mod swap;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::RestartPolicy;
use super::channel::Channels;
use super::handle::{SlotCommand, TickCell};
use super::life::Life;
use super::live::Live;
use super::looks::Look;
use super::status::SlotStatus;
use crate::admission::Image;
use crate::clock;
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::model::RawBatch;
use crate::runner::{Failure, Reply, remove_if_empty};
use crate::schedule::{Change, Tick, Tier};

type Waiter = oneshot::Sender<Result<(), Failure>>;

pub(super) struct Slot {
    services: Arc<Services>,
    spec: CollectorSpec,
    life: Life,
    image: Option<Arc<Image>>,
    /// The generation that serves.
    current: Option<Live>,
    /// The one that is to replace it, until its first batch has arrived.
    candidate: Option<Candidate>,
    channels: Channels,
    /// Requests that came during a round that does not serve them: streams and who waits.
    waiting: (u64, Vec<Waiter>),
    /// Rounds that failed in a row, and until when ticks are passed over for it.
    failing: (u32, Duration),
    /// When something last went wrong, as `CLOCK_MONOTONIC`.
    failed_at: Duration,
    status: watch::Sender<SlotStatus>,
    look: Look,
}

struct Candidate {
    live: Live,
    /// Its first batch has arrived; it takes over when the current round is over.
    proven: bool,
}

enum Event {
    Command(Option<SlotCommand>),
    Tick(Tick),
    Current(Reply),
    Candidate(Reply),
    Demand,
    Time,
}

impl Slot {
    pub(super) fn new(
        services: Arc<Services>,
        spec: CollectorSpec,
        policy: RestartPolicy,
    ) -> (Self, watch::Receiver<SlotStatus>, watch::Sender<SlotStatus>) {
        let (status, receiver) = watch::channel(SlotStatus::new(&spec));
        let slot = Self {
            look: services.looks.add(),
            services,
            spec,
            life: Life::new(policy),
            image: None,
            current: None,
            candidate: None,
            channels: Channels::default(),
            waiting: (0, Vec::new()),
            failing: (0, Duration::ZERO),
            failed_at: Duration::ZERO,
            status,
        };
        let watched = slot.status.clone();
        (slot, receiver, watched)
    }

    pub(super) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<SlotCommand>,
        ticks: Arc<TickCell>,
    ) {
        let mut demand = self.services.bus.demand_changes();
        loop {
            match self.next(&mut commands, &ticks, &mut demand).await {
                Event::Command(Some(SlotCommand::Stop { done })) => {
                    self.stop().await;
                    let _ = done.send(());
                    return;
                }
                Event::Command(None) => return self.stop().await,
                Event::Command(Some(command)) => self.command(command).await,
                Event::Tick(tick) => self.tick(tick),
                Event::Current(reply) => {
                    self.heard(reply).await;
                    while let Some(reply) = self.rest() {
                        self.heard(reply).await;
                    }
                }
                Event::Candidate(reply) => self.heard_candidate(reply).await,
                Event::Demand => self.set_tiers(),
                Event::Time => self.time().await,
            }
        }
    }

    async fn next(
        &mut self,
        commands: &mut mpsc::UnboundedReceiver<SlotCommand>,
        ticks: &TickCell,
        demand: &mut watch::Receiver<u64>,
    ) -> Event {
        let candidate_due = self.candidate.as_ref().and_then(|candidate| candidate.live.due_by);
        let current_due = self.current.as_ref().and_then(Live::next_look);
        let retry = self.life.retry_at();
        let retry = retry.map(|at| Instant::now() + at.saturating_sub(clock::monotonic()));
        let wake = [current_due, candidate_due, retry].into_iter().flatten().min();
        self.look.set(wake);
        let current = async {
            match &mut self.current {
                Some(live) => live.next().await,
                None => std::future::pending().await,
            }
        };
        let candidate = async {
            match &mut self.candidate {
                Some(candidate) => candidate.live.next().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // A flood of batches must starve neither commands nor deadlines; the end of a round
            // comes before the next tick.
            biased;
            command = commands.recv() => Event::Command(command),
            () = self.look.due() => Event::Time,
            reply = current => Event::Current(reply),
            reply = candidate => Event::Candidate(reply),
            tick = ticks.take() => Event::Tick(tick),
            Ok(()) = demand.changed() => Event::Demand,
        }
    }

    async fn command(&mut self, command: SlotCommand) {
        match command {
            SlotCommand::Adopt { image, ready } => {
                self.adopt(image, ready.map(|ready| *ready)).await
            }
            SlotCommand::Configure { spec, policy } => self.configure(*spec, policy),
            SlotCommand::Move { why } => self.strayed(why),
            SlotCommand::Collect { topics, done } => self.collect_for(&topics, done),
            SlotCommand::Restart => {
                self.revive();
                if let Some(live) = self.current.take() {
                    self.retire(live);
                }
                self.launch();
            }
            SlotCommand::Stop { .. } => {} // ends the loop
        }
    }

    fn configure(&mut self, spec: CollectorSpec, policy: RestartPolicy) {
        let anew = self.spec.needs_new_instance(&spec);
        self.spec = spec;
        self.life.set_policy(policy);
        if anew && self.image.is_some() {
            self.revive();
            self.launch();
        } else if let Some(live) = &mut self.current {
            live.spec = self.spec.clone();
        }
        self.set_tiers();
        let (required, interval) = (self.spec.required, self.interval());
        self.status.send_modify(|status| {
            status.required = required;
            status.interval_seconds = interval.as_secs_f64();
        });
        self.expect_progress();
    }

    /// Its file or its settings changed, or a person said so: past failures don't count.
    fn revive(&mut self) {
        self.life.revive();
        self.failing = (0, Duration::ZERO);
        self.status.send_modify(|status| status.moved = None);
        self.show_phase();
    }

    fn interval(&self) -> Duration {
        let live = self.current.as_ref().map(Live::interval);
        self.spec.interval.or(live).unwrap_or(Duration::from_secs(1))
    }

    /// Tells the schedule what this collector and its subscribers want.
    fn set_tiers(&self) {
        let Some(live) = self.current.as_ref().filter(|live| live.created && !live.is_events())
        else {
            return;
        };
        // A stream is read as often as the fastest wants it, and not for the slower ones again.
        let mut base = Tier { wanted: live.all(), interval: self.interval() };
        let mut tiers: Vec<Tier> = Vec::new();
        for (index, topic) in self.channels.topics().enumerate() {
            let demand = self.services.bus.demand(topic);
            let Some(interval) = demand.filter(|demand| *demand < base.interval) else { continue };
            base.wanted &= !(1 << index);
            match tiers.iter_mut().find(|tier| tier.interval == interval) {
                Some(tier) => tier.wanted |= 1 << index,
                None => tiers.push(Tier { wanted: 1 << index, interval }),
            }
        }
        if base.wanted != 0 {
            tiers.push(base);
        }
        self.services.schedule(Change::Set { collector: self.spec.name.to_string(), tiers });
    }

    fn tick(&mut self, tick: Tick) {
        let Some(live) = self.current.as_mut().filter(|live| live.created && !live.is_events())
        else {
            return;
        };
        if tick.due < self.failing.1 {
            return; // it failed again and again: it is asked less often
        }
        let busy = live.round.is_some();
        if !busy {
            live.collect(tick.wanted, Some(tick.due), Vec::new());
        }
        let missed = tick.missed + u64::from(busy);
        if missed > 0 {
            self.status.send_modify(|status| status.missed_ticks += missed);
        }
    }

    /// Reads streams now: joins the round that is under way if it reads them, otherwise one round
    /// serves all who wait.
    fn collect_for(&mut self, topics: &[String], done: Waiter) {
        let wanted = self.channels.topics().enumerate().fold(0, |wanted, (index, topic)| {
            wanted | (u64::from(topics.iter().any(|asked| asked == topic)) << index)
        });
        let live = self.current.as_mut().filter(|live| live.created && !live.is_events());
        let Some(live) = live.filter(|_| wanted != 0) else {
            let phase = self.status.borrow().phase.name();
            let _ = done.send(Err(Failure::Failed(format!("the collector is {phase}"))));
            return;
        };
        match &mut live.round {
            Some(round) if round.wanted & wanted == wanted => {
                topics.iter().for_each(|topic| self.services.bus.count_coalesced(topic));
                round.waiters.push(done);
            }
            Some(_) => {
                if self.waiting.0 & wanted == wanted {
                    topics.iter().for_each(|topic| self.services.bus.count_coalesced(topic));
                }
                self.waiting.0 |= wanted;
                self.waiting.1.push(done);
            }
            None => live.collect(wanted, None, vec![done]),
        }
    }

    /// What else the runner that serves has said at once.
    fn rest(&mut self) -> Option<Reply> {
        self.current.as_mut().and_then(|live| live.runner.replies.rest())
    }

    /// The runner that serves has said something.
    async fn heard(&mut self, reply: Reply) {
        let Some(live) = &mut self.current else { return };
        match reply {
            Reply::Confined(sandbox) => live.sandbox = Some(sandbox),
            Reply::Described { streams, interval_ms } => {
                if let Err(failure) = live.describe(streams, interval_ms) {
                    self.died(failure).await;
                }
            }
            Reply::Created => {
                live.created = true;
                live.due_by = None;
                self.install();
                if let Some(live) = self.current.as_mut().filter(|live| !live.is_events()) {
                    let all = live.all();
                    live.collect(all, None, Vec::new());
                } else {
                    self.after_round(Ok(Vec::new()));
                }
            }
            Reply::Batch(raw) => self.batch(raw).await,
            Reply::Done { id, outcome, cpu_ns } => {
                let Some(round) = live.finish(id) else { return };
                let took = round.started.elapsed();
                self.status.send_modify(|status| {
                    status.round_duration.record(took);
                    status.cpu_seconds += Duration::from_nanos(cpu_ns).as_secs_f64();
                });
                let outcome = round.bad.map_or(outcome, Err).map(|mut partial| {
                    partial.extend(round.left_out);
                    partial
                });
                let answer = outcome.as_ref().map(drop).map_err(Failure::clone);
                for waiter in round.waiters {
                    let _ = waiter.send(answer.clone());
                }
                if outcome.as_ref().is_err_and(Failure::is_fatal) {
                    return; // `Closed` follows, with the same failure
                }
                self.after_round(outcome);
                self.swap_if_free().await;
                self.serve_waiting();
            }
            Reply::Refused(failure) => self.after_round(Err(failure)),
            Reply::Strayed(what) => self.strayed(what),
            Reply::Log { level, message } => {
                self.services.logs.plugin(&self.spec.name, level, &message);
            }
            Reply::Closed(failure) => self.died(failure.unwrap_or(Failure::Returned)).await,
            Reply::SettingsGood => {}
        }
    }

    /// A batch of the runner that serves: checked, cut, published.
    async fn batch(&mut self, mut raw: RawBatch) {
        let Some(live) = &mut self.current else { return };
        let cut = match live.accept(&mut raw) {
            Ok(cut) => cut,
            Err(failure) => {
                match &mut live.round {
                    Some(round) => round.bad = Some(failure),
                    None => self.after_round(Err(failure)), // an event source's
                }
                return;
            }
        };
        let generation = live.image.generation;
        let at = Duration::from_nanos(raw.monotonic_ns);
        let due = live.round.as_ref().and_then(|round| round.due);
        let due = due.unwrap_or_else(|| self.services.grid.at(at));
        let is_events = live.is_events();
        match cut.what {
            Some(what) if is_events => self.after_round(Ok(vec![what])),
            None if is_events && self.is_quiet_again() => self.after_round(Ok(Vec::new())),
            _ => {}
        }
        self.channels.publish(raw, generation, due).await;
        self.status.send_modify(|status| {
            status.batches += 1;
            status.last_batch = Some(at);
            status.rows_left_out += cut.rows;
        });
    }

    fn serve_waiting(&mut self) {
        let Some(live) = self.current.as_mut().filter(|live| live.round.is_none()) else { return };
        let (wanted, waiters) = std::mem::take(&mut self.waiting);
        if wanted != 0 {
            live.collect(wanted, None, waiters);
        }
    }

    /// Publishes the phase, if it is another than was published.
    fn show_phase(&mut self) {
        let (before, after) = (self.status.borrow().phase, self.life.phase());
        if before != after {
            tracing::debug!(collector = &*self.spec.name, from = before.name(), to = after.name());
            self.note(tracing::Level::DEBUG, &format!("{}, was {}", after.name(), before.name()));
            let restarts = self.life.restarts();
            self.status.send_modify(|status| {
                status.phase = after;
                status.restarts = restarts;
            });
            self.services.health(&self.status.borrow());
        }
    }

    async fn stop(&mut self) {
        self.life.stop_asked();
        self.show_phase();
        self.services.schedule(Change::Remove { collector: self.spec.name.to_string() });
        self.candidate = None;
        if let Some(live) = self.current.take() {
            live.runner.stop(self.spec.deadline.min(Duration::from_secs(5))).await;
        }
        self.channels = Channels::default();
        remove_if_empty(&self.services.state_dir.join(&*self.spec.name));
        self.life.stopped();
        self.show_phase();
    }
}
