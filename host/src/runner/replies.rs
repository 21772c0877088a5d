//! What a runner has said, as its slot takes it. It comes in bundles: a round is one.

use std::vec::IntoIter;

use tokio::sync::mpsc;

use super::protocol::Reply;

/// Where a runner's link leaves what it says.
pub(super) type Sender = mpsc::Sender<Vec<Reply>>;

/// The receiving end.
#[derive(Debug)]
pub(crate) struct Replies {
    bundles: mpsc::Receiver<Vec<Reply>>,
    /// What is left of the last one.
    taken: IntoIter<Reply>,
}

/// Holds so many bundles; whoever has more waits.
pub(super) fn channel(bundles: usize) -> (Sender, Replies) {
    let (sender, bundles) = mpsc::channel(bundles);
    (sender, Replies { bundles, taken: Vec::new().into_iter() })
}

impl Replies {
    /// The next reply; `None` when there will be none. Cancel-safe.
    pub(crate) async fn recv(&mut self) -> Option<Reply> {
        loop {
            match self.taken.next() {
                Some(reply) => return Some(reply),
                None => self.taken = self.bundles.recv().await?.into_iter(),
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
