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
    queue: Mutex<VecDeque<Arc<Batch>>>,
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

    /// Puts a batch into the queue by the policy. Never blocks.
    pub(super) fn deliver(&self, batch: &Arc<Batch>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let was_empty = queue.is_empty();
        match self.request.overflow {
            Overflow::Latest => {
                let older =
                    queue.iter_mut().find(|older| Arc::ptr_eq(&older.stream, &batch.stream));
                if let Some(older) = older {
                    *older = batch.clone();
                    self.lost.fetch_add(1, Ordering::Relaxed);
                } else {
                    queue.push_back(batch.clone());
                }
            }
            Overflow::DropOldest(room) => {
                while queue.len() >= room.max(1) {
                    queue.pop_front();
                    self.lost.fetch_add(1, Ordering::Relaxed);
                }
                queue.push_back(batch.clone());
            }
            Overflow::Block(..) => queue.push_back(batch.clone()), // room was reserved
        }
        drop(queue);
        // Only the dispatcher writes it.
        self.delivered.store(self.delivered.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        if was_empty {
            self.arrived.notify_one();
        }
    }

    fn pop(&self) -> Option<Arc<Batch>> {
        let batch = self.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        if let (Some(_), Some(credit)) = (&batch, &self.credit) {
            credit.add_permits(1);
        }
        batch
    }

    pub(super) fn status(&self) -> SubscriptionStatus {
        SubscriptionStatus {
            name: self.request.name.clone(),
            patterns: self.request.patterns.clone(),
            delivered: self.delivered.load(Ordering::Relaxed),
            lost: self.lost.load(Ordering::Relaxed),
            waiting: self.queue.lock().unwrap_or_else(PoisonError::into_inner).len(),
        }
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
