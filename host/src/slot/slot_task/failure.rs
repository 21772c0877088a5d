//! What follows a round, an end, and a deadline that has passed.

use std::time::Duration;

use tokio::time::Instant;

use super::super::live::Live;
use super::super::phase::Phase;
use super::Slot;
use crate::clock;
use crate::config::CollectorSpec;
use crate::runner::{Failure, Isolation};
use crate::schedule::Change;
use crate::text::plain;

impl Slot {
    pub(super) fn after_round(&mut self, outcome: Result<Vec<String>, Failure>) {
        let failure = match outcome {
            Ok(partial) if partial.is_empty() => None,
            Ok(partial) => Some(Failure::Partial(partial)),
            Err(failure) => Some(failure),
        };
        let well = failure.is_none();
        match failure {
            None => {
                self.failing = (0, Duration::ZERO);
                self.status.send_modify(|status| status.rounds += 1);
            }
            Some(failure) => {
                if matches!(failure, Failure::Partial(_)) {
                    self.failing = (0, Duration::ZERO);
                } else {
                    self.pass_over();
                }
                self.failed_at = clock::monotonic();
                let (text, cause) = (failure.to_string(), failure.cause());
                let new = self.status.borrow().last_error.as_ref() != Some(&text);
                if new || self.status.borrow().phase != Phase::Degraded {
                    tracing::warn!(collector = &*self.spec.name, "{}", plain(&text));
                    self.note(tracing::Level::WARN, &text);
                }
                self.status.send_modify(|status| {
                    status.failed_rounds += 1;
                    status.last_error = Some(text);
                    *status.failures.entry(cause).or_default() += 1;
                });
            }
        }
        self.life.round(well, clock::monotonic());
        self.show_phase();
        self.expect_progress();
    }

    /// Whether an event source that has no rounds is well again: for a while nothing was wrong.
    pub(super) fn is_quiet_again(&self) -> bool {
        let quiet = clock::monotonic().saturating_sub(self.failed_at);
        self.life.phase() == Phase::Degraded && quiet >= Duration::from_secs(1)
    }

    /// Notes by when the next round should have ended: a second late at most.
    pub(super) fn expect_progress(&self) {
        let polled = self.current.as_ref().is_some_and(|live| live.created && !live.is_events());
        let due = (polled && self.services.paced).then(|| {
            let now = clock::monotonic();
            let passed_over = self.failing.1.saturating_sub(self.services.grid.at(now));
            let spare = self.spec.deadline + Duration::from_secs(1);
            now + self.interval() + passed_over + spare
        });
        self.status.send_modify(|status| status.progress_due = due);
    }

    /// Another round failed: the time to the next one doubles, up to the longest pause between
    /// restarts.
    pub(super) fn pass_over(&mut self) {
        let now = self.services.grid.at(clock::monotonic());
        let doubled = 1_u32.checked_shl(self.failing.0).unwrap_or(u32::MAX);
        let longest = self.life.policy().max.max(self.interval());
        let pause = self.interval().saturating_mul(doubled).min(longest);
        // Half an interval early: a tick is a little late, and must not be missed for it.
        let until = (now + pause).saturating_sub(self.interval() / 2);
        self.failing = (self.failing.0.saturating_add(1), until);
    }

    /// The runner that served has ended, or must not be called again.
    pub(super) async fn died(&mut self, failure: Failure) {
        let Some(live) = self.current.take() else { return };
        let shown = self.show(&live.spec, &failure);
        tracing::error!(collector = &*self.spec.name, "{}", plain(&shown));
        self.note(tracing::Level::ERROR, &shown);
        let waiters = live.round.into_iter().flat_map(|round| round.waiters);
        for waiter in waiters.chain(std::mem::take(&mut self.waiting).1) {
            let _ = waiter.send(Err(failure.clone()));
        }
        self.status.send_modify(|status| {
            status.last_error = Some(shown);
            status.progress_due = None;
            *status.failures.entry(failure.cause()).or_default() += 1;
        });
        if self.candidate.is_some() {
            // The replacement was on its way anyhow: it need not wait to prove itself.
            self.life.replaced();
            self.show_phase();
            if let Some(candidate) = self.candidate.take() {
                self.promote(candidate).await;
            }
            return;
        }
        let hopeless =
            matches!(failure, Failure::Settings { .. } | Failure::Load(_) | Failure::Schema(_));
        self.life.died(hopeless, clock::monotonic(), fastrand::f64());
        self.show_phase();
        self.services.schedule(Change::Remove { collector: self.spec.name.to_string() });
    }

    pub(super) async fn time(&mut self) {
        let now = Instant::now();
        if self.life.retry_is_due(clock::monotonic()) {
            self.show_phase();
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
            if let Some(reply) = live.runner.replies.arrived().filter(|_| grace) {
                return self.heard(reply).await;
            }
            let failure =
                Failure::Deadline(humantime::format_duration(live.spec.deadline).to_string());
            return self.give_up_on(failure).await;
        }
        let strained = self.current.as_mut().and_then(|live| live.strained(now));
        if let Some(limit) = strained {
            self.give_up_on(Failure::Limit(limit)).await;
        }
    }

    /// The runner that serves does not come back from a call.
    async fn give_up_on(&mut self, failure: Failure) {
        if let Some(live) =
            self.current.as_ref().filter(|live| live.runner.isolation == Isolation::Thread)
        {
            live.runner.abandon();
            let cause = format!("{failure} on a thread of the host, which was abandoned");
            let threads = &self.services.threads;
            threads.accuse(&self.spec.name, &live.image.sha256(), cause.clone());
            self.moved(cause);
        }
        // Its drop kills the process, or abandons the thread.
        self.died(failure).await;
    }

    /// A failure as the user sees it; one of the settings with the place of the key.
    pub(super) fn show(&self, spec: &CollectorSpec, failure: &Failure) -> String {
        match failure {
            Failure::Settings { path, message } => spec.settings_error(path, message).to_string(),
            other => other.to_string(),
        }
    }

    /// Lets a runner end in its own time, without waiting for it.
    pub(super) fn retire(&self, live: Live) {
        let deadline = self.spec.deadline;
        for waiter in live.round.into_iter().flat_map(|round| round.waiters) {
            let _ = waiter.send(Err(Failure::Failed("the collector was restarted".into())));
        }
        tokio::spawn(live.runner.stop(deadline));
    }

    pub(super) fn moved(&self, why: String) {
        tracing::warn!(collector = &*self.spec.name, "runs in a process from now on: {why}");
        self.note(tracing::Level::WARN, &format!("runs in a process from now on: {why}"));
        self.status.send_modify(|status| status.moved = Some(why));
        self.services.health(&self.status.borrow());
    }

    /// For those who follow the collector's log.
    pub(super) fn note(&self, level: tracing::Level, text: &str) {
        self.services.logs.keep(&self.spec.name, level, text);
    }
}
