//! A plugin of API 1.1.

use dropsonde_plugin_api::prelude::*;

/// What it was built against.
#[derive(Record)]
struct Next {
    /// Minor number of its API.
    #[gauge(unit = "1")]
    api_minor: u16,
}

struct NextCollector;

impl Collector for NextCollector {
    type Settings = NoSettings;
    type Streams = (Next,);

    fn create(_: NoSettings, _: Host) -> Result<Self> {
        Ok(Self)
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        out.push(Next { api_minor: dropsonde_plugin_api::abi::API_VERSION.1 })
    }
}

export_plugin!(collector = NextCollector, name = "next");
