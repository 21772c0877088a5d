//! The dispatcher: takes batches from all publishers and hands each to its subscribers. One
//! task, so its routes need no lock, and publishing costs the same however many subscribe.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use crossbeam_queue::ArrayQueue;
use dropsonde_plugin_api::schema::StreamKind;
use tokio::sync::Notify;

use super::subscription::Shared;
use crate::model::Batch;

/// Batches that wait for the dispatcher. It only hands over, so this many wait only if the
/// executor stalls.
const QUEUE: usize = 4096;

/// A subscriber that is called on the dispatcher's task; it must not block.
pub(super) type Callback = Box<dyn FnMut(&Arc<Batch>) + Send>;

/// Stream by its number on the bus.
pub(super) type StreamId = u32;

pub(super) struct Delivery {
    pub(super) stream: StreamId,
    pub(super) batch: Arc<Batch>,
    /// Subscribers that had no room in time; the loss is counted already.
    pub(super) refused: Vec<u64>,
}

/// A change of the routes. Changes are never lost and are seen before any batch that is
/// published after them.
pub(super) enum Change {
    Attach { stream: StreamId, target: Target },
    Detach { subscriber: u64 },
    Forget { stream: StreamId },
}

#[derive(Clone)]
pub(super) enum Target {
    Queue(Arc<Shared>),
    Inline { id: u64, interval: Option<Duration>, call: Arc<Mutex<Callback>> },
}

impl Target {
    pub(super) fn id(&self) -> u64 {
        match self {
            Self::Queue(shared) => shared.id,
            Self::Inline { id, .. } => *id,
        }
    }

    pub(super) fn interval(&self) -> Option<Duration> {
        match self {
            Self::Queue(shared) => shared.request.interval,
            Self::Inline { interval, .. } => *interval,
        }
    }
}

/// Where publishers leave batches.
pub(super) struct Inbox {
    queue: ArrayQueue<Delivery>,
    changes: Mutex<Vec<Change>>,
    changed: AtomicBool,
    awake: AtomicBool,
    doorbell: Notify,
    /// Batches that found the queue full.
    pub(super) overflowed: AtomicU64,
    /// Reads that further subscribers of the same batch did not need.
    pub(super) shared_reads: AtomicU64,
}

impl Inbox {
    pub(super) fn new() -> Self {
        Self {
            queue: ArrayQueue::new(QUEUE),
            changes: Mutex::default(),
            changed: AtomicBool::new(false),
            awake: AtomicBool::new(false),
            doorbell: Notify::new(),
            overflowed: AtomicU64::new(0),
            shared_reads: AtomicU64::new(0),
        }
    }

    /// Leaves a batch; never waits. One wake-up at most, none while the dispatcher is awake.
    /// Given back if the queue is full: the batch is lost to all.
    pub(super) fn push(&self, delivery: Delivery) -> Result<(), Delivery> {
        let pushed = self.queue.push(delivery);
        if pushed.is_err() {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
        self.ring();
        pushed
    }

    pub(super) fn change(&self, change: Change) {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        self.changed.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        if !self.awake.swap(true, Ordering::AcqRel) {
            self.doorbell.notify_one();
        }
    }
}

/// One subscriber of one stream.
struct Route {
    target: Target,
    /// Which interval the last batch fell into, for thinning out.
    cell: Option<u128>,
}

#[derive(Default)]
struct Routes(HashMap<StreamId, Vec<Route>, std::hash::BuildHasherDefault<ById>>);

/// Stream numbers are given out by the bus: nobody can choose them to collide.
#[derive(Default)]
struct ById(u64);

impl std::hash::Hasher for ById {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, _: &[u8]) {}
    fn write_u32(&mut self, id: u32) {
        self.0 = u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// Serves the inbox until the bus is gone.
pub(super) async fn run(inbox: Weak<Inbox>) {
    let mut routes = Routes::default();
    loop {
        let Some(inbox) = inbox.upgrade() else { return };
        drain(&inbox, &mut routes);
        inbox.awake.swap(false, Ordering::AcqRel);
        let empty = inbox.queue.is_empty() && !inbox.changed.load(Ordering::Acquire);
        if !empty {
            inbox.awake.store(true, Ordering::SeqCst);
            tokio::task::yield_now().await;
            continue;
        }
        inbox.doorbell.notified().await;
    }
}

fn drain(inbox: &Inbox, routes: &mut Routes) {
    // A bounded number a turn: other tasks of the executor have work too.
    for _ in 0..1024 {
        if inbox.changed.load(Ordering::Acquire) && inbox.changed.swap(false, Ordering::Acquire) {
            let changes =
                std::mem::take(&mut *inbox.changes.lock().unwrap_or_else(PoisonError::into_inner));
            changes.into_iter().for_each(|change| routes.apply(change));
        }
        let Some(delivery) = inbox.queue.pop() else { return };
        let served = routes.deliver(&delivery);
        if served > 1 && delivery.batch.stream.schema.kind == StreamKind::Snapshot {
            inbox.shared_reads.fetch_add(served - 1, Ordering::Relaxed);
        }
    }
}

impl Routes {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Attach { stream, target } => {
                let routes = self.0.entry(stream).or_default();
                if routes.iter().all(|route| route.target.id() != target.id()) {
                    routes.push(Route { target, cell: None });
                }
            }
            Change::Detach { subscriber } => self.0.retain(|_, routes| {
                routes.retain(|route| route.target.id() != subscriber);
                !routes.is_empty()
            }),
            Change::Forget { stream } => {
                self.0.remove(&stream);
            }
        }
    }

    fn deliver(&mut self, delivery: &Delivery) -> u64 {
        let Delivery { stream, batch, refused } = delivery;
        let Some(routes) = self.0.get_mut(stream) else { return 0 };
        let mut served = 0;
        for route in routes {
            if refused.contains(&route.target.id()) {
                continue;
            }
            if !route.is_due(batch) {
                if let Target::Queue(shared) = &route.target
                    && let Some(credit) = &shared.credit
                {
                    credit.add_permits(1); // reserved, and not needed
                }
                continue;
            }
            match &route.target {
                Target::Queue(shared) => shared.deliver(batch),
                Target::Inline { call, .. } => {
                    call.lock().unwrap_or_else(PoisonError::into_inner)(batch);
                }
            }
            served += 1;
        }
        served
    }
}

impl Route {
    /// Whether the batch is the first of its interval. Ticks are aligned to whole intervals, and
    /// arrive a little late, never early.
    fn is_due(&mut self, batch: &Batch) -> bool {
        let Some(interval) = self.target.interval() else { return true };
        if batch.stream.schema.kind == StreamKind::Event || interval.is_zero() {
            return true;
        }
        let cell = Some(batch.due.as_nanos() / interval.as_nanos());
        std::mem::replace(&mut self.cell, cell) != cell
    }
}
