//! When a collector that died is started again.

use std::collections::VecDeque;
use std::time::Duration;

/// How restarts are paced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Pause after the first failure; it doubles with each further one.
    pub initial: Duration,
    /// Longest pause.
    pub max: Duration,
    /// So many failures within `window` quarantine the collector.
    pub limit: usize,
    /// See `limit`.
    pub window: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(500),
            max: Duration::from_secs(60),
            limit: 8,
            window: Duration::from_secs(600),
        }
    }
}

/// The failures of one collector.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: VecDeque<Duration>,
    streak: u32,
}

/// What follows a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    RetryAfter(Duration),
    GiveUp,
}

impl Backoff {
    /// Counts a failure at `now`. `jitter` is from 0 to 1 and lengthens the pause by up to a
    /// quarter, so that collectors that failed together don't come back together.
    pub(crate) fn failed(&mut self, policy: &RestartPolicy, now: Duration, jitter: f64) -> Next {
        let recent = |at: &Duration| now.saturating_sub(*at) <= policy.window;
        self.failures.retain(recent);
        self.failures.push_back(now);
        if self.failures.len() >= policy.limit {
            return Next::GiveUp;
        }
        let doubled =
            policy.initial.saturating_mul(1_u32.checked_shl(self.streak).unwrap_or(u32::MAX));
        self.streak = self.streak.saturating_add(1);
        let pause = doubled.min(policy.max);
        Next::RetryAfter(pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 4.0))
    }

    /// It has delivered for as long as the longest pause: the next failure is a first one.
    pub(crate) fn recovered(&mut self) {
        self.streak = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap_and_then_it_gives_up() {
        let policy = RestartPolicy { max: Duration::from_secs(3), limit: 6, ..Default::default() };
        let mut backoff = Backoff::default();
        let at = Duration::from_secs(100);
        let next: Vec<Next> = (0..6).map(|_| backoff.failed(&policy, at, 0.0)).collect();
        let pause = |millis| Next::RetryAfter(Duration::from_millis(millis));
        assert_eq!(
            next,
            [pause(500), pause(1000), pause(2000), pause(3000), pause(3000), Next::GiveUp]
        );
    }

    #[test]
    fn failures_that_are_long_past_don_t_count() {
        let policy = RestartPolicy { limit: 2, ..Default::default() };
        let mut backoff = Backoff::default();
        for hour in 0..24 {
            backoff.recovered();
            let next = backoff.failed(&policy, Duration::from_secs(hour * 3600), 0.0);
            assert_eq!(next, Next::RetryAfter(policy.initial));
        }
    }

    #[test]
    fn jitter_lengthens_a_pause_by_a_quarter_at_most() {
        let policy = RestartPolicy::default();
        let next = Backoff::default().failed(&policy, Duration::ZERO, 1.0);
        assert_eq!(next, Next::RetryAfter(Duration::from_millis(625)));
    }
}
