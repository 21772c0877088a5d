//! How fast the cores run now.

use std::io;
use std::path::{Path, PathBuf};

use dropsonde_plugin_api::{KeptFile, Result};

use crate::sysfs::{self, Attribute};

/// Finds and reads the cores' current frequency.
#[derive(Debug)]
pub(crate) struct Frequency {
    sys_root: PathBuf,
    cpuinfo: KeptFile,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// One attribute for each core, in kHz (Documentation/admin-guide/pm/cpufreq.rst).
    Cpufreq(Vec<Attribute>),
    /// The lines `cpu MHz` of `/proc/cpuinfo`, where no driver scales the frequency.
    Cpuinfo(Steady),
    /// Neither: the file, which is dear to render, is not read again.
    Nowhere,
}

/// A value that is dear to read and may never change: without a driver, the kernel prints what the
/// cores were built for, unless they count their cycles, and then each reading is another
/// (`arch_freq_get_on_cpu` in the kernel).
#[derive(Debug, Default)]
struct Steady {
    mhz: Option<f64>,
    /// Readings in a row that were the same.
    same: u32,
    /// Rounds until it is read again.
    rest: u32,
}

/// So many readings that are the same make a value steady.
const STEADY: u32 = 5;
/// A steady value is read again after so many rounds.
const REST: u32 = 30;

impl Steady {
    fn read(&mut self, read: impl FnOnce() -> Result<Option<f64>>) -> Result<Option<f64>> {
        if self.rest > 0 {
            self.rest -= 1;
            return Ok(self.mhz);
        }
        let mhz = read()?;
        self.same = if mhz == self.mhz { (self.same + 1).min(STEADY) } else { 0 };
        self.mhz = mhz;
        self.rest = if self.same == STEADY { REST } else { 0 };
        Ok(mhz)
    }
}

impl Frequency {
    pub(crate) fn discover(sys_root: &Path, proc_root: &Path) -> Self {
        let cpuinfo = KeptFile::new(proc_root.join("cpuinfo"));
        Self { sys_root: sys_root.to_owned(), cpuinfo, source: Source::find(sys_root) }
    }

    /// Looks for the cores' attributes again.
    pub(crate) fn rediscover(&mut self) {
        self.source = Source::find(&self.sys_root);
    }

    /// Mean over the cores in MHz; `None` where the machine does not tell. Fails if
    /// `/proc/cpuinfo` is needed and can't be read.
    pub(crate) fn read(&mut self) -> Result<Option<f64>> {
        if let Source::Cpufreq(cores) = &self.source {
            match mean_of_attributes(cores) {
                Ok(mhz) => return Ok(Some(mhz)),
                Err(_) => self.rediscover(),
            }
        }
        match &mut self.source {
            Source::Cpufreq(cores) => Ok(mean_of_attributes(cores).ok()),
            Source::Cpuinfo(steady) => {
                let mhz = steady.read(|| Ok(mean_of_cpuinfo(self.cpuinfo.read()?)))?;
                if mhz.is_none() {
                    self.source = Source::Nowhere;
                }
                Ok(mhz)
            }
            Source::Nowhere => Ok(None),
        }
    }
}

impl Source {
    fn find(sys_root: &Path) -> Self {
        let cores = sysfs::entries(&sys_root.join("devices/system/cpu"), "cpu");
        let attributes: Vec<_> = cores
            .iter()
            .filter_map(|core| Attribute::open(core.join("cpufreq/scaling_cur_freq")))
            .collect();
        if attributes.is_empty() {
            Self::Cpuinfo(Steady::default())
        } else {
            Self::Cpufreq(attributes)
        }
    }
}

fn mean_of_attributes(cores: &[Attribute]) -> io::Result<f64> {
    let khz =
        cores.iter().try_fold(0.0, |sum, core| Ok::<_, io::Error>(sum + core.read()? as f64))?;
    Ok(khz / cores.len() as f64 / 1000.0)
}

/// The mean of lines like `cpu MHz : 2596.140`, one for each core; s390 has a static one besides
/// the dynamic one.
///
/// Not procfs-core's `CpuInfo`: it keeps every field of every core in maps.
fn mean_of_cpuinfo(text: &[u8]) -> Option<f64> {
    let (mut sum, mut cores) = (0.0, 0_u32);
    for line in text.split(|byte| *byte == b'\n').filter(|line| line.starts_with(b"cpu MHz")) {
        let (name, value) = std::str::from_utf8(line).ok()?.split_once(':')?;
        if matches!(name.trim_ascii(), "cpu MHz" | "cpu MHz dynamic") {
            sum += value.trim_ascii().parse::<f64>().ok()?;
            cores += 1;
        }
    }
    (cores > 0).then(|| sum / f64::from(cores))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frequency_that_never_changes_is_seldom_read_and_one_that_does_each_time() {
        let (mut steady, mut reads) = (Steady::default(), 0);
        let mut rounds = |count: u32, next: &dyn Fn(u32) -> f64| {
            let before = reads;
            for _ in 0..count {
                let mhz = steady.read(|| {
                    reads += 1;
                    Ok(Some(next(reads)))
                });
                assert!(mhz.unwrap().is_some());
            }
            reads - before
        };
        assert_eq!(rounds(100, &f64::from), 100, "it changes");
        assert!(rounds(310, &|_| 2500.0) < 20, "it does not");
        assert!(rounds(100, &f64::from) >= 100 - REST, "it does again");
    }
}
