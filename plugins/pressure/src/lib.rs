//! How long tasks wait for CPU, memory and I/O: a record for each file of `/proc/pressure`
//! (Documentation/accounting/psi.rst).

mod psi;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use dropsonde_plugin_api::prelude::*;

use crate::psi::Line;

/// What the user may set.
#[settings]
struct Settings {
    /// Where procfs is mounted.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

/// How long tasks waited for one resource: "some" while at least one did, "full" while all that
/// had something to do did.
#[derive(Debug, Record)]
struct Pressure {
    /// `cpu`, `memory`, `io`, or `irq`.
    #[key]
    resource: String,
    /// Share of the last 10 s in which some waited.
    #[gauge(unit = "%")]
    some_avg10_percent: Option<f64>,
    /// Share of the last minute in which some waited.
    #[gauge(unit = "%")]
    some_avg60_percent: Option<f64>,
    /// Share of the last 5 minutes in which some waited.
    #[gauge(unit = "%")]
    some_avg300_percent: Option<f64>,
    /// Time in which some waited.
    #[counter(unit = "s")]
    some_seconds: Option<f64>,
    /// Share of the last 10 s in which all waited.
    #[gauge(unit = "%")]
    full_avg10_percent: Option<f64>,
    /// Share of the last minute in which all waited.
    #[gauge(unit = "%")]
    full_avg60_percent: Option<f64>,
    /// Share of the last 5 minutes in which all waited.
    #[gauge(unit = "%")]
    full_avg300_percent: Option<f64>,
    /// Time in which all waited.
    #[counter(unit = "s")]
    full_seconds: Option<f64>,
}

/// Of these, a kernel has what it was built with: `irq` needs CONFIG_IRQ_TIME_ACCOUNTING.
const RESOURCES: [&str; 4] = ["cpu", "memory", "io", "irq"];

struct PressureCollector {
    directory: PathBuf,
    files: Vec<(&'static str, KeptFile)>,
}

impl Collector for PressureCollector {
    type Settings = Settings;
    type Streams = (Pressure,);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        let directory = settings.proc_root.join("pressure");
        let there = RESOURCES.into_iter().filter(|resource| directory.join(resource).exists());
        let files = there.map(|resource| (resource, KeptFile::new(directory.join(resource))));
        let files = files.collect();
        Ok(Self { directory, files })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        if self.files.is_empty() {
            let directory = self.directory.display();
            out.partial(format_args!(
                "{directory}: this kernel does not tell of pressure; CONFIG_PSI and psi=1 make it"
            ));
        }
        out.publish_empty::<Pressure>()?;
        for (resource, file) in &mut self.files {
            match pressure(resource, file) {
                Ok(record) => out.push(record)?,
                // A kernel that was started without psi=1 has the files, and refuses to read them.
                Err(error) => out.partial(error),
            }
        }
        Ok(())
    }
}

fn pressure(resource: &str, file: &mut KeptFile) -> Result<Pressure> {
    let path = file.path().display().to_string();
    let (some, full) = psi::parse(file.read_text()?).map_err(|error| error.context(path))?;
    let of = |line: Option<Line>, value: fn(Line) -> f64| line.map(value);
    Ok(Pressure {
        resource: resource.to_owned(),
        some_avg10_percent: of(some, |line| line.avg10),
        some_avg60_percent: of(some, |line| line.avg60),
        some_avg300_percent: of(some, |line| line.avg300),
        some_seconds: of(some, |line| line.seconds),
        full_avg10_percent: of(full, |line| line.avg10),
        full_avg60_percent: of(full, |line| line.avg60),
        full_avg300_percent: of(full, |line| line.avg300),
        full_seconds: of(full, |line| line.seconds),
    })
}

export_plugin!(collector = PressureCollector, name = "pressure");
