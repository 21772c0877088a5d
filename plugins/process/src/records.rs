//! The streams that the plugin declares. OpenTelemetry names are those of the process and
//! processes scrapers of the Collector's host metrics receiver.

use std::borrow::Cow;

use dropsonde_plugin_api::Record;

use crate::machine::Machine;
use crate::seen::Seen;
use crate::stat::State;

/// The processes as a whole, threads of the kernel among them, as far as this user can see them.
#[derive(Debug, Default, Record)]
pub(crate) struct Summary {
    /// All processes.
    #[gauge(unit = "{process}")]
    pub(crate) count: u64,
    /// Processes that run or wait for a CPU.
    #[gauge(unit = "{process}", otel = "system.processes.count", attributes(status = "running"))]
    pub(crate) running: u64,
    /// Processes that wait for an event.
    #[gauge(unit = "{process}", otel = "system.processes.count", attributes(status = "sleeping"))]
    pub(crate) sleeping: u64,
    /// Processes that wait, mostly for a disk, and can't be interrupted.
    #[gauge(unit = "{process}", otel = "system.processes.count", attributes(status = "blocked"))]
    pub(crate) blocked: u64,
    /// Processes that a signal or a debugger has stopped.
    #[gauge(unit = "{process}", otel = "system.processes.count", attributes(status = "stopped"))]
    pub(crate) stopped: u64,
    /// Processes that have ended, and whose parent has not asked how.
    #[gauge(unit = "{process}", otel = "system.processes.count", attributes(status = "zombies"))]
    pub(crate) zombie: u64,
    /// Threads of the kernel that have nothing to do.
    #[gauge(unit = "{process}", otel = "system.processes.count", attributes(status = "idle"))]
    pub(crate) idle: u64,
    /// Processes in other states.
    #[gauge(unit = "{process}", otel = "system.processes.count", attributes(status = "unknown"))]
    pub(crate) unknown: u64,
    /// Threads of all processes.
    #[gauge(unit = "{thread}")]
    pub(crate) threads: u64,
    /// Processes and threads created since boot.
    #[counter(unit = "{process}", otel = "system.processes.created")]
    pub(crate) created: Option<u64>,
}

/// One process.
#[derive(Debug, Record)]
#[record(stream = "processes")]
pub(crate) struct Process<'a> {
    /// Its number.
    #[key(otel = "process.pid")]
    pid: u32,
    // As the kernel has it, and not as a date: that changes when the clock is set. With it no
    // rate is derived across two processes of one pid.
    /// When it started, in milliseconds after boot: tells it from others that have its pid before
    /// or after it.
    #[key]
    started_ms: u64,
    /// The process that it is a child of.
    #[attribute(otel = "process.parent_pid")]
    ppid: u32,
    /// Its name: 15 bytes of that of its program, unless it has given itself another.
    #[attribute(otel = "process.executable.name")]
    name: Cow<'a, str>,
    /// What it is doing: running, sleeping, blocked, stopped, zombie, idle or unknown.
    #[attribute]
    state: &'static str,
    // Not a share that the host derives: a process that is new in the list would have none, and
    // one that lives for a second never.
    /// Share of all CPUs' time since the last round, or since it started.
    #[gauge(unit = "%", otel = "process.cpu.utilization")]
    cpu_percent: Option<f64>,
    /// Time in user mode.
    #[counter(unit = "s", otel = "process.cpu.time", attributes(state = "user"))]
    user_seconds: f64,
    /// Time in the kernel.
    #[counter(unit = "s", otel = "process.cpu.time", attributes(state = "system"))]
    system_seconds: f64,
    /// Memory that it has in RAM, what it shares with others included.
    #[gauge(unit = "By", otel = "process.memory.usage")]
    resident_bytes: Option<u64>,
    /// Memory in RAM that is of files or shared; read with the setting `statm`.
    #[gauge(unit = "By")]
    shared_bytes: Option<u64>,
    /// Address space.
    #[gauge(unit = "By", otel = "process.memory.virtual")]
    virtual_bytes: u64,
    /// Threads.
    #[gauge(unit = "{thread}", otel = "process.threads")]
    threads: u64,
    /// Bytes that it had read from storage.
    #[counter(unit = "By", otel = "process.disk.io", attributes(direction = "read"))]
    read_bytes: Option<u64>,
    /// Bytes that it had written to storage.
    #[counter(unit = "By", otel = "process.disk.io", attributes(direction = "write"))]
    write_bytes: Option<u64>,
    /// Calls by which it read, of whatever.
    #[counter(
        unit = "{operation}",
        otel = "process.disk.operations",
        attributes(direction = "read")
    )]
    read_count: Option<u64>,
    /// Calls by which it wrote, to whatever.
    #[counter(
        unit = "{operation}",
        otel = "process.disk.operations",
        attributes(direction = "write")
    )]
    write_count: Option<u64>,
    /// When it started, in Unix time.
    #[gauge(unit = "s")]
    start_time_seconds: Option<f64>,
}

/// What the kernel counts in.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Units {
    pub(crate) ticks_per_second: u64,
    pub(crate) page_bytes: u64,
}

impl Summary {
    pub(crate) fn new(seen: &[Seen], machine: &Machine) -> Self {
        let mut summary = Self { created: machine.created, ..Self::default() };
        for seen in seen {
            summary.count += 1;
            summary.threads = summary.threads.saturating_add(seen.stat.threads);
            *match seen.stat.state {
                State::Running => &mut summary.running,
                State::Sleeping => &mut summary.sleeping,
                State::Blocked => &mut summary.blocked,
                State::Stopped => &mut summary.stopped,
                State::Zombie => &mut summary.zombie,
                State::Idle => &mut summary.idle,
                State::Unknown => &mut summary.unknown,
            } += 1;
        }
        summary
    }
}

impl<'a> Process<'a> {
    /// `cpu_growth` is that of the machine since the last round, in ticks, if it is known.
    pub(crate) fn new(
        seen: &Seen,
        name: Cow<'a, str>,
        units: Units,
        machine: &Machine,
        cpu_growth: Option<u64>,
    ) -> Self {
        let stat = &seen.stat;
        let seconds = |ticks: u64| ticks as f64 / units.ticks_per_second as f64;
        let bytes = |pages: u64| pages.checked_mul(units.page_bytes);
        let percent = |whole: u64| (seen.cpu_growth as f64 / whole as f64 * 100.0).min(100.0);
        Self {
            pid: seen.pid,
            started_ms: stat.start.saturating_mul(1000) / units.ticks_per_second,
            ppid: stat.parent,
            name,
            state: stat.state.name(),
            cpu_percent: cpu_growth.map(percent),
            user_seconds: seconds(stat.user),
            system_seconds: seconds(stat.system),
            resident_bytes: bytes(seen.resident_pages()),
            shared_bytes: seen.memory.and_then(|memory| bytes(memory.shared)),
            virtual_bytes: stat.virtual_bytes,
            threads: stat.threads,
            read_bytes: seen.io.and_then(|io| io.read_bytes),
            write_bytes: seen.io.and_then(|io| io.write_bytes),
            read_count: seen.io.and_then(|io| io.read_calls),
            write_count: seen.io.and_then(|io| io.write_calls),
            start_time_seconds: machine.booted.map(|boot| boot as f64 + seconds(stat.start)),
        }
    }
}
