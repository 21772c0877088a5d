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
    Cpuinfo,
    /// Neither: the file, which is dear to render, is not read again.
    Nowhere,
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
        match &self.source {
            Source::Cpufreq(cores) => Ok(mean_of_attributes(cores).ok()),
            Source::Cpuinfo => {
                let mhz = mean_of_cpuinfo(self.cpuinfo.read()?);
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
        if attributes.is_empty() { Self::Cpuinfo } else { Self::Cpufreq(attributes) }
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
