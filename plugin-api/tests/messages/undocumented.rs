//! A record and a field without a description.

use dropsonde_plugin_api::prelude::*;

#[derive(Record)]
struct Fan {
    /// Its speed.
    #[gauge(unit = "{revolution}/min")]
    speed: u64,
}

/// One pump.
#[derive(Record)]
struct Pump {
    #[gauge(unit = "{revolution}/min")]
    speed: u64,
}

fn main() {}
