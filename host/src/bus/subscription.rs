//! What a subscriber asks for, and where its batches wait.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Notify, Semaphore};

use super::Bus;
use super::topic::{Pattern, PatternError};
use crate::model::Batch;

/// What happens when a subscriber does not keep up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Overflow {
    /// Only the newest batch of each stream waits.
    Latest,
    /// So many batches wait; the oldest gives way.
    DropOldest(usize),
    /// So many batches wait; then the publisher of a stream waits, at most so long, and the
    /// newest is lost. For those who must not lose: it delays the collectors concerned.
    Block(usize, Duration),
}

/// A request for batches.
#[derive(Debug, Clone)]
pub struct Subscribe {
    pub(super) name: String,
    pub(super) patterns: Vec<Pattern>,
    pub(super) interval: Option<Duration>,
    pub(super) overflow: Overflow,
}

impl Subscribe {
    /// Asks for all streams whose topic a pattern selects, those that appear later included;
    /// every batch, of which the newest 1,024 wait.
    pub fn to(pattern: &str) -> Result<Self, PatternError> {
        Ok(Self {
            name: pattern.to_owned(),
            patterns: vec![pattern.parse()?],
            interval: None,
            overflow: Overflow::DropOldest(1024),
        })
    }

    /// Asks for more streams.
    pub fn and(mut self, pattern: &str) -> Result<Self, PatternError> {
        self.patterns.push(pattern.parse()?);
        Ok(self)
    }

    /// Names the subscriber, for the counts of what it lost.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Asks for one batch of each stream per interval: a stream that is collected more slowly is
    /// sped up, one that is collected faster is thinned out. Events are never thinned out.
    #[must_use]
    pub fn every(mut self, interval: Duration) -> Self {
        self.interval = Some(interval);
        self
    }

    /// Says what happens when the subscriber does not keep up.
    #[must_use]
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// Counts of one subscription.
#[derive(Debug, Clone, Serialize)]
pub struct SubscriptionStatus {
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub patterns: Vec<Pattern>,
    /// How often it wants them, in seconds; `None`: each.
    pub interval_seconds: Option<f64>,
    /// What happens when it does not keep up.
    pub overflow: Overflow,
    /// Batches that reached its queue.
    pub delivered: u64,
    /// Batches that it lost.
    pub lost: u64,
    /// Batches that wait for it.
    pub waiting: usize,
}

/// The shared part of a subscription.
pub(super) struct Shared {
    pub(super) id: u64,
    pub(super) request: Subscribe,
    queue: Mutex<Queue>,
    arrived: Notify,
    pub(super) delivered: AtomicU64,
    pub(super) lost: AtomicU64,
    /// Room in the queue that publishers reserve; only for `Overflow::Block`.
    pub(super) credit: Option<Semaphore>,
}

impl Shared {
    pub(super) fn new(id: u64, request: Subscribe) -> Self {
        let credit = match request.overflow {
            Overflow::Block(room, _) => Some(Semaphore::new(room)),
            _ => None,
        };
        Self {
            id,
            request,
            queue: Mutex::default(),
            arrived: Notify::new(),
            delivered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            credit,
        }
    }

    /// Subscribers of which this is the same get the same batches. `None`: what one gets depends
    /// on the time, or on what it has taken already.
    pub(super) fn group(&self) -> Option<String> {
        let Subscribe { patterns, interval: None, overflow: Overflow::DropOldest(_), .. } =
            &self.request
        else {
            return None;
        };
        let mut patterns: Vec<String> = patterns.iter().map(Pattern::to_string).collect();
        patterns.sort();
        patterns.dedup();
        Some(patterns.join(" "))
    }

    /// Puts a batch into the queue by the policy. Never blocks.
    pub(super) fn deliver(&self, batch: &Arc<Batch>) {
        self.fill(1, |queue| match self.request.overflow {
            Overflow::Latest => queue.replace(batch),
            // Room for one that blocks was reserved.
            Overflow::DropOldest(_) | Overflow::Block(..) => {
                queue.push(Waiting::One(batch.clone()));
            }
        });
    }

    /// Puts some batches into the queue, oldest first.
    pub(super) fn deliver_all(&self, batches: impl ExactSizeIterator<Item = Arc<Batch>>) {
        self.fill(batches.len(), |queue| {
            batches.for_each(|batch| queue.push(Waiting::One(batch)));
        });
    }

    /// Puts a list that others get too into the queue.
    pub(super) fn deliver_list(&self, list: &Arc<[Arc<Batch>]>) {
        self.fill(list.len(), |queue| queue.push(Waiting::List(list.clone(), 0)));
    }

    fn fill(&self, count: usize, fill: impl FnOnce(&mut Queue)) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let before = queue.length;
        fill(&mut queue);
        if let Overflow::DropOldest(room) = self.request.overflow {
            while queue.length > room.max(1) {
                drop(queue.pop());
            }
        }
        let lost = before + count - queue.length;
        drop(queue);
        if lost > 0 {
            self.lost.fetch_add(lost as u64, Ordering::Relaxed);
        }
        // Only the dispatcher writes it.
        let delivered = self.delivered.load(Ordering::Relaxed) + count as u64;
        self.delivered.store(delivered, Ordering::Relaxed);
        if before == 0 {
            self.arrived.notify_one();
        }
    }

    fn pop(&self) -> Option<Arc<Batch>> {
        let batch = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
        self.give_credit(usize::from(batch.is_some()));
        batch
    }

    fn take(&self) -> Batches {
        let queue = std::mem::take(&mut *self.queue.lock().unwrap_or_else(PoisonError::into_inner));
        self.give_credit(queue.length);
        Batches(queue)
    }

    fn give_credit(&self, taken: usize) {
        if let Some(credit) = self.credit.as_ref().filter(|_| taken > 0) {
            credit.add_permits(taken);
        }
    }

    pub(super) fn status(&self) -> SubscriptionStatus {
        SubscriptionStatus {
            name: self.request.name.clone(),
            patterns: self.request.patterns.clone(),
            interval_seconds: self.request.interval.map(|interval| interval.as_secs_f64()),
            overflow: self.request.overflow,
            delivered: self.delivered.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            waiting: self.queue.lock().unwrap_or_else(PoisonError::into_inner).length,
        }
    }
}

/// Batches that wait for a subscriber.
#[derive(Default)]
struct Queue {
    entries: VecDeque<Waiting>,
    /// Batches, not entries.
    length: usize,
}

enum Waiting {
    One(Arc<Batch>),
    /// A list that subscribers share, from this index on.
    List(Arc<[Arc<Batch>]>, usize),
}

impl Waiting {
    fn batches(&self) -> &[Arc<Batch>] {
        match self {
            Self::One(batch) => std::slice::from_ref(batch),
            Self::List(list, next) => list.get(*next..).unwrap_or_default(),
        }
    }
}

impl Queue {
    fn push(&mut self, waiting: Waiting) {
        self.length += waiting.batches().len();
        self.entries.push_back(waiting);
    }

    /// The oldest.
    fn pop(&mut self) -> Option<Arc<Batch>> {
        let front = self.entries.front_mut()?;
        if let Waiting::List(list, next) = front
            && *next + 1 < list.len()
        {
            let batch = list[*next].clone();
            *next += 1;
            self.length -= 1;
            return Some(batch);
        }
        let batch = match self.entries.pop_front()? {
            Waiting::One(batch) => batch,
            Waiting::List(list, next) => list.get(next)?.clone(),
        };
        self.length -= 1;
        Some(batch)
    }

    /// Puts a batch in the place of an older one of its stream.
    fn replace(&mut self, batch: &Arc<Batch>) {
        let same = |entry: &Waiting| match entry {
            Waiting::One(older) => Arc::ptr_eq(&older.stream, &batch.stream),
            Waiting::List(..) => false,
        };
        match self.entries.iter_mut().find(|entry| same(entry)) {
            Some(entry) => *entry = Waiting::One(batch.clone()),
            None => self.push(Waiting::One(batch.clone())),
        }
    }
}

/// Batches that were taken together, oldest first.
pub struct Batches(Queue);

impl Batches {
    /// Looks at each. Cheaper than taking each by itself: nothing is counted up or down.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Batch>> {
        self.0.entries.iter().flat_map(Waiting::batches)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.length
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.length == 0
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
        loop {
            if let Some(batch) = self.shared.pop() {
                return batch;
            }
            self.shared.arrived.notified().await;
        }
    }

    /// All batches that wait, at least one. Cancel-safe. Waits for ever if none comes.
    pub async fn recv_many(&mut self) -> Batches {
        loop {
            let batches = self.shared.take();
            if !batches.is_empty() {
                return batches;
            }
            self.shared.arrived.notified().await;
        }
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
        self.bus.unsubscribe(self.shared.id);
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
