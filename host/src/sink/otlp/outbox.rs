//! Requests that wait to be sent, oldest first: on disk, or, where it takes none, in memory.
//! Bounded; the oldest give way and are counted.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::body::Bytes;

use super::Request;
use super::status::{Counts, Dropped};
use super::store::{ReadError, Store};

/// Most bytes that wait in memory while the disk takes none.
const MEMORY: u64 = 4 << 20;

pub(super) struct Outbox {
    store: Arc<Store>,
    waiting: VecDeque<Waiting>,
    /// Most bytes that files take.
    most: u64,
    next: u64,
    counts: Counts,
    /// What was said and still holds, so that it is said once: that the disk takes none, that it
    /// gives none back, and that the oldest give way.
    complained: bool,
    unreadable: bool,
    losing: bool,
}

struct Waiting {
    number: u64,
    size: u64,
    /// `None`: on disk.
    memory: Option<Request>,
}

/// A request that is being sent.
pub(super) struct Taken {
    number: u64,
    on_disk: bool,
    request: Request,
}

impl Taken {
    pub(super) fn body(&self) -> Bytes {
        self.request.body.clone()
    }

    pub(super) fn items(&self) -> u64 {
        self.request.items
    }
}

impl Outbox {
    /// With what an agent before left.
    pub(super) async fn open(store: Store, most: u64, counts: Counts) -> Self {
        let store = Arc::new(store);
        let (waiting, next) = (VecDeque::new(), 0);
        let (complained, unreadable, losing) = (false, false, false);
        let mut outbox =
            Self { store, waiting, most, next, counts, complained, unreadable, losing };
        match outbox.on_disk(Store::scan).await {
            Some(Ok((found, damaged))) => {
                outbox.counts.dropped(Dropped::Damaged, damaged);
                outbox.next = found.last().map_or(0, |last| last.number + 1);
                outbox.waiting = found
                    .into_iter()
                    .map(|found| Waiting { number: found.number, size: found.size, memory: None })
                    .collect();
            }
            Some(Err(error)) => outbox.complain(&error.to_string()),
            None => {}
        }
        outbox.give_way().await;
        outbox
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// To be sent at once: only while nothing waits. It is not on disk.
    pub(super) fn pass(&mut self, request: Request) -> Taken {
        Taken { number: self.number(), on_disk: false, request }
    }

    /// Lets a request wait behind the others.
    pub(super) async fn push(&mut self, request: Request) {
        let number = self.number();
        let waiting = self.kept(number, request).await;
        self.waiting.push_back(waiting);
        self.give_way().await;
    }

    /// The oldest request. One that is gone or damaged is dropped and counted; one that can't be
    /// read now waits on, and what is in memory goes first.
    pub(super) async fn take(&mut self) -> Result<Option<Taken>, ReadError> {
        while let Some(Waiting { number, size, memory }) = self.waiting.pop_front() {
            self.tell();
            if let Some(request) = memory {
                return Ok(Some(Taken { number, on_disk: false, request }));
            }
            let read = self.on_disk(move |store| store.read(number)).await;
            let (cause, error) = match read {
                None => break,
                Some(Ok(request)) => {
                    self.unreadable = false;
                    return Ok(Some(Taken { number, on_disk: true, request }));
                }
                Some(Err(error @ ReadError::Damaged(_))) => (Dropped::Damaged, error),
                Some(Err(error @ ReadError::Gone(_))) => (Dropped::Gone, error),
                Some(Err(error @ ReadError::Io(..))) => {
                    if !std::mem::replace(&mut self.unreadable, true) {
                        tracing::warn!("an OTLP request waits until it can be read back: {error}");
                    }
                    self.waiting.push_front(Waiting { number, size, memory });
                    let in_memory = self.take_from_memory();
                    self.tell();
                    return in_memory.map(Some).ok_or(error);
                }
            };
            tracing::warn!("a request that waited for OTLP export is lost: {error}");
            self.counts.dropped(cause, 1);
        }
        self.losing = false;
        Ok(None)
    }

    fn take_from_memory(&mut self) -> Option<Taken> {
        let index = self.waiting.iter().position(|waiting| waiting.memory.is_some())?;
        let Waiting { number, memory, .. } = self.waiting.remove(index)?;
        Some(Taken { number, on_disk: false, request: memory? })
    }

    /// A request that need not be sent any more.
    pub(super) async fn done(&mut self, taken: Taken) {
        if taken.on_disk {
            self.on_disk(move |store| store.remove(taken.number)).await;
        }
    }

    /// A request that could not be sent: it is the next to be tried.
    pub(super) async fn back(&mut self, taken: Taken) {
        let Taken { number, on_disk, request } = taken;
        let waiting = if on_disk {
            Waiting { number, size: Store::size(&request), memory: None }
        } else {
            self.kept(number, request).await
        };
        self.waiting.push_front(waiting);
        self.give_way().await;
    }

    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next += 1;
        number
    }

    /// On disk, or in memory if that fails.
    async fn kept(&mut self, number: u64, request: Request) -> Waiting {
        let copy = request.clone();
        match self.on_disk(move |store| store.write(number, &copy)).await {
            Some(Ok(())) => {
                self.complained = false;
                Waiting { number, size: Store::size(&request), memory: None }
            }
            failed => {
                if let Some(Err(error)) = failed {
                    self.complain(&error.to_string());
                }
                Waiting { number, size: request.body.len() as u64, memory: Some(request) }
            }
        }
    }

    /// Drops the oldest until what waits fits.
    async fn give_way(&mut self) {
        loop {
            let (disk, memory) = self.bytes();
            let too_many = |waiting: &Waiting| {
                if waiting.memory.is_some() {
                    memory > MEMORY.min(self.most)
                } else {
                    disk > self.most
                }
            };
            let Some(oldest) = self.waiting.iter().position(too_many) else { break };
            let Some(gone) = self.waiting.remove(oldest) else { break };
            if gone.memory.is_none() {
                self.on_disk(move |store| store.remove(gone.number)).await;
            }
            self.counts.dropped(Dropped::QueueFull, 1);
            if !std::mem::replace(&mut self.losing, true) {
                tracing::warn!(
                    "the queue of OTLP export is full: the oldest requests are dropped, and counted"
                );
            }
        }
        self.tell();
    }

    /// Of those on disk and of those in memory.
    fn bytes(&self) -> (u64, u64) {
        self.waiting.iter().fold((0, 0), |(disk, memory), waiting| match waiting.memory {
            None => (disk + waiting.size, memory),
            Some(_) => (disk, memory + waiting.size),
        })
    }

    fn tell(&self) {
        let (disk, memory) = self.bytes();
        self.counts.queued(self.waiting.len() as u64, disk + memory);
    }

    fn complain(&mut self, error: &str) {
        if !std::mem::replace(&mut self.complained, true) {
            let most = MEMORY.min(self.most);
            tracing::warn!("OTLP requests wait in memory, {most} bytes at most: {error}");
        }
    }

    /// Does what blocks, elsewhere. `None`: the runtime ends.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Option<T> {
        let store = self.store.clone();
        tokio::task::spawn_blocking(move || work(&store)).await.ok()
    }
}

#[cfg(test)]
mod tests;
