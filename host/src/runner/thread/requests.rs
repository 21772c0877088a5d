//! Requests to a thread. A standard channel wakes its receiver while it holds a lock that the
//! receiver wants next: on another core that is up at once, that is two more changes of thread.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::runner::protocol::Request;
use crate::runner::worker::Requests;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Request>,
    /// Either end is gone.
    ended: bool,
}

#[derive(Debug)]
pub(super) struct Sender(Arc<Shared>);

#[derive(Debug)]
pub(super) struct Receiver(Arc<Shared>);

/// Bounded by the slot, which has one request under way at a time.
pub(super) fn channel() -> (Sender, Receiver) {
    let shared = Arc::new(Shared::default());
    (Sender(shared.clone()), Receiver(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn end(&self) {
        self.lock().ended = true;
        self.more.notify_one();
    }
}

impl Sender {
    /// False if nobody will take it.
    pub(super) fn send(&self, request: Request) -> bool {
        let mut state = self.0.lock();
        if state.ended {
            return false;
        }
        state.waiting.push_back(request);
        drop(state);
        self.0.more.notify_one();
        true
    }
}

impl Requests for Receiver {
    fn next(&mut self) -> Option<Request> {
        let waits = |state: &mut State| state.waiting.is_empty() && !state.ended;
        let state = self.0.more.wait_while(self.0.lock(), waits);
        state.unwrap_or_else(PoisonError::into_inner).waiting.pop_front()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.0.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_is_taken_in_order_and_then_there_is_none() {
        let (sender, mut receiver) = channel();
        let taking = std::thread::spawn(move || {
            std::iter::from_fn(|| receiver.next())
                .map(|request| matches!(request, Request::Stop))
                .collect::<Vec<_>>()
        });
        assert!(sender.send(Request::Collect { id: 1, wanted: 1 }));
        assert!(sender.send(Request::Stop));
        drop(sender);
        assert_eq!(taking.join().unwrap(), [false, true]);
    }

    #[test]
    fn nothing_is_taken_for_a_receiver_that_is_gone() {
        let (sender, receiver) = channel();
        drop(receiver);
        assert!(!sender.send(Request::Stop));
    }
}
