//! Runs a collector inside a unit test, without a host. The chapter
//! [testing](crate::guide::testing) shows how; in short:
//!
//! * [`Harness`] makes a [`Collector`](crate::Collector) from settings, collects, and drives its
//!   clock; [`EventHarness`] does the same for an [`EventSource`](crate::EventSource).
//! * [`Fixture`] is a `/proc` of the test's own.
//! * [`Round`] is what was pushed: by type, or as JSON.
//! * [`contract_test!`](crate::contract_test) is a whole test in one line: what every plugin must
//!   keep.
//! * [`assert_streams`] compares what a plugin declares with a file that is checked in.
//!
//! ```
//! use dropsonde_plugin_api::prelude::*;
//! use dropsonde_plugin_api::testing::{Harness, json};
//!
//! # /// A number.
//! # #[derive(Record)]
//! # struct Answer {
//! #     /// The number.
//! #     #[gauge(unit = "1")]
//! #     answer: u64,
//! # }
//! # struct Oracle;
//! # impl Collector for Oracle {
//! #     type Settings = NoSettings;
//! #     type Streams = (Answer,);
//! #     fn create(_: NoSettings, _: Host) -> Result<Self> { Ok(Self) }
//! #     fn collect(&mut self, out: &mut Batch) -> Result<()> { out.push(Answer { answer: 42 }) }
//! # }
//! let mut oracle = Harness::<Oracle>::new(json!({})).unwrap();
//! oracle.collect().unwrap().assert_records([Answer { answer: 42 }]);
//! ```

mod clock;
pub mod contract;
mod events;
mod fixture;
mod harness;
mod macros;
mod round;
mod streams;
#[cfg(test)]
mod tests;

pub use events::EventHarness;
pub use fixture::Fixture;
pub use harness::Harness;
pub use round::Round;
/// Makes a [`Value`]: settings, as the host hands them over.
pub use serde_json::json;
#[doc(hidden)]
pub use streams::released;
pub use streams::{assert_streams, streams};

use std::ffi::c_void;
use std::path::Path;
use std::sync::Arc;

use abi_stable::std_types::RStr;

use crate::abi::{AbiHost, HostLink};
use crate::host::Host;
use clock::HandClock;

/// Settings, and values of a [`Round`]'s rows. An alias, since a second public name for its variant
/// `String` has compilers write `std::string::String` in messages to authors.
pub type Value = serde_json::Value;

/// A host for an instance under test: its log goes to standard error, its clock is the test's.
fn host(state_dir: &Path, clock: &HandClock) -> Host {
    extern "C" fn count(_: *const c_void) {}
    extern "C" fn log(_: *const c_void, level: u8, message: RStr<'_>) {
        eprintln!("[{level}] {message}");
    }
    Host {
        link: HostLink::new(AbiHost {
            context: std::ptr::null(),
            retain: count,
            release: count,
            log,
            collector: "under_test".into(),
            state_dir: state_dir.to_string_lossy().into_owned().into(),
        }),
        clock: Arc::new(clock.clone()),
    }
}
