//! Publishing: nobody is waited for but those who asked to block.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::dispatcher::Target;
use super::inbox::{Change, NotQueued, Reserved};
use super::request::Overflow;
use super::subscription::Shared;
use super::{Bus, Stream};
use crate::model::{Batch, StreamInfo};
use crate::sync::atomic::Ordering;

/// Publishes one stream. Dropping it takes the stream off the bus.
pub(crate) struct Publisher {
    pub(super) bus: Bus,
    pub(super) stream: Arc<Stream>,
}

impl Publisher {
    pub(crate) fn info(&self) -> &Arc<StreamInfo> {
        &self.stream.info
    }

    /// Publishes a batch without waiting for anyone: the host's own streams.
    pub(crate) fn publish_now(&self, batch: Arc<Batch>) {
        let mut reserved = Vec::new();
        if self.stream.gated.load(Ordering::Acquire) {
            for gate in &self.stream.gates() {
                match gate.credit.as_ref().map(Semaphore::try_acquire) {
                    Some(Ok(permit)) => {
                        permit.forget();
                        reserved.push(gate.clone());
                    }
                    _ => gate.count_lost(|lost| lost.deadline += 1),
                }
            }
        }
        let reserved = (!reserved.is_empty()).then(|| reserved.into());
        self.hand_over(batch, reserved, false);
    }

    /// Publishes a batch. Waits only for subscribers that asked to block, no longer than each
    /// allows.
    pub(crate) async fn publish(&self, batch: Arc<Batch>) {
        let mut reserved = None;
        if self.stream.gated.load(Ordering::Acquire) {
            self.bus.inner.inbox.keep(self.stream.id, &batch); // whoever blocks delays no page
            reserved = Some(reserve(&self.stream.gates()).await.into());
        }
        self.hand_over(batch, reserved, true);
    }

    fn hand_over(&self, batch: Arc<Batch>, reserved: Reserved, is_read: bool) {
        match self.bus.inner.inbox.publish(self.stream.id, batch, reserved, is_read) {
            Ok(()) => {}
            Err(NotQueued::Unwanted(reserved)) => {
                reserved.iter().flatten().for_each(|shared| shared.give_credit(1));
            }
            Err(NotQueued::Full(reserved)) => self.lost_to_all(&reserved.unwrap_or_default()),
        }
    }

    /// The bus is full: what was reserved is given back. Those that had no room have lost the
    /// batch before.
    #[cold]
    fn lost_to_all(&self, reserved: &[Arc<Shared>]) {
        for shared in reserved {
            shared.count_lost(|lost| lost.bus += 1);
            shared.give_credit(1);
        }
        for subscriber in self.bus.registry().subscribers.values() {
            if let Target::Queue(shared) = &subscriber.target
                && !subscriber.target.blocks()
                && self.stream.serves(&shared.request)
            {
                shared.count_lost(|lost| lost.bus += 1);
            }
        }
    }
}

/// Reserves room with every subscriber that asked to block; returns those that had some in time.
async fn reserve(gates: &[Arc<Shared>]) -> Vec<Arc<Shared>> {
    let mut reserved = Vec::new();
    for gate in gates {
        let (Some(credit), Overflow::Block(_, deadline)) = (&gate.credit, gate.request.overflow)
        else {
            continue;
        };
        match tokio::time::timeout(deadline, credit.acquire()).await {
            Ok(Ok(permit)) => {
                permit.forget();
                reserved.push(gate.clone());
            }
            Ok(Err(_)) => {} // it has gone
            Err(_) => gate.count_lost(|lost| lost.deadline += 1),
        }
    }
    reserved
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
        registry.free.push(self.stream.id);
    }
}
