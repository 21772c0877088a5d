//! What all parts of the host share.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use super::events::Events;
use crate::admission::Staging;
use crate::bus::Bus;
use crate::runner::{Spawner, Threads};
use crate::schedule::{Change, Grid, Heartbeat};
use crate::slot::{SlotHandle, SlotStatus};

pub(crate) struct Services {
    pub(crate) bus: Bus,
    pub(crate) spawner: Spawner,
    pub(crate) threads: Threads,
    pub(crate) staging: Staging,
    pub(crate) state_dir: PathBuf,
    pub(crate) grid: Grid,
    pub(crate) heartbeat: Arc<Heartbeat>,
    /// The slots that get ticks and answer requests, by collector.
    pub(crate) slots: Mutex<HashMap<String, SlotHandle>>,
    pub(super) changes: mpsc::UnboundedSender<Change>,
    pub(super) events: Events,
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

    pub(crate) fn slot(&self, collector: &str) -> Option<SlotHandle> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).get(collector).cloned()
    }
}
