//! How hot the CPU is.

use std::io;
use std::path::{Path, PathBuf};

use crate::sysfs::{self, Attribute};

/// Finds and reads the CPU's temperature sensors. They hold millidegrees Celsius
/// (Documentation/hwmon/sysfs-interface.rst, Documentation/driver-api/thermal/sysfs-api.rst).
#[derive(Debug)]
pub(crate) struct Temperature {
    sys_root: PathBuf,
    sensors: Vec<Attribute>,
}

impl Temperature {
    pub(crate) fn discover(sys_root: &Path) -> Self {
        Self { sys_root: sys_root.to_owned(), sensors: find(sys_root) }
    }

    /// Looks for sensors again.
    pub(crate) fn rediscover(&mut self) {
        self.sensors = find(&self.sys_root);
    }

    /// The hottest sensor in degrees Celsius; `None` without sensors.
    pub(crate) fn read(&mut self) -> Option<f64> {
        let hottest = hottest(&self.sensors).or_else(|_| {
            self.rediscover();
            hottest(&self.sensors)
        });
        Some(hottest.ok()?? as f64 / 1000.0)
    }
}

fn hottest(sensors: &[Attribute]) -> io::Result<Option<i64>> {
    sensors
        .iter()
        .try_fold(None, |hottest: Option<i64>, sensor| Ok(hottest.max(Some(sensor.read()?))))
}

/// Drivers of the CPU's own sensors know best; thermal zones are for machines without.
fn find(sys_root: &Path) -> Vec<Attribute> {
    let chips = sysfs::entries(&sys_root.join("class/hwmon"), "hwmon");
    let sensors: Vec<_> = chips.iter().flat_map(|chip| sensors_of_chip(chip)).collect();
    if !sensors.is_empty() {
        return sensors;
    }
    sysfs::entries(&sys_root.join("class/thermal"), "thermal_zone")
        .iter()
        .filter(|zone| is_cpu_zone(&sysfs::text(zone.join("type"))))
        .filter_map(|zone| Attribute::open(zone.join("temp")))
        .collect()
}

fn sensors_of_chip(chip: &Path) -> Vec<Attribute> {
    if !is_cpu_chip(&sysfs::text(chip.join("name"))) {
        return Vec::new();
    }
    let labels: Vec<_> = sysfs::entries(chip, "temp")
        .into_iter()
        .filter(|path| path.to_string_lossy().ends_with("_input"))
        .map(|input| (sysfs::text(label_of(&input)), input))
        .collect();
    // On AMD, Tctl is a control value that some models set above the real one, which is Tdie
    // (Documentation/hwmon/k10temp.rst).
    let has_die = labels.iter().any(|(label, _)| label == "Tdie");
    labels
        .iter()
        .filter(|(label, _)| !(has_die && label == "Tctl"))
        .filter_map(|(_, input)| Attribute::open(input))
        .collect()
}

/// `temp1_label` for `temp1_input`.
fn label_of(input: &Path) -> PathBuf {
    let name = input.file_name().unwrap_or_default().to_string_lossy();
    input.with_file_name(name.replace("_input", "_label"))
}

fn is_cpu_chip(name: &str) -> bool {
    matches!(name, "coretemp" | "k10temp" | "k8temp" | "zenpower" | "via_cputemp")
        || is_cpu_thermal(name)
}

fn is_cpu_zone(kind: &str) -> bool {
    kind == "x86_pkg_temp" || is_cpu_thermal(kind)
}

/// Boards name them freely: `cpu_thermal`, `cpu-thermal`, `cpu0-thermal`, `cpu-0-0-thermal`.
fn is_cpu_thermal(name: &str) -> bool {
    name.starts_with("cpu") && name.contains("therm")
}
