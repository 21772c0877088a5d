//! The bus: where batches are published and how they are received.
//!
//! A publisher holds a handle to its stream and leaves one `Arc` with the dispatcher, however
//! many subscribe; it waits only for subscribers that asked to block. A wildcard is resolved
//! when the subscription is made and when a stream appears, never on publish.

mod dispatcher;
mod filter;
mod inbox;
mod publisher;
mod queue;
mod request;
mod subscription;
mod topic;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;

use dispatcher::Target;
pub use filter::{Filter, FilterError};
use inbox::{Change, Inbox, StreamId};
pub(crate) use publisher::Publisher;
pub use queue::Batches;
pub use request::{Overflow, Subscribe};
use subscription::Shared;
pub use subscription::{LeftOut, Losses, Subscription, SubscriptionStatus, SubscriptionTotal};
pub use topic::{Pattern, PatternError};

use crate::model::{Batch, StreamInfo};
use crate::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

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
    shared_reads: Arc<AtomicU64>,
    cache_hits: AtomicU64,
    coalesced: AtomicU64,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.inbox.end();
    }
}

#[derive(Default)]
struct Registry {
    last_subscriber: u64,
    streams: BTreeMap<String, Arc<Stream>>,
    /// Places of streams that are free again.
    free: Vec<StreamId>,
    /// How many places there are.
    places: usize,
    subscribers: HashMap<u64, Subscriber>,
    /// Counts of subscriptions that have ended, by name.
    ended: BTreeMap<String, SubscriptionTotal>,
}

/// Names of ended subscriptions whose counts are kept apart: clients choose theirs.
const NAMES: usize = 256;

#[derive(Clone)]
struct Subscriber {
    id: u64,
    request: Arc<Subscribe>,
    target: Target,
}

/// One stream on the bus.
struct Stream {
    id: StreamId,
    info: Arc<StreamInfo>,
    /// The subscribers that asked to block, and whether there are any.
    gates: Mutex<Vec<Arc<Shared>>>,
    gated: AtomicBool,
    served: Arc<Served>,
}

/// Requests that a stream has saved a read.
#[derive(Default)]
struct Served {
    cache_hits: AtomicU64,
    coalesced: AtomicU64,
}

impl Stream {
    /// The change that gives a subscriber its batches, if it wants any.
    fn attach(&self, subscriber: &Subscriber) -> Option<Change> {
        let request = &subscriber.request;
        if !request.selects(&self.info.topic) {
            return None;
        }
        let filter = match &request.filter {
            Some(filter) => Some(Arc::new(filter.bind(&self.info)?)),
            None => None,
        };
        // What is published as it happens is not thinned out: the last of it would be missing.
        let is_paced = self.info.topic.starts_with("metrics.");
        let interval = request.interval.filter(|interval| is_paced && !interval.is_zero());
        Some(Change::Attach { stream: self.id, subscriber: subscriber.clone(), filter, interval })
    }

    /// Has publishers reserve room for a subscriber that blocks, from here on. It must have been
    /// attached: what is reserved for it must find it.
    fn gate(&self, subscriber: &Subscriber) {
        if let Target::Queue(shared) = &subscriber.target
            && subscriber.target.blocks()
            && self.serves(&subscriber.request)
        {
            self.set_gates(|gates| gates.push(shared.clone()));
        }
    }

    /// Whether it serves a subscriber.
    fn serves(&self, request: &Subscribe) -> bool {
        request.selects(&self.info.topic)
            && request.filter.as_ref().is_none_or(|filter| filter.bind(&self.info).is_some())
    }

    fn gates(&self) -> Vec<Arc<Shared>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_gates(&self, set: impl FnOnce(&mut Vec<Arc<Shared>>)) {
        let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
        set(&mut gates);
        self.gated.store(!gates.is_empty(), Ordering::Release);
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
    /// The streams that are there, by topic.
    pub streams: Vec<StreamStatus>,
    /// The subscriptions that are there.
    pub subscriptions: Vec<SubscriptionStatus>,
    /// By name, with those that have ended; of those, the first 256 names and `(others)`.
    pub subscription_totals: Vec<SubscriptionTotal>,
}

/// Counts of one stream, since it was first on the bus.
#[derive(Debug, Clone, Serialize)]
pub struct StreamStatus {
    /// Its topic.
    pub topic: String,
    /// The collector that publishes it.
    pub collector: String,
    /// Batches published.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Requests answered from its last batch.
    pub cache_hits: u64,
    /// Requests that joined a read that was under way.
    pub coalesced: u64,
    /// Subscribers that it serves.
    pub subscribers: usize,
}

impl Bus {
    /// A bus whose dispatcher runs on the current runtime, until the last handle is dropped.
    pub fn new() -> Self {
        let (bus, dispatcher) = Self::parts();
        tokio::spawn(dispatcher);
        bus
    }

    /// A bus, and the dispatcher that serves it.
    pub(crate) fn parts() -> (Self, impl Future<Output = ()> + Send + 'static) {
        let inbox = Arc::new(Inbox::default());
        let shared_reads = Arc::new(AtomicU64::new(0));
        let dispatcher = dispatcher::run(inbox.clone(), shared_reads.clone());
        let inner = Inner {
            registry: Mutex::default(),
            inbox,
            demand: watch::Sender::new(0),
            shared_reads,
            cache_hits: AtomicU64::new(0),
            coalesced: AtomicU64::new(0),
        };
        (Self { inner: Arc::new(inner) }, dispatcher)
    }

    /// Subscribes; batches published from here on arrive, and so may those that are on their way.
    pub fn subscribe(&self, request: Subscribe) -> Subscription {
        let mut registry = self.registry();
        let (id, request) = (registry.next_subscriber(), Arc::new(request));
        let shared = Arc::new(Shared::new(id, request.clone()));
        let target = Target::Queue(shared.clone());
        self.add(&mut registry, Subscriber { id, request, target });
        drop(registry);
        Subscription { bus: self.clone(), shared }
    }

    /// Subscribes a function that is called on the dispatcher's task, in order, for as long as
    /// the bus lives. It must not block: it delays everyone behind it. Its overflow policy means
    /// nothing: nothing waits.
    pub fn subscribe_inline(
        &self,
        request: Subscribe,
        call: impl Fn(&Arc<Batch>) + Send + Sync + 'static,
    ) {
        let mut registry = self.registry();
        let id = registry.next_subscriber();
        let call: dispatcher::Callback = Arc::new(call);
        let (request, target) = (Arc::new(request), Target::Inline(call));
        self.add(&mut registry, Subscriber { id, request, target });
    }

    /// The last batch of a stream, by topic.
    pub fn latest(&self, topic: &str) -> Option<Arc<Batch>> {
        let registry = self.registry();
        self.inner.inbox.latest(registry.streams.get(topic)?.id)
    }

    /// All streams, by topic.
    pub fn streams(&self) -> Vec<Arc<StreamInfo>> {
        self.registry().streams.values().map(|stream| stream.info.clone()).collect()
    }

    /// Its counts.
    pub fn status(&self) -> BusStatus {
        let inner = &self.inner;
        let registry = self.registry();
        let shared = |subscriber: &Subscriber| match &subscriber.target {
            Target::Queue(shared) => Some(shared.status()),
            Target::Inline(_) => None,
        };
        let mut subscriptions: Vec<_> = registry.subscribers.values().filter_map(shared).collect();
        subscriptions.sort_by(|a, b| a.name.cmp(&b.name));
        let mut totals = registry.ended.clone();
        subscriptions.iter().for_each(|one| add(&mut totals, one));
        let streams = registry.streams.values().map(|stream| {
            let counts = inner.inbox.counts_of(stream.id);
            StreamStatus {
                topic: stream.info.topic.clone(),
                collector: stream.info.collector.to_string(),
                batches: counts.batches,
                records: counts.records,
                cache_hits: stream.served.cache_hits.load(Ordering::Relaxed),
                coalesced: stream.served.coalesced.load(Ordering::Relaxed),
                subscribers: counts.subscribers,
            }
        });
        let streams = streams.collect();
        drop(registry);
        let cache_hits = inner.cache_hits.load(Ordering::Relaxed);
        let coalesced = inner.coalesced.load(Ordering::Relaxed);
        let shared = inner.shared_reads.load(Ordering::Relaxed);
        let (reads, overflowed) = inner.inbox.counts();
        BusStatus {
            reads,
            reads_saved: shared + cache_hits + coalesced,
            cache_hits,
            coalesced,
            overflowed,
            streams,
            subscriptions,
            subscription_totals: totals.into_values().collect(),
        }
    }

    /// A request was answered from a stream's last batch.
    pub(crate) fn count_cache_hit(&self, topic: &str) {
        self.inner.cache_hits.fetch_add(1, Ordering::Relaxed);
        if let Some(stream) = self.registry().streams.get(topic) {
            stream.served.cache_hits.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request joined a read of a stream that was under way.
    pub(crate) fn count_coalesced(&self, topic: &str) {
        self.inner.coalesced.fetch_add(1, Ordering::Relaxed);
        if let Some(stream) = self.registry().streams.get(topic) {
            stream.served.coalesced.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Goes up whenever [`demand`](Self::demand) may have changed.
    pub(crate) fn demand_changes(&self) -> watch::Receiver<u64> {
        self.inner.demand.subscribe()
    }

    /// The shortest interval that subscribers ask of a stream.
    pub(crate) fn demand(&self, topic: &str) -> Option<Duration> {
        let registry = self.registry();
        let stream = registry.streams.get(topic);
        let wants = |subscriber: &&Subscriber| match stream {
            Some(stream) => stream.serves(&subscriber.request),
            None => subscriber.request.selects(topic),
        };
        let subscribers = registry.subscribers.values().filter(wants);
        subscribers.filter_map(|subscriber| subscriber.request.demand()).min()
    }

    /// Puts a stream on the bus. A stream of the same topic is replaced; its subscribers stay.
    pub(crate) fn publisher(&self, info: Arc<StreamInfo>) -> Publisher {
        let mut registry = self.registry();
        let id = registry.place();
        let (gates, gated) = (Mutex::default(), AtomicBool::new(false));
        let before = registry.streams.get(&info.topic);
        let served = before.map(|before| before.served.clone()).unwrap_or_default();
        self.inner.inbox.open(id, before.map(|before| before.id));
        let stream = Arc::new(Stream { id, info, gates, gated, served });
        if let Some(old) = registry.streams.insert(stream.info.topic.clone(), stream.clone()) {
            self.inner.inbox.change(Change::Forget { stream: old.id });
        }
        registry.subscribers.values().for_each(|subscriber| self.attach(&stream, subscriber));
        drop(registry);
        self.demand_changed();
        Publisher { bus: self.clone(), stream }
    }

    fn unsubscribe(&self, shared: &Arc<Shared>) {
        let mut registry = self.registry();
        let Some(gone) = registry.subscribers.remove(&shared.id) else { return };
        add(&mut registry.ended, &shared.status());
        let mut streams = Vec::new();
        for stream in registry.streams.values().filter(|stream| stream.serves(&gone.request)) {
            stream.set_gates(|gates| gates.retain(|gate| gate.id != shared.id));
            streams.push(stream.id);
        }
        self.inner.inbox.change(Change::Detach { streams, subscriber: gone });
        drop(registry);
        self.demand_changed();
    }

    fn add(&self, registry: &mut Registry, subscriber: Subscriber) {
        registry.streams.values().for_each(|stream| self.attach(stream, &subscriber));
        registry.subscribers.insert(subscriber.id, subscriber);
        self.demand_changed();
    }

    fn attach(&self, stream: &Stream, subscriber: &Subscriber) {
        if let Some(change) = stream.attach(subscriber) {
            self.inner.inbox.change(change);
            stream.gate(subscriber);
        }
    }

    fn demand_changed(&self) {
        self.inner.demand.send_modify(|version| *version += 1);
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.inner.registry.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Bus {
    fn default() -> Self {
        Self::new()
    }
}

/// Adds the counts of a subscription to those of its name.
fn add(totals: &mut BTreeMap<String, SubscriptionTotal>, status: &SubscriptionStatus) {
    let own = totals.len() < NAMES || totals.contains_key(&status.name);
    let name = if own { &status.name } else { "(others)" };
    let new = || SubscriptionTotal { name: name.to_owned(), ..SubscriptionTotal::default() };
    totals.entry(name.to_owned()).or_insert_with(new).add(status);
}

impl Registry {
    fn next_subscriber(&mut self) -> u64 {
        self.last_subscriber += 1;
        self.last_subscriber
    }

    fn place(&mut self) -> StreamId {
        self.free.pop().unwrap_or_else(|| {
            self.places += 1;
            self.places - 1
        })
    }
}
