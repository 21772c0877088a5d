//! A kernel that counts what the test says.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::rc::Rc;

use rustix::io::Errno;

use super::*;
use crate::catalog::Event;
use crate::kernel::{Counter, Kernel, Target};
use crate::scale::Reading;

/// Shared between the test and the collector.
#[derive(Clone, Default)]
pub(super) struct Fake {
    state: Rc<RefCell<State>>,
}

#[derive(Default)]
struct State {
    /// By event and CPU; what is not here opens and reads zero.
    results: HashMap<(String, usize), Result<Reading, Errno>>,
    open: usize,
    opened: usize,
    reads: usize,
}

impl Fake {
    pub(super) fn counts(&self, event: &str, cpu: usize, count: u64, enabled: u64, running: u64) {
        let reading = Reading { count, enabled_ns: enabled, running_ns: running };
        self.state.borrow_mut().results.insert((event.into(), cpu), Ok(reading));
    }

    /// Both opening and reading fail from now on.
    pub(super) fn fails(&self, event: &str, cpu: usize, error: Errno) {
        self.state.borrow_mut().results.insert((event.into(), cpu), Err(error));
    }

    /// Descriptors that are open now.
    pub(super) fn open_now(&self) -> usize {
        self.state.borrow().open
    }

    /// Descriptors that have ever been opened.
    pub(super) fn opened(&self) -> usize {
        self.state.borrow().opened
    }

    pub(super) fn reads(&self) -> usize {
        self.state.borrow().reads
    }

    pub(super) fn collector(&self, settings: Value, max_descriptors: usize) -> Harness<PerfEvents> {
        // The real one first, since the harness makes it; of nothing, and of a process that
        // can't be, so that no permission is needed.
        let root = format!("{}/fixtures/two_cpus", env!("CARGO_MANIFEST_DIR"));
        let mut real = settings_at(&root, &["cpu-clock"]);
        real["pid"] = json!(i32::MAX);
        let mut harness = Harness::<PerfEvents>::new(real).unwrap();
        let settings = serde_json::from_value(settings).unwrap();
        let kernel = Box::new(self.clone());
        *harness.collector() = PerfEvents::open(settings, kernel, max_descriptors).unwrap();
        harness
    }

    fn result(&self, event: &str, cpu: usize) -> io::Result<Reading> {
        let state = self.state.borrow();
        let result = state.results.get(&(event.to_owned(), cpu)).copied();
        result.unwrap_or(Ok(Reading::default())).map_err(io::Error::from)
    }
}

impl Kernel for Fake {
    fn open(&self, event: &Event, target: Target) -> io::Result<Box<dyn Counter>> {
        let Target::Cpu(cpu) = target else { return Err(Errno::SRCH.into()) };
        self.result(event.name, cpu)?;
        let mut state = self.state.borrow_mut();
        state.open += 1;
        state.opened += 1;
        Ok(Box::new(FakeCounter { fake: self.clone(), event: event.name, cpu }))
    }
}

struct FakeCounter {
    fake: Fake,
    event: &'static str,
    cpu: usize,
}

impl Counter for FakeCounter {
    fn reading(&mut self) -> io::Result<Reading> {
        self.fake.state.borrow_mut().reads += 1;
        self.fake.result(self.event, self.cpu)
    }
}

impl Drop for FakeCounter {
    fn drop(&mut self) {
        self.fake.state.borrow_mut().open -= 1;
    }
}
