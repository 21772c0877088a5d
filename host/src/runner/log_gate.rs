//! Keeps a plugin from flooding the log: so many lines at once, so many a second, and a count of
//! the rest.

use std::time::Duration;

/// Lines that may come at once.
const BURST: f64 = 100.0;
/// Lines a second in the long run.
const PER_SECOND: f64 = 10.0;

/// The allowance of one source of lines.
#[derive(Debug)]
pub(super) struct LogGate {
    allowance: f64,
    at: Duration,
    suppressed: u64,
}

impl Default for LogGate {
    fn default() -> Self {
        Self { allowance: BURST, at: Duration::ZERO, suppressed: 0 }
    }
}

impl LogGate {
    /// Whether a line may pass at `now` (monotonic); with the number of lines that were
    /// suppressed before it.
    pub(super) fn pass(&mut self, now: Duration) -> Option<u64> {
        let earned = now.saturating_sub(self.at).as_secs_f64() * PER_SECOND;
        self.allowance = (self.allowance + earned).min(BURST);
        self.at = now;
        if self.allowance < 1.0 {
            self.suppressed += 1;
            return None;
        }
        self.allowance -= 1.0;
        Some(std::mem::take(&mut self.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_to_the_burst_and_counted() {
        let mut gate = LogGate::default();
        let start = Duration::from_secs(1000);
        let passed = (0..5000).filter(|_| gate.pass(start).is_some()).count();
        assert_eq!(passed, 100);
        assert_eq!(gate.pass(start + Duration::from_secs(1)), Some(4900));
        assert_eq!(gate.pass(start + Duration::from_secs(1)), Some(0));
    }
}
