//! CPU usage, frequency, temperature and load, overall and per core.

mod frequency;
mod records;
mod stat;
mod sysfs;
mod temperature;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use dropsonde_plugin_api::prelude::*;

use crate::frequency::Frequency;
use crate::records::{Core, Cpu};
use crate::stat::Summary;
use crate::temperature::Temperature;

/// What the user may set.
#[settings]
struct Settings {
    /// Where procfs is mounted.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
    /// Where sysfs is mounted.
    #[serde(default = "default_sys_root")]
    sys_root: PathBuf,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

fn default_sys_root() -> PathBuf {
    "/sys".into()
}

struct CpuCollector {
    stat: KeptFile,
    loadavg: KeptFile,
    frequency: Frequency,
    temperature: Temperature,
    /// Cores that were online in the last round of the main stream.
    cores: usize,
    ticks_per_second: f64,
}

impl Collector for CpuCollector {
    type Settings = Settings;
    type Streams = (Cpu, Core<'static>);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        let Settings { proc_root, sys_root } = settings;
        Ok(Self {
            stat: KeptFile::new(proc_root.join("stat")),
            loadavg: KeptFile::new(proc_root.join("loadavg")),
            frequency: Frequency::discover(&sys_root, &proc_root),
            temperature: Temperature::discover(&sys_root),
            cores: 0,
            ticks_per_second: rustix::param::clock_ticks_per_second() as f64,
        })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        if !out.wants::<Cpu>() && !out.wants::<Core<'_>>() {
            return Ok(());
        }
        let summary = stat::read(self.stat.read_text()?, self.ticks_per_second, out)
            .map_err(|error| error.context(self.stat.path().display()))?;
        if out.wants::<Cpu>() { self.push_total(summary, out) } else { Ok(()) }
    }
}

impl CpuCollector {
    fn push_total(&mut self, summary: Summary, out: &mut Batch) -> Result<()> {
        if self.cores != 0 && self.cores != summary.cores {
            // A core's sensors and frequency come and go with it.
            self.frequency.rediscover();
            self.temperature.rediscover();
        }
        self.cores = summary.cores;
        let Some(times) = summary.times else {
            out.partial(format_args!("{}: no times in the line `cpu`", self.stat.path().display()));
            return Ok(());
        };
        let load = or_partial(load_averages(&mut self.loadavg), out);
        let frequency = or_partial(self.frequency.read(), out).flatten();
        out.push(Cpu::new(
            &times,
            summary.logical_count(),
            frequency,
            self.temperature.read(),
            load,
        ))
    }
}

fn or_partial<T>(result: Result<T>, out: &mut Batch) -> Option<T> {
    result.map_err(|error| out.partial(error)).ok()
}

/// Averages over 1, 5 and 15 minutes (proc_loadavg(5)).
///
/// Not procfs-core's `LoadAverage`: its `f32` turns 0.15 into 0.15000000596.
fn load_averages(file: &mut KeptFile) -> Result<[f64; 3]> {
    let text = file.read_text()?;
    let mut fields = text.split_ascii_whitespace().map(str::parse);
    if let (Some(Ok(one)), Some(Ok(five)), Some(Ok(fifteen))) =
        (fields.next(), fields.next(), fields.next())
    {
        return Ok([one, five, fifteen]);
    }
    let error = Error::msg(format_args!("`{}` is not three load averages", text.trim_end()));
    Err(error.context(file.path().display()))
}

export_plugin!(collector = CpuCollector, name = "cpu");
