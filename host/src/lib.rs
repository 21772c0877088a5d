//! Dropsonde: a Linux observability agent whose collectors are plugins.
//!
//! The host finds plugins (`.so`) in watched directories, tries each out in a process of its
//! own, runs collectors on schedule, and publishes what they read on a bus. This crate is the
//! host as a library; the `dropsonde` program is a thin shell around it.
//!
//! ```no_run
//! use std::time::Duration;
//! use dropsonde::{Builder, Sources, Subscribe};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! dropsonde::enter_if_runner(); // first thing in main
//! let host = Builder::new(Sources::default()).start()?;
//! let second = Duration::from_secs(1);
//! let mut memory = host.subscribe(Subscribe::to("metrics.memory")?.every(second));
//! let batch = memory.recv().await;
//! println!("{}", batch.json());
//! # Ok(())
//! # }
//! ```
//!
//! # Code map, in the order of the path of a sample
//!
//! * `admission`: watch, read, look at the ELF, copy, try out in a child process
//! * `slot`: the supervised place of one collector: phases, restarts, swaps
//! * `runner`: loads and calls a plugin, in a child process or on a thread; `loader` opens it
//! * `model`: records, batches, validation, rates
//! * `schedule`: which collector is due
//! * `bus`: topics, subscriptions, demand
//! * `sink`: JSON, Prometheus, HTTP, OTLP
//! * `query`: SQL over what is live
//! * `history`: chosen streams in an SQLite file
//! * `rpc`: gRPC, server and client
//! * `config`, `control`, `cli`: what is told to do what
//! * `check`: what a plugin file is held to before anybody runs it

#![warn(missing_docs)]

mod admission;
mod alarm;
pub mod bus;
#[cfg(test)]
#[path = "bus/tests.rs"]
mod bus_tests; // here, since the model check compiles the bus without them
mod check;
mod clock;
mod config;
mod control;
mod history;
#[allow(unsafe_code)] // opens plugins: dlopen, and the header behind its symbol
mod loader;
#[allow(unsafe_code)] // the allocator's own settings: mallopt(3), malloc_trim(3)
mod memory;
pub mod model;
mod query;
pub mod rpc;
mod runner;
mod schedule;
mod sink;
mod slot;
mod sync;
mod text;

#[doc(hidden)]
pub mod bench;
#[doc(hidden)]
pub mod cli;
#[doc(hidden)]
pub mod fuzz;

pub use admission::{ElfError, KeyId, Rejection, TrustError, UnsafePermissions};
pub use bus::{Bus, Filter, Overflow, Subscribe, Subscription};
pub use config::{
    Access, CollectorSpec, Config, ConfigError, ConfigErrors, Control, DEFAULT_FILE,
    DEFAULT_LISTEN, Defaults, History, Keep, Limits, Listen, Origin, Sources,
};
pub use control::{
    Builder, ConfigStatus, Host, LogLine, OwnUse, Paced, PluginStatus, ReloadOutcome, StartError,
    Status, SteerError,
};
pub use history::HistoryStatus;
pub use model::{Batch, Histogram, StreamInfo, Value};
pub use query::{Cell, Place, Query, QueryError, Rows};
pub use runner::child::enter_if_runner;
pub use runner::{Failure, Isolation, Sandbox};
pub use sink::otlp::{OtlpStatus, SignalStatus};
pub use slot::{Phase, RestartPolicy, SlotStatus};
