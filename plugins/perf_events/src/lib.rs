//! Hardware and software performance events by perf_event_open(2), without a perf process.
//!
//! One descriptor is open per event and CPU, or per event and thread if one process is counted;
//! see `opening::MAX_DESCRIPTORS` for the bound.

mod catalog;
mod counting;
mod cpus;
mod kernel;
mod opening;
mod records;
mod scale;
#[cfg(test)]
mod tests;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use dropsonde_plugin_api::prelude::*;

use crate::counting::Counting;
use crate::cpus::OnlineCpus;
use crate::kernel::{Kernel, PerfEventOpen, Target};
use crate::opening::Opened;
use crate::records::{EventCount, Overview};

/// What the user may set.
#[settings]
struct Settings {
    /// Where procfs is mounted.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
    /// Where sysfs is mounted.
    #[serde(default = "default_sys_root")]
    sys_root: PathBuf,
    /// Events to count, by the names of perf-list(1); all that the plugin knows if left out.
    #[serde(default)]
    events: Option<Vec<String>>,
    /// Counts this process, with the threads and processes that it starts, not all of the machine.
    #[serde(default)]
    pid: Option<u32>,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

fn default_sys_root() -> PathBuf {
    "/sys".into()
}

struct PerfEvents {
    kernel: Box<dyn Kernel>,
    max_descriptors: usize,
    opened: Opened,
    /// Why nothing is counted.
    reason: Option<String>,
    online: OnlineCpus,
    /// Where each event is to be counted: the CPUs of the last round, or threads.
    targets: Vec<Target>,
    /// The directory of the one process that is counted.
    process: Option<PathBuf>,
    /// When the last round was.
    before: Instant,
}

impl Collector for PerfEvents {
    type Settings = Settings;
    type Streams = (Overview, EventCount<'static>);

    /// Statistics over some time: the counters count on between rounds.
    const INTERVAL: Duration = Duration::from_secs(10);

    fn create(settings: Settings, host: Host) -> Result<Self> {
        let max_descriptors = opening::max_descriptors();
        let collector = Self::open(settings, Box::<PerfEventOpen>::default(), max_descriptors)?;
        if let Some(text) = collector.reason.clone().or_else(|| collector.opened.complaint()) {
            host.warn(text);
        }
        Ok(collector)
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let now = Instant::now();
        let interval = now.duration_since(self.before);
        self.before = now;
        let cpus = self.follow_cpus(out);
        if out.wants::<Overview>() {
            out.push(self.overview(cpus, interval))?;
        }
        if out.wants::<EventCount<'_>>() {
            out.publish_empty::<EventCount<'_>>()?;
            self.read_events(out)?;
        }
        Ok(())
    }
}

impl PerfEvents {
    fn open(settings: Settings, kernel: Box<dyn Kernel>, max_descriptors: usize) -> Result<Self> {
        let Settings { proc_root, sys_root, events, pid } = settings;
        let events = catalog::choose(events.as_deref())?;
        let pid = pid.map(checked_pid).transpose()?;
        let process = pid.map(|pid| proc_root.join(pid.to_string()));
        let mut online = OnlineCpus::new(&sys_root);
        let targets = match &process {
            Some(process) => threads(process),
            None => online.read()?.into_iter().map(Target::Cpu).collect(),
        };
        let has_ended = targets.is_empty();
        let opened = if has_ended {
            let missing = |event| (event, std::io::Error::other("there is no such process"));
            Opened { missing: events.into_iter().map(missing).collect(), ..Opened::default() }
        } else {
            Opened::open(&*kernel, &events, &targets, max_descriptors)
        };
        let reason = match pid {
            Some(pid) if has_ended => Some(format!("there is no process {pid}, or it is hidden")),
            _ => opened.reason(&proc_root, pid),
        };
        let before = Instant::now();
        Ok(Self { kernel, max_descriptors, opened, reason, online, targets, process, before })
    }

    fn overview(&self, cpu_cores: Option<usize>, interval: Duration) -> Overview {
        let since_1970 = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let name = |event: &catalog::Event| event.name.to_owned();
        Overview {
            available: self.reason.is_none(),
            reason: self.reason.clone(),
            cpu_cores,
            interval_ms: interval.as_secs_f64() * 1000.0,
            sample_time: since_1970.ok().map(|time| time.as_secs_f64()),
            missing_events: self.opened.missing.iter().map(|(event, _)| name(event)).collect(),
            unsupported_events: self.opened.unsupported.iter().map(|event| name(event)).collect(),
        }
    }

    /// Sees which CPUs are online, and moves the counters after them.
    fn follow_cpus(&mut self, out: &mut Batch) -> Option<usize> {
        let cpus = match self.online.read() {
            Ok(cpus) => cpus,
            Err(error) => {
                out.partial(error);
                return None;
            }
        };
        let count = cpus.len();
        if self.process.is_none() {
            let targets: Vec<_> = cpus.into_iter().map(Target::Cpu).collect();
            for gone in self.targets.iter().filter(|target| !targets.contains(target)) {
                out.partial(format_args!("{gone} went offline: its counts end here"));
                self.opened.counted.iter_mut().for_each(|counting| counting.close_on(*gone));
            }
            self.targets = targets;
        }
        Some(count)
    }

    fn read_events(&mut self, out: &mut Batch) -> Result<()> {
        let has_ended = self.process.as_ref().is_some_and(|process| !process.exists());
        if has_ended && !self.opened.counted.is_empty() {
            out.partial("the process has ended: its counts stand still");
        }
        let mut room = self.max_descriptors.saturating_sub(self.opened.descriptors());
        for counting in &mut self.opened.counted {
            let sum = Self::complete(counting, &*self.kernel, &self.targets, &mut room)
                .and_then(|()| counting.read())
                .map_err(|error| out.partial(error))
                .ok();
            out.push(EventCount {
                event: counting.event.name,
                value: sum.and_then(|sum| sum.count),
                unit: counting.event.unit,
                time_enabled_seconds: sum.map(|sum| seconds(sum.enabled_ns)),
                time_running_seconds: sum.map(|sum| seconds(sum.running_ns)),
            })?;
        }
        Ok(())
    }

    /// Opens the event on CPUs that have come online. Without one of them the sum would not be
    /// the machine's, so it is missing, and the next round tries again.
    fn complete(
        counting: &mut Counting,
        kernel: &dyn Kernel,
        targets: &[Target],
        room: &mut usize,
    ) -> Result<()> {
        for target in counting.lacks(targets) {
            if matches!(target, Target::Thread(_)) {
                continue; // it had ended when the others were opened
            }
            let place = format_args!("{} on {target}", counting.event.name).to_string();
            if *room == 0 {
                return Err(Error::msg(format_args!("{place}: too many open files")));
            }
            counting.open_on(kernel, target).map_err(|error| Error::from(error).context(place))?;
            *room -= 1;
        }
        Ok(())
    }
}

fn checked_pid(pid: u32) -> Result<i32> {
    let valid = i32::try_from(pid).ok().filter(|pid| *pid > 0);
    valid.ok_or_else(|| Error::setting("pid", "is no process number: 1 to 2147483647"))
}

/// The threads of a process; none if it has ended or can't be seen.
fn threads(process: &Path) -> Vec<Target> {
    let entries = fs::read_dir(process.join("task")).into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    numbers.map(Target::Thread).collect()
}

fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

export_plugin!(collector = PerfEvents, name = "perf_events", capabilities = [Perf]);
