//! Publishing one batch to many: CPU per delivery of both sides, publisher to subscriber.

use std::cell::Cell;
use std::hint::black_box;
use std::sync::Arc;

use dropsonde::bench::Source;
use dropsonde::{Batch, Bus, Subscribe, Subscription};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::Effort;
use crate::measure::{in_turn, per_call};
use crate::reference::{Broadcast, Rings, Wakes};
use crate::table::{Figure, Row};

/// Batches that are published together, as the collectors that are due together give them.
pub(crate) const BURST: usize = 16;
/// Deliveries of one repetition.
const DELIVERIES: usize = 400_000;

thread_local! {
    /// Deliveries that are still to come.
    static MISSING: Cell<usize> = const { Cell::new(0) };
}

/// The last one has come.
static COMPLETE: Notify = Notify::const_new();

/// So many deliveries are to come.
pub(crate) fn expect(deliveries: usize) {
    MISSING.set(deliveries);
}

/// A subscriber has got something. All subscribers run on the one thread of the runtime.
pub(crate) fn count() {
    MISSING.set(MISSING.get() - 1);
    if MISSING.get() == 0 {
        COMPLETE.notify_one();
    }
}

/// Lets the others run until all have come. Costs one wake-up.
pub(crate) async fn complete() {
    COMPLETE.notified().await;
}

/// How a subscriber gets its batches.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Way {
    /// It looks into its queue.
    Queue,
    /// It is a task that waits for them.
    Task,
    /// It is a task that takes all that wait at once.
    Together,
    /// It is a function that the dispatcher calls.
    Inline,
}

/// A bus with one stream and its subscribers.
pub(crate) struct OnBus {
    runtime: Runtime,
    batch: Arc<Batch>,
    way: Way,
    subscribers: usize,
    /// With the task that publishes while it runs.
    ends: Option<Ends>,
    bus: Bus,
}

struct Ends {
    source: Source,
    queues: Vec<Subscription>,
}

impl OnBus {
    pub(crate) fn new(way: Way, subscribers: usize) -> Self {
        let runtime = crate::runtime();
        let context = runtime.enter();
        let bus = Bus::new();
        let source = Source::new(&bus, "metrics.bench");
        let batch = source.batch(1);
        let mut queues = Vec::new();
        let request = || Subscribe::to("metrics.bench").unwrap();
        for _ in 0..subscribers {
            match way {
                Way::Queue => queues.push(bus.subscribe(request())),
                Way::Task => drop(tokio::spawn(receive(bus.subscribe(request())))),
                Way::Together => drop(tokio::spawn(receive_many(bus.subscribe(request())))),
                Way::Inline => bus.subscribe_inline(request(), |batch| {
                    black_box(batch);
                    count();
                }),
            }
        }
        drop(context);
        Self { runtime, batch, way, subscribers, ends: Some(Ends { source, queues }), bus }
    }

    /// Adds a subscription, which nobody reads.
    pub(crate) fn also(&mut self, pattern: &str) {
        let _context = self.runtime.enter();
        let subscription = self.bus.subscribe(Subscribe::to(pattern).unwrap());
        self.ends.as_mut().unwrap().queues.push(subscription);
    }

    /// Publishes so many, in bursts, and sees each delivered.
    pub(crate) fn run(&mut self, published: usize) {
        self.in_bursts(published, BURST);
    }

    /// Asking for the counts costs more than publishing: not to be done while measuring.
    fn assert_none_lost(&self) {
        let lost: u64 = self.bus.status().subscriptions.iter().map(|one| one.lost.total()).sum();
        assert_eq!(lost, 0, "a subscriber lost batches");
    }

    /// From a task, as the host's collectors do: to wake the future that a runtime blocks on
    /// takes system calls.
    fn in_bursts(&mut self, published: usize, burst: usize) {
        let (subscribers, way, batch) = (self.subscribers, self.way, self.batch.clone());
        let mut ends = self.ends.take().unwrap();
        let publisher = self.runtime.spawn(async move {
            for _ in 0..published / burst {
                expect(burst * subscribers);
                for _ in 0..burst {
                    ends.source.publish(batch.clone()).await;
                }
                if way == Way::Queue {
                    take(&mut ends.queues[..subscribers], burst).await;
                } else {
                    complete().await;
                }
            }
            ends
        });
        self.ends = Some(self.runtime.block_on(publisher).unwrap());
    }

    /// CPU per delivery.
    pub(crate) fn per_delivery(&mut self, effort: Effort, burst: usize) -> f64 {
        let published = publishes(effort, self.subscribers);
        let deliveries = (published * self.subscribers) as u64;
        let cost = per_call(deliveries, || self.in_bursts(published, burst));
        self.assert_none_lost();
        cost
    }

    /// CPU per publish.
    pub(crate) fn per_publish(&mut self, effort: Effort) -> f64 {
        self.per_delivery(effort, BURST) * self.subscribers as f64
    }
}

/// Whole bursts, about as many deliveries for any number of subscribers.
pub(crate) fn publishes(effort: Effort, subscribers: usize) -> usize {
    let published = DELIVERIES / effort.haste as usize / subscribers;
    published.next_multiple_of(BURST)
}

async fn receive(mut subscription: Subscription) {
    loop {
        black_box(subscription.recv().await);
        count();
    }
}

async fn receive_many(mut subscription: Subscription) {
    loop {
        for batch in subscription.recv_many().await.iter() {
            black_box(batch);
            count();
        }
    }
}

async fn take(queues: &mut [Subscription], each: usize) {
    for queue in queues {
        for _ in 0..each {
            black_box(queue.recv().await); // waits for the first batch at most
        }
    }
}

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let mut rows = Vec::new();
    for subscribers in [1, 8, 64, 1000] {
        rows.extend(to_many(effort, subscribers));
    }
    rows.push(one_at_a_time(effort));
    rows
}

fn to_many(effort: Effort, subscribers: usize) -> [Row; 8] {
    let mut queue = OnBus::new(Way::Queue, subscribers);
    let mut tasks = OnBus::new(Way::Task, subscribers);
    let mut together = OnBus::new(Way::Together, subscribers);
    let mut inline = OnBus::new(Way::Inline, subscribers);
    let mut rings = Rings::new(subscribers, queue.batch.clone());
    let mut broadcast = Broadcast::new(subscribers, queue.batch.clone(), false);
    let mut broadcast_tasks = Broadcast::new(subscribers, queue.batch.clone(), true);
    let mut wakes = Wakes::new(subscribers);
    let [queue, tasks, together, inline, rings, broadcast, broadcast_tasks, wakes] = in_turn(
        effort,
        [
            &mut || queue.per_delivery(effort, BURST),
            &mut || tasks.per_delivery(effort, BURST),
            &mut || together.per_delivery(effort, BURST),
            &mut || inline.per_delivery(effort, BURST),
            &mut || rings.per_delivery(effort),
            &mut || broadcast.per_delivery(effort),
            &mut || broadcast_tasks.per_delivery(effort),
            &mut || wakes.per_delivery(effort),
        ],
    )
    .map(Figure::Nanoseconds);
    let work = |how| format!("publish to {subscribers} {how}, per delivery");
    let ring = "`Arc` clone, push into and pop from a ring each";
    [
        Row::new(work("queues"), queue, ring, rings),
        Row::new(work("queues"), queue, "`tokio::broadcast`, as many receivers", broadcast),
        Row::new(work("tasks"), tasks, ring, rings),
        Row::new(work("tasks"), tasks, "`tokio::broadcast`, as many tasks", broadcast_tasks),
        Row::new(work("tasks that take all that wait"), together, ring, rings),
        Row::new(
            work("tasks that take all that wait"),
            together,
            "`tokio::broadcast`, as many tasks",
            broadcast_tasks,
        ),
        Row::new(
            work("tasks that take all that wait"),
            together,
            "as many tasks woken once a burst, nothing handed over",
            wakes,
        ),
        Row::new(work("inline callbacks"), inline, ring, rings),
    ]
}

/// The doorbell and the wake-ups are paid for one batch alone.
fn one_at_a_time(effort: Effort) -> Row {
    let mut tasks = OnBus::new(Way::Task, 1);
    let mut broadcast = Broadcast::new(1, tasks.batch.clone(), true);
    let [tasks, broadcast] = in_turn(
        effort,
        [&mut || tasks.per_delivery(effort, 1), &mut || broadcast.one_at_a_time(effort)],
    )
    .map(Figure::Nanoseconds);
    let reference = "`tokio::broadcast`, one task";
    Row::new("publish to 1 task, one batch at a time", tasks, reference, broadcast)
}
