//! A client's subscription, and what the client has been told of it.

use std::sync::Arc;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::bus::{Batches, Bus, Losses, Pattern, Subscribe, Subscription};
use crate::model::Batch;

/// A subscription that ends after so many batches, and tells of losses once each.
pub(super) struct Feed {
    request: Subscribe,
    batches: Subscription,
    /// What the client has been told that it lost.
    lost: Losses,
    /// Batches until its limit.
    left: u64,
    #[expect(dead_code, reason = "held until it is dropped")]
    room: Room,
}

/// Most bytes of the predicates of all clients together. Each is looked at for each record, on
/// the one thread that serves everybody, and a client of the HTTP API may be anybody.
pub(super) const PREDICATES: usize = 16 << 10;
static ROOM: Semaphore = Semaphore::const_new(PREDICATES);

/// Room for a client's predicate.
pub(super) type Room = SemaphorePermit<'static>;

/// What came.
pub(super) struct Taken {
    /// What was lost before, if anything.
    pub(super) lost: Option<Losses>,
    batches: Batches,
    /// So many of them are within the limit.
    wanted: usize,
}

impl Taken {
    /// The batches, oldest first.
    pub(super) fn batches(&self) -> impl Iterator<Item = &Arc<Batch>> {
        self.batches.iter().take(self.wanted)
    }
}

impl Feed {
    /// Room for the predicate of a request, if others have left so much.
    pub(super) fn room_for(request: &Subscribe) -> Option<Room> {
        let length = request.predicate().map_or(0, |filter| filter.text().len());
        ROOM.try_acquire_many(u32::try_from(length).ok()?).ok()
    }

    pub(super) fn new(bus: &Bus, request: Subscribe, room: Room, limit: u64) -> Self {
        let batches = bus.subscribe(request.clone());
        Self { request, batches, lost: Losses::default(), left: limit, room }
    }

    /// The last batch of each snapshot stream that it asks for, read before it subscribed or just
    /// now; one that is on its way comes again. They count towards the limit.
    pub(super) fn last(&mut self, bus: &Bus) -> Vec<Arc<Batch>> {
        let mut last = Vec::new();
        for stream in bus.streams().iter().filter(|stream| stream.topic.starts_with("metrics.")) {
            let wanted = |pattern: &Pattern| pattern.matches(&stream.topic);
            if self.left == 0 || !self.request.patterns().iter().any(wanted) {
                continue;
            }
            let batch = bus.latest(&stream.topic).and_then(|batch| self.filtered(batch));
            if let Some(batch) = batch {
                bus.count_cache_hit(&stream.topic);
                self.left -= 1;
                last.push(batch);
            }
        }
        last
    }

    fn filtered(&self, batch: Arc<Batch>) -> Option<Arc<Batch>> {
        match self.request.predicate() {
            Some(filter) => filter.bind(&batch.stream)?.select(&batch),
            None => Some(batch),
        }
    }

    /// What comes next, at least one batch; `None` when the limit is reached. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Taken> {
        if self.left == 0 {
            return None;
        }
        let batches = self.batches.recv_many().await;
        let lost = self.batches.status().lost;
        let new = (lost != self.lost).then(|| lost.since(self.lost));
        self.lost = lost;
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(batches.len());
        self.left -= wanted as u64;
        Some(Taken { lost: new, batches, wanted })
    }
}
