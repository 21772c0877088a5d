//! Takes what the collectors' threads have to say at the ends of their rounds to the slots.
//!
//! Collectors that are due together end within a moment. To wake the runtime for each costs more
//! than what they say: those that end while others are still at it leave their word here, and the
//! last one wakes it. One that takes long holds up nobody: after [`PATIENCE`] everything that lies
//! here is taken, and whoever ends after that wakes the runtime at once.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::mpsc::error::TrySendError;
use tokio::time::Instant;

use crate::runner::protocol::Reply;
use crate::runner::replies::Sender;

/// For so long what has come waits for the others.
const PATIENCE: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
pub(super) struct Mail {
    state: Mutex<State>,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Threads with a round under way.
    under_way: BTreeSet<u32>,
    /// What was left by threads whose round is over.
    letters: Vec<Letter>,
    /// When patience ends; `None` while there is nothing to wait for.
    until: Option<Instant>,
    /// Patience has ended, and some round is still under way.
    hasty: bool,
    closed: bool,
}

#[derive(Debug)]
struct Letter {
    from: u32,
    to: Sender,
    bundle: Vec<Reply>,
}

impl Mail {
    /// A round is about to begin on this thread.
    pub(super) fn begins(&self, thread: u32) {
        let mut state = self.lock();
        state.under_way.insert(thread);
        if state.under_way.len() == 2 && !state.hasty && state.until.is_none() {
            state.until = Some(Instant::now() + PATIENCE);
            drop(state);
            self.bell.notify_one();
        }
    }

    /// A round is over: takes what there is to say, or gives it back if there is nobody to wait
    /// for. May panic in the reactor's waker, after it has taken it.
    pub(super) fn ends(&self, thread: u32, to: &Sender, bundle: Vec<Reply>) -> Option<Vec<Reply>> {
        let mut state = self.lock();
        state.under_way.remove(&thread);
        let last = state.under_way.is_empty();
        if last && state.letters.is_empty() {
            state.settle();
            return Some(bundle);
        }
        state.letters.push(Letter { from: thread, to: to.clone(), bundle });
        let ring = last || state.hasty;
        drop(state);
        if ring {
            self.bell.notify_one();
        }
        None
    }

    /// Gives back what the thread has left here: something else is to be said, and must not come
    /// before it.
    pub(super) fn take_back(&self, thread: u32) -> Vec<Reply> {
        let mut state = self.lock();
        if state.letters.iter().all(|letter| letter.from != thread) {
            return Vec::new();
        }
        let back = state.letters.extract_if(.., |letter| letter.from == thread);
        back.flat_map(|letter| letter.bundle).collect()
    }

    /// The thread has ended, or does not come back.
    pub(super) fn forget(&self, thread: u32) {
        let mut state = self.lock();
        let ring = state.under_way.remove(&thread)
            && state.under_way.is_empty()
            && !state.letters.is_empty();
        drop(state);
        if ring {
            self.bell.notify_one();
        }
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.bell.notify_one();
    }

    /// Hands out what was left, on the slots' runtime, until it is closed.
    pub(super) async fn carry(&self) {
        loop {
            let until = self.lock().until;
            match until {
                Some(until) => {
                    tokio::select! {
                        () = self.bell.notified() => {}
                        () = tokio::time::sleep_until(until) => self.lock().lose_patience(),
                    }
                }
                None => self.bell.notified().await,
            }
            let (letters, closed) = {
                let mut state = self.lock();
                (state.due(), state.closed)
            };
            for Letter { to, bundle, .. } in letters {
                // A slot has one round under way at a time, so there is room; if not, its task is
                // waited for by a task of its own.
                if let Err(TrySendError::Full(bundle)) = to.try_send(bundle) {
                    tokio::spawn(async move { to.send(bundle).await });
                }
            }
            if closed {
                return;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// What is to be handed out now.
    fn due(&mut self) -> Vec<Letter> {
        if self.under_way.is_empty() {
            self.settle();
        } else if !self.hasty {
            return Vec::new();
        }
        std::mem::take(&mut self.letters)
    }

    fn settle(&mut self) {
        self.until = None;
        self.hasty = false;
    }

    fn lose_patience(&mut self) {
        self.until = None;
        self.hasty = !self.under_way.is_empty();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::runner::replies::{Replies, channel};

    fn word(of: u32) -> Vec<Reply> {
        vec![Reply::Log { level: 3, message: of.to_string() }]
    }

    fn started(threads: u32) -> (Arc<Mail>, Vec<(Sender, Replies)>) {
        let mail = Arc::new(Mail::default());
        let carrying = mail.clone();
        tokio::spawn(async move { carrying.carry().await });
        (0..threads).for_each(|thread| mail.begins(thread));
        (mail, (0..threads).map(|_| channel(4)).collect())
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_end_together_are_handed_out_together() {
        let (mail, mut ends) = started(3);
        for thread in [1, 0] {
            assert!(mail.ends(thread, &ends[thread as usize].0, word(thread)).is_none());
        }
        tokio::task::yield_now().await;
        assert!(ends.iter_mut().all(|(_, replies)| replies.arrived().is_none()));
        assert!(mail.ends(2, &ends[2].0, word(2)).is_none());
        let before = Instant::now();
        for (_, replies) in &mut ends {
            assert!(replies.recv().await.is_some());
        }
        assert_eq!(Instant::now(), before, "nobody waited for the time to pass");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_takes_long_holds_up_nobody() {
        let (mail, mut ends) = started(3);
        assert!(mail.ends(0, &ends[0].0, word(0)).is_none());
        let before = Instant::now();
        assert!(ends[0].1.recv().await.is_some());
        assert!(before.elapsed() <= PATIENCE * 2);
        let before = Instant::now();
        assert!(mail.ends(1, &ends[1].0, word(1)).is_none());
        assert!(ends[1].1.recv().await.is_some());
        assert_eq!(Instant::now(), before, "patience has ended");
        assert!(mail.ends(2, &ends[2].0, word(2)).is_some(), "the last says it itself");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_never_ends_is_forgotten() {
        let (mail, mut ends) = started(2);
        assert!(mail.ends(0, &ends[0].0, word(0)).is_none());
        mail.forget(1);
        let before = Instant::now();
        assert!(ends[0].1.recv().await.is_some());
        assert_eq!(Instant::now(), before);
        mail.begins(0);
        assert!(mail.ends(0, &ends[0].0, word(0)).is_some(), "it is alone");
    }

    #[test]
    fn what_was_left_can_be_taken_back() {
        let mail = Mail::default();
        let (sender, _replies) = channel(4);
        mail.begins(1);
        mail.begins(2);
        assert!(mail.ends(1, &sender, word(1)).is_none());
        assert_eq!(mail.take_back(1).len(), 1);
        assert!(mail.take_back(1).is_empty());
        assert!(mail.ends(2, &sender, word(2)).is_some());
    }
}
