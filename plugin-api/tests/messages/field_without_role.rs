//! A field without a role.

use dropsonde_plugin_api::prelude::*;

/// One fan.
#[derive(Record)]
struct Fan {
    /// Which fan.
    #[key]
    fan: String,
    /// Its speed.
    speed: u64,
}

fn main() {}
