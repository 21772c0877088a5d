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
use procfs_core::{FromRead, LoadAverage};

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
fn load_averages(file: &mut KeptFile) -> Result<[f64; 3]> {
    let bytes = file.read()?;
    match LoadAverage::from_read(bytes) {
        Ok(load) => Ok([load.one, load.five, load.fifteen].map(hundredths)),
        Err(_) => {
            let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
            let error = Error::msg(format_args!("`{text}` is not three load averages"));
            Err(error.context(file.path().display()))
        }
    }
}

/// The kernel gives two decimals; an `f32` of 0.15 is 0.15000000596 as an `f64`.
fn hundredths(load: f32) -> f64 {
    (f64::from(load) * 100.0).round() / 100.0
}

export_plugin!(collector = CpuCollector, name = "cpu");
