//! What a slot tells of itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::phase::Phase;
use crate::config::CollectorSpec;
use crate::control::Paced;
use crate::model::Histogram;
use crate::runner::{Isolation, Sandbox};

/// The state of one collector.
#[derive(Debug, Clone, Serialize)]
pub struct SlotStatus {
    /// The collector's name.
    pub name: String,
    /// The plugin that it is an instance of.
    pub plugin: String,
    /// Which image of the plugin serves; 0 before the first.
    pub generation: u32,
    /// Where it runs.
    pub isolation: Isolation,
    /// Why it runs in a process though a thread was asked for.
    pub moved: Option<String>,
    /// What its process may not do; `None` on a thread, and before it has begun.
    pub sandbox: Option<Sandbox>,
    /// Where it stands.
    pub phase: Phase,
    /// The same as an OpenTelemetry component status: `StatusOK`, `StatusRecoverableError`, …
    pub status: &'static str,
    /// Whether it delivers, and on time; filled in when it is asked for.
    pub ready: bool,
    /// Why it is not ready; filled in when it is asked for.
    pub reason: Option<String>,
    /// How often a runner was started anew after a failure.
    pub restarts: u64,
    /// The last failure, even if it is over.
    pub last_error: Option<String>,
    /// Failures so far, by cause: `panicked`, `killed`, `deadline`, …
    pub failures: BTreeMap<&'static str, u64>,
    /// Whether the host is ready only when this collector is.
    pub required: bool,
    /// Its own interval, in seconds; demand may be faster.
    pub interval_seconds: f64,
    /// The interval that a person set instead.
    pub paced: Option<Paced>,
    /// It is there, and neither runs nor is to: by the configuration, or because a person said so.
    pub disabled: bool,
    /// Topics of its streams.
    pub streams: Vec<String>,
    /// Rounds that went well.
    pub rounds: u64,
    /// Rounds that failed in whole or in part.
    pub failed_rounds: u64,
    /// How long rounds took, from the request to the last batch, in seconds.
    pub round_duration: Histogram,
    /// CPU time of the plugin's own calls, in seconds.
    pub cpu_seconds: f64,
    /// Ticks that came while the last round was still going on, or late.
    pub missed_ticks: u64,
    /// Batches published.
    pub batches: u64,
    /// Rows that were left out of them because there were too many.
    pub rows_left_out: u64,
    /// `CLOCK_MONOTONIC` by which the next round should have ended; `None` where none is due.
    #[serde(skip)]
    pub(crate) progress_due: Option<Duration>,
    /// `CLOCK_MONOTONIC` of the last batch.
    #[serde(skip)]
    pub last_batch: Option<Duration>,
    /// Age of the last batch, filled in when it is asked for.
    pub last_batch_age_seconds: Option<f64>,
}

impl SlotStatus {
    /// A collector that has not started.
    pub(crate) fn new(spec: &CollectorSpec) -> Self {
        Self {
            name: spec.name.to_string(),
            plugin: spec.plugin.to_string(),
            generation: 0,
            isolation: spec.isolation,
            moved: None,
            sandbox: None,
            phase: Phase::Stopped,
            status: Phase::Stopped.status(),
            ready: false,
            reason: None,
            restarts: 0,
            last_error: None,
            failures: BTreeMap::new(),
            required: spec.required,
            interval_seconds: spec.interval.unwrap_or(Duration::from_secs(1)).as_secs_f64(),
            paced: None,
            disabled: false,
            streams: Vec::new(),
            rounds: 0,
            failed_rounds: 0,
            round_duration: Histogram::default(),
            cpu_seconds: 0.0,
            missed_ticks: 0,
            batches: 0,
            rows_left_out: 0,
            progress_due: None,
            last_batch: None,
            last_batch_age_seconds: None,
        }
    }

    /// Fills in what depends on the time. Health comes from progress: a collector whose next
    /// round is overdue is not ready, whatever its phase says.
    pub(crate) fn at(mut self, now: Duration) -> Self {
        self.last_batch_age_seconds =
            self.last_batch.map(|last| now.saturating_sub(last).as_secs_f64());
        let late = self.progress_due.is_some_and(|due| due < now);
        self.ready = self.phase.is_ready() && !late;
        self.status = if late { Phase::Degraded.status() } else { self.phase.status() };
        self.reason = match (self.ready, late, &self.last_error) {
            (true, ..) => None,
            _ if self.disabled => Some("it is disabled".into()),
            (_, true, _) => Some("its next round is overdue".into()),
            (_, _, Some(error)) if self.phase != Phase::Stopping => Some(error.clone()),
            _ => Some(format!("it is {}", self.phase.name().replace('_', " "))),
        };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn status(phase: Phase) -> SlotStatus {
        let config = Config::load(&Sources::default()).unwrap();
        let spec = CollectorSpec::auto("cpu", &config.defaults);
        SlotStatus { phase, ..SlotStatus::new(&spec) }
    }

    #[test]
    fn a_collector_whose_round_is_overdue_is_not_ready_though_it_runs() {
        let mut status = status(Phase::Running);
        status.progress_due = Some(Duration::from_secs(12));
        let in_time = status.clone().at(Duration::from_secs(12));
        assert_eq!((in_time.ready, in_time.status, in_time.reason), (true, "StatusOK", None));
        let late = status.at(Duration::from_secs(13));
        assert_eq!((late.ready, late.status), (false, "StatusRecoverableError"));
        assert_eq!(late.reason.as_deref(), Some("its next round is overdue"));
    }

    #[test]
    fn the_reason_is_the_last_error_or_the_phase() {
        let mut status = status(Phase::Starting);
        let reason = |status: &SlotStatus| status.clone().at(Duration::ZERO).reason;
        assert_eq!(reason(&status).as_deref(), Some("it is starting"));
        status.phase = Phase::BackingOff;
        status.last_error = Some("killed by SIGSEGV".into());
        assert_eq!(reason(&status).as_deref(), Some("killed by SIGSEGV"));
    }
}
