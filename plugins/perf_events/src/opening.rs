//! Opens what was asked for, and says what became of the rest.

use std::io;
use std::path::Path;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

use crate::catalog::{Code, Event};
use crate::counting::Counting;
use crate::kernel::{Kernel, Target};

/// Most descriptors that one collector opens. It needs one per event and CPU (or thread of the
/// process): all 17 events take 34 on two CPUs, 1,088 on 64.
const MAX_DESCRIPTORS: usize = 8192;

/// The events that are counted, and those that are not.
#[derive(Default)]
pub(crate) struct Opened {
    pub(crate) counted: Vec<Counting>,
    pub(crate) missing: Vec<(&'static Event, io::Error)>,
    pub(crate) unsupported: Vec<&'static Event>,
}

/// How many descriptors a collector may hold: no more than half of what the process may, since
/// in the host it is not alone.
pub(crate) fn max_descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile).current;
    let half =
        limit.map_or(MAX_DESCRIPTORS, |limit| usize::try_from(limit / 2).unwrap_or(usize::MAX));
    half.min(MAX_DESCRIPTORS)
}

impl Opened {
    pub(crate) fn open(
        kernel: &dyn Kernel,
        events: &[&'static Event],
        targets: &[Target],
        max_descriptors: usize,
    ) -> Self {
        let mut opened = Self::default();
        for event in events {
            if opened.descriptors() + targets.len() > max_descriptors {
                opened.missing.push((event, too_many(max_descriptors)));
                continue;
            }
            match Counting::open(kernel, event, targets) {
                Ok(counting) => opened.counted.push(counting),
                Err(error) if is_unsupported(event, &error) => opened.unsupported.push(event),
                Err(error) => opened.missing.push((event, error)),
            }
        }
        opened
    }

    pub(crate) fn descriptors(&self) -> usize {
        self.counted.iter().map(Counting::descriptors).sum()
    }

    /// Why nothing is counted; `None` if something is.
    pub(crate) fn reason(&self, proc_root: &Path, pid: Option<i32>) -> Option<String> {
        if !self.counted.is_empty() {
            return None;
        }
        let refused = self.missing.iter().find(|(_, error)| is_refusal(error));
        let cause = refused.or(self.missing.first()).map(|(_, error)| error);
        let names: Vec<_> = self.unsupported.iter().map(|event| event.name).collect();
        Some(match cause {
            Some(error) if is_refusal(error) => refusal(error, proc_root, pid),
            Some(error) => format!("perf_event_open failed: {error}"),
            None => {
                format!("neither the machine nor the kernel has these events: {}", names.join(", "))
            }
        })
    }

    /// One line for the log about events that could not be opened while others could.
    pub(crate) fn complaint(&self) -> Option<String> {
        let missing = self.missing.iter().map(|(event, error)| format!("{} ({error})", event.name));
        let missing: Vec<_> = missing.collect();
        (!missing.is_empty()).then(|| format!("not counted: {}", missing.join(", ")))
    }
}

fn too_many(max_descriptors: usize) -> io::Error {
    io::Error::other(format!(
        "would take more than {max_descriptors} open files: one per event and CPU; \
         raise the limit of open files or name fewer events"
    ))
}

/// Whether the machine or the kernel does not have the event, as against not letting us.
fn is_unsupported(event: &Event, error: &io::Error) -> bool {
    match Errno::from_io_error(error) {
        Some(Errno::NOENT | Errno::OPNOTSUPP | Errno::NODEV | Errno::NOSYS) => true,
        // x86 says so of a cache operation that the CPU can't count (set_ext_hw_attr).
        Some(Errno::INVAL) => matches!(event.code, Code::Cache(_)),
        // An attribute that is too new for the kernel; perf-event2 makes this of E2BIG.
        _ => error.kind() == io::ErrorKind::Unsupported,
    }
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied // EACCES or EPERM
}

/// Documentation/admin-guide/perf-security.rst and sysctl/kernel.rst, perf_event_paranoid.
fn refusal(error: &io::Error, proc_root: &Path, pid: Option<i32>) -> String {
    let path = proc_root.join("sys/kernel/perf_event_paranoid");
    let level = std::fs::read_to_string(path);
    let level = level.as_deref().map_or("unreadable", str::trim);
    let needs = match pid {
        None => "counting all processes needs 0 or less, or the capability CAP_PERFMON".to_owned(),
        Some(pid) => format!(
            "counting process {pid} needs 1 or less and the right to trace it, \
             or the capability CAP_PERFMON"
        ),
    };
    format!("perf_event_open is refused: {error}; kernel.perf_event_paranoid is {level}, {needs}")
}
