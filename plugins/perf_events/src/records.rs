//! The streams that the plugin declares.

use dropsonde_plugin_api::Record;

/// Whether performance events can be counted here, and which.
#[derive(Debug, Record)]
pub(crate) struct Overview {
    /// Whether at least one event is counted.
    #[gauge(unit = "1")]
    pub(crate) available: bool,
    /// Why nothing is counted; missing if something is.
    #[attribute]
    pub(crate) reason: Option<String>,
    /// CPUs that are online.
    #[gauge(unit = "{cpu}")]
    pub(crate) cpu_cores: Option<usize>,
    /// Time since the round before, or since the collector was made.
    #[gauge(unit = "ms")]
    pub(crate) interval_ms: f64,
    /// When this round began, since 1970.
    #[gauge(unit = "s")]
    pub(crate) sample_time: Option<f64>,
    /// Events that were asked for and could not be opened, for want of permission or otherwise.
    #[attribute]
    pub(crate) missing_events: Vec<String>,
    /// Events that were asked for and that this machine or kernel does not have.
    #[attribute]
    pub(crate) unsupported_events: Vec<String>,
}

/// What one event has counted since the collector was made: on all CPUs together, or in one
/// process.
#[derive(Debug, Record)]
#[record(stream = "events")]
pub(crate) struct EventCount<'a> {
    /// Name of the event, as perf-list(1) has it.
    #[key]
    pub(crate) event: &'a str,
    /// The count. Where the event shared the hardware with others, it is scaled up from the time
    /// in which it was counted, and missing as long as there was no such time.
    #[counter(unit = "1")]
    pub(crate) value: Option<u64>,
    /// What is counted.
    #[attribute]
    pub(crate) unit: &'a str,
    /// Time for which the event was to be counted, summed over CPUs or threads.
    #[counter(unit = "s")]
    pub(crate) time_enabled_seconds: Option<f64>,
    /// Time for which it really was; less if there are more events than hardware counters.
    #[counter(unit = "s")]
    pub(crate) time_running_seconds: Option<f64>,
}
