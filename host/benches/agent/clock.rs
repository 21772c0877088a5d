//! CPU time, which a busy machine disturbs less than wall time.

use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// User and system time of all threads of this process (clock_gettime(2)).
pub(crate) fn own() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

/// The same of another process; zero if it is gone.
#[allow(unsafe_code)] // rustix has no clock of another process
pub(crate) fn of(pid: u32) -> Duration {
    let mut clock = 0;
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write to the locals that they are given, and nothing else.
    let read = unsafe {
        libc::clock_getcpuclockid(pid.cast_signed(), &raw mut clock) == 0
            && libc::clock_gettime(clock, &raw mut now) == 0
    };
    if read {
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    } else {
        Duration::ZERO
    }
}

/// A process and its children.
pub(crate) fn of_family(pid: u32) -> Duration {
    children(pid).into_iter().map(of).sum::<Duration>() + of(pid)
}

/// The processes whose parent is `pid`: /proc/PID/task/TID/children (proc_pid_task(5)).
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    tasks
        .filter_map(|task| fs::read_to_string(task.path().join("children")).ok())
        .flat_map(|line| {
            line.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>()
        })
        .collect()
}
