//! A clock that stands still until a test moves it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use crate::clock::Clock;

/// 2020-01-01T00:00:00Z, in seconds since 1970.
const START: u64 = 1_577_836_800;

#[derive(Debug, Clone)]
pub(super) struct HandClock(Arc<Mutex<Hands>>);

#[derive(Debug)]
struct Hands {
    elapsed: Duration,
    wall: SystemTime,
}

impl HandClock {
    pub(super) fn new() -> Self {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_secs(START);
        Self(Arc::new(Mutex::new(Hands { elapsed: Duration::ZERO, wall })))
    }

    pub(super) fn advance(&self, by: Duration) {
        let mut hands = self.hands();
        hands.elapsed += by;
        hands.wall += by;
    }

    pub(super) fn set_wall(&self, wall: SystemTime) {
        self.hands().wall = wall;
    }

    fn hands(&self) -> MutexGuard<'_, Hands> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for HandClock {
    fn elapsed(&self) -> Duration {
        self.hands().elapsed
    }

    fn wall(&self) -> SystemTime {
        self.hands().wall
    }
}
