//! The edge to the kernel, so that the rest can be tested on machines without a PMU.

use std::fmt;
use std::io;

use perf_event::Builder;

use crate::catalog::{Code, Event};
use crate::scale::Reading;

/// Where an event is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whatever runs on this CPU.
    Cpu(usize),
    /// This thread on any CPU, with the threads and processes that it starts from now on.
    Thread(i32),
}

/// One open counter. Dropping it closes its descriptor.
pub(crate) trait Counter {
    fn reading(&mut self) -> io::Result<Reading>;
}

/// What opens counters.
pub(crate) trait Kernel {
    /// Opens a counter that counts from now on, in user space and in the kernel; errors are those
    /// of perf_event_open(2).
    fn open(&self, event: &Event, target: Target) -> io::Result<Box<dyn Counter>>;
}

/// The real one.
pub(crate) struct PerfEventOpen;

impl Kernel for PerfEventOpen {
    fn open(&self, event: &Event, target: Target) -> io::Result<Box<dyn Counter>> {
        // Each event by itself, not in groups: software events in a group under a leader of
        // another PMU stay at zero unless they are built enabled, and one event that does not fit
        // the hardware would take its whole group with it.
        let mut builder = match &event.code {
            Code::Software(event) => Builder::new(*event),
            Code::Hardware(event) => Builder::new(*event),
            Code::Cache(event) => Builder::new(event.clone()),
        };
        builder.include_kernel().include_hv().enabled(true);
        match target {
            Target::Cpu(cpu) => builder.any_pid().one_cpu(cpu),
            Target::Thread(id) => builder.observe_pid(id).any_cpu().inherit(true),
        };
        Ok(Box::new(builder.build()?))
    }
}

impl Counter for perf_event::Counter {
    fn reading(&mut self) -> io::Result<Reading> {
        let read = self.read_count_and_time()?;
        Ok(Reading {
            count: read.count,
            enabled_ns: read.time_enabled,
            running_ns: read.time_running,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(cpu) => write!(f, "CPU {cpu}"),
            Self::Thread(id) => write!(f, "thread {id}"),
        }
    }
}
