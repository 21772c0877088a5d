//! The streams that the plugin declares.

use dropsonde_plugin_api::Record;

use crate::stat::Times;

// Only the cores carry the OpenTelemetry names of time and utilization, as in the host metrics
// receiver of the OpenTelemetry Collector; with the total's too, sums would count twice.
/// Time, frequency, temperature and load of all cores together.
#[derive(Debug, Record)]
pub(crate) struct Cpu {
    /// Time in user mode, guests included.
    #[counter(unit = "s", share(name = "user_percent", of = "total_seconds"))]
    user_seconds: f64,
    /// Time in user mode at low priority.
    #[counter(unit = "s", share(name = "nice_percent", of = "total_seconds"))]
    nice_seconds: f64,
    /// Time in the kernel.
    #[counter(unit = "s", share(name = "system_percent", of = "total_seconds"))]
    system_seconds: f64,
    /// Time with nothing to do.
    #[counter(unit = "s", share(name = "idle_percent", of = "total_seconds"))]
    idle_seconds: f64,
    /// Idle time with I/O outstanding; not reliable, and may decrease (proc_stat(5)).
    #[counter(unit = "s", share(name = "iowait_percent", of = "total_seconds"))]
    iowait_seconds: Option<f64>,
    /// Time in interrupt handlers.
    #[counter(unit = "s", share(name = "irq_percent", of = "total_seconds"))]
    irq_seconds: Option<f64>,
    /// Time in soft interrupts.
    #[counter(unit = "s", share(name = "softirq_percent", of = "total_seconds"))]
    softirq_seconds: Option<f64>,
    /// Time that a hypervisor gave to others.
    #[counter(unit = "s", share(name = "steal_percent", of = "total_seconds"))]
    steal_seconds: Option<f64>,
    /// All time but idle and iowait.
    #[counter(unit = "s", share(name = "usage_percent", of = "total_seconds"))]
    busy_seconds: f64,
    /// All time.
    #[counter(unit = "s")]
    total_seconds: f64,
    // system.cpu.frequency is in Hz, so it does not fit.
    /// Mean of the cores' current frequencies.
    #[gauge(unit = "MHz")]
    frequency_mhz: Option<f64>,
    /// Hottest sensor of the CPU.
    #[gauge(unit = "Cel")]
    temperature_celsius: Option<f64>,
    /// Threads that run, or wait to run or for a disk, averaged over a minute.
    #[gauge(unit = "{thread}", otel = "system.cpu.load_average.1m")]
    load_avg_1m: Option<f64>,
    /// Threads that run, or wait to run or for a disk, averaged over 5 minutes.
    #[gauge(unit = "{thread}", otel = "system.cpu.load_average.5m")]
    load_avg_5m: Option<f64>,
    /// Threads that run, or wait to run or for a disk, averaged over 15 minutes.
    #[gauge(unit = "{thread}", otel = "system.cpu.load_average.15m")]
    load_avg_15m: Option<f64>,
    /// Cores that are online, as the kernel sees them: hardware threads.
    #[gauge(unit = "{cpu}", otel = "system.cpu.logical.count")]
    logical_count: Option<usize>,
}

/// Time of one core that is online.
#[derive(Debug, Record)]
#[record(stream = "cores")]
pub(crate) struct Core<'a> {
    /// Name of the core: `cpu0`.
    #[key(otel = "cpu")]
    core: &'a str,
    /// Time in user mode, guests included.
    #[counter(
        unit = "s",
        otel = "system.cpu.time",
        attributes(state = "user"),
        share(name = "user_percent", of = "total_seconds", otel = "system.cpu.utilization")
    )]
    user_seconds: f64,
    /// Time in user mode at low priority.
    #[counter(
        unit = "s",
        otel = "system.cpu.time",
        attributes(state = "nice"),
        share(name = "nice_percent", of = "total_seconds", otel = "system.cpu.utilization")
    )]
    nice_seconds: f64,
    /// Time in the kernel.
    #[counter(
        unit = "s",
        otel = "system.cpu.time",
        attributes(state = "system"),
        share(name = "system_percent", of = "total_seconds", otel = "system.cpu.utilization")
    )]
    system_seconds: f64,
    /// Time with nothing to do.
    #[counter(
        unit = "s",
        otel = "system.cpu.time",
        attributes(state = "idle"),
        share(name = "idle_percent", of = "total_seconds", otel = "system.cpu.utilization")
    )]
    idle_seconds: f64,
    /// Idle time with I/O outstanding; not reliable, and may decrease (proc_stat(5)).
    #[counter(
        unit = "s",
        otel = "system.cpu.time",
        attributes(state = "wait"),
        share(name = "iowait_percent", of = "total_seconds", otel = "system.cpu.utilization")
    )]
    iowait_seconds: Option<f64>,
    /// Time in interrupt handlers.
    #[counter(
        unit = "s",
        otel = "system.cpu.time",
        attributes(state = "interrupt"),
        share(name = "irq_percent", of = "total_seconds", otel = "system.cpu.utilization")
    )]
    irq_seconds: Option<f64>,
    /// Time in soft interrupts.
    #[counter(
        unit = "s",
        otel = "system.cpu.time",
        attributes(state = "softirq"),
        share(name = "softirq_percent", of = "total_seconds", otel = "system.cpu.utilization")
    )]
    softirq_seconds: Option<f64>,
    /// Time that a hypervisor gave to others.
    #[counter(
        unit = "s",
        otel = "system.cpu.time",
        attributes(state = "steal"),
        share(name = "steal_percent", of = "total_seconds", otel = "system.cpu.utilization")
    )]
    steal_seconds: Option<f64>,
    /// All time but idle and iowait.
    #[counter(unit = "s", share(name = "usage_percent", of = "total_seconds"))]
    busy_seconds: f64,
    /// All time.
    #[counter(unit = "s")]
    total_seconds: f64,
}

impl Cpu {
    /// `load` holds the averages over 1, 5 and 15 minutes.
    pub(crate) fn new(
        times: &Times,
        logical_count: Option<usize>,
        frequency_mhz: Option<f64>,
        temperature_celsius: Option<f64>,
        load: Option<[f64; 3]>,
    ) -> Self {
        Self {
            user_seconds: times.user,
            nice_seconds: times.nice,
            system_seconds: times.system,
            idle_seconds: times.idle,
            iowait_seconds: times.iowait,
            irq_seconds: times.irq,
            softirq_seconds: times.softirq,
            steal_seconds: times.steal,
            busy_seconds: times.busy,
            total_seconds: times.total,
            frequency_mhz,
            temperature_celsius,
            load_avg_1m: load.map(|load| load[0]),
            load_avg_5m: load.map(|load| load[1]),
            load_avg_15m: load.map(|load| load[2]),
            logical_count,
        }
    }
}

impl<'a> Core<'a> {
    pub(crate) fn new(core: &'a str, times: &Times) -> Self {
        Self {
            core,
            user_seconds: times.user,
            nice_seconds: times.nice,
            system_seconds: times.system,
            idle_seconds: times.idle,
            iowait_seconds: times.iowait,
            irq_seconds: times.irq,
            softirq_seconds: times.softirq,
            steal_seconds: times.steal,
            busy_seconds: times.busy,
            total_seconds: times.total,
        }
    }
}
