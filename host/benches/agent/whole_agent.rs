//! The real agent from outside: the bundled collectors once a second, nobody asking.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::measure::median;
use crate::roles::{Other, Role};
use crate::table::{Figure, Row};
use crate::{Effort, build, clock};

pub(crate) const MODES: [&str; 2] = ["thread", "process"];
const WINDOW: Duration = Duration::from_secs(4);
const WINDOWS: u32 = 3;
/// What starting costs is over by then.
const SETTLE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let reader = Other::start(Role::Reader);
    std::thread::sleep(Duration::from_secs(1));
    let floor = Figure::Microseconds(cpu_per_second(reader.pid(), effort));
    drop(reader);
    let mut rows = Vec::new();
    for mode in MODES {
        let agent = Agent::start(mode);
        agent.settle(effort);
        let cost = Figure::Microseconds(cpu_per_second(agent.pid(), effort));
        let work = format!(
            "the agent with {} collectors at 1 s and `hardware` at 5 min, CPU per second, {mode} mode",
            agent.collectors - 1
        );
        let reference =
            "opening, reading, closing 7 of their files and each `/proc/PID/stat`, and 3 statvfs";
        rows.push(Row::new(work, cost, reference, floor));
    }
    rows
}

/// CPU microseconds a second of a process and its children.
pub(crate) fn cpu_per_second(pid: u32, effort: Effort) -> f64 {
    let windows = WINDOWS / effort.haste.min(WINDOWS);
    to_half_second();
    median((0..windows).map(|_| in_window(pid, WINDOW, || ())).collect())
}

/// The same over so many seconds, from one half second to another, with something that is done
/// meanwhile.
pub(crate) fn in_window(pid: u32, length: Duration, meanwhile: impl FnOnce()) -> f64 {
    let (cpu, start) = (clock::of_family(pid), Instant::now());
    meanwhile();
    std::thread::sleep(length.saturating_sub(start.elapsed() + Duration::from_millis(10)));
    to_half_second();
    let cpu = clock::of_family(pid) - cpu;
    cpu.as_secs_f64() * 1e6 / start.elapsed().as_secs_f64()
}

/// Ticks lie on whole seconds of wall time: a window that begins and ends between them has as
/// many ticks as seconds.
pub(crate) fn to_half_second() {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let into = Duration::from_nanos(u64::from(now.subsec_nanos()));
    let half = Duration::from_millis(500);
    let wait = if into <= half { half - into } else { 3 * half - into };
    std::thread::sleep(wait);
}

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    child: Child,
    /// Where it serves HTTP.
    pub(crate) address: String,
    /// How many of its collectors deliver.
    pub(crate) collectors: usize,
    _directory: TempDir,
}

impl Agent {
    /// With all bundled plugins.
    pub(crate) fn start(mode: &str) -> Self {
        Self::with(mode, &build::plugins(), |command| {
            command.env("DROPSONDE__COLLECTORS__HARDWARE__INTERVAL", "5min"); // its own
        })
    }

    /// With these plugins, and further settings.
    pub(crate) fn with(mode: &str, plugins: &[PathBuf], set: impl FnOnce(&mut Command)) -> Self {
        let directory = TempDir::new().unwrap();
        let mut command = command(directory.path(), mode, plugins);
        set(&mut command);
        Self::of(&mut command, directory, plugins.len())
    }

    /// With so many collectors that read nothing.
    pub(crate) fn of_still(count: usize, mode: &str, interval: fn(usize) -> Duration) -> Self {
        let directory = TempDir::new().unwrap();
        let mut command = command(directory.path(), mode, &[build::fixture("bench_still")]);
        let mut text = "[collectors.bench_still]\nenabled = false\n".to_owned();
        for index in 0..count {
            let milliseconds = interval(index).as_millis();
            let keys = format!("plugin = \"bench_still\"\ninterval = \"{milliseconds}ms\"");
            text += &format!("[collectors.still_{index}]\n{keys}\n");
        }
        let file = directory.path().join("many.toml");
        std::fs::write(&file, text).unwrap();
        command.arg("--config").arg(file);
        let agent = Self::of(&mut command, directory, count);
        assert_eq!(agent.collectors, count, "not all deliver");
        agent
    }

    fn of(command: &mut Command, directory: TempDir, expected: usize) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let address = address(&mut child);
        let collectors = delivering(&address, expected, Duration::from_millis(100));
        Self { child, address, collectors, _directory: directory }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A count of all collectors together.
    pub(crate) fn sum(&self, count: &str) -> u64 {
        collectors(&self.address).iter().filter_map(|collector| collector[count].as_u64()).sum()
    }

    pub(crate) fn settle(&self, effort: Effort) {
        std::thread::sleep(SETTLE / effort.haste.min(2));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill(); // its runners end with it
        let _ = self.child.wait();
    }
}

/// The agent with these plugins at 1 s, in a directory of its own.
pub(crate) fn command(root: &Path, mode: &str, plugins: &[PathBuf]) -> Command {
    for sub in ["plugins", "run", "state"] {
        std::fs::create_dir(root.join(sub)).unwrap();
    }
    for plugin in plugins {
        let name = plugin.file_name().unwrap();
        std::fs::copy(plugin, root.join("plugins").join(name)).unwrap();
    }
    let mut command = Command::new(build::binary());
    command
        .args(["run", "--log", "warn", "--listen", "127.0.0.1:0", "--plugins"])
        .arg(root.join("plugins"))
        .env("DROPSONDE__HOST__RUNTIME_DIR", root.join("run"))
        .env("DROPSONDE__HOST__STATE_DIR", root.join("state"))
        .env("DROPSONDE__DEFAULTS__ISOLATION", mode)
        .env("DROPSONDE__DEFAULTS__INTERVAL", "1s");
    command
}

/// Where it serves HTTP, as it says on its standard error.
pub(crate) fn address(child: &mut Child) -> String {
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    let address = log.find_map(|line| line.strip_prefix("listening on ").map(str::to_owned));
    std::thread::spawn(move || log.for_each(drop)); // a full pipe would hold the agent up
    address.expect("the agent did not start")
}

/// Waits until so many collectors deliver, looking again after each pause; how many do in the end.
pub(crate) fn delivering(address: &str, expected: usize, pause: Duration) -> usize {
    let start = Instant::now();
    loop {
        let delivers = |one: &&Json| one["batches"].as_u64() > Some(0);
        let good = collectors(address).iter().filter(delivers).count();
        if good >= expected || start.elapsed() > PATIENCE {
            return good;
        }
        std::thread::sleep(pause);
    }
}

/// What the agent says of each.
fn collectors(address: &str) -> Vec<Json> {
    let mut answer = ureq::get(format!("{address}/api/v1/collectors")).call().unwrap();
    serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap()
}
