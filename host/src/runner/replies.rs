//! What a runner has said, as its slot takes it. It comes in bundles: a round is one.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::vec::IntoIter;

use tokio::sync::mpsc;

use super::protocol::Reply;

/// Where a runner's link leaves what it says.
pub(super) type Sender = mpsc::Sender<Vec<Reply>>;

/// What carries requests to a runner process and its replies back, until both are done with.
pub(super) type Carrier = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The receiving end.
pub(crate) struct Replies {
    bundles: mpsc::Receiver<Vec<Reply>>,
    /// What is left of the last one.
    taken: IntoIter<Reply>,
    /// Runs on the task of whoever receives: a task of its own would be woken twice a round.
    carrier: Option<Carrier>,
}

/// Holds so many bundles; whoever has more waits.
pub(super) fn channel(bundles: usize) -> (Sender, Replies) {
    let (sender, bundles) = mpsc::channel(bundles);
    (sender, Replies { bundles, taken: Vec::new().into_iter(), carrier: None })
}

impl Replies {
    /// Has a carrier run while replies are waited for. When nobody waits any more, it runs on by
    /// itself to its end.
    pub(super) fn carried_by(mut self, carrier: Carrier) -> Self {
        self.carrier = Some(carrier);
        self
    }

    fn poll_bundle(&mut self, context: &mut Context<'_>) -> Poll<Option<Vec<Reply>>> {
        if let Some(carrier) = &mut self.carrier
            && carrier.as_mut().poll(context).is_ready()
        {
            self.carrier = None;
        }
        self.bundles.poll_recv(context)
    }

    /// The next reply; `None` when there will be none. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<Reply> {
        loop {
            match self.taken.next() {
                Some(reply) => return Some(reply),
                None => {
                    let bundle = poll_fn(|context| self.poll_bundle(context)).await;
                    self.taken = bundle?.into_iter();
                }
            }
        }
    }

    /// The next reply, if it has arrived.
    pub(crate) fn arrived(&mut self) -> Option<Reply> {
        loop {
            match self.taken.next() {
                Some(reply) => return Some(reply),
                None => self.taken = self.bundles.try_recv().ok()?.into_iter(),
            }
        }
    }

    /// The next reply of the bundle that was last received from.
    pub(crate) fn rest(&mut self) -> Option<Reply> {
        self.taken.next()
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        if let Some(carrier) = self.carrier.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(carrier); // it ends the process, and waits for it
        }
    }
}

impl fmt::Debug for Replies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replies").field("bundles", &self.bundles).finish_non_exhaustive()
    }
}
