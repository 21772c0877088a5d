//! What publishing is compared with.

use std::hint::black_box;
use std::sync::Arc;

use crossbeam_queue::ArrayQueue;
use dropsonde::Batch;
use tokio::runtime::Runtime;
use tokio::sync::Notify;
use tokio::sync::broadcast::{self, Receiver, Sender};

use crate::Effort;
use crate::measure::per_call;
use crate::publish::{BURST, complete, count, expect, publishes};

/// One uncontended ring for each subscriber; nobody is woken.
pub(crate) struct Rings {
    rings: Vec<ArrayQueue<Arc<Batch>>>,
    batch: Arc<Batch>,
}

impl Rings {
    pub(crate) fn new(subscribers: usize, batch: Arc<Batch>) -> Self {
        let rings = (0..subscribers).map(|_| ArrayQueue::new(2 * BURST)).collect();
        Self { rings, batch }
    }

    pub(crate) fn per_delivery(&mut self, effort: Effort) -> f64 {
        let published = publishes(effort, self.rings.len());
        per_call((published * self.rings.len()) as u64, || self.run(published))
    }

    fn run(&self, published: usize) {
        for _ in 0..published / BURST {
            for _ in 0..BURST {
                for ring in &self.rings {
                    assert!(ring.push(self.batch.clone()).is_ok(), "the ring is full");
                }
            }
            for ring in &self.rings {
                while let Some(batch) = ring.pop() {
                    black_box(batch);
                }
            }
        }
    }
}

/// tokio's broadcast channel, on the same kind of runtime.
pub(crate) struct Broadcast {
    runtime: Runtime,
    /// With the task that publishes while it runs.
    ends: Option<Ends>,
    subscribers: usize,
    batch: Arc<Batch>,
}

struct Ends {
    sender: Sender<Arc<Batch>>,
    /// Empty if the receivers are tasks.
    receivers: Vec<Receiver<Arc<Batch>>>,
}

impl Broadcast {
    pub(crate) fn new(subscribers: usize, batch: Arc<Batch>, tasks: bool) -> Self {
        let runtime = crate::runtime();
        let (sender, _) = broadcast::channel(1024);
        let mut receivers = Vec::new();
        for _ in 0..subscribers {
            let receiver = sender.subscribe();
            if tasks {
                runtime.spawn(receive(receiver));
            } else {
                receivers.push(receiver);
            }
        }
        Self { runtime, ends: Some(Ends { sender, receivers }), subscribers, batch }
    }

    pub(crate) fn per_delivery(&mut self, effort: Effort) -> f64 {
        self.measure(effort, BURST)
    }

    pub(crate) fn one_at_a_time(&mut self, effort: Effort) -> f64 {
        self.measure(effort, 1)
    }

    fn measure(&mut self, effort: Effort, burst: usize) -> f64 {
        let published = publishes(effort, self.subscribers);
        per_call((published * self.subscribers) as u64, || self.run(published, burst))
    }

    fn run(&mut self, published: usize, burst: usize) {
        let (subscribers, batch) = (self.subscribers, self.batch.clone());
        let mut ends = self.ends.take().unwrap();
        let publisher = self.runtime.spawn(async move {
            for _ in 0..published / burst {
                expect(burst * subscribers);
                for _ in 0..burst {
                    assert!(ends.sender.send(batch.clone()).is_ok(), "nobody listens");
                }
                if ends.receivers.is_empty() {
                    complete().await;
                }
                for receiver in &mut ends.receivers {
                    while let Ok(batch) = receiver.try_recv() {
                        black_box(batch);
                    }
                }
            }
            ends
        });
        self.ends = Some(self.runtime.block_on(publisher).unwrap());
    }
}

async fn receive(mut receiver: Receiver<Arc<Batch>>) {
    while let Ok(batch) = receiver.recv().await {
        black_box(batch);
        count();
    }
}

/// As many tasks as a publisher, a dispatcher and its subscribers, that wake each other once a
/// burst, and hand nothing over.
pub(crate) struct Wakes {
    runtime: Runtime,
    first: Arc<Notify>,
    subscribers: usize,
}

impl Wakes {
    pub(crate) fn new(subscribers: usize) -> Self {
        let runtime = crate::runtime();
        let first = Arc::new(Notify::new());
        let others: Vec<_> = (0..subscribers).map(|_| Arc::new(Notify::new())).collect();
        for woken in others.clone() {
            runtime.spawn(async move {
                loop {
                    woken.notified().await;
                    count();
                }
            });
        }
        let dispatcher = first.clone();
        runtime.spawn(async move {
            loop {
                dispatcher.notified().await;
                others.iter().for_each(|other| other.notify_one());
            }
        });
        Self { runtime, first, subscribers }
    }

    pub(crate) fn per_delivery(&mut self, effort: Effort) -> f64 {
        let published = publishes(effort, self.subscribers);
        let (first, subscribers) = (self.first.clone(), self.subscribers);
        per_call((published * subscribers) as u64, || {
            let waking = self.runtime.spawn(async move {
                for _ in 0..published / BURST {
                    expect(subscribers);
                    first.notify_one();
                    complete().await;
                }
            });
            self.runtime.block_on(waking).unwrap();
        })
    }
}
