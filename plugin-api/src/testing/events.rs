//! An event source under test.

use std::marker::PhantomData;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use super::clock::HandClock;
use super::fixture::Scratch;
use super::{Round, host};
use crate::abi::parse_settings;
use crate::clock::Clock;
use crate::collector::{Batch, Emitter, EventSource, Outlet, Streams};
use crate::error::{Error, Result};
use crate::schema::StreamSchema;

/// Longest that a source is waited for, by the machine's clock: what the host's default deadline
/// is.
const PATIENCE: Duration = Duration::from_secs(10);

/// An event source under test. It runs on a thread of its own, as under a host, and its time is
/// the test's: [`Emitter::wait`](crate::Emitter::wait) returns when [`advance`](Self::advance)
/// has come to its end, however long it is, and takes no time.
///
/// Dropping it stops the source.
pub struct EventHarness<E> {
    shared: Arc<Shared>,
    clock: HandClock,
    thread: Option<JoinHandle<()>>,
    _state: Scratch,
    kind: PhantomData<fn() -> E>,
}

/// What the source's thread and the test have in common.
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Was made, or could not be.
    created: Option<Result<()>>,
    /// The source sleeps until the clock shows this.
    wakes: Option<Duration>,
    stop: bool,
    /// The result of `run`; an error too if it panicked.
    ended: Option<Result<()>>,
    /// Emitted, and not yet taken by the test.
    emitted: Round,
}

impl State {
    /// Of a source with these streams, before it is made.
    fn new(schemas: &[StreamSchema]) -> Self {
        Self { created: None, wakes: None, stop: false, ended: None, emitted: Round::new(schemas) }
    }

    /// Why the source runs no more, if it does not: its error the first time.
    fn end(&mut self) -> Option<Error> {
        let ended = self.ended.as_mut()?;
        let error = std::mem::replace(ended, Ok(())).err();
        Some(error.unwrap_or_else(|| Error::msg("the event source returned by itself")))
    }
}

impl<E: EventSource + 'static> EventHarness<E> {
    /// Makes the source from settings, as the host would from TOML, and lets it run. How far it
    /// has come is known after the first [`advance`](Self::advance), be it by nothing.
    pub fn start(settings: Value) -> Result<Self> {
        let (clock, state) = (HandClock::new(), Scratch::new("state"));
        let begin = Mutex::new(State::new(&E::Streams::schemas()));
        let shared = Arc::new(Shared { state: begin, changed: Condvar::new() });
        let (theirs, time, directory) = (shared.clone(), clock.clone(), state.0.clone());
        let thread = std::thread::spawn(move || {
            let source = parse_settings(&settings.to_string())
                .and_then(|settings| E::create(settings, host(&directory, &time)));
            match source {
                Ok(source) => run(source, &theirs, &time),
                Err(error) => theirs.change(|state| state.created = Some(Err(error))),
            }
        });
        let harness =
            Self { shared, clock, thread: Some(thread), _state: state, kind: PhantomData };
        let ended = || harness.thread.as_ref().is_none_or(JoinHandle::is_finished);
        let panicked = || ended().then(|| Err(Error::msg("create panicked")));
        match harness.shared.until(PATIENCE, |state| state.created.take().or_else(panicked)) {
            Some(created) => created.map(|()| harness),
            None => Err(Error::msg(format_args!("create did not return within {PATIENCE:?}"))),
        }
    }
}

impl<E> EventHarness<E> {
    /// Moves the time on, and gives what the source emitted until it waited beyond that time.
    /// If it waits several times in between, it sees the clock at the end of each.
    ///
    /// An error if the source ended, or did not come to wait within 10 s: one that waits for the
    /// kernel instead is tested by [`emitted`](Self::emitted).
    pub fn advance(&mut self, by: Duration) -> Result<Round> {
        self.advance_within(PATIENCE, by)
    }

    pub(super) fn advance_within(&mut self, patience: Duration, by: Duration) -> Result<Round> {
        let deadline = Instant::now() + patience;
        let target = self.clock.elapsed() + by;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let at_rest = self
                .shared
                .until(left, |state| state.end().map(Err).or_else(|| state.wakes.map(Ok)));
            match at_rest {
                Some(Ok(wakes)) if wakes <= target => {
                    self.clock.advance(wakes.saturating_sub(self.clock.elapsed()));
                    self.shared.change(|state| state.wakes = None);
                }
                Some(Ok(_)) => {
                    self.clock.advance(target - self.clock.elapsed());
                    return Ok(self.taken());
                }
                Some(Err(end)) => return Err(end),
                None => {
                    return Err(Error::msg(format_args!(
                        "the event source did not call Emitter::wait within {patience:?}"
                    )));
                }
            }
        }
    }

    /// Waits, by the machine's clock and for 10 s at most, until the source has emitted this many
    /// records of the named stream, and gives all that it emitted: for a source that waits for
    /// the kernel and not in [`Emitter::wait`](crate::Emitter::wait).
    ///
    /// # Panics
    /// If the source declares no such stream.
    #[track_caller]
    pub fn emitted(&mut self, stream: &str, records: usize) -> Result<Round> {
        self.shared.lock().emitted.rows(stream); // it panics at once if there is none
        let came = self.shared.until(PATIENCE, |state| {
            let enough = state.emitted.rows(stream).len() >= records;
            if enough { Some(Ok(())) } else { state.end().map(Err) }
        });
        match came {
            Some(came) => came.map(|()| self.taken()),
            None => Err(Error::msg(format_args!(
                "the event source emitted {} of {records} records within {PATIENCE:?}",
                self.shared.lock().emitted.rows(stream).len()
            ))),
        }
    }

    /// Sets [`Host::wall`](crate::Host::wall), which begins at 2020-01-01T00:00:00Z.
    pub fn set_wall(&mut self, time: SystemTime) {
        self.clock.set_wall(time);
    }

    /// Tells the source to stop, and gives what it emitted last. The error is its own, or that it
    /// did not return within 10 s.
    pub fn stop(mut self) -> Result<Round> {
        self.tell_to_stop();
        match self.shared.until(PATIENCE, |state| state.ended.take()) {
            Some(ended) => {
                self.join();
                ended.map(|()| self.taken())
            }
            None => Err(Error::msg(format_args!(
                "the event source did not return within {PATIENCE:?} of being told to stop"
            ))),
        }
    }

    /// Whether `run` has returned.
    pub(super) fn has_ended(&self) -> bool {
        self.shared.lock().ended.is_some()
    }

    fn taken(&self) -> Round {
        self.shared.lock().emitted.take()
    }

    fn tell_to_stop(&self) {
        self.shared.change(|state| state.stop = true);
    }

    /// Its panic, if it had one, was printed and is what `ended` says.
    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl<E> Drop for EventHarness<E> {
    fn drop(&mut self) {
        self.tell_to_stop();
        // One that does not return is left behind: the test has failed by then.
        if self.thread.as_ref().is_some_and(|thread| {
            self.shared.until(PATIENCE, |_| thread.is_finished().then_some(())).is_some()
        }) {
            self.join();
        }
    }
}

/// The life of a source on its thread.
fn run<E: EventSource>(mut source: E, shared: &Shared, clock: &HandClock) {
    shared.change(|state| state.created = Some(Ok(())));
    let mut end = End { shared, result: Err(Error::msg("the event source panicked")) };
    let mut batch = Batch::new(E::Streams::schemas());
    let outlet = Stage { shared, clock };
    let result = source.run(&mut Emitter { batch: &mut batch, outlet: &outlet });
    let sent = outlet.send(&mut batch);
    end.result = result.and(sent);
    drop(source);
}

/// Says how it ended, also when it panicked.
struct End<'a> {
    shared: &'a Shared,
    result: Result<()>,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        let result = std::mem::replace(&mut self.result, Ok(()));
        self.shared.change(|state| state.ended = Some(result));
    }
}

/// The host's part, as the source sees it.
struct Stage<'a> {
    shared: &'a Shared,
    clock: &'a HandClock,
}

impl Outlet for Stage<'_> {
    fn send(&self, batch: &mut Batch) -> Result<()> {
        self.shared.change(|state| state.emitted.add(batch));
        batch.begin(u64::MAX);
        Ok(())
    }

    fn wait(&self, time: Duration) -> bool {
        if time.is_zero() {
            return self.shared.lock().stop; // Emitter::stopped
        }
        let wakes = self.clock.elapsed().saturating_add(time);
        let mut state = self.shared.lock();
        state.wakes = Some(wakes);
        self.shared.changed.notify_all();
        while !state.stop && state.wakes.is_some() {
            state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.wakes = None;
        state.stop
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Waits until `probe` gives something; `None` if it never does.
    fn until<T>(&self, patience: Duration, probe: impl Fn(&mut State) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(value) = probe(&mut state) {
                return Some(value);
            }
            let left = deadline.checked_duration_since(Instant::now())?;
            // A thread that has ended tells nobody: look again at times.
            let nap = left.min(Duration::from_millis(10));
            let waited = self.changed.wait_timeout(state, nap);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
