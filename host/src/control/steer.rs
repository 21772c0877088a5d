//! What a person asks of collectors while the host runs. It lies on top of the configuration
//! files, which stay as they are, and holds until the host ends or the contrary is asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;

use crate::clock;
use crate::config::CollectorSpec;

/// Why a collector does not do what it was asked to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SteerError {
    /// No collector is called so.
    #[error("there is no collector `{collector}`; {hint}")]
    Unknown {
        /// The name that was asked for.
        collector: String,
        /// The nearest name, or all of them.
        hint: String,
    },
    /// It is configured, and there is no plugin for it.
    #[error("the collector `{collector}` does not run: {reason}")]
    Absent {
        /// Its name.
        collector: String,
        /// What is missing.
        reason: String,
    },
    /// It is disabled.
    #[error("the collector `{0}` is disabled; enable it first")]
    Disabled(String),
    /// It reports what happens, as it happens.
    #[error("the collector `{0}` is an event source: it has no interval")]
    NoRounds(String),
    /// An interval shorter than the schedule's grid.
    #[error(
        "the shortest interval is {}",
        humantime::format_duration(crate::schedule::MIN_INTERVAL)
    )]
    TooShort,
    /// The host is ending.
    #[error("the host is shutting down")]
    Ended,
}

/// What is asked of one collector.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Order {
    /// Start anew, whatever the state.
    Restart,
    /// Run, or don't.
    Enable(bool),
    /// Collect at another interval, for so long; at its own again with `None`.
    Pace(Option<Duration>, Option<Duration>),
    /// The time of the pace of this number is over.
    Unpace(u64),
}

/// An interval that a person set.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Paced {
    /// The interval, in seconds.
    pub interval_seconds: f64,
    /// For how long it still holds, in seconds; until the host ends if null.
    pub remaining_seconds: Option<f64>,
}

/// All orders that hold.
#[derive(Debug, Clone, Default)]
pub(super) struct Steering {
    orders: BTreeMap<String, Orders>,
    last_pace: u64,
}

#[derive(Debug, Clone, Default)]
struct Orders {
    enabled: Option<bool>,
    pace: Option<Pace>,
}

#[derive(Debug, Clone, Copy)]
struct Pace {
    number: u64,
    interval: Duration,
    /// `CLOCK_MONOTONIC` at which it ends.
    until: Option<Duration>,
}

impl Steering {
    /// A collector as the configuration has it, with what was asked for on top.
    pub(super) fn apply(&self, mut spec: CollectorSpec) -> CollectorSpec {
        if let Some(orders) = self.orders.get(&*spec.name) {
            spec.enabled = orders.enabled.unwrap_or(spec.enabled);
            spec.interval = orders.pace.map(|pace| pace.interval).or(spec.interval);
        }
        spec
    }

    /// The interval that was set for a collector.
    pub(super) fn paced(&self, collector: &str, now: Duration) -> Option<Paced> {
        let pace = self.orders.get(collector)?.pace?;
        Some(Paced {
            interval_seconds: pace.interval.as_secs_f64(),
            remaining_seconds: pace.until.map(|until| until.saturating_sub(now).as_secs_f64()),
        })
    }

    pub(super) fn enable(&mut self, collector: &str, enabled: bool) {
        self.orders.entry(collector.to_owned()).or_default().enabled = Some(enabled);
    }

    /// Sets an interval; the number by which its end is told.
    pub(super) fn pace(
        &mut self,
        collector: &str,
        interval: Option<Duration>,
        lasting: Option<Duration>,
    ) -> u64 {
        self.last_pace += 1;
        let number = self.last_pace;
        let until = lasting.and_then(|lasting| clock::monotonic().checked_add(lasting));
        let pace = interval.map(|interval| Pace { number, interval, until });
        self.orders.entry(collector.to_owned()).or_default().pace = pace;
        number
    }

    /// Ends the pace of a number, unless another was set meanwhile.
    pub(super) fn unpace(&mut self, collector: &str, number: u64) {
        if let Some(orders) = self.orders.get_mut(collector) {
            orders.pace.take_if(|pace| pace.number == number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn spec() -> CollectorSpec {
        let config = Config::load(&Sources::default()).unwrap();
        CollectorSpec::auto("cpu", &config.defaults)
    }

    #[test]
    fn what_was_asked_lies_over_the_configuration_until_the_contrary_is_asked() {
        let mut steering = Steering::default();
        assert_eq!(steering.apply(spec()), spec());
        steering.enable("cpu", false);
        assert!(!steering.apply(spec()).enabled);
        steering.enable("cpu", true);
        assert_eq!(steering.apply(spec()), spec());
    }

    #[test]
    fn the_end_of_an_earlier_pace_does_not_end_a_later_one() {
        let mut steering = Steering::default();
        let fast = Duration::from_millis(100);
        let first = steering.pace("cpu", Some(fast), Some(Duration::from_secs(1)));
        let second = steering.pace("cpu", Some(2 * fast), None);
        steering.unpace("cpu", first);
        assert_eq!(steering.apply(spec()).interval, Some(2 * fast));
        let paced = steering.paced("cpu", Duration::ZERO).unwrap();
        assert_eq!((paced.interval_seconds, paced.remaining_seconds), (0.2, None));
        steering.unpace("cpu", second);
        assert_eq!((steering.apply(spec()), steering.paced("cpu", Duration::ZERO)), (spec(), None));
    }
}
