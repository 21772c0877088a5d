//! One event, counted on all targets and summed.

use std::io;

use dropsonde_plugin_api::{Error, Result};
use rustix::io::Errno;

use crate::catalog::Event;
use crate::kernel::{Counter, Kernel, Target};
use crate::scale::{Estimate, Reading};

/// An event with its open counters.
pub(crate) struct Counting {
    pub(crate) event: &'static Event,
    counters: Vec<OnTarget>,
    /// What counters that are closed again have counted: a sum must not fall.
    closed: Sum,
}

/// Sum over all targets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum {
    /// `None` if the event had no turn on some target.
    pub(crate) count: Option<u64>,
    pub(crate) enabled_ns: u64,
    pub(crate) running_ns: u64,
}

struct OnTarget {
    target: Target,
    counter: Box<dyn Counter>,
    estimate: Estimate,
    last: Reading,
}

impl Counting {
    /// Opens the event on all targets, or on none: a sum over some CPUs is not the machine's.
    pub(crate) fn open(
        kernel: &dyn Kernel,
        event: &'static Event,
        targets: &[Target],
    ) -> io::Result<Self> {
        let mut counting =
            Self { event, counters: Vec::new(), closed: Sum { count: Some(0), ..Sum::default() } };
        let mut gone = None;
        for target in targets {
            match counting.open_on(kernel, *target) {
                // The thread has ended, or the CPU has gone offline, since it was listed.
                Err(error) if has_gone(&error) => gone = Some(error),
                result => result?,
            }
        }
        match gone {
            Some(error) if counting.counters.is_empty() => Err(error),
            _ => Ok(counting),
        }
    }

    pub(crate) fn open_on(&mut self, kernel: &dyn Kernel, target: Target) -> io::Result<()> {
        let counter = kernel.open(self.event, target)?;
        let (estimate, last) = (Estimate::default(), Reading::default());
        self.counters.push(OnTarget { target, counter, estimate, last });
        Ok(())
    }

    /// Closes the counter; what it has counted stays in the sum.
    pub(crate) fn close_on(&mut self, target: Target) {
        let Some(index) = self.counters.iter().position(|counter| counter.target == target) else {
            return;
        };
        let mut counter = self.counters.swap_remove(index);
        // If it can't be read any more, its last reading is what is known.
        let _ = counter.read();
        self.closed.add(Some(counter.estimate.total()), counter.last);
    }

    /// The targets of this list on which the event is not counted yet.
    pub(crate) fn lacks(&self, targets: &[Target]) -> Vec<Target> {
        let is_open = |target: &Target| self.counters.iter().any(|open| open.target == *target);
        targets.iter().filter(|target| !is_open(target)).copied().collect()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        self.counters.len()
    }

    /// Reads all counters. An error names the event and the target.
    pub(crate) fn read(&mut self) -> Result<Sum> {
        let mut sum = self.closed;
        for counter in &mut self.counters {
            let count = counter.read().map_err(|error| {
                let place = format_args!("{} on {}", self.event.name, counter.target);
                Error::from(error).context(place)
            })?;
            sum.add(count, counter.last);
        }
        Ok(sum)
    }
}

impl OnTarget {
    fn read(&mut self) -> io::Result<Option<u64>> {
        self.last = self.counter.reading()?;
        Ok(self.estimate.advance(self.last))
    }
}

impl Sum {
    fn add(&mut self, count: Option<u64>, times: Reading) {
        self.count = self.count.zip(count).map(|(a, b)| a.saturating_add(b));
        self.enabled_ns = self.enabled_ns.saturating_add(times.enabled_ns);
        self.running_ns = self.running_ns.saturating_add(times.running_ns);
    }
}

fn has_gone(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::SRCH | Errno::NODEV))
}
