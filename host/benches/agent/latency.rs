//! From publish to receipt on an idle machine: one batch at a time, with a pause between. Wall
//! time, beside the wake-up of a parked thread (futex(2)) after the same pause.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use dropsonde::bench::Source;
use dropsonde::{Bus, Subscribe, Subscription};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::Effort;
use crate::table::{Figure, Row};

const TIMES: usize = 5_000;
/// The probes are taken in turn, so that all meet the same load.
const TURNS: usize = 10;
const PAUSE: Duration = Duration::from_micros(200);

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let count = TIMES / TURNS / effort.haste as usize;
    let task = Published::to_task();
    let other = Published::to_thread();
    let (woken, parked) = parked();
    let (notified, notify) = notified();
    let mut took: [Vec<f64>; 4] = Default::default();
    for _ in 0..TURNS {
        took[0].extend(task.measure(count));
        took[1].extend(other.measure(count));
        took[2].extend((0..count).map(|_| woken.take(|| parked.unpark())));
        took[3].extend((0..count).map(|_| notified.take(|| notify.notify_one())));
    }
    for times in &mut took {
        times.sort_by(f64::total_cmp);
    }
    let [task, other, futex, notify] = took;
    let futex = ("wake-up of a parked thread", futex);
    let notify = ("`tokio::sync::Notify` to a task of another thread", notify);
    let mut rows = Vec::new();
    for (to, times, (reference, floor)) in [
        ("a task of the same executor", &task, &futex),
        ("a task of another thread", &other, &futex),
        ("a task of another thread", &other, &notify),
    ] {
        for percent in [50, 99] {
            let at = |times: &[f64]| Figure::Microseconds(times[times.len() * percent / 100] / 1e3);
            let work = format!("wall time from publish to receipt by {to}, p{percent}");
            rows.push(Row::new(work, at(times), reference, at(floor)));
        }
    }
    rows
}

/// When the last thing was received.
struct Receipt {
    start: Instant,
    /// Nanoseconds since the start; 0: not yet.
    at: AtomicU64,
}

impl Receipt {
    fn new() -> Arc<Self> {
        Arc::new(Self { start: Instant::now(), at: AtomicU64::new(0) })
    }

    fn now(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }

    /// Nanoseconds from before `send` until it is received, looked up after the pause.
    fn take(&self, send: impl FnOnce()) -> f64 {
        let sent = self.now();
        send();
        loop {
            thread::sleep(PAUSE);
            let received = self.at.swap(0, Ordering::AcqRel);
            if received > 0 {
                return (received - sent) as f64;
            }
        }
    }

    fn note(&self) {
        self.at.store(self.now(), Ordering::Release);
    }
}

/// A bus with one stream and one subscriber.
struct Published {
    runtime: Runtime,
    source: Source,
    receipt: Arc<Receipt>,
    _bus: Bus,
}

impl Published {
    /// The subscriber runs beside the dispatcher.
    fn to_task() -> Self {
        Self::to(|runtime, receiving| drop(runtime.spawn(receiving)))
    }

    /// The subscriber has a thread and a runtime of its own.
    fn to_thread() -> Self {
        Self::to(|_, receiving| {
            thread::spawn(|| crate::runtime().block_on(receiving));
        })
    }

    fn to(start: impl FnOnce(&Runtime, Receiving)) -> Self {
        let runtime = crate::runtime();
        let context = runtime.enter();
        let bus = Bus::new();
        let source = Source::new(&bus, "metrics.bench");
        let receipt = Receipt::new();
        let subscription = bus.subscribe(Subscribe::to("metrics.bench").unwrap());
        start(&runtime, Box::pin(receive(subscription, receipt.clone())));
        drop(context);
        Self { runtime, source, receipt, _bus: bus }
    }

    fn measure(&self, count: usize) -> Vec<f64> {
        let batches: Vec<_> =
            (0..count as u64).map(|sequence| self.source.batch(sequence)).collect();
        let publish = |batch| {
            self.runtime.block_on(async {
                self.source.publish(batch).await;
                tokio::task::yield_now().await; // all that is ready runs first
            });
        };
        batches.into_iter().map(|batch| self.receipt.take(|| publish(batch))).collect()
    }
}

type Receiving = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

async fn receive(mut subscription: Subscription, receipt: Arc<Receipt>) {
    loop {
        std::hint::black_box(subscription.recv().await);
        receipt.note();
    }
}

/// A thread that waits to be woken, for as long as the program runs.
fn parked() -> (Arc<Receipt>, Thread) {
    let receipt = Receipt::new();
    let waiting = receipt.clone();
    let thread = thread::spawn(move || {
        loop {
            thread::park();
            waiting.note();
        }
    });
    (receipt, thread.thread().clone())
}

/// A task of another thread that waits to be woken, for as long as the program runs.
fn notified() -> (Arc<Receipt>, Arc<Notify>) {
    let (receipt, notify) = (Receipt::new(), Arc::new(Notify::new()));
    let (noting, waiting) = (receipt.clone(), notify.clone());
    let wait = async move {
        loop {
            waiting.notified().await;
            noting.note();
        }
    };
    thread::spawn(|| crate::runtime().block_on(wait));
    (receipt, notify)
}
