//! Asks for the space of mounts on helper threads, since the call never returns while the server
//! of a network file system is gone. Mounts that answer from memory need none.
//!
//! One helper does all the work as long as every call returns. When nothing has come back for a
//! while, more are started, so that one hung mount holds up no other. A helper whose call hangs
//! stays with it; its mount is not asked again until that call has returned.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::space::Space;

/// Most helper threads, and so most mounts that may hang at once before others go unread.
const MAX_WORKERS: usize = 16;
/// A helper needs little: the call itself and a path on the stack.
const STACK_BYTES: usize = 128 * 1024;

/// The call that may hang.
pub(crate) type Call = dyn Fn(&Path) -> io::Result<Space> + Send + Sync;

/// What became of one mount in a round.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The call returned.
    Returned(io::Result<Space>),
    /// The call began in this round and has not returned in time.
    TimedOut,
    /// The call of an earlier round has still not returned; there was no new one.
    StillHung,
    /// No helper came to it in time.
    NotReached,
}

/// The helper threads. Dropping it ends those that are not inside a call, and leaves the others
/// to end when their call returns.
pub(crate) struct Prober {
    shared: Arc<Shared>,
    workers: Vec<Worker>,
    next_id: u64,
    limit: Duration,
}

struct Worker {
    id: u64,
    handle: JoinHandle<()>,
}

struct Shared {
    call: Box<Call>,
    state: Mutex<State>,
    /// There is work, or the end has come.
    work: Condvar,
    /// The last open question of the round has been answered.
    answered: Condvar,
}

#[derive(Default)]
struct State {
    round: u64,
    queue: VecDeque<Job>,
    running: Vec<Running>,
    answers: Vec<Option<Answer>>,
    /// Answers that the round still waits for.
    open: usize,
    idle: usize,
    stop: bool,
}

struct Job {
    path: Arc<Path>,
    /// Position in `answers`.
    slot: usize,
}

struct Running {
    worker: u64,
    path: Arc<Path>,
    slot: usize,
    /// The round that asked; an answer that comes later is stale.
    round: u64,
}

impl Prober {
    pub(crate) fn new(limit: Duration, call: Box<Call>) -> Self {
        let shared = Shared {
            call,
            state: Mutex::default(),
            work: Condvar::new(),
            answered: Condvar::new(),
        };
        Self { shared: Arc::new(shared), workers: Vec::new(), next_id: 0, limit }
    }

    /// Asks a mount that answers from memory, on the calling thread.
    pub(crate) fn ask_now(&self, path: &Path) -> Answer {
        Answer::Returned((self.shared.call)(path))
    }

    /// Asks for the space of all the mounts, and answers in their order. Blocks up to the limit.
    /// An error means that not one thread could be started.
    pub(crate) fn ask<'a>(
        &mut self,
        paths: impl Iterator<Item = &'a Arc<Path>>,
    ) -> io::Result<Vec<Answer>> {
        self.join_finished();
        let deadline = Instant::now() + self.limit;
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        state.begin(paths);
        let mut helpers = 1;
        while state.open > 0 && Instant::now() < deadline {
            self.wake(&mut state, helpers)?;
            let open = state.open;
            let patience = (self.limit / 8).min(deadline.saturating_duration_since(Instant::now()));
            state = shared.wait(state, patience);
            if state.open == open {
                helpers *= 2; // nothing moves: something hangs, or is slow
            }
        }
        Ok(state.finish())
    }

    /// Sees to it that so many helpers turn to the queue, as far as there is work and room.
    fn wake(&mut self, state: &mut State, helpers: usize) -> io::Result<()> {
        let helpers = helpers.min(state.queue.len());
        for _ in state.idle..helpers {
            if self.workers.len() >= MAX_WORKERS {
                break;
            }
            match self.start_worker() {
                Err(error) if self.workers.is_empty() => {
                    state.finish();
                    return Err(error);
                }
                Err(_) => break,
                Ok(()) => {}
            }
        }
        for _ in 0..helpers.min(state.idle) {
            self.shared.work.notify_one();
        }
        Ok(())
    }

    fn start_worker(&mut self) -> io::Result<()> {
        let id = self.next_id;
        let shared = Arc::clone(&self.shared);
        let handle =
            std::thread::Builder::new().stack_size(STACK_BYTES).spawn(move || shared.run(id))?;
        self.workers.push(Worker { id, handle });
        self.next_id += 1;
        Ok(())
    }

    fn join_finished(&mut self) {
        for worker in self.workers.extract_if(.., |worker| worker.handle.is_finished()) {
            // It has ended; a panic inside it would have left its mount unanswered.
            let _ = worker.handle.join();
        }
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        state.stop = true;
        state.queue.clear();
        let inside: Vec<u64> = state.running.iter().map(|running| running.worker).collect();
        drop(state);
        self.shared.work.notify_all();
        for worker in self.workers.drain(..).filter(|worker| !inside.contains(&worker.id)) {
            let _ = worker.handle.join(); // as above
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; were it so, the state would still be whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until all is answered, up to `patience`.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, patience: Duration) -> MutexGuard<'a, State> {
        let waited = self.answered.wait_timeout_while(state, patience, |state| state.open > 0);
        waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// A helper's life: ends when told to, or when another one has nothing to do either.
    fn run(&self, worker: u64) {
        let mut state = self.lock();
        loop {
            if let Some(path) = state.take(worker) {
                drop(state);
                let result = (self.call)(&path);
                state = self.lock();
                if state.returned(worker, result) {
                    self.answered.notify_one();
                }
            } else if state.stop || state.idle > 0 {
                return;
            } else {
                state.idle += 1;
                state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

impl State {
    fn begin<'a>(&mut self, paths: impl Iterator<Item = &'a Arc<Path>>) {
        self.answers.clear();
        for (slot, path) in paths.enumerate() {
            if self.running.iter().any(|running| running.path == *path) {
                self.answers.push(Some(Answer::StillHung));
            } else {
                self.answers.push(None);
                self.queue.push_back(Job { path: Arc::clone(path), slot });
            }
        }
        self.open = self.queue.len();
    }

    /// Ends the round: what comes in later is not for the next one.
    fn finish(&mut self) -> Vec<Answer> {
        for job in self.queue.drain(..) {
            self.answers[job.slot] = Some(Answer::NotReached);
        }
        self.round += 1;
        self.open = 0;
        self.answers.drain(..).map(|answer| answer.unwrap_or(Answer::TimedOut)).collect()
    }

    fn take(&mut self, worker: u64) -> Option<Arc<Path>> {
        let Job { path, slot } = self.queue.pop_front()?;
        let round = self.round;
        self.running.push(Running { worker, path: Arc::clone(&path), slot, round });
        Some(path)
    }

    /// Notes the result of a call; says whether it was the last that the round waits for.
    fn returned(&mut self, worker: u64, result: io::Result<Space>) -> bool {
        let Some(index) = self.running.iter().position(|running| running.worker == worker) else {
            return false;
        };
        let Running { slot, round, .. } = self.running.swap_remove(index);
        if round != self.round {
            return false;
        }
        self.answers[slot] = Some(Answer::Returned(result));
        self.open -= 1;
        self.open == 0
    }
}
