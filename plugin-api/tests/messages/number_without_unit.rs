//! A counter and a gauge without a unit.

use dropsonde_plugin_api::prelude::*;

/// Traffic.
#[derive(Record)]
struct Traffic {
    /// Bytes received.
    #[counter]
    received: u64,
}

/// Weather.
#[derive(Record)]
struct Weather {
    /// Temperature of the air.
    #[gauge(otel = "weather.temperature")]
    temperature: f64,
}

fn main() {}
