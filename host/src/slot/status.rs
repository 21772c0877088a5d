//! What a slot tells of itself.

use std::time::Duration;

use serde::Serialize;

use super::phase::Phase;
use crate::config::CollectorSpec;
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
    /// How often a runner was started anew after a failure.
    pub restarts: u64,
    /// The last failure, even if it is over.
    pub last_error: Option<String>,
    /// Whether the host is ready only when this collector is.
    pub required: bool,
    /// Its own interval, in seconds; demand may be faster.
    pub interval_seconds: f64,
    /// Topics of its streams.
    pub streams: Vec<String>,
    /// Rounds that went well.
    pub rounds: u64,
    /// Rounds that failed in whole or in part.
    pub failed_rounds: u64,
    /// Ticks that came while the last round was still going on, or late.
    pub missed_ticks: u64,
    /// Batches published.
    pub batches: u64,
    /// Rows that were left out of them because there were too many.
    pub rows_left_out: u64,
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
            restarts: 0,
            last_error: None,
            required: spec.required,
            interval_seconds: spec.interval.unwrap_or(Duration::from_secs(1)).as_secs_f64(),
            streams: Vec::new(),
            rounds: 0,
            failed_rounds: 0,
            missed_ticks: 0,
            batches: 0,
            rows_left_out: 0,
            last_batch: None,
            last_batch_age_seconds: None,
        }
    }
}
