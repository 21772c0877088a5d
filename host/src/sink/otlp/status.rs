//! What became of what was exported.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Serialize;

use super::Signal;

/// The export by OTLP.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OtlpStatus {
    /// Where to.
    pub endpoint: String,
    /// `grpc` or `http/protobuf`.
    pub protocol: &'static str,
    /// Data points of metrics.
    pub metrics: SignalStatus,
    /// Log records of events.
    pub logs: SignalStatus,
}

/// One kind of what is exported. Items are data points or log records.
#[derive(Debug, Clone, Default, Serialize)]
pub struct SignalStatus {
    /// Requests that the receiver took.
    pub sent_requests: u64,
    /// Items in them.
    pub sent_items: u64,
    /// Items in them that it did not take all the same (`partial_success`).
    pub rejected_items: u64,
    /// Tries that failed, by cause: `connection`, `timeout`, `busy` (each is repeated), `refused`.
    pub failures: BTreeMap<&'static str, u64>,
    /// Requests that are lost, by cause: `refused`, `queue_full`, `damaged`, `gone`.
    pub dropped_requests: BTreeMap<&'static str, u64>,
    /// Requests that wait for the receiver.
    pub queued_requests: u64,
    /// Bytes of them.
    pub queued_bytes: u64,
    /// The last failure, even if it is over.
    pub last_error: Option<String>,
}

/// Why a request is lost.
#[derive(Debug, Clone, Copy)]
pub(super) enum Dropped {
    /// The receiver will never take it.
    Refused,
    /// Newer ones needed its room.
    QueueFull,
    /// Its file was cut short or changed.
    Damaged,
    /// Its file could not be read.
    Gone,
}

/// The status, where all that export write to it.
#[derive(Clone)]
pub(crate) struct Shared(Arc<Mutex<OtlpStatus>>);

impl Shared {
    pub(super) fn new(endpoint: String, protocol: &'static str) -> Self {
        let status = OtlpStatus { endpoint, protocol, ..OtlpStatus::default() };
        Self(Arc::new(Mutex::new(status)))
    }

    pub(crate) fn now(&self) -> OtlpStatus {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, OtlpStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The counts of one signal.
#[derive(Clone)]
pub(super) struct Counts {
    status: Shared,
    signal: Signal,
}

impl Counts {
    pub(super) fn new(status: &Shared, signal: Signal) -> Self {
        Self { status: status.clone(), signal }
    }

    pub(super) fn sent(&self, items: u64, rejected: u64) {
        self.change(|status| {
            status.sent_requests += 1;
            status.sent_items += items;
            status.rejected_items += rejected;
        });
    }

    pub(super) fn failed(&self, cause: &'static str, error: &str) {
        self.change(|status| {
            *status.failures.entry(cause).or_default() += 1;
            status.last_error = Some(error.to_owned());
        });
    }

    pub(super) fn dropped(&self, cause: Dropped, requests: u64) {
        let name = match cause {
            Dropped::Refused => "refused",
            Dropped::QueueFull => "queue_full",
            Dropped::Damaged => "damaged",
            Dropped::Gone => "gone",
        };
        if requests > 0 {
            self.change(|status| *status.dropped_requests.entry(name).or_default() += requests);
        }
    }

    pub(super) fn queued(&self, requests: u64, bytes: u64) {
        self.change(|status| {
            status.queued_requests = requests;
            status.queued_bytes = bytes;
        });
    }

    fn change(&self, change: impl FnOnce(&mut SignalStatus)) {
        let mut status = self.status.lock();
        change(match self.signal {
            Signal::Metrics => &mut status.metrics,
            Signal::Logs => &mut status.logs,
        });
    }
}
