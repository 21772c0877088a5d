use dropsonde_plugin_api::prelude::*;

/// How long the machine has been up.
#[derive(Record)]
struct Uptime {
    /// Time since boot.
    #[gauge(unit = "s", otel = "system.uptime")]
    uptime_seconds: f64,
}

impl Collector for Uptime {
    type Settings = NoSettings;
    type Streams = (Uptime,);

    fn create(_: NoSettings, _: Host) -> Result<Self> {
        Ok(Uptime { uptime_seconds: 0.0 })
    }
    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let text = std::fs::read_to_string("/proc/uptime")?;
        out.push(Uptime { uptime_seconds: text.split(' ').next().unwrap_or("").parse()? })
    }
}
export_plugin!(collector = Uptime);
