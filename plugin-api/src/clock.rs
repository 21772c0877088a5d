//! The clocks as a collector sees them, through here alone, so that tests can drive them.

use std::fmt::Debug;
use std::time::{Duration, Instant, SystemTime};

/// Where an instance's time comes from: the machine, or a test.
pub(crate) trait Clock: Debug + Send + Sync {
    /// Since the instance was made; never goes back.
    fn elapsed(&self) -> Duration;

    /// The time of day.
    fn wall(&self) -> SystemTime;
}

/// The machine's clocks, for an instance that was made at this time.
#[derive(Debug)]
pub(crate) struct Machine(Instant);

impl Machine {
    /// For an instance that is made now.
    pub(crate) fn new() -> Self {
        Self(Instant::now())
    }
}

impl Clock for Machine {
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    fn wall(&self) -> SystemTime {
        SystemTime::now()
    }
}
