//! An event source is exported as a collector.

use dropsonde_plugin_api::prelude::*;

/// One beat.
#[derive(Record)]
#[record(kind = "event")]
struct Beat {
    /// Its number.
    #[gauge(unit = "1")]
    number: u64,
}

struct Pulse;

impl EventSource for Pulse {
    type Settings = NoSettings;
    type Streams = (Beat,);

    fn create(_: NoSettings, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn run(&mut self, out: &mut Emitter<'_>) -> Result<()> {
        out.emit(Beat { number: 1 })
    }
}

export_plugin!(collector = Pulse, name = "pulse");

fn main() {}
