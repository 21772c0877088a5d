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
pub(super) type Callback = Arc<dyn Fn(&Arc<Batch>) + Send + Sync>;

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
    Inline { id: u64, interval: Option<Duration>, call: Callback },
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

/// Who gets the batches of one stream.
#[derive(Default)]
struct StreamRoutes {
    single: Vec<Route>,
    groups: Vec<usize>,
}

/// Subscribers that ask for the same get the same batches, and so one list of them.
#[derive(Default)]
struct Group {
    members: Vec<Arc<Shared>>,
    /// Batches since the last list.
    gathered: Vec<Arc<Batch>>,
}

#[derive(Default)]
struct Routes {
    streams: HashMap<StreamId, StreamRoutes, std::hash::BuildHasherDefault<ById>>,
    groups: Vec<Group>,
    by_request: HashMap<String, usize>,
    /// Groups that have gathered something.
    dirty: Vec<usize>,
}

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

/// Most batches in one list.
const LIST: usize = 64;

fn drain(inbox: &Inbox, routes: &mut Routes) {
    let mut saved = 0;
    // A bounded number a turn: other tasks of the executor have work too.
    for _ in 0..1024 {
        if inbox.changed.load(Ordering::Acquire) && inbox.changed.swap(false, Ordering::Acquire) {
            routes.hand_out(); // to those who were there
            let changes =
                std::mem::take(&mut *inbox.changes.lock().unwrap_or_else(PoisonError::into_inner));
            changes.into_iter().for_each(|change| routes.apply(change));
        }
        let Some(delivery) = inbox.queue.pop() else { break };
        let is_event = delivery.batch.stream.schema.kind == StreamKind::Event;
        let served = routes.deliver(delivery);
        if !is_event {
            saved += served.saturating_sub(1);
        }
    }
    routes.hand_out();
    inbox.shared_reads.fetch_add(saved, Ordering::Relaxed);
}

impl Routes {
    fn apply(&mut self, change: Change) {
        match change {
            Change::Attach { stream, target } => self.attach(stream, target),
            Change::Detach { subscriber } => self.detach(subscriber),
            Change::Forget { stream } => {
                self.streams.remove(&stream);
            }
        }
    }

    fn attach(&mut self, stream: StreamId, target: Target) {
        let routes = self.streams.entry(stream).or_default();
        let grouped = match &target {
            Target::Queue(shared) => shared.group().map(|request| (request, shared)),
            Target::Inline { .. } => None,
        };
        let Some((request, shared)) = grouped else {
            if routes.single.iter().all(|route| route.target.id() != target.id()) {
                routes.single.push(Route { target, cell: None });
            }
            return;
        };
        let groups = &mut self.groups;
        let group = *self.by_request.entry(request).or_insert_with(|| {
            let free = groups.iter().position(|group| group.members.is_empty());
            free.unwrap_or_else(|| {
                groups.push(Group::default());
                groups.len() - 1
            })
        });
        let members = &mut self.groups[group].members;
        if members.iter().all(|member| member.id != shared.id) {
            members.push(shared.clone());
        }
        if !routes.groups.contains(&group) {
            routes.groups.push(group);
        }
    }

    fn detach(&mut self, subscriber: u64) {
        let mut emptied = None;
        for (index, group) in self.groups.iter_mut().enumerate() {
            let before = group.members.len();
            group.members.retain(|member| member.id != subscriber);
            if group.members.is_empty() && before > 0 {
                emptied = Some(index);
            }
        }
        if let Some(emptied) = emptied {
            self.by_request.retain(|_, group| *group != emptied);
        }
        self.streams.retain(|_, routes| {
            routes.single.retain(|route| route.target.id() != subscriber);
            routes.groups.retain(|group| Some(*group) != emptied);
            !routes.single.is_empty() || !routes.groups.is_empty()
        });
    }

    /// Hands a batch over, or gathers it; says how many it is for.
    fn deliver(&mut self, delivery: Delivery) -> u64 {
        let Delivery { stream, batch, refused } = delivery;
        let Some(routes) = self.streams.get_mut(&stream) else { return 0 };
        let mut served = 0;
        for route in &mut routes.single {
            served += u64::from(route.deliver(&batch, &refused));
        }
        let mut full = false;
        for index in &routes.groups {
            let group = &mut self.groups[*index];
            served += group.members.len() as u64;
            if group.gathered.is_empty() {
                self.dirty.push(*index);
            }
            group.gathered.push(batch.clone());
            full |= group.gathered.len() >= LIST;
        }
        if full {
            self.hand_out();
        }
        served
    }

    /// Hands out what was gathered.
    fn hand_out(&mut self) {
        for index in self.dirty.drain(..) {
            self.groups[index].hand_out();
        }
    }
}

impl Group {
    fn hand_out(&mut self) {
        match &self.members[..] {
            [] => self.gathered.clear(),
            [only] => only.deliver_all(self.gathered.drain(..)),
            all if self.gathered.len() == 1 => {
                all.iter().for_each(|member| member.deliver_all(self.gathered.iter().cloned()));
                self.gathered.clear();
            }
            all => {
                let list: Arc<[Arc<Batch>]> = self.gathered.drain(..).collect();
                all.iter().for_each(|member| member.deliver_list(&list));
            }
        }
    }
}

impl Route {
    /// Hands a batch over unless it is refused or not due; says whether it was.
    fn deliver(&mut self, batch: &Arc<Batch>, refused: &[u64]) -> bool {
        if !refused.is_empty() && refused.contains(&self.target.id()) {
            return false;
        }
        if !self.is_due(batch) {
            if let Target::Queue(shared) = &self.target
                && let Some(credit) = &shared.credit
            {
                credit.add_permits(1); // reserved, and not needed
            }
            return false;
        }
        match &self.target {
            Target::Queue(shared) => shared.deliver(batch),
            Target::Inline { call, .. } => call(batch),
        }
        true
    }

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
