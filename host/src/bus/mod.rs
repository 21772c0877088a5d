//! The bus: where batches are published and how they are received.
//!
//! A publisher holds a handle to its stream and leaves one `Arc` with the dispatcher, however
//! many subscribe; it waits only for subscribers that asked to block. A wildcard is resolved
//! when the subscription is made and when a stream appears, never on publish.

mod dispatcher;
mod subscription;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};

use dispatcher::{Change, Delivery, Inbox, StreamId, Target};
use subscription::Shared;
pub use subscription::{Batches, Overflow, Subscribe, Subscription, SubscriptionStatus};
pub use topic::{Pattern, PatternError};

use crate::model::{Batch, StreamInfo};

/// A handle to the bus; cheap to clone.
#[derive(Clone)]
pub struct Bus {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Mutex<Registry>,
    inbox: Arc<Inbox>,
    /// Goes up whenever what subscribers ask for changes.
    demand: watch::Sender<u64>,
    published: AtomicU64,
    cache_hits: AtomicU64,
    coalesced: AtomicU64,
}

#[derive(Default)]
struct Registry {
    next: u64,
    streams: BTreeMap<String, Arc<Stream>>,
    subscribers: HashMap<u64, Subscriber>,
}

struct Subscriber {
    patterns: Vec<Pattern>,
    target: Target,
}

/// One stream on the bus.
struct Stream {
    id: StreamId,
    info: Arc<StreamInfo>,
    latest: Mutex<Option<Arc<Batch>>>,
    /// How many subscribers it has; a batch that nobody waits for is not handed over.
    routes: AtomicUsize,
    /// The subscribers that asked to block.
    gates: ArcSwap<Vec<Arc<Shared>>>,
}

impl Stream {
    fn latest(&self) -> Option<Arc<Batch>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, batch: &Arc<Batch>) {
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let old = latest.replace(batch.clone());
        drop(latest);
        drop(old); // freed outside the lock
    }
}

/// Counts of the bus.
#[derive(Debug, Clone, Serialize)]
pub struct BusStatus {
    /// Batches published: each is one read.
    pub reads: u64,
    /// Reads that were not needed, since a batch served more than one: further subscribers of
    /// the same batch, requests answered from the last batch, requests that joined a running
    /// read.
    pub reads_saved: u64,
    /// Of those, requests answered from the last batch.
    pub cache_hits: u64,
    /// Of those, requests that joined a running read.
    pub coalesced: u64,
    /// Batches that no subscriber got because the dispatcher's queue was full.
    pub overflowed: u64,
    /// The subscriptions.
    pub subscriptions: Vec<SubscriptionStatus>,
}

/// Publishes one stream. Dropping it takes the stream off the bus.
pub(crate) struct Publisher {
    bus: Bus,
    stream: Arc<Stream>,
}

impl Bus {
    /// A bus whose dispatcher runs on the current runtime, until the last handle is dropped.
    pub fn new() -> Self {
        let inbox = Arc::new(Inbox::new());
        tokio::spawn(dispatcher::run(Arc::downgrade(&inbox)));
        Self {
            inner: Arc::new(Inner {
                registry: Mutex::default(),
                inbox,
                demand: watch::Sender::new(0),
                published: AtomicU64::new(0),
                cache_hits: AtomicU64::new(0),
                coalesced: AtomicU64::new(0),
            }),
        }
    }

    /// Subscribes; batches published from here on arrive, and so may those that are on their way.
    pub fn subscribe(&self, request: Subscribe) -> Subscription {
        let patterns = request.patterns.clone();
        let mut registry = self.registry();
        let shared = Arc::new(Shared::new(registry.next_id(), request));
        self.add(&mut registry, patterns, Target::Queue(shared.clone()));
        Subscription { bus: self.clone(), shared }
    }

    /// Subscribes a function that is called on the dispatcher's task, in order, for as long as
    /// the bus lives. It must not block: it delays everyone behind it.
    pub fn subscribe_inline(
        &self,
        request: Subscribe,
        call: impl Fn(&Arc<Batch>) + Send + Sync + 'static,
    ) {
        let mut registry = self.registry();
        let id = registry.next_id();
        let call: dispatcher::Callback = Arc::new(call);
        let target = Target::Inline { id, interval: request.interval, call };
        self.add(&mut registry, request.patterns, target);
    }

    /// The last batch of a stream, by topic.
    pub fn latest(&self, topic: &str) -> Option<Arc<Batch>> {
        let registry = self.registry();
        registry.streams.get(topic).and_then(|stream| stream.latest())
    }

    /// All streams, by topic.
    pub fn streams(&self) -> Vec<Arc<StreamInfo>> {
        self.registry().streams.values().map(|stream| stream.info.clone()).collect()
    }

    /// Its counts.
    pub fn status(&self) -> BusStatus {
        let inner = &self.inner;
        let mut subscriptions: Vec<_> = self
            .registry()
            .subscribers
            .values()
            .filter_map(|subscriber| match &subscriber.target {
                Target::Queue(shared) => Some(shared.status()),
                Target::Inline { .. } => None,
            })
            .collect();
        subscriptions.sort_by(|a, b| a.name.cmp(&b.name));
        let cache_hits = inner.cache_hits.load(Ordering::Relaxed);
        let coalesced = inner.coalesced.load(Ordering::Relaxed);
        let shared = inner.inbox.shared_reads.load(Ordering::Relaxed);
        BusStatus {
            reads: inner.published.load(Ordering::Relaxed),
            reads_saved: shared + cache_hits + coalesced,
            cache_hits,
            coalesced,
            overflowed: inner.inbox.overflowed.load(Ordering::Relaxed),
            subscriptions,
        }
    }

    pub(crate) fn count_cache_hit(&self) {
        self.inner.cache_hits.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_coalesced(&self) {
        self.inner.coalesced.fetch_add(1, Ordering::Relaxed);
    }

    /// Goes up whenever [`demand`](Self::demand) may have changed.
    pub(crate) fn demand_changes(&self) -> watch::Receiver<u64> {
        self.inner.demand.subscribe()
    }

    /// The shortest interval that subscribers ask of a stream.
    pub(crate) fn demand(&self, topic: &str) -> Option<Duration> {
        let registry = self.registry();
        let wants = |subscriber: &&Subscriber| {
            subscriber.patterns.iter().any(|pattern| pattern.matches(topic))
        };
        let subscribers = registry.subscribers.values().filter(wants);
        subscribers.filter_map(|subscriber| subscriber.target.interval()).min()
    }

    /// Puts a stream on the bus. A stream of the same topic is replaced; its subscribers stay.
    pub(crate) fn publisher(&self, info: Arc<StreamInfo>) -> Publisher {
        let mut registry = self.registry();
        let id = registry.next_id() as StreamId;
        let targets: Vec<Target> = registry
            .subscribers
            .values()
            .filter(|subscriber| {
                subscriber.patterns.iter().any(|pattern| pattern.matches(&info.topic))
            })
            .map(|subscriber| subscriber.target.clone())
            .collect();
        let gates = targets.iter().filter_map(gate).collect();
        let stream = Arc::new(Stream {
            id,
            info,
            latest: Mutex::default(),
            routes: AtomicUsize::new(targets.len()),
            gates: ArcSwap::from_pointee(gates),
        });
        for target in targets {
            self.inner.inbox.change(Change::Attach { stream: id, target });
        }
        if let Some(old) = registry.streams.insert(stream.info.topic.clone(), stream.clone()) {
            self.inner.inbox.change(Change::Forget { stream: old.id });
        }
        drop(registry);
        self.demand_changed();
        Publisher { bus: self.clone(), stream }
    }

    pub(super) fn unsubscribe(&self, id: u64) {
        let mut registry = self.registry();
        let Some(gone) = registry.subscribers.remove(&id) else { return };
        for stream in registry.streams.values() {
            if gone.patterns.iter().any(|pattern| pattern.matches(&stream.info.topic)) {
                stream.routes.fetch_sub(1, Ordering::Relaxed);
                stream.gates.rcu(|gates| {
                    gates.iter().filter(|gate| gate.id != id).cloned().collect::<Vec<_>>()
                });
            }
        }
        self.inner.inbox.change(Change::Detach { subscriber: id });
        drop(registry);
        self.demand_changed();
    }

    fn add(&self, registry: &mut Registry, patterns: Vec<Pattern>, target: Target) {
        for stream in registry.streams.values() {
            if patterns.iter().any(|pattern| pattern.matches(&stream.info.topic)) {
                if let Some(gate) = gate(&target) {
                    stream.gates.rcu(|gates| {
                        gates.iter().cloned().chain([gate.clone()]).collect::<Vec<_>>()
                    });
                }
                let change = Change::Attach { stream: stream.id, target: target.clone() };
                self.inner.inbox.change(change);
                stream.routes.fetch_add(1, Ordering::Relaxed);
            }
        }
        registry.subscribers.insert(target.id(), Subscriber { patterns, target });
        self.demand_changed();
    }

    fn demand_changed(&self) {
        self.inner.demand.send_modify(|version| *version += 1);
    }

    fn registry(&self) -> std::sync::MutexGuard<'_, Registry> {
        self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

impl Registry {
    fn next_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

fn gate(target: &Target) -> Option<Arc<Shared>> {
    match target {
        Target::Queue(shared) if shared.credit.is_some() => Some(shared.clone()),
        _ => None,
    }
}

impl Publisher {
    pub(crate) fn info(&self) -> &Arc<StreamInfo> {
        &self.stream.info
    }

    /// Publishes a batch without waiting for anyone: the host's own streams.
    pub(crate) fn publish_now(&self, batch: Arc<Batch>) {
        self.stream.keep(&batch);
        if self.stream.routes.load(Ordering::Relaxed) > 0 {
            let gates = self.stream.gates.load();
            let mut refused = Vec::new();
            for gate in gates.iter() {
                match gate.credit.as_ref().map(Semaphore::try_acquire) {
                    Some(Ok(permit)) => permit.forget(),
                    _ => {
                        gate.lost.fetch_add(1, Ordering::Relaxed);
                        refused.push(gate.id);
                    }
                }
            }
            self.hand_over(batch, &gates, refused);
        }
    }

    /// Publishes a batch. Waits only for subscribers that asked to block, no longer than each
    /// allows.
    pub(crate) async fn publish(&self, batch: Arc<Batch>) {
        self.stream.keep(&batch);
        self.bus.inner.published.fetch_add(1, Ordering::Relaxed);
        if self.stream.routes.load(Ordering::Relaxed) == 0 {
            return;
        }
        if self.stream.gates.load().is_empty() {
            return self.hand_over(batch, &[], Vec::new());
        }
        let gates = self.stream.gates.load_full();
        let refused = reserve(&gates).await;
        self.hand_over(batch, &gates, refused);
    }

    fn hand_over(&self, batch: Arc<Batch>, gates: &[Arc<Shared>], refused: Vec<u64>) {
        let delivery = Delivery { stream: self.stream.id, batch, refused };
        let Err(delivery) = self.bus.inner.inbox.push(delivery) else { return };
        // Lost to all: what was reserved for it is given back.
        for gate in gates.iter().filter(|gate| !delivery.refused.contains(&gate.id)) {
            gate.lost.fetch_add(1, Ordering::Relaxed);
            if let Some(credit) = &gate.credit {
                credit.add_permits(1);
            }
        }
    }
}

/// Reserves room with every subscriber that asked to block; returns those that had none in time.
async fn reserve(gates: &[Arc<Shared>]) -> Vec<u64> {
    let mut refused = Vec::new();
    for gate in gates {
        let (Some(credit), Overflow::Block(_, deadline)) = (&gate.credit, gate.request.overflow)
        else {
            continue;
        };
        match tokio::time::timeout(deadline, credit.acquire()).await {
            Ok(Ok(permit)) => permit.forget(),
            Ok(Err(_)) => refused.push(gate.id), // it has gone
            Err(_) => {
                gate.lost.fetch_add(1, Ordering::Relaxed);
                refused.push(gate.id);
            }
        }
    }
    refused
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut registry = self.bus.registry();
        let topic = &self.stream.info.topic;
        let mine = registry.streams.get(topic).is_some_and(|now| Arc::ptr_eq(now, &self.stream));
        if mine {
            registry.streams.remove(topic);
            self.bus.inner.inbox.change(Change::Forget { stream: self.stream.id });
        }
    }
}
