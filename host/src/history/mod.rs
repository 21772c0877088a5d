//! History: chosen streams stored in an SQLite file, raw, by the minute and by the hour.

mod error;
mod id;
mod layout;
mod open;
mod retention;
mod store;
mod streams;
#[cfg(test)]
mod tests;
mod tiers;
