//! What the host itself uses, as proc(5) tells it.

use std::fs;
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::clock;

/// The host's own process; runners are not in it.
#[derive(Debug, Clone, Default, Serialize)]
pub struct OwnUse {
    /// CPU time of all its threads, user and system.
    pub cpu_seconds: f64,
    /// Memory that is in RAM.
    pub resident_bytes: u64,
    /// Address space.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_files: u64,
    /// How many there may be, if there is a limit.
    pub max_open_files: Option<u64>,
    /// Threads.
    pub threads: u64,
    /// When it was started, in seconds since 1970.
    pub start_time_seconds: Option<f64>,
}

impl OwnUse {
    /// Reads it. What can't be read is zero or missing.
    pub(crate) fn now() -> Self {
        let count = |path: &str| fs::read_dir(path).map_or(0, Iterator::count) as u64;
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut pages = statm.split_ascii_whitespace().map_while(|field| field.parse::<u64>().ok());
        let page = rustix::param::page_size() as u64;
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
        Self {
            cpu_seconds: clock::process_cpu().as_secs_f64(),
            virtual_bytes: pages.next().unwrap_or(0) * page,
            resident_bytes: pages.next().unwrap_or(0) * page,
            open_files: count("/proc/self/fd").saturating_sub(1), // the directory itself
            max_open_files: limit.current,
            threads: count("/proc/self/task"),
            start_time_seconds: start_time(),
        }
    }
}

/// When the machine was started, as proc_stat(5) has it; 1970 if that can't be read.
pub(crate) fn boot_time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(boot_seconds().unwrap_or(0))
}

fn boot_seconds() -> Option<u64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()
}

/// Of /proc/self/stat, in ticks since boot, and the boot time of /proc/stat.
fn start_time() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let ticks: f64 = stat.rsplit(')').next()?.split_ascii_whitespace().nth(19)?.parse().ok()?;
    Some(boot_seconds()? as f64 + ticks / rustix::param::clock_ticks_per_second() as f64)
}
