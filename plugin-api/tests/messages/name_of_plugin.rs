//! A name that could not stand in a topic.

use dropsonde_plugin_api::prelude::*;

/// One interface.
#[derive(Record)]
#[record(stream = "Interfaces")]
struct Interface {
    /// Bytes received.
    #[counter(unit = "By")]
    received: u64,
}

/// All interfaces.
#[derive(Record)]
struct Total {
    /// Bytes received.
    #[counter(unit = "By")]
    received: u64,
}

struct Network;

impl Collector for Network {
    type Settings = NoSettings;
    type Streams = (Total,);

    fn create(_: NoSettings, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        out.push(Total { received: 1 })
    }
}

export_plugin!(collector = Network, name = "Network");

fn main() {}
