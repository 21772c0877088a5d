//! What all parts of the host share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dropsonde_plugin_api::abi::Capability;
use tokio::sync::{Semaphore, mpsc};

use super::events::Events;
use super::logs::Logs;
use crate::admission::Staging;
use crate::bus::Bus;
use crate::history::Recorder;
use crate::query::Engine;
use crate::runner::{Spawner, Threads};
use crate::schedule::{Change, Grid, Heartbeat, Tick};
use crate::sink::otlp;
use crate::slot::{Looks, SlotHandle, SlotStatus};

pub(crate) struct Services {
    pub(crate) bus: Bus,
    pub(crate) spawner: Spawner,
    pub(crate) threads: Threads,
    pub(crate) staging: Staging,
    /// Turns of plugin files that are tried out.
    pub(super) trials: Arc<Semaphore>,
    /// When slots look at their deadlines.
    pub(crate) looks: Looks,
    pub(crate) state_dir: PathBuf,
    pub(crate) grid: Grid,
    pub(crate) heartbeat: Arc<Heartbeat>,
    /// The slots that get ticks and answer requests, by collector.
    pub(crate) slots: Mutex<HashMap<String, SlotHandle>>,
    /// What each collector asked for and was last told that it may not do.
    pub(super) refused: Mutex<HashMap<String, Vec<Capability>>>,
    pub(super) changes: mpsc::UnboundedSender<Change>,
    pub(super) events: Events,
    pub(crate) history: Recorder,
    /// The last log lines of each collector.
    pub(crate) logs: Logs,
    pub(super) queries: Engine,
    /// What became of what is exported, once something is.
    pub(super) otlp: OnceLock<otlp::Shared>,
    /// False: nothing is collected but on request.
    pub(crate) paced: bool,
}

impl Services {
    /// Tells the schedule.
    pub(crate) fn schedule(&self, change: Change) {
        if self.paced {
            let _ = self.changes.send(change); // it ends only with the host
        }
    }

    /// Publishes the state of a collector.
    pub(crate) fn health(&self, status: &SlotStatus) {
        self.events.health(&self.bus, status);
    }

    /// Whether a collector is refused something else than the last time, and anything at all: the
    /// log says it once, not at each restart.
    pub(crate) fn is_new_refusal(&self, collector: &str, refused: &[Capability]) -> bool {
        let mut last = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let before = last.insert(collector.to_owned(), refused.to_owned());
        !refused.is_empty() && before.is_none_or(|before| before != refused)
    }

    /// Tells a slot that it is due.
    pub(super) fn tick(&self, collector: &str, tick: Tick) {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(collector) {
            slot.tick(tick);
        }
    }

    pub(crate) fn slot(&self, collector: &str) -> Option<SlotHandle> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(collector).cloned()
    }
}
