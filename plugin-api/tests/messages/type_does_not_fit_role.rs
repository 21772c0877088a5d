//! Types that don't fit the role of their field.

use std::time::Duration;

use dropsonde_plugin_api::prelude::*;

/// A process.
#[derive(Record)]
struct Process {
    /// Its number, if it has one.
    #[key]
    pid: Option<u32>,
    /// Its name.
    #[counter(unit = "1")]
    name: String,
    /// What it can do.
    #[gauge(unit = "1")]
    flags: Vec<String>,
    /// Its size.
    #[attribute]
    size: f64,
    /// Its age.
    #[gauge(unit = "s")]
    age: Duration,
}

fn main() {}
