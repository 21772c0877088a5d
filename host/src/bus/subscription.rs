//! Where the batches of a subscriber wait, and what it lost.

use std::fmt;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::Bus;
use super::queue::{Batches, Queue};
use super::request::{Overflow, Subscribe};
use super::topic::Pattern;
use crate::model::Batch;
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Counts of one subscription.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionStatus {
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub patterns: Vec<Pattern>,
    /// How often it wants them, in seconds; `None`: each.
    pub interval_seconds: Option<f64>,
    /// The predicate that records must fulfil.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<String>,
    /// It wants one in so many events.
    #[serde(skip_serializing_if = "is_one")]
    pub sample: u64,
    /// What happens when it does not keep up.
    pub overflow: Overflow,
    /// Batches that it took. With those that it lost and those that wait, all that it wanted.
    pub delivered: u64,
    /// Batches that it lost.
    pub lost: Losses,
    /// What it did not want of what came.
    pub left_out: LeftOut,
    /// Batches that wait for it.
    pub waiting: usize,
}

fn is_one(sample: &u64) -> bool {
    *sample == 1
}

/// Batches that a subscriber lost, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Losses {
    /// Its queue was full; [`Overflow::DropOldest`].
    pub overflow: u64,
    /// A newer one of the stream came before it was taken; [`Overflow::Latest`].
    pub replaced: u64,
    /// It made no room within the deadline; [`Overflow::Block`].
    pub deadline: u64,
    /// The bus itself was full: all subscribers of the stream lost it.
    pub bus: u64,
}

impl Losses {
    /// All causes together.
    pub fn total(self) -> u64 {
        self.by_cause().map(|(_, count)| count).iter().sum()
    }

    /// What has been lost since.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            overflow: self.overflow - before.overflow,
            replaced: self.replaced - before.replaced,
            deadline: self.deadline - before.deadline,
            bus: self.bus - before.bus,
        }
    }

    /// The causes by name.
    pub fn by_cause(self) -> [(&'static str, u64); 4] {
        let Self { overflow, replaced, deadline, bus } = self;
        [("overflow", overflow), ("replaced", replaced), ("deadline", deadline), ("bus", bus)]
    }
}

/// What a subscriber asked not to get, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Batches beyond one per interval.
    pub interval_batches: u64,
    /// Records for which the predicate was not true.
    pub filter_records: u64,
    /// Events that were not the one in so many.
    pub sample_records: u64,
}

/// Counts of all subscriptions of one name, those that have ended included: they never go down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct SubscriptionTotal {
    /// The name.
    pub name: String,
    /// Batches that they took.
    pub delivered: u64,
    /// Batches that they lost; what waited when one ended is neither.
    pub lost: Losses,
    /// What they did not want of what came.
    pub left_out: LeftOut,
}

impl SubscriptionTotal {
    pub(super) fn add(&mut self, status: &SubscriptionStatus) {
        self.delivered += status.delivered;
        let (sum, lost) = (&mut self.lost, status.lost);
        sum.overflow += lost.overflow;
        sum.replaced += lost.replaced;
        sum.deadline += lost.deadline;
        sum.bus += lost.bus;
        self.left_out.add(status.left_out);
    }
}

impl LeftOut {
    fn add(&mut self, more: Self) {
        self.interval_batches += more.interval_batches;
        self.filter_records += more.filter_records;
        self.sample_records += more.sample_records;
    }
}

/// The shared part of a subscription.
pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) request: Arc<Subscribe>,
    inner: Mutex<Inner>,
    /// Room in the queue that publishers reserve; only for `Overflow::Block`.
    pub(super) credit: Option<Semaphore>,
}

#[derive(Default)]
struct Inner {
    queue: Queue,
    /// When the oldest batch came; only for those who gather.
    since: Option<Instant>,
    receiver: Option<Waker>,
    delivered: u64,
    lost: Losses,
    left_out: LeftOut,
}

impl Shared {
    pub(super) fn new(id: u64, request: Arc<Subscribe>) -> Self {
        let credit = match request.overflow {
            Overflow::Block(room, _) => Some(Semaphore::new(room.clamp(1, Semaphore::MAX_PERMITS))),
            _ => None,
        };
        Self { id, request, inner: Mutex::default(), credit }
    }

    /// Puts batches into the queue by the policy, oldest first. Never blocks.
    pub(super) fn deliver(&self, batches: impl Iterator<Item = Arc<Batch>>) {
        self.fill(|inner| match self.request.overflow {
            Overflow::Latest => batches.for_each(|batch| {
                if inner.queue.replace(&batch) {
                    inner.lost.replaced += 1;
                } else {
                    inner.queue.push(batch);
                }
            }),
            // Room for one that blocks was reserved.
            Overflow::DropOldest(_) | Overflow::Block(..) => {
                batches.for_each(|batch| inner.queue.push(batch));
            }
        });
    }

    /// Puts a list that others get too into the queue; `records` is the sum of its records.
    pub(super) fn deliver_list(&self, list: &Arc<[Arc<Batch>]>, records: usize) {
        self.fill(|inner| inner.queue.push_list(list.clone(), records));
    }

    fn fill(&self, fill: impl FnOnce(&mut Inner)) {
        let mut inner = self.lock();
        let before = inner.queue.batches();
        fill(&mut inner);
        if let Overflow::DropOldest(room) = self.request.overflow {
            while inner.queue.batches() > room.max(1) {
                drop(inner.queue.pop());
                inner.lost.overflow += 1;
            }
        }
        if before == 0 && self.request.gather.is_some() {
            inner.since = Some(Instant::now());
        }
        // Once when something comes, and once when there is enough for those who gather.
        let wake = before == 0 || self.is_full(&inner.queue);
        let receiver = if wake { inner.receiver.take() } else { None };
        drop(inner);
        if let Some(receiver) = receiver {
            receiver.wake();
        }
    }

    /// Whether one who gathers need wait no longer.
    fn is_full(&self, queue: &Queue) -> bool {
        let Some((records, _)) = self.request.gather else { return queue.batches() > 0 };
        let room = match self.request.overflow {
            Overflow::Latest => usize::MAX,
            Overflow::DropOldest(room) | Overflow::Block(room, _) => room.max(1),
        };
        queue.batches() > 0 && (queue.records() >= records || queue.batches() >= room)
    }

    pub(super) fn count_lost(&self, count: impl FnOnce(&mut Losses)) {
        count(&mut self.lock().lost);
    }

    pub(super) fn count_left_out(&self, more: LeftOut) {
        self.lock().left_out.add(more);
    }

    fn pop(&self) -> Option<Arc<Batch>> {
        let mut inner = self.lock();
        let batch = inner.queue.pop()?;
        inner.delivered += 1;
        drop(inner);
        self.give_credit(1);
        Some(batch)
    }

    fn poll_pop(&self, context: &Context<'_>) -> Poll<Arc<Batch>> {
        let mut inner = self.lock();
        let Some(batch) = inner.queue.pop() else {
            wait(&mut inner.receiver, context);
            return Poll::Pending;
        };
        inner.delivered += 1;
        drop(inner);
        self.give_credit(1);
        Poll::Ready(batch)
    }

    /// All that waits, at least one.
    fn poll_take(&self, context: &Context<'_>) -> Poll<Batches> {
        let mut inner = self.lock();
        if inner.queue.batches() == 0 {
            wait(&mut inner.receiver, context);
            return Poll::Pending;
        }
        let queue = std::mem::take(&mut inner.queue);
        inner.delivered += queue.batches() as u64;
        drop(inner);
        self.give_credit(queue.batches());
        Poll::Ready(Batches(queue))
    }

    /// When the first of what waits came.
    fn poll_first(&self, context: &Context<'_>) -> Poll<Instant> {
        let mut inner = self.lock();
        match inner.since {
            Some(since) if inner.queue.batches() > 0 => Poll::Ready(since),
            _ => {
                wait(&mut inner.receiver, context);
                Poll::Pending
            }
        }
    }

    /// Whether enough waits.
    fn poll_full(&self, context: &Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if self.is_full(&inner.queue) {
            return Poll::Ready(());
        }
        wait(&mut inner.receiver, context);
        Poll::Pending
    }

    /// Makes room for more, if publishers reserve it.
    pub(super) fn give_credit(&self, taken: usize) {
        if let Some(credit) = self.credit.as_ref().filter(|_| taken > 0) {
            credit.add_permits(taken);
        }
    }

    pub(super) fn status(&self) -> SubscriptionStatus {
        let inner = self.lock();
        let request = &self.request;
        SubscriptionStatus {
            name: request.name.clone(),
            patterns: request.patterns.clone(),
            interval_seconds: request.interval.map(|interval| interval.as_secs_f64()),
            filter: request.filter.as_ref().map(ToString::to_string),
            sample: request.sample,
            overflow: request.overflow,
            delivered: inner.delivered,
            lost: inner.lost,
            left_out: inner.left_out,
            waiting: inner.queue.batches(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait(receiver: &mut Option<Waker>, context: &Context<'_>) {
    match receiver {
        Some(waker) => waker.clone_from(context.waker()),
        None => *receiver = Some(context.waker().clone()),
    }
}

/// A subscription; dropping it ends it.
pub struct Subscription {
    pub(super) bus: Bus,
    pub(super) shared: Arc<Shared>,
}

impl Subscription {
    /// The next batch. Cancel-safe. Waits for ever if none comes.
    pub async fn recv(&mut self) -> Arc<Batch> {
        poll_fn(|context| self.shared.poll_pop(context)).await
    }

    /// All batches that wait, at least one; as many as [`Subscribe::gather`] says. Cancel-safe.
    /// Waits for ever if none comes.
    pub async fn recv_many(&mut self) -> Batches {
        if let Some((_, within)) = self.shared.request.gather {
            let first = poll_fn(|context| self.shared.poll_first(context)).await;
            let full = poll_fn(|context| self.shared.poll_full(context));
            match first.checked_add(within) {
                // Either way there is something to take.
                Some(until) => drop(tokio::time::timeout_at(until, full).await),
                None => full.await,
            }
        }
        poll_fn(|context| self.shared.poll_take(context)).await
    }

    /// The next batch, if one waits.
    pub fn try_recv(&mut self) -> Option<Arc<Batch>> {
        self.shared.pop()
    }

    /// Its counts.
    pub fn status(&self) -> SubscriptionStatus {
        self.shared.status()
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.bus.unsubscribe(&self.shared);
        if let Some(credit) = &self.shared.credit {
            credit.close(); // publishers that wait for it go on
        }
    }
}

impl fmt::Debug for Subscription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription").field("status", &self.status()).finish()
    }
}
