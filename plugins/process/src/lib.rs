//! The processes: those that use most, and how many there are.
//!
//! Of others' processes, `io` is open to a confined runner only with the capability `inspect`; and
//! so are the processes themselves on a procfs that is mounted with `hidepid`.

mod choice;
mod details;
mod machine;
mod past;
mod procfs;
mod records;
mod seen;
mod stat;
mod survey;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use dropsonde_plugin_api::prelude::*;

use crate::choice::{By, Choice};
use crate::machine::Machine;
use crate::records::{Process, Summary, Units};
use crate::survey::Survey;

/// What the user may set. A process may be shown if its name matches any of `include` and none
/// of `exclude`; `*` stands for any text.
#[settings]
struct Settings {
    /// Where procfs is mounted.
    #[serde(default = "default_proc_root")]
    proc_root: PathBuf,
    /// How many processes are shown.
    #[serde(default = "default_top")]
    top: usize,
    /// Shows all processes instead.
    #[serde(default)]
    all: bool,
    /// What they are ordered by, the greatest first: `cpu`, `memory`, `io` or `threads`.
    #[serde(default = "default_by")]
    by: By,
    /// Names of processes to show, or patterns such as `postgres*`.
    #[serde(default = "default_include")]
    include: Vec<String>,
    /// Names of processes to leave out all the same.
    #[serde(default)]
    exclude: Vec<String>,
    /// Whether threads of the kernel may be shown.
    #[serde(default = "default_true")]
    kernel_threads: bool,
    /// Reads what each process that is shown read and wrote: one more file. Of others' processes
    /// it needs the capability `inspect`.
    #[serde(default = "default_true")]
    io: bool,
    /// Reads the memory of each process that is shown from a file of its own too: how much of it
    /// is shared, and with newer kernels what it has in RAM exactly, where the first file may be
    /// off by some pages for each CPU.
    #[serde(default)]
    statm: bool,
}

fn default_proc_root() -> PathBuf {
    "/proc".into()
}

fn default_top() -> usize {
    50
}

fn default_by() -> By {
    By::Cpu
}

fn default_include() -> Vec<String> {
    vec!["*".into()]
}

fn default_true() -> bool {
    true
}

struct ProcessCollector {
    survey: Survey,
    /// `/proc/stat`.
    stat: KeptFile,
    /// Time of all CPUs by the last round, in ticks.
    last_cpu: Option<u64>,
    units: Units,
}

impl Collector for ProcessCollector {
    type Settings = Settings;
    type Streams = (Summary, Process<'static>);

    /// A round costs as much as there are processes, unlike one of other collectors.
    const INTERVAL: Duration = Duration::from_secs(5);

    fn create(settings: Settings, _: Host) -> Result<Self> {
        let Settings { proc_root, top, all, by, include, exclude, kernel_threads, io, statm } =
            settings;
        if top == 0 {
            return Err(Error::setting("top", "must be 1 or more; `all = true` shows them all"));
        }
        if by == By::Io && !io {
            return Err(Error::setting("by", "`io` is not read, since it says `io = false`"));
        }
        let most = if all { usize::MAX } else { top };
        let choice = Choice { most, by, include, exclude, kernel_threads, io, statm };
        Ok(Self {
            survey: Survey::new(&proc_root, choice),
            stat: KeptFile::new(proc_root.join("stat")),
            last_cpu: None,
            units: Units {
                ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
                page_bytes: rustix::param::page_size() as u64,
            },
        })
    }

    fn collect(&mut self, out: &mut Batch) -> Result<()> {
        let (summary, rows) = (out.wants::<Summary>(), out.wants::<Process<'_>>());
        if !summary && !rows {
            return Ok(());
        }
        let machine = self.machine(out);
        if let Some(trouble) = self.survey.run(rows)? {
            out.partial(trouble);
        }
        let before = std::mem::replace(&mut self.last_cpu, machine.cpu);
        let cpu_growth = machine.cpu.zip(before).and_then(|(now, before)| now.checked_sub(before));
        if summary {
            out.push(Summary::new(self.survey.seen(), &machine))?;
        }
        if rows {
            self.push_rows(&machine, cpu_growth.filter(|growth| *growth > 0), out)?;
        }
        Ok(())
    }
}

impl ProcessCollector {
    /// Without the file, what is measured by it is missing. A procfs that was mounted with
    /// `subset=pid` does not have it.
    fn machine(&mut self, out: &mut Batch) -> Machine {
        match self.stat.read() {
            Ok(text) => Machine::parse(text),
            Err(error) => {
                if self.stat.path().exists() {
                    out.partial(error);
                }
                Machine::default()
            }
        }
    }

    fn push_rows(&self, machine: &Machine, cpu_growth: Option<u64>, out: &mut Batch) -> Result<()> {
        out.publish_empty::<Process<'_>>()?;
        self.survey.shown().try_for_each(|seen| {
            let name = self.survey.name(seen);
            out.push(Process::new(seen, name, self.units, machine, cpu_growth))
        })
    }
}

export_plugin!(collector = ProcessCollector, name = "process", capabilities = [Inspect]);
