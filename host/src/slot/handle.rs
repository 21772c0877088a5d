//! How the rest of the host reaches a slot.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::RestartPolicy;
use super::live::Ready;
use super::phase::Phase;
use super::slot_task::Slot;
use super::status::SlotStatus;
use crate::admission::Image;
use crate::config::CollectorSpec;
use crate::control::Services;
use crate::runner::Failure;
use crate::schedule::Tick;

/// What a slot is told.
pub(crate) enum SlotCommand {
    /// Use this image from now on; `ready` is the probe that it passed, still alive.
    Adopt { image: Arc<Image>, ready: Option<Box<Ready>> },
    /// Use these settings from now on.
    Configure { spec: Box<CollectorSpec>, policy: RestartPolicy },
    /// Read the streams of these topics now; answered when the read is over.
    Collect { topics: Vec<String>, done: oneshot::Sender<Result<(), Failure>> },
    /// If it runs on a thread of the host, go on in a process, for what it did.
    Move { why: String },
    /// Start anew, whatever the state.
    Restart,
    /// End; answered when it has.
    Stop { done: oneshot::Sender<()> },
}

/// A handle to a running slot. The slot ends when it is told to stop.
#[derive(Debug, Clone)]
pub(crate) struct SlotHandle {
    commands: mpsc::UnboundedSender<SlotCommand>,
    ticks: Arc<TickCell>,
    pub(crate) status: watch::Receiver<SlotStatus>,
}

/// Holds the tick that a slot has not taken yet. There is never more than one: a second one is
/// counted as missed, not queued.
#[derive(Debug, Default)]
pub(super) struct TickCell {
    tick: Mutex<Option<Tick>>,
    rung: Notify,
}

impl SlotHandle {
    /// Starts a slot, which waits for its image.
    pub(crate) fn start(
        services: Arc<Services>,
        spec: CollectorSpec,
        policy: RestartPolicy,
    ) -> Self {
        let (commands, queue) = mpsc::unbounded_channel();
        let ticks = Arc::new(TickCell::default());
        let name = spec.name.clone();
        let (slot, status, watched) = Slot::new(services, spec, policy);
        let task = tokio::spawn(slot.run(queue, ticks.clone()));
        tokio::spawn(async move {
            if task.await.is_err_and(|error| error.is_panic()) {
                tracing::error!(collector = &*name, "the host's own code panicked: a bug");
                watched.send_modify(|status| {
                    status.phase = Phase::Quarantined;
                    status.last_error = Some("the host's own code panicked: a bug".into());
                });
            }
        });
        Self { commands, ticks, status }
    }

    /// False if the slot has ended.
    pub(crate) fn send(&self, command: SlotCommand) -> bool {
        self.commands.send(command).is_ok()
    }

    pub(crate) fn tick(&self, tick: Tick) {
        self.ticks.put(tick);
    }
}

impl TickCell {
    fn put(&self, tick: Tick) {
        let mut cell = self.tick.lock().unwrap_or_else(PoisonError::into_inner);
        *cell = Some(match cell.take() {
            Some(waiting) => Tick {
                due: tick.due,
                wanted: waiting.wanted | tick.wanted,
                missed: waiting.missed + tick.missed + 1,
            },
            None => tick,
        });
        drop(cell);
        self.rung.notify_one();
    }

    /// The next tick. Cancel-safe.
    pub(super) async fn take(&self) -> Tick {
        loop {
            if let Some(tick) = self.tick.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return tick;
            }
            self.rung.notified().await;
        }
    }
}
