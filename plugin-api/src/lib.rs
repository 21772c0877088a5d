//! Write a collector plugin for Dropsonde.
//!
//! A plugin is a `cdylib` that exports one kind of collector. The host loads it at run time,
//! tries it out in a child process first, and then calls it on schedule. `dropsonde new NAME`
//! writes one; this is the whole of a small one:
//!
//! ```
//! use dropsonde_plugin_api::prelude::*;
//!
//! /// How long the machine has been up.
//! #[derive(Record)]
//! struct Uptime {
//!     /// Time since boot.
//!     #[gauge(unit = "s")]
//!     uptime_seconds: f64,
//! }
//!
//! struct UptimeCollector;
//!
//! impl Collector for UptimeCollector {
//!     type Settings = NoSettings;
//!     type Streams = (Uptime,);
//!
//!     fn create(_: NoSettings, _: Host) -> Result<Self> {
//!         Ok(Self)
//!     }
//!
//!     fn collect(&mut self, out: &mut Batch) -> Result<()> {
//!         let text = std::fs::read_to_string("/proc/uptime")?;
//!         let uptime_seconds = text.split(' ').next().unwrap_or_default().parse()?;
//!         out.push(Uptime { uptime_seconds })
//!     }
//! }
//!
//! export_plugin!(collector = UptimeCollector, name = "uptime");
//! # fn main() {}
//! ```
//!
//! # The book
//!
//! 1. [Concepts](guide::concepts): what the words mean, and what the host does with records
//! 2. [The first plugin](guide::first_plugin): from nothing to data in two commands
//! 3. [Settings](guide::settings): what the user may set
//! 4. [Events](guide::events): tell what happens when it happens
//! 5. [Testing](guide::testing): fixtures, a clock in the hand, a contract in one line
//! 6. [Publishing](guide::publishing): build, sign, install
//! 7. [Debugging](guide::debugging): backtraces, gdb, valgrind
//! 8. [Sandbox](guide::sandbox): what a plugin may do, and how it asks for more
//! 9. [Versioning](guide::versioning): what may change, and for how long the old works
//!
//! # The reference
//!
//! * [`Collector`] is polled; [`EventSource`] runs until it is told to stop.
//! * [`Record`](derive@Record) declares a stream: its columns, their roles, units and descriptions.
//! * [`settings`] makes a struct that the host fills from the user's TOML.
//! * [`Host`] gives the log, the time and a state directory.
//! * [`export_plugin!`] exports the plugin. The author writes no `unsafe`.
//! * [`testing`] (a feature) runs a collector in a unit test.
//!
//! A panic in any of these functions is caught; the instance is dropped and the host starts a
//! new one after a pause. Every call has a deadline, so a call that blocks for ever ends the
//! instance, not the host.

#![warn(missing_docs)]

#[cfg(test)]
extern crate self as dropsonde_plugin_api; // what the derives name

#[allow(unsafe_code)] // the one module in which both sides of the boundary meet
pub mod abi;
mod clock;
mod collector;
mod column;
mod error;
pub mod guide;
mod host;
mod kept_file;
mod pattern;
mod record;
pub mod schema;
// In the documentation always, since the book speaks of it.
#[cfg(any(feature = "testing", all(doc, not(doctest))))]
pub mod testing;

pub use collector::{Batch, Collector, Emitter, EventSource, NoSettings, Settings, Streams};
pub use column::{Column, Values};
pub use dropsonde_plugin_derive::{Record, settings};
pub use error::{Error, Result};
pub use host::{Host, Level};
pub use kept_file::KeptFile;
pub use pattern::matches_pattern;
pub use record::{AttributeField, CounterField, Field, GaugeField, KeyField, Record};

/// What a plugin usually needs, in one `use`.
pub mod prelude {
    pub use crate::{
        Batch, Collector, Emitter, Error, EventSource, Host, KeptFile, NoSettings, Record, Result,
        export_plugin, settings,
    };
}

/// Used by the macros; not for hand-written code.
#[doc(hidden)]
pub mod private {
    pub use crate::column::push_field;
    pub use crate::record::checks::{attribute, counter, gauge, key};
    pub use serde;
}
