//! The bus under a model checker: its own source, with locks and atomics whose every step
//! shuttle puts into some order, thousands of orders for each scenario. A lost wake-up is a
//! deadlock there, and found.
//!
//! What shuttle does not see: weak memory (the bus shares state only under locks and by counters),
//! and steps within tokio's semaphore, which it takes as one.

#![allow(dead_code, unused_imports, unreachable_pub)] // the bus has more doors than are used here
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a failed unwrap is a failed test

#[path = "../../src/bus/mod.rs"]
mod bus;

/// What the bus takes from the rest of the crate.
mod model {
    pub(crate) use dropsonde::model::{Batch, StreamInfo, Value};
}

mod sync {
    pub(crate) use shuttle::sync::{Mutex, MutexGuard, PoisonError, atomic};
}

mod scenarios;

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

fn check(scheduler: impl Scheduler + 'static, scenario: fn()) {
    let mut config = Config::new();
    config.silence_warnings = true; // of weak memory: see above
    Runner::new(scheduler, config).run(scenario);
}

fn main() {
    // Asked for by name, as of other tests.
    let wanted = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    let mut run = 0;
    for (name, scenario) in scenarios::ALL {
        if wanted.as_ref().is_some_and(|wanted| !name.contains(wanted.as_str())) {
            continue;
        }
        check(RandomScheduler::new(scenarios::ORDERS), scenario);
        // Few changes of thread, at the worst moments.
        check(PctScheduler::new(3, scenarios::ORDERS), scenario);
        println!("test {name} ... ok");
        run += 1;
    }
    println!("{run} scenarios, {} orders of each", 2 * scenarios::ORDERS);
}
