//! The edge to the kernel, so that the rest can be tested on machines without a PMU.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::io;
use std::rc::{Rc, Weak};
use std::time::Duration;

use perf_event::events::Software;
use perf_event::{Builder, GroupData, ReadFormat};

use crate::catalog::{Code, Event};
use crate::scale::Reading;

/// Where an event is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// Whatever runs on this CPU.
    Cpu(usize),
    /// This thread on any CPU, with the threads and processes that it starts from now on.
    Thread(i32),
}

/// One open counter. Dropping it closes its descriptor.
pub(crate) trait Counter {
    fn reading(&mut self) -> io::Result<Reading>;
}

/// What opens counters.
pub(crate) trait Kernel {
    /// Opens a counter that counts from now on, in user space and in the kernel; errors are those
    /// of perf_event_open(2).
    fn open(&self, event: &Event, target: Target) -> io::Result<Box<dyn Counter>>;
}

/// The real one. Software events of one CPU are a group, which is read by one system call: each
/// read interrupts that CPU. They all fit at any time, so none takes another with it. The clock is
/// of another PMU, under which they would stay at zero.
///
/// Other events are by themselves: one that does not fit the hardware would take its whole group
/// with it. So are those of a thread: events that its children inherit can't be read as a group.
#[derive(Default)]
pub(crate) struct PerfEventOpen {
    groups: RefCell<HashMap<Place, Weak<RefCell<Group>>>>,
}

/// Which CPU, and whether it is for the clock.
type Place = (usize, bool);

/// The software events of one CPU.
struct Group {
    /// Stays open for as long as any of the group is.
    leader: perf_event::Counter,
    /// What the last read said.
    last: Option<GroupData>,
    /// Those that have taken their value of it, by the number that the kernel gave them.
    taken: Vec<u64>,
}

/// One event of a group.
struct Member {
    group: Rc<RefCell<Group>>,
    /// `None`: it leads the group.
    counter: Option<perf_event::Counter>,
    id: u64,
}

impl Kernel for PerfEventOpen {
    fn open(&self, event: &Event, target: Target) -> io::Result<Box<dyn Counter>> {
        if let (Code::Software(code), Target::Cpu(cpu)) = (&event.code, target) {
            let place = (cpu, *code == Software::CPU_CLOCK);
            return Ok(Box::new(self.join(builder(event, target), place)?));
        }
        Ok(Box::new(builder(event, target).build()?))
    }
}

fn builder(event: &Event, target: Target) -> Builder<'static> {
    let mut builder = match &event.code {
        Code::Software(event) => Builder::new(*event),
        Code::Hardware(event) => Builder::new(*event),
        Code::Cache(event) => Builder::new(event.clone()),
    };
    builder.include_kernel().include_hv().enabled(true);
    match target {
        Target::Cpu(cpu) => builder.any_pid().one_cpu(cpu),
        Target::Thread(id) => builder.observe_pid(id).any_cpu().inherit(true),
    };
    builder
}

impl PerfEventOpen {
    fn join(&self, mut builder: Builder<'_>, place: Place) -> io::Result<Member> {
        let mut groups = self.groups.borrow_mut();
        if let Some(group) = groups.get(&place).and_then(Weak::upgrade) {
            let counter = builder.build_with_group(&mut group.borrow_mut().leader)?;
            let id = counter.id();
            return Ok(Member { group, counter: Some(counter), id });
        }
        let times = ReadFormat::TOTAL_TIME_ENABLED | ReadFormat::TOTAL_TIME_RUNNING;
        let leader = builder.read_format(ReadFormat::GROUP | ReadFormat::ID | times).build()?;
        let id = leader.id();
        let group = Rc::new(RefCell::new(Group { leader, last: None, taken: Vec::new() }));
        groups.insert(place, Rc::downgrade(&group));
        Ok(Member { group, counter: None, id })
    }
}

impl Counter for Member {
    /// Reads the group if this member has had its value of the last read: once a round.
    fn reading(&mut self) -> io::Result<Reading> {
        let mut group = self.group.borrow_mut();
        let Group { leader, last, taken } = &mut *group;
        if last.is_none() || taken.contains(&self.id) {
            *last = None; // should the next line fail
            *last = Some(leader.read_group()?);
            taken.clear();
        }
        taken.push(self.id);
        let counter = self.counter.as_ref().unwrap_or(leader);
        let of_group = last.as_ref().and_then(|data| Some((data, data.get(counter)?.value())));
        let (data, count) = of_group.ok_or_else(|| io::Error::other("it is not in its group"))?;
        let nanos = |time: Option<Duration>| time.map_or(0, |time| time.as_nanos() as u64);
        Ok(Reading {
            count,
            enabled_ns: nanos(data.time_enabled()),
            running_ns: nanos(data.time_running()),
        })
    }
}

impl Counter for perf_event::Counter {
    fn reading(&mut self) -> io::Result<Reading> {
        let read = self.read_count_and_time()?;
        Ok(Reading {
            count: read.count,
            enabled_ns: read.time_enabled,
            running_ns: read.time_running,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu(cpu) => write!(f, "CPU {cpu}"),
            Self::Thread(id) => write!(f, "thread {id}"),
        }
    }
}
