//! The task of one slot: starts runners, gives them their ticks, swaps generations, and starts
//! anew what has failed.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::RestartPolicy;
use super::backoff::{Backoff, Next};
use super::channel::Channels;
use super::handle::{SlotCommand, TickCell};
use super::live::{Live, Ready};
use super::phase::{Phase, Signal};
use super::status::SlotStatus;
use crate::admission::Image;
use crate::clock;
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::model::RawBatch;
use crate::runner::{Failure, Isolation, Reply, log_line, remove_if_empty};
use crate::schedule::{Change, Tick, Tier};

type Waiter = oneshot::Sender<Result<(), Failure>>;

pub(super) struct Slot {
    services: Arc<Services>,
    spec: CollectorSpec,
    policy: RestartPolicy,
    image: Option<Arc<Image>>,
    /// The generation that serves.
    current: Option<Live>,
    /// The one that is to replace it, until its first batch has arrived.
    candidate: Option<Candidate>,
    channels: Channels,
    /// Requests that came during a round that does not serve them: streams and who waits.
    waiting: (u64, Vec<Waiter>),
    backoff: Backoff,
    retry_at: Option<Instant>,
    well_since: Option<Instant>,
    /// Rounds that failed in a row, and until when ticks are passed over for it.
    failing: (u32, Duration),
    status: watch::Sender<SlotStatus>,
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
            services,
            spec,
            policy,
            image: None,
            current: None,
            candidate: None,
            channels: Channels::default(),
            waiting: (0, Vec::new()),
            backoff: Backoff::default(),
            retry_at: None,
            well_since: None,
            failing: (0, Duration::ZERO),
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
                Event::Current(reply) => self.heard(reply).await,
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
        let current_due = self.current.as_ref().and_then(|live| live.due_by);
        let wake = [current_due, candidate_due, self.retry_at].into_iter().flatten().min();
        let sleep = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
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
            () = sleep => Event::Time,
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

    /// A new image, or the first one.
    async fn adopt(&mut self, image: Arc<Image>, ready: Option<Ready>) {
        self.image = Some(image.clone());
        self.revive();
        let ready = ready.filter(|ready| !ready.spec.needs_new_instance(&self.spec));
        match ready {
            Some(ready) if self.isolation() == Isolation::Process => {
                let outcome = ready.outcome.clone();
                let mut live = Live::adopt(image, ready);
                live.spec = self.spec.clone();
                self.candidate = Some(Candidate { live, proven: true });
                let first = self.current.is_none();
                self.swap_if_free().await;
                if first {
                    self.after_round(outcome);
                }
            }
            _ => self.launch(),
        }
    }

    fn configure(&mut self, spec: CollectorSpec, policy: RestartPolicy) {
        let anew = self.spec.needs_new_instance(&spec);
        self.spec = spec;
        self.policy = policy;
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
    }

    /// Its file or its settings changed, or a person said so: past failures don't count.
    fn revive(&mut self) {
        self.backoff.reset();
        self.failing = (0, Duration::ZERO);
        self.retry_at = None;
        self.status.send_modify(|status| status.moved = None);
        self.signal(Signal::Revived);
    }

    /// Starts a runner: beside the one that serves if there is one, otherwise in its place.
    fn launch(&mut self) {
        let Some(image) = self.image.clone() else { return };
        let isolation = self.isolation();
        let live = Live::start(&self.services, image, self.spec.clone(), isolation);
        if self.current.is_some() {
            // A candidate that was still being tried is let go of.
            self.candidate = Some(Candidate { live, proven: false });
        } else {
            self.candidate = None;
            self.current = Some(live);
        }
    }

    /// Where the next runner goes.
    fn isolation(&mut self) -> Isolation {
        if self.spec.isolation == Isolation::Process || self.status.borrow().moved.is_some() {
            return Isolation::Process;
        }
        if self.services.threads.has_room() {
            return Isolation::Thread;
        }
        self.moved(format!(
            "{} libraries were loaded into the host, which is the most it can take",
            crate::runner::THREAD_LOADS_MAX
        ));
        Isolation::Process
    }

    fn moved(&self, why: String) {
        tracing::warn!(collector = &*self.spec.name, "runs in a process from now on: {why}");
        self.status.send_modify(|status| status.moved = Some(why));
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
        let base = self.interval();
        let mut tiers = vec![Tier { wanted: live.all(), interval: base }];
        for (index, topic) in self.channels.topics().enumerate() {
            match self.services.bus.demand(topic) {
                Some(interval) if interval < base => {
                    tiers.push(Tier { wanted: 1 << index, interval });
                }
                _ => {}
            }
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
                self.services.bus.count_coalesced();
                round.waiters.push(done);
            }
            Some(_) => {
                if self.waiting.0 & wanted == wanted {
                    self.services.bus.count_coalesced();
                }
                self.waiting.0 |= wanted;
                self.waiting.1.push(done);
            }
            None => live.collect(wanted, None, vec![done]),
        }
    }

    /// The runner that serves has said something.
    async fn heard(&mut self, reply: Reply) {
        let Some(live) = &mut self.current else { return };
        match reply {
            Reply::Confined(sandbox) => live.sandbox = Some(sandbox),
            Reply::Described { streams, interval_ms } => describe(live, streams, interval_ms),
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
            Reply::Done { id, outcome } => {
                let Some(round) = live.finish(id) else { return };
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
            Reply::Log { level, message } => log_line(&self.spec.name, level, &message),
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
        if let Some(what) = cut.what.filter(|_| live.round.is_none()) {
            self.after_round(Ok(vec![what])); // an event source's
        }
        self.channels.publish(raw, generation, due).await;
        self.status.send_modify(|status| {
            status.batches += 1;
            status.last_batch = Some(at);
            status.rows_left_out += cut.rows;
        });
    }

    /// The candidate has said something.
    async fn heard_candidate(&mut self, reply: Reply) {
        let Some(candidate) = &mut self.candidate else { return };
        let live = &mut candidate.live;
        match reply {
            Reply::Confined(sandbox) => live.sandbox = Some(sandbox),
            Reply::Described { streams, interval_ms } => describe(live, streams, interval_ms),
            Reply::Created => {
                live.created = true;
                live.due_by = None;
                if live.is_events() {
                    candidate.proven = true;
                    self.swap_if_free().await;
                } else {
                    let all = live.all();
                    live.collect(all, None, Vec::new());
                }
            }
            Reply::Batch(mut raw) => match live.accept(&mut raw) {
                Ok(_) => live.held.push(raw),
                Err(failure) => self.refuse_candidate(&failure),
            },
            Reply::Done { id, outcome } => {
                live.finish(id);
                match outcome {
                    Ok(_) => {
                        candidate.proven = true;
                        self.swap_if_free().await;
                    }
                    Err(failure) => self.refuse_candidate(&failure),
                }
            }
            Reply::Log { level, message } => log_line(&self.spec.name, level, &message),
            Reply::Closed(failure) => {
                self.refuse_candidate(&failure.unwrap_or(Failure::Returned));
            }
            Reply::SettingsGood => {}
        }
    }

    /// The replacement is bad: the one that serves goes on, with its image and its settings.
    fn refuse_candidate(&mut self, failure: &Failure) {
        let Some(candidate) = self.candidate.take() else { return };
        let shown = self.show(&candidate.live.spec, failure);
        let generation = candidate.live.image.generation;
        let same = self
            .current
            .as_ref()
            .is_some_and(|live| Arc::ptr_eq(&live.image, &candidate.live.image));
        let text = if same {
            format!("the new settings were refused, the old ones go on: {shown}")
        } else {
            format!("generation {generation} was refused, the old one goes on: {shown}")
        };
        tracing::error!(collector = &*self.spec.name, "{text}");
        if let Some(live) = &self.current {
            self.image = Some(live.image.clone());
            self.spec = live.spec.clone();
        }
        self.status.send_modify(|status| status.last_error = Some(text));
        self.set_tiers();
    }

    /// Lets a proven candidate take over, unless a round is under way: no tick is lost.
    async fn swap_if_free(&mut self) {
        let busy = self.current.as_ref().is_some_and(|live| live.round.is_some());
        let Some(candidate) = self.candidate.take_if(|candidate| candidate.proven && !busy) else {
            return;
        };
        let old = self.current.replace(candidate.live);
        self.install();
        let generation = self.current.as_ref().map_or(0, |live| live.image.generation);
        let held = self.current.as_mut().map(|live| std::mem::take(&mut live.held));
        match old {
            Some(old) => {
                tracing::info!(collector = &*self.spec.name, generation, "took over");
                self.retire(old);
                if self.current.as_ref().is_some_and(Live::is_events) {
                    self.publish_held(held.unwrap_or_default(), generation).await;
                } else {
                    // The first batch was the proof; the next tick is published.
                    held.iter().flatten().for_each(|raw| self.channels.rebase(raw));
                }
                self.after_round(Ok(Vec::new()));
            }
            None => self.publish_held(held.unwrap_or_default(), generation).await,
        }
    }

    async fn publish_held(&mut self, held: Vec<RawBatch>, generation: u32) {
        for raw in held {
            let at = Duration::from_nanos(raw.monotonic_ns);
            self.channels.publish(raw, generation, self.services.grid.at(at)).await;
            self.status.send_modify(|status| {
                status.batches += 1;
                status.last_batch = Some(at);
            });
        }
    }

    /// Makes streams, ticks and status fit the runner that serves.
    fn install(&mut self) {
        let Some(live) = &self.current else { return };
        let (name, plugin) = (&self.spec.name, &self.spec.plugin);
        self.channels.install(&self.services.bus, name, plugin, &live.streams);
        let (generation, isolation) = (live.image.generation, live.runner.isolation);
        let sandbox = live.sandbox.clone();
        if let Some(sandbox) = sandbox.as_ref().filter(|_| live.spec.sandbox) {
            sandbox.report_missing();
        }
        let interval = self.interval();
        let streams = self.channels.topics().map(str::to_owned).collect();
        self.status.send_modify(|status| {
            status.generation = generation;
            status.isolation = isolation;
            status.sandbox = sandbox;
            status.interval_seconds = interval.as_secs_f64();
            status.streams = streams;
        });
        self.set_tiers();
    }

    fn after_round(&mut self, outcome: Result<Vec<String>, Failure>) {
        let failure = match outcome {
            Ok(partial) if partial.is_empty() => None,
            Ok(partial) => Some(Failure::Partial(partial)),
            Err(failure) => Some(failure),
        };
        match failure {
            None => {
                self.failing = (0, Duration::ZERO);
                self.status.send_modify(|status| status.rounds += 1);
                self.signal(Signal::Delivered);
            }
            Some(failure) => {
                if matches!(failure, Failure::Partial(_)) {
                    self.failing = (0, Duration::ZERO);
                } else {
                    self.pass_over();
                }
                let text = failure.to_string();
                let new = self.status.borrow().last_error.as_ref() != Some(&text);
                if new || self.status.borrow().phase != Phase::Degraded {
                    tracing::warn!(collector = &*self.spec.name, "{text}");
                }
                self.status.send_modify(|status| {
                    status.failed_rounds += 1;
                    status.last_error = Some(text);
                });
                self.signal(Signal::RoundFailed);
            }
        }
        let since = *self.well_since.get_or_insert_with(Instant::now);
        if since.elapsed() >= self.policy.max {
            self.backoff.recovered();
        }
    }

    /// Another round failed: the time to the next one doubles, up to the longest pause between
    /// restarts.
    fn pass_over(&mut self) {
        let now = self.services.grid.at(clock::monotonic());
        let doubled = 1_u32.checked_shl(self.failing.0).unwrap_or(u32::MAX);
        let longest = self.policy.max.max(self.interval());
        let pause = self.interval().saturating_mul(doubled).min(longest);
        // Half an interval early: a tick is a little late, and must not be missed for it.
        let until = (now + pause).saturating_sub(self.interval() / 2);
        self.failing = (self.failing.0.saturating_add(1), until);
    }

    fn serve_waiting(&mut self) {
        let Some(live) = self.current.as_mut().filter(|live| live.round.is_none()) else { return };
        let (wanted, waiters) = std::mem::take(&mut self.waiting);
        if wanted != 0 {
            live.collect(wanted, None, waiters);
        }
    }

    /// The runner that served has ended, or must not be called again.
    async fn died(&mut self, failure: Failure) {
        let Some(live) = self.current.take() else { return };
        let shown = self.show(&live.spec, &failure);
        tracing::error!(collector = &*self.spec.name, "{shown}");
        let waiters = live.round.into_iter().flat_map(|round| round.waiters);
        for waiter in waiters.chain(std::mem::take(&mut self.waiting).1) {
            let _ = waiter.send(Err(failure.clone()));
        }
        self.well_since = None;
        self.status.send_modify(|status| status.last_error = Some(shown));
        if self.candidate.is_some() {
            // The replacement was on its way anyhow: it need not wait to prove itself.
            self.signal(Signal::Died);
            self.signal(Signal::RetryDue);
            if let Some(candidate) = self.candidate.take() {
                self.promote(candidate).await;
            }
            return;
        }
        let hopeless =
            matches!(failure, Failure::Settings { .. } | Failure::Load(_) | Failure::Schema(_));
        let next = self.backoff.failed(&self.policy, clock::monotonic(), fastrand::f64());
        match next {
            Next::RetryAfter(pause) if !hopeless => {
                self.signal(Signal::Died);
                self.retry_at = Some(Instant::now() + pause);
            }
            _ => self.signal(Signal::GaveUp),
        }
        self.services.schedule(Change::Remove { collector: self.spec.name.to_string() });
    }

    async fn promote(&mut self, candidate: Candidate) {
        if candidate.proven {
            self.candidate = Some(candidate);
            self.swap_if_free().await;
            self.after_round(Ok(Vec::new()));
            return;
        }
        let mut live = candidate.live;
        let held = std::mem::take(&mut live.held);
        let generation = live.image.generation;
        let created = live.created;
        self.current = Some(live);
        if created {
            self.install();
            self.publish_held(held, generation).await;
        }
    }

    async fn time(&mut self) {
        let now = Instant::now();
        if self.retry_at.take_if(|at| *at <= now).is_some() {
            self.status.send_modify(|status| status.restarts += 1);
            self.signal(Signal::RetryDue);
            self.launch();
        }
        let late = |live: &Live| live.due_by.is_some_and(|due| due <= now);
        if self.candidate.as_ref().is_some_and(|candidate| late(&candidate.live)) {
            let shown = humantime::format_duration(self.spec.deadline).to_string();
            let failure = Failure::Deadline(shown);
            self.refuse_candidate(&failure);
        }
        if let Some(live) = self.current.as_mut().filter(|live| late(live)) {
            // What has arrived in time was only not looked at: the host itself was late.
            let grace = live.due_by.is_some_and(|due| now < due + Duration::from_secs(1));
            if let Some(reply) = live.runner.replies.try_recv().ok().filter(|_| grace) {
                return self.heard(reply).await;
            }
            let failure =
                Failure::Deadline(humantime::format_duration(live.spec.deadline).to_string());
            if live.runner.isolation == Isolation::Thread {
                self.moved(format!("{failure} on a thread of the host, which was abandoned"));
            }
            // Its drop kills the process, or abandons the thread.
            self.died(failure).await;
        }
    }

    /// A failure as the user sees it; one of the settings with the place of the key.
    fn show(&self, spec: &CollectorSpec, failure: &Failure) -> String {
        match failure {
            Failure::Settings { path, message } => spec.settings_error(path, message).to_string(),
            other => other.to_string(),
        }
    }

    fn signal(&mut self, signal: Signal) {
        let before = self.status.borrow().phase;
        let Some(after) = before.after(signal) else { return };
        if before != after {
            tracing::debug!(collector = &*self.spec.name, from = before.name(), to = after.name());
            self.status.send_modify(|status| status.phase = after);
            self.services.health(&self.status.borrow());
        }
    }

    /// Lets a runner end in its own time, without waiting for it.
    fn retire(&self, live: Live) {
        let deadline = self.spec.deadline;
        for waiter in live.round.into_iter().flat_map(|round| round.waiters) {
            let _ = waiter.send(Err(Failure::Failed("the collector was restarted".into())));
        }
        tokio::spawn(live.runner.stop(deadline));
    }

    async fn stop(&mut self) {
        self.signal(Signal::StopAsked);
        self.services.schedule(Change::Remove { collector: self.spec.name.to_string() });
        self.candidate = None;
        if let Some(live) = self.current.take() {
            live.runner.stop(self.spec.deadline.min(Duration::from_secs(5))).await;
        }
        self.channels = Channels::default();
        remove_if_empty(&self.services.state_dir.join(&*self.spec.name));
        self.signal(Signal::StopDone);
    }
}

fn describe(
    live: &mut Live,
    streams: Vec<dropsonde_plugin_api::schema::StreamSchema>,
    interval_ms: u64,
) {
    live.streams = streams;
    live.interval = Duration::from_millis(interval_ms.max(10));
}
