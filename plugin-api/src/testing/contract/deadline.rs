//! Waits for each call of a collector, but not for ever.

use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::Duration;

/// What the thread that calls a collector tells the test that waits for it.
pub(super) struct Calls {
    /// What is broken so far.
    pub(super) broken: Vec<String>,
    steps: Sender<Step>,
}

/// A call that begins; the one before it is over.
struct Step {
    call: String,
    /// What was broken until then.
    broken: Vec<String>,
}

impl Calls {
    /// Says what is called next.
    pub(super) fn begin(&self, call: impl Into<String>) {
        // Nobody listens any more after a call that took too long.
        let _ = self.steps.send(Step { call: call.into(), broken: self.broken.clone() });
    }
}

/// Runs the calls on a thread of their own, where the collector is made: it need not be `Send`.
/// Returns what they found broken; also that one took longer than the deadline, which is left
/// behind, or panicked.
pub(super) fn watched(
    deadline: Duration,
    calls: impl FnOnce(&mut Calls) + Send + 'static,
) -> Vec<String> {
    let (steps, received) = channel();
    let thread = thread::spawn(move || {
        let mut found = Calls { broken: Vec::new(), steps };
        calls(&mut found);
        found.broken
    });
    let mut last = Step { call: "the declaration".to_owned(), broken: Vec::new() };
    let ended = loop {
        match received.recv_timeout(deadline) {
            Ok(step) => last = step,
            Err(RecvTimeoutError::Timeout) => break None,
            Err(RecvTimeoutError::Disconnected) => break Some(thread.join()),
        }
    };
    let how = match ended {
        Some(Ok(broken)) => return broken,
        Some(Err(_)) => "panicked".to_owned(), // and said so on standard error
        None => format!("did not return within {deadline:?}"),
    };
    last.broken.push(format!("{} {how}", last.call));
    last.broken
}
