//! The test kit, tried on plugins that are right and on those that are not.

#![allow(clippy::unwrap_used, clippy::panic)] // a failed unwrap is a failed test

mod contract;
mod events;
mod rounds;
