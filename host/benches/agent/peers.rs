//! The agent beside others that do the same job, one after the other: cpu per core and load,
//! memory, interfaces, disks and mounts, vmstat, each second. `perf_events`, `process` and
//! `hardware` are left out, since the others have nothing like them switched on. A page that
//! there is, is scraped each 15 s.

use std::path::PathBuf;
use std::time::Duration;

use crate::measure::median;
use crate::memory::Memory;
use crate::peer::{Peer, text_of};
use crate::table::{Figure, Row};
use crate::whole_agent::{Agent, MODES, in_window, to_half_second};
use crate::{Effort, build, clock, memory};

/// What they read, too.
pub(crate) const COLLECTORS: [&str; 5] = ["cpu", "memory", "network", "disk", "memory_bandwidth"];
const WINDOW: Duration = Duration::from_secs(15);
const WINDOWS: u32 = 3;
/// What starting costs is over by then, also for netdata.
const SETTLE: Duration = Duration::from_secs(5);

/// What one of them costs.
struct Cost {
    cpu: f64,
    main: Memory,
    /// PSS of it and its children.
    family: u64,
}

type Aspect = (&'static str, fn(&Cost) -> Figure);

const ASPECTS: [Aspect; 3] = [
    ("CPU per second", |cost| Figure::Microseconds(cost.cpu)),
    ("resident memory of the main process", |cost| Figure::KiB(cost.main.resident as f64)),
    ("PSS of all processes", |cost| Figure::KiB(cost.family as f64)),
];

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let agents = MODES.map(|mode| {
        let agent = Agent::with(mode, &plugins(), |_| ());
        assert_eq!(agent.collectors, COLLECTORS.len(), "not all deliver");
        Cost::of(agent.pid(), Some(&format!("{}/metrics", agent.address)), effort)
    });
    let of_peer = |peer: Peer| Cost::of(peer.pid(), peer.page.as_deref(), effort);
    let netdata = Peer::netdata().map(of_peer);
    let collectd = Peer::collectd("").map(of_peer);
    let peers = [
        (
            "netdata with the same job, scraped too",
            "not measured: netdata is not installed",
            netdata,
        ),
        (
            "collectd with the same job, writing nowhere",
            "not measured: collectd is not installed",
            collectd,
        ),
    ];
    let mut rows = Vec::new();
    for (aspect, of) in ASPECTS {
        for (mode, agent) in MODES.iter().zip(&agents) {
            for (name, missing, peer) in &peers {
                let collectors = COLLECTORS.join("`, `");
                let work = format!(
                    "the agent with `{collectors}`, scraped each 15 s: {aspect}, {mode} mode"
                );
                let floor = peer.as_ref().map(of);
                let reference = if floor.is_some() { name } else { missing };
                rows.push(Row { work, measured: of(agent), reference, floor });
            }
        }
    }
    rows
}

pub(crate) fn plugins() -> Vec<PathBuf> {
    COLLECTORS.map(build::plugin).into()
}

impl Cost {
    fn of(pid: u32, page: Option<&str>, effort: Effort) -> Self {
        std::thread::sleep(SETTLE);
        to_half_second();
        let scrape = || {
            std::thread::sleep(WINDOW / 2);
            assert!(page.is_none_or(|page| !text_of(page).is_empty()), "no page");
        };
        let windows = (0..WINDOWS.div_ceil(effort.haste)).map(|_| in_window(pid, WINDOW, scrape));
        let cpu = median(windows.collect());
        let main = memory::of(pid);
        let children = clock::children(pid).into_iter().map(|child| memory::of(child).proportional);
        Self { cpu, main, family: main.proportional + children.sum::<u64>() }
    }
}
