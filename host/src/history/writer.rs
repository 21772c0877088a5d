//! The writer: a thread that takes batches and stores them, one transaction each time. Whatever
//! the disk does, it delays nobody else.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::error::{Cause, StoreError};
use super::id;
use super::open;
use super::status::Shared;
use super::store::{Store, Written};
use crate::clock;
use crate::config::History;
use crate::model::Batch;

/// Most records that wait while the file can't be written; beyond, the oldest are lost.
pub(super) const MOST_WAITING: usize = 50_000;
/// First pause after a failure; doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Old records that are deleted after each flush, besides twice as many as it wrote.
const FORGOTTEN_AT_ONCE: u64 = 10_000;

pub(super) struct Writer {
    settings: History,
    shared: Arc<Shared>,
    store: Option<Store>,
    waiting: VecDeque<Arc<Batch>>,
    waiting_rows: usize,
    trouble: Option<Trouble>,
    /// The minute of the last roll-up; `None`: there is more to do at once.
    kept_at: Option<i64>,
}

/// The file can't be written.
struct Trouble {
    cause: Cause,
    pause: Duration,
    /// When it is tried again; `CLOCK_MONOTONIC`.
    again: Duration,
    lost: usize,
}

impl Writer {
    pub(super) fn new(settings: History, shared: Arc<Shared>) -> Self {
        let (store, trouble, kept_at) = (None, None, None);
        let waiting = VecDeque::new();
        Self { settings, shared, store, waiting, waiting_rows: 0, trouble, kept_at }
    }

    /// Stores what comes until there is no more, or the file turns out to be none of ours.
    /// Blocks. Nothing that comes at once only gives time for what else is to do.
    pub(super) fn run(mut self, mut inlet: mpsc::Receiver<Vec<Arc<Batch>>>) {
        while let Some(batches) = inlet.blocking_recv() {
            for batch in batches {
                self.take(batch);
            }
            if self.is_due() {
                self.turn();
            }
            if self.trouble.as_ref().is_some_and(|trouble| trouble.cause == Cause::Refused) {
                return self.lose(0, Cause::Refused);
            }
        }
        if !self.waiting.is_empty() {
            self.turn(); // a last time, whatever the pause
        }
        self.lose(0, Cause::Ended);
    }

    fn take(&mut self, batch: Arc<Batch>) {
        let beyond = |writer: &Self| writer.waiting_rows + batch.rows() > MOST_WAITING;
        if beyond(self) && self.trouble.is_none() {
            self.turn();
        }
        if beyond(self) {
            let cause = self.trouble.as_ref().map_or(Cause::Io, |trouble| trouble.cause);
            self.lose(MOST_WAITING.saturating_sub(batch.rows()), cause);
        }
        self.waiting_rows += batch.rows();
        self.waiting.push_back(batch);
        self.shared.waiting(self.waiting_rows);
    }

    /// Loses the oldest, but for so many records.
    fn lose(&mut self, left: usize, cause: Cause) {
        let before = self.waiting_rows;
        while self.waiting_rows > left
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.waiting_rows -= oldest.rows();
        }
        let lost = before - self.waiting_rows;
        self.shared.lost(cause, lost);
        self.shared.waiting(self.waiting_rows);
        if let Some(trouble) = &mut self.trouble {
            trouble.lost += lost;
        }
    }

    fn is_due(&self) -> bool {
        self.trouble.as_ref().is_none_or(|trouble| clock::monotonic() >= trouble.again)
    }

    /// Writes what waits. A damaged file is set aside, and a new one begun at once.
    fn turn(&mut self) {
        let mut done = self.flush();
        if let Err(error) = &done
            && error.cause() == Cause::Damaged
        {
            self.store = None;
            done = match self.set_aside(error) {
                Ok(()) => self.flush(),
                Err(error) => Err(error),
            };
        }
        match done {
            Ok(()) => self.recovered(),
            Err(error) => self.failed(&error),
        }
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let start = clock::monotonic();
        let mut store = match self.store.take().filter(Store::is_there) {
            Some(store) => store,
            None => Store::open(&self.settings.path, self.trouble.is_none())?,
        };
        if !self.waiting.is_empty() {
            let written = store.write(self.waiting.make_contiguous())?;
            self.waiting.clear();
            self.waiting_rows = 0;
            self.waiting.shrink_to(1024);
            self.tell(&written);
            self.shared.flushed(&written, clock::monotonic().saturating_sub(start));
            self.shared.waiting(0);
            self.keep(&mut store, written.rows)?;
        } else {
            self.keep(&mut store, 0)?;
        }
        self.store = Some(store);
        Ok(())
    }

    /// Makes minutes and hours once a minute, and forgets what is too old or does not fit.
    fn keep(&mut self, store: &mut Store, written: u64) -> Result<(), StoreError> {
        let sqlite = |cause| StoreError::Sqlite { path: self.settings.path.clone(), cause };
        let now = id::ms(clock::wall());
        let minute = now / id::MINUTE_MS;
        let (_, size) = store.size().map_err(sqlite)?;
        if self.kept_at != Some(minute) || size > self.settings.keep.size {
            store.roll_up(now)?;
            let most = FORGOTTEN_AT_ONCE + 2 * written;
            let is_more = store.forget(&self.settings.keep, now, most)?;
            self.kept_at = (!is_more).then_some(minute);
            self.shared.goes_back_to(store.oldest().map_err(sqlite)?);
        }
        self.shared.measured(store.size().map_err(sqlite)?);
        Ok(())
    }

    fn tell(&self, written: &Written) {
        for (topic, why) in &written.refused {
            tracing::error!("history: {topic} can't be stored: {why}");
            self.shared.complained(format!("{topic} can't be stored: {why}"));
        }
        for topic in &written.set_aside {
            tracing::warn!(
                "history: a column of {topic} means something else than before; what was stored \
                 of it is kept in a table of its own"
            );
        }
    }

    fn set_aside(&self, error: &StoreError) -> Result<(), StoreError> {
        let to = open::set_aside(&self.settings.path)?;
        tracing::error!(
            "history: {error}; it was set aside as {}, a new one is begun",
            to.display()
        );
        self.shared.set_aside();
        self.shared.complained(error.to_string());
        Ok(())
    }

    fn failed(&mut self, error: &StoreError) {
        self.store = None; // what is wrong with it may go with the file
        self.shared.failed(error);
        let cause = error.cause();
        let last = self.trouble.take();
        if last.as_ref().is_none_or(|last| last.cause != cause) {
            match cause {
                Cause::Refused => tracing::error!("history: {error}"),
                _ => tracing::error!(
                    "history: {error}; collection goes on, and {MOST_WAITING} records wait"
                ),
            }
        }
        let pause = last.as_ref().map_or(FIRST_PAUSE, |last| (last.pause * 2).min(LONGEST_PAUSE));
        let lost = last.map_or(0, |last| last.lost);
        let again = clock::monotonic() + pause;
        self.trouble = Some(Trouble { cause, pause, again, lost });
    }

    fn recovered(&mut self) {
        self.shared.is_well();
        if let Some(trouble) = self.trouble.take() {
            tracing::info!("history: stored again; {} records were lost meanwhile", trouble.lost);
        }
    }
}
