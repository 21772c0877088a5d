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
    /// How loud it is.
    noise: f64,
}

struct Fans;

impl Collector for Fans {
    type Settings = NoSettings;
    type Streams = (Fan,);

    fn create(_: NoSettings, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        out.push(Fan { fan: "front".into(), speed: 900, noise: 12.0 })
    }
}

export_plugin!(collector = Fans, name = "fans");

fn main() {}
