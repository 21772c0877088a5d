//! What history tells of itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use super::error::{Cause, StoreError};
use super::store::Written;
use crate::clock;
use crate::sink::json::timestamp;

/// The store of history.
#[derive(Debug, Clone, Serialize)]
pub struct HistoryStatus {
    /// Its file.
    pub file: PathBuf,
    /// `starting`, `storing`, `failing` (it tries again), or `refused` (the file is not its own).
    pub state: &'static str,
    /// Records written since the agent started.
    pub rows: u64,
    /// Batches that they came in.
    pub batches: u64,
    /// Transactions that they were written by.
    pub flushes: u64,
    /// Time that these took, in seconds.
    pub flush_seconds: f64,
    /// When the last of them ended. What was read before it, less `history.flush`, is stored.
    pub last_flush: Option<String>,
    /// Records that wait because the file can't be written.
    pub waiting_rows: u64,
    /// Records that were lost, by cause; those that the queue before lost are in the counts of
    /// the subscription `history`.
    pub lost_rows: BTreeMap<&'static str, u64>,
    /// Damaged files that were set aside.
    pub damaged_files: u64,
    /// Bytes of the file.
    pub size_bytes: u64,
    /// Bytes of it that are in use.
    pub used_bytes: u64,
    /// Time of the oldest record.
    pub oldest: Option<String>,
    /// The same in seconds since 1970.
    pub oldest_seconds: Option<f64>,
    /// What went wrong last, also if it is well again.
    pub last_error: Option<String>,
}

/// Counts that outlive a reload.
#[derive(Debug, Default)]
pub(super) struct Shared(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    state: State,
    written: Written,
    flushes: u64,
    flush_time: Duration,
    last_flush: Option<SystemTime>,
    waiting: u64,
    lost: [u64; Cause::ALL.len()],
    damaged: u64,
    used: u64,
    size: u64,
    oldest: Option<SystemTime>,
    last_error: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    #[default]
    Starting,
    Storing,
    Failing,
    Refused,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Storing => "storing",
            Self::Failing => "failing",
            Self::Refused => "refused",
        }
    }
}

impl Shared {
    pub(super) fn starting(&self) {
        self.lock().state = State::Starting;
    }

    pub(super) fn is_well(&self) {
        self.lock().state = State::Storing;
    }

    pub(super) fn flushed(&self, written: &Written, took: Duration) {
        let mut counts = self.lock();
        counts.written.rows += written.rows;
        counts.written.batches += written.batches;
        counts.lost[Cause::Unstorable as usize] += written.unstorable;
        counts.flushes += 1;
        counts.flush_time += took;
        counts.last_flush = Some(clock::wall());
    }

    pub(super) fn failed(&self, error: &StoreError) {
        let mut counts = self.lock();
        let refused = error.cause() == Cause::Refused;
        counts.state = if refused { State::Refused } else { State::Failing };
        counts.last_error = Some(error.to_string());
    }

    pub(super) fn complained(&self, error: String) {
        self.lock().last_error = Some(error);
    }

    pub(super) fn set_aside(&self) {
        self.lock().damaged += 1;
    }

    pub(super) fn waiting(&self, rows: usize) {
        self.lock().waiting = rows as u64;
    }

    pub(super) fn lost(&self, cause: Cause, rows: usize) {
        self.lock().lost[cause as usize] += rows as u64;
    }

    pub(super) fn measured(&self, (used, size): (u64, u64)) {
        let mut counts = self.lock();
        (counts.used, counts.size) = (used, size);
    }

    pub(super) fn goes_back_to(&self, oldest: Option<SystemTime>) {
        self.lock().oldest = oldest;
    }

    pub(super) fn status(&self, file: &Path) -> HistoryStatus {
        let counts = self.lock();
        let lost = Cause::ALL.map(|cause| (cause.name(), counts.lost[cause as usize]));
        HistoryStatus {
            file: file.to_owned(),
            state: counts.state.name(),
            rows: counts.written.rows,
            batches: counts.written.batches,
            flushes: counts.flushes,
            flush_seconds: counts.flush_time.as_secs_f64(),
            last_flush: counts.last_flush.map(timestamp),
            waiting_rows: counts.waiting,
            lost_rows: lost.into(),
            damaged_files: counts.damaged,
            size_bytes: counts.size,
            used_bytes: counts.used,
            oldest: counts.oldest.map(timestamp),
            oldest_seconds: counts.oldest.map(|oldest| {
                oldest.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64()
            }),
            last_error: counts.last_error.clone(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
