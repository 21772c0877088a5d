//! A stream whose struct does not derive `Record`.

use dropsonde_plugin_api::prelude::*;

struct Interface {
    received: u64,
}

struct Network;

impl Collector for Network {
    type Settings = NoSettings;
    type Streams = (Interface,);

    fn create(_: NoSettings, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        out.push(Interface { received: 1 })
    }
}

export_plugin!(collector = Network, name = "network");

fn main() {}
