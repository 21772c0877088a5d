//! The life of one slot, pure: its phase, and when it is started again. It is told what time it
//! is, as `CLOCK_MONOTONIC`.

use std::time::Duration;

use super::backoff::{Backoff, Next, RestartPolicy};
use super::phase::{Phase, Signal};

/// Phase and restarts of a slot.
#[derive(Debug)]
pub(super) struct Life {
    phase: Phase,
    backoff: Backoff,
    policy: RestartPolicy,
    /// When the pause after a failure is over.
    retry_at: Option<Duration>,
    well_since: Option<Duration>,
    restarts: u64,
}

impl Life {
    pub(super) fn new(policy: RestartPolicy) -> Self {
        Self {
            phase: Phase::Stopped,
            backoff: Backoff::default(),
            policy,
            retry_at: None,
            well_since: None,
            restarts: 0,
        }
    }

    pub(super) fn phase(&self) -> Phase {
        self.phase
    }

    /// Runners that were started anew after a failure.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    pub(super) fn retry_at(&self) -> Option<Duration> {
        self.retry_at
    }

    pub(super) fn policy(&self) -> &RestartPolicy {
        &self.policy
    }

    pub(super) fn set_policy(&mut self, policy: RestartPolicy) {
        self.policy = policy;
    }

    /// A round is over; the instance can be called again.
    pub(super) fn round(&mut self, well: bool, now: Duration) {
        self.signal(if well { Signal::Delivered } else { Signal::RoundFailed });
        let since = *self.well_since.get_or_insert(now);
        if now.saturating_sub(since) >= self.policy.max {
            self.backoff.recovered();
        }
    }

    /// The instance has ended. `hopeless`: waiting does not mend it. `jitter` is from 0 to 1.
    pub(super) fn died(&mut self, hopeless: bool, now: Duration, jitter: f64) {
        self.well_since = None;
        if self.phase.after(Signal::Died).is_none() {
            return;
        }
        match self.backoff.failed(&self.policy, now, jitter) {
            Next::RetryAfter(pause) if !hopeless => {
                self.signal(Signal::Died);
                self.retry_at = Some(now + pause);
            }
            _ => self.signal(Signal::GaveUp),
        }
    }

    /// The instance has ended, and another that was on its way anyhow takes its place.
    pub(super) fn replaced(&mut self) {
        self.well_since = None;
        if self.phase.after(Signal::Died).is_some() {
            self.signal(Signal::Died);
            self.signal(Signal::RetryDue);
        }
    }

    /// Whether a new runner is to be started now. True once for each pause.
    pub(super) fn retry_is_due(&mut self, now: Duration) -> bool {
        let due = self.retry_at.take_if(|at| *at <= now).is_some();
        if due {
            self.restarts += 1;
            self.signal(Signal::RetryDue);
        }
        due
    }

    /// Its file or its settings changed, or a person said so: past failures don't count.
    pub(super) fn revive(&mut self) {
        self.backoff = Backoff::default();
        self.retry_at = None;
        self.signal(Signal::Revived);
    }

    pub(super) fn stop_asked(&mut self) {
        self.retry_at = None;
        self.signal(Signal::StopAsked);
    }

    pub(super) fn stopped(&mut self) {
        self.signal(Signal::StopDone);
    }

    fn signal(&mut self, signal: Signal) {
        self.phase = self.phase.after(signal).unwrap_or(self.phase);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEED: u64 = 0x5eed;
    const SEQUENCES: usize = 2_000;
    const STEPS: usize = 400;

    fn policy(random: &mut fastrand::Rng) -> RestartPolicy {
        let initial = Duration::from_millis(random.u64(1..1_000));
        RestartPolicy {
            initial,
            max: initial * random.u32(1..200),
            limit: random.usize(1..10),
            window: Duration::from_secs(random.u64(1..900)),
        }
    }

    /// What the slot must hold after every event.
    fn assert_sound(life: &Life) {
        assert_eq!(life.retry_at.is_some(), life.phase == Phase::BackingOff, "{life:?}");
        if life.phase.is_ready() {
            assert!(life.retry_at.is_none(), "{life:?}");
        }
    }

    /// Any event at any time, in any phase, leaves a phase in which the slot knows what to do.
    #[test]
    fn no_sequence_of_events_reaches_an_undefined_state() {
        let mut random = fastrand::Rng::with_seed(SEED);
        for _ in 0..SEQUENCES {
            let mut life = Life::new(policy(&mut random));
            let mut now = Duration::from_secs(1_000);
            for _ in 0..STEPS {
                now += Duration::from_millis(random.u64(0..5_000));
                let before = life.phase;
                match random.u8(0..8) {
                    0 => life.round(true, now),
                    1 => life.round(false, now),
                    2 => life.died(random.bool(), now, random.f64()),
                    3 => life.replaced(),
                    4 => drop(life.retry_is_due(now)),
                    5 => life.revive(),
                    6 => life.stop_asked(),
                    _ => life.stopped(),
                }
                assert_sound(&life);
                // Nothing but a person, a file or settings brings back what is quarantined.
                if before == Phase::Quarantined {
                    let may = [Phase::Quarantined, Phase::Starting, Phase::Stopped];
                    assert!(may.contains(&life.phase), "{before:?} became {:?}", life.phase);
                }
            }
        }
    }

    /// A collector that fails as it likes, and a slot that starts it as soon as it may.
    #[test]
    fn restarts_never_exceed_the_rate_of_the_backoff() {
        let mut random = fastrand::Rng::with_seed(SEED);
        let mut quarantined = 0;
        for _ in 0..SEQUENCES {
            let policy = policy(&mut random);
            let mut life = Life::new(policy);
            life.revive();
            let mut now = Duration::from_secs(1_000);
            let mut failures: Vec<Duration> = Vec::new();
            for _ in 0..STEPS {
                let lived = Duration::from_millis(random.u64(0..2_000)) * random.u32(0..100);
                life.round(random.bool(), now);
                life.round(random.bool(), now + lived);
                now += lived;
                life.died(false, now, random.f64());
                let Some(at) = life.retry_at() else {
                    assert_eq!(life.phase, Phase::Quarantined);
                    quarantined += 1;
                    break;
                };
                failures.push(now);
                let pause = at - now;
                assert!(pause >= policy.initial.min(policy.max), "{policy:?}: {pause:?}");
                assert!(pause <= policy.max + policy.max / 4, "{policy:?}: {pause:?}");
                let recent = failures.iter().filter(|at| now - **at <= policy.window).count();
                assert!(recent < policy.limit, "{policy:?}: {recent} restarts in a window");
                assert!(!life.retry_is_due(at - Duration::from_nanos(1)), "not before its time");
                assert!(life.retry_is_due(at) && !life.retry_is_due(at), "and once");
                now = at;
            }
            assert_eq!(life.restarts(), failures.len() as u64);
        }
        assert!(quarantined > SEQUENCES / 2, "the sequences are no test: {quarantined}");
    }

    /// While it fails at once each time, every pause is at least twice the one before.
    #[test]
    fn pauses_double_while_it_fails_at_once() {
        let policy = RestartPolicy { limit: 20, ..RestartPolicy::default() };
        let mut life = Life::new(policy);
        life.revive();
        let (mut now, mut last) = (Duration::from_secs(1_000), Duration::ZERO);
        while last < policy.max {
            life.died(false, now, 0.0);
            let at = life.retry_at().unwrap();
            assert!(at - now >= (last * 2).min(policy.max), "{last:?} then {:?}", at - now);
            (last, now) = (at - now, at);
            assert!(life.retry_is_due(at));
        }
    }
}
