//! Where publishers leave batches, and changes of who gets them, for the dispatcher.
//!
//! One lock serves a publish: it keeps the stream's last batch and queues it. The dispatcher
//! takes all that waits at once, and is woken only if it sleeps.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::Subscriber;
use super::filter::Bound;
use super::subscription::Shared;
use crate::model::Batch;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Batches that wait for the dispatcher. It only hands over, so this many wait only if the
/// executor stalls.
const QUEUE: usize = 4096;

/// Place of a stream on the bus; given out again when its publisher has gone.
pub(super) type StreamId = usize;

/// The subscribers that asked to block and have room for a batch; none of them, mostly.
pub(super) type Reserved = Option<Box<[Arc<Shared>]>>;

/// A change of the routes. Changes are never lost, and take effect after the batches that were
/// published before them and before those that are published after.
pub(super) enum Change {
    Attach {
        stream: StreamId,
        subscriber: Subscriber,
        filter: Option<Arc<Bound>>,
        /// To which its batches are thinned out.
        interval: Option<Duration>,
    },
    Detach {
        streams: Vec<StreamId>,
        subscriber: Subscriber,
    },
    Forget {
        stream: StreamId,
    },
}

/// Why a batch is not on its way; what was reserved for it.
pub(super) enum NotQueued {
    /// Nobody subscribes.
    Unwanted(Reserved),
    /// The queue is full: it is lost to all subscribers.
    Full(Reserved),
}

/// What waits; small, since each batch is one.
pub(super) enum Entry {
    Batch { stream: StreamId, batch: Arc<Batch>, reserved: Reserved },
    Change(Box<Change>),
}

#[derive(Default)]
pub(super) struct Inbox {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    entries: Vec<Entry>,
    /// How many of them are batches.
    batches: usize,
    streams: Vec<Place>,
    /// The dispatcher, if it sleeps.
    dispatcher: Option<Waker>,
    /// Batches that came from collectors.
    reads: u64,
    overflowed: u64,
    ended: bool,
}

#[derive(Default)]
struct Place {
    latest: Option<Arc<Batch>>,
    counts: Counts,
}

/// Counts of a stream.
#[derive(Clone, Copy, Default)]
pub(super) struct Counts {
    pub(super) batches: u64,
    pub(super) records: u64,
    /// A batch that nobody waits for is not queued.
    pub(super) subscribers: usize,
}

impl Inbox {
    /// Leaves a batch; never waits. Either way it is the stream's last. `is_read`: it comes from a
    /// collector.
    pub(super) fn publish(
        &self,
        stream: StreamId,
        batch: Arc<Batch>,
        reserved: Reserved,
        is_read: bool,
    ) -> Result<(), NotQueued> {
        let mut waiting = self.lock();
        waiting.reads += u64::from(is_read);
        let full = waiting.batches >= QUEUE;
        let place = waiting.place(stream);
        place.counts.batches += 1;
        place.counts.records += batch.rows() as u64;
        let old = place.latest.replace(batch.clone());
        if place.counts.subscribers == 0 {
            drop(waiting);
            drop(old); // freed outside the lock
            return Err(NotQueued::Unwanted(reserved));
        }
        if full {
            waiting.overflowed += 1;
            drop(waiting);
            drop(old); // the same
            return Err(NotQueued::Full(reserved));
        }
        waiting.batches += 1;
        waiting.entries.push(Entry::Batch { stream, batch, reserved });
        let sleeping = waiting.dispatcher.take();
        drop(waiting);
        drop(old); // the same
        if let Some(dispatcher) = sleeping {
            dispatcher.wake();
        }
        Ok(())
    }

    /// Keeps a batch as its stream's last, before it is published.
    pub(super) fn keep(&self, stream: StreamId, batch: &Arc<Batch>) {
        let old = self.lock().place(stream).latest.replace(batch.clone());
        drop(old); // freed outside the lock
    }

    pub(super) fn change(&self, change: Change) {
        let mut waiting = self.lock();
        match &change {
            Change::Attach { stream, .. } => waiting.place(*stream).counts.subscribers += 1,
            Change::Detach { streams, .. } => {
                for stream in streams {
                    let subscribers = &mut waiting.place(*stream).counts.subscribers;
                    *subscribers = subscribers.saturating_sub(1);
                }
            }
            Change::Forget { stream } => *waiting.place(*stream) = Place::default(),
        }
        waiting.entries.push(Entry::Change(Box::new(change)));
        let sleeping = waiting.dispatcher.take();
        drop(waiting);
        if let Some(dispatcher) = sleeping {
            dispatcher.wake();
        }
    }

    /// Makes room for a stream, which goes on with the counts of the one that it replaces.
    pub(super) fn open(&self, stream: StreamId, replaced: Option<StreamId>) {
        let mut waiting = self.lock();
        let counts = replaced.map(|replaced| waiting.place(replaced).counts).unwrap_or_default();
        waiting.place(stream).counts = Counts { subscribers: 0, ..counts };
    }

    pub(super) fn counts_of(&self, stream: StreamId) -> Counts {
        self.lock().streams.get(stream).map(|place| place.counts).unwrap_or_default()
    }

    /// The last batch of a stream.
    pub(super) fn latest(&self, stream: StreamId) -> Option<Arc<Batch>> {
        self.lock().streams.get(stream)?.latest.clone()
    }

    /// Batches that came from collectors, and batches that no subscriber got because the queue was
    /// full.
    pub(super) fn counts(&self) -> (u64, u64) {
        let waiting = self.lock();
        (waiting.reads, waiting.overflowed)
    }

    /// Nothing more comes.
    pub(super) fn end(&self) {
        let mut waiting = self.lock();
        waiting.ended = true;
        let sleeping = waiting.dispatcher.take();
        drop(waiting);
        if let Some(dispatcher) = sleeping {
            dispatcher.wake();
        }
    }

    /// All that waits, in order, put into `entries`, which must be empty; false at the end.
    pub(super) fn poll_take(&self, entries: &mut Vec<Entry>, context: &Context<'_>) -> Poll<bool> {
        let mut waiting = self.lock();
        if waiting.entries.is_empty() {
            if waiting.ended {
                return Poll::Ready(false);
            }
            waiting.dispatcher = Some(context.waker().clone());
            return Poll::Pending;
        }
        std::mem::swap(&mut waiting.entries, entries);
        waiting.batches = 0;
        Poll::Ready(true)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn place(&mut self, stream: StreamId) -> &mut Place {
        if self.streams.len() <= stream {
            self.streams.resize_with(stream + 1, Place::default);
        }
        &mut self.streams[stream]
    }
}
