//! History: chosen streams stored in an SQLite file, as they were read, by the minute and by the
//! hour.
//!
//! A [`Recorder`] subscribes, and a thread of its own writes ([`writer`]) what has come, one
//! transaction a flush, into the tables of each stream ([`store`]). Once a minute it makes the
//! minutes and hours that are complete ([`tiers`]) and forgets what is too old or does not fit
//! ([`retention`]). Readers open the file for themselves and see whole flushes ([`read`]).

mod error;
mod id;
mod layout;
mod open;
pub(crate) mod read;
mod recorder;
mod retention;
mod series;
mod status;
mod store;
mod streams;
#[cfg(test)]
mod tests;
mod tiers;
mod writer;

pub(crate) use recorder::Recorder;
pub use status::HistoryStatus;
pub(crate) use store::Store;
