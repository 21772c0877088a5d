//! The CPU lines of `/proc/stat` (proc_stat(5)).
//!
//! Not procfs-core's `KernelStats`: that one drops the cores' numbers, which have gaps where a
//! core is offline, and reads and allocates every line after them, the interrupts' included.

use dropsonde_plugin_api::{Batch, Error, Result};

use crate::records::Core;

/// Where one core's, or all cores', time went since boot, in seconds.
///
/// `None` for a state that the kernel does not count. Time in guests is already within `user`
/// and `nice` (kernel: account_guest_time), so it is not counted again.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Times {
    pub(crate) user: f64,
    pub(crate) nice: f64,
    pub(crate) system: f64,
    pub(crate) idle: f64,
    pub(crate) iowait: Option<f64>,
    pub(crate) irq: Option<f64>,
    pub(crate) softirq: Option<f64>,
    pub(crate) steal: Option<f64>,
    /// All but idle and iowait.
    pub(crate) busy: f64,
    pub(crate) total: f64,
}

/// What the main stream needs of the file.
#[derive(Debug)]
pub(crate) struct Summary {
    /// All cores together; `None` if the line is missing or can't be understood.
    pub(crate) times: Option<Times>,
    /// Cores that are online.
    pub(crate) cores: usize,
}

impl Summary {
    pub(crate) fn logical_count(&self) -> Option<usize> {
        (self.cores > 0).then_some(self.cores)
    }
}

/// Pushes the cores if anyone wants them, and returns the rest. A core's line that can't be
/// understood makes the batch partial; a file without any such line is an error.
pub(crate) fn read(text: &str, ticks_per_second: f64, out: &mut Batch) -> Result<Summary> {
    let wants_cores = out.wants::<Core<'_>>();
    let mut times = None;
    let mut cores = 0;
    // The CPU lines come first; the many interrupts after them are not looked at.
    for line in text.lines().take_while(|line| line.starts_with("cpu")) {
        let (name, fields) = line.split_once(' ').unwrap_or((line, ""));
        if name == "cpu" {
            times = Times::parse(fields, ticks_per_second);
            continue;
        }
        cores += 1;
        if wants_cores {
            match Times::parse(fields, ticks_per_second) {
                Some(times) => out.push(Core::new(name, &times))?,
                None => out.partial(format_args!("the line `{line}` is not the times of a core")),
            }
        }
    }
    if times.is_none() && cores == 0 {
        return Err(Error::msg("there is no line `cpu`"));
    }
    Ok(Summary { times, cores })
}

impl Times {
    /// Reads `6004 0 2712 302263 268 0 49 13 0 0`, in ticks. Later fields may be missing.
    fn parse(fields: &str, ticks_per_second: f64) -> Option<Self> {
        let mut states = [None; 8];
        for (state, field) in states.iter_mut().zip(fields.split_ascii_whitespace()) {
            *state = Some(field.parse::<u64>().ok()? as f64);
        }
        let [Some(user), Some(nice), Some(system), Some(idle), iowait, irq, softirq, steal] =
            states
        else {
            return None;
        };
        let busy = [Some(user), Some(nice), Some(system), irq, softirq, steal];
        let sum = |ticks: &[Option<f64>]| ticks.iter().flatten().sum::<f64>() / ticks_per_second;
        let seconds = |ticks: f64| ticks / ticks_per_second;
        Some(Self {
            user: seconds(user),
            nice: seconds(nice),
            system: seconds(system),
            idle: seconds(idle),
            iowait: iowait.map(seconds),
            irq: irq.map(seconds),
            softirq: softirq.map(seconds),
            steal: steal.map(seconds),
            busy: sum(&busy),
            total: sum(&states),
        })
    }
}
