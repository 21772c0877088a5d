//! Settings that are no struct with named fields, and settings without the attribute.

use dropsonde_plugin_api::prelude::*;

#[settings]
struct Level(u32);

struct Limits {
    most: u64,
}

/// A number.
#[derive(Record)]
struct Number {
    /// The number.
    #[gauge(unit = "1")]
    number: u64,
}

struct Numbers(Limits);

impl Collector for Numbers {
    type Settings = Limits;
    type Streams = (Number,);

    fn create(settings: Limits, _: Host) -> Result<Self> {
        Ok(Self(settings))
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        out.push(Number { number: self.0.most })
    }
}

export_plugin!(collector = Numbers, name = "numbers");

fn main() {}
