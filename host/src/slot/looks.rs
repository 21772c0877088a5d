//! When each slot looks at its deadlines: one timer for all.
//!
//! A timer of the runtime that is the next to expire costs a system call when it is set; each
//! slot would set one at each tick, and take it back a moment later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::Instant;

/// Ends with the host.
pub(crate) struct Looks(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    next_id: u64,
    looks: BTreeMap<u64, (Instant, Arc<Notify>)>,
    /// When the timer expires.
    armed: Option<Instant>,
    ended: bool,
}

/// One slot's alarm.
pub(super) struct Look {
    shared: Arc<Shared>,
    id: u64,
    at: Option<Instant>,
    bell: Arc<Notify>,
}

impl Looks {
    /// Starts the timer on the current runtime.
    pub(crate) fn start() -> Self {
        let shared = Arc::new(Shared::default());
        tokio::spawn(ring(shared.clone()));
        Self(shared)
    }

    pub(super) fn add(&self) -> Look {
        let mut state = self.0.lock();
        state.next_id += 1;
        Look { shared: self.0.clone(), id: state.next_id, at: None, bell: Arc::default() }
    }
}

impl Drop for Looks {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Look {
    /// Sets when to look; `None`: never.
    pub(super) fn set(&mut self, at: Option<Instant>) {
        if at == self.at {
            return;
        }
        self.at = at;
        let mut state = self.shared.lock();
        match at {
            Some(at) => drop(state.looks.insert(self.id, (at, self.bell.clone()))),
            None => drop(state.looks.remove(&self.id)),
        }
        // A timer that expires too early is set anew; one that nobody needs is taken back.
        let rearm = match (state.armed, at) {
            (None, at) => at.is_some(),
            (Some(armed), at) => at.is_some_and(|at| at < armed) || state.looks.is_empty(),
        };
        drop(state);
        if rearm {
            self.shared.changed.notify_one();
        }
    }

    /// Resolves when it is time, and sometimes before. Cancel-safe.
    pub(super) async fn due(&mut self) {
        self.bell.notified().await;
        self.at = None;
    }
}

impl Drop for Look {
    fn drop(&mut self) {
        self.set(None);
    }
}

async fn ring(shared: Arc<Shared>) {
    loop {
        let next = {
            let mut state = shared.lock();
            if state.ended {
                return;
            }
            state.armed = state.looks.values().map(|(at, _)| *at).min();
            state.armed
        };
        let Some(next) = next else {
            shared.changed.notified().await;
            continue;
        };
        tokio::select! {
            () = shared.changed.notified() => {}
            () = tokio::time::sleep_until(next) => {
                let now = Instant::now();
                let mut state = shared.lock();
                state.looks.retain(|_, (at, bell)| {
                    let due = *at <= now;
                    if due {
                        bell.notify_one();
                    }
                    !due
                });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn each_is_told_at_its_time() {
        let looks = Looks::start();
        let (mut early, mut late) = (looks.add(), looks.add());
        let start = Instant::now();
        late.set(Some(start + SECOND * 3));
        tokio::task::yield_now().await;
        early.set(Some(start + SECOND));
        early.due().await;
        assert_eq!(start.elapsed().as_secs(), 1);
        late.due().await;
        assert_eq!(start.elapsed().as_secs(), 3);
        early.set(Some(start + SECOND * 4));
        early.due().await;
        assert_eq!(start.elapsed().as_secs(), 4, "again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_back_is_not_told() {
        let looks = Looks::start();
        let mut look = looks.add();
        look.set(Some(Instant::now() + SECOND));
        tokio::task::yield_now().await;
        look.set(None);
        let waited = tokio::time::timeout(SECOND * 60, look.due()).await;
        assert!(waited.is_err());
        look.set(Some(Instant::now() + SECOND));
        look.due().await;
    }
}
