//! A flood of events, batches of a hundred, from a plugin to a subscriber.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use dropsonde::{Builder, Host, Sources, Subscribe, Subscription};
use tempfile::TempDir;

use crate::measure::{median, per};
use crate::roles::{Other, Role};
use crate::table::{Figure, Row};
use crate::{Effort, build, clock};

/// Bytes of one batch of the fixture: two numbers, a text with its end, a hundred times.
const BATCH_BYTES: usize = 100 * (8 + 8 + 4 + 13);
const PER_BATCH: u64 = 100;
const TIME: Duration = Duration::from_millis(1000);

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let time = TIME / effort.haste;
    let repetitions = effort.repetitions.min(5);
    let mut rows = Vec::new();
    for (mode, reference) in [
        ("thread", "the same bytes copied and handed over by a bounded channel"),
        ("process", "the same bytes through a socket pair, one write a batch"),
    ] {
        let flood = Flood::start(mode);
        let (mut costs, mut rates, mut floors) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..repetitions {
            let (cost, rate) = flood.measure(time);
            costs.push(cost);
            rates.push(rate);
        }
        flood.end();
        for _ in 0..repetitions {
            floors.push(if mode == "thread" { by_channel(time) } else { by_socket(time) });
        }
        let (cost, floor) =
            (Figure::Nanoseconds(median(costs)), Figure::Nanoseconds(median(floors)));
        rows.push(Row::new(format!("event to a subscriber, {mode} mode"), cost, reference, floor));
        let work = format!("events to a subscriber per second of wall time, {mode} mode");
        rows.push(Row::alone(work, Figure::Number(median(rates).round())));
    }
    rows
}

struct Flood {
    runtime: tokio::runtime::Runtime,
    host: Host,
    events: std::cell::RefCell<Subscription>,
    _directory: TempDir,
}

impl Flood {
    fn start(mode: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let runtime = crate::runtime();
        let plugin = build::fixture("bench_flood");
        let (host, events) = runtime.block_on(async {
            let host = start_host(directory.path(), &[&plugin], &[("DEFAULTS__ISOLATION", mode)]);
            let events = host.subscribe(Subscribe::to("events.bench_flood.>").unwrap());
            host.settled().await;
            (host, events)
        });
        Self { runtime, host, events: events.into(), _directory: directory }
    }

    /// CPU nanoseconds per event, and events per second of wall time.
    fn measure(&self, time: Duration) -> (f64, f64) {
        let mut events = self.events.borrow_mut();
        self.runtime.block_on(async {
            events.recv().await;
            let (pid, lost, start) = (std::process::id(), events.status().lost, Instant::now());
            let cpu = clock::of_family(pid);
            let mut rows = 0;
            while start.elapsed() < time {
                rows += events.recv().await.rows() as u64;
            }
            let cost = per(clock::of_family(pid) - cpu, rows);
            assert_eq!(events.status().lost, lost, "the subscriber lost events");
            (cost, rows as f64 / start.elapsed().as_secs_f64())
        })
    }

    fn end(self) {
        self.runtime.block_on(self.host.shutdown());
    }
}

/// A host in this process with directories of its own and these plugins.
pub(crate) fn start_host(root: &Path, plugins: &[&Path], settings: &[(&str, &str)]) -> Host {
    let plugin_directory = root.join("plugins");
    std::fs::create_dir(&plugin_directory).unwrap();
    for plugin in plugins {
        std::fs::copy(plugin, plugin_directory.join(plugin.file_name().unwrap())).unwrap();
    }
    let at = |name: &str| root.join(name).to_string_lossy().into_owned();
    let mut environment = vec![
        ("DROPSONDE__HOST__RUNTIME_DIR".to_owned(), at("run")),
        ("DROPSONDE__HOST__STATE_DIR".to_owned(), at("state")),
    ];
    std::fs::create_dir(root.join("run")).unwrap();
    for (key, value) in settings {
        environment.push((format!("DROPSONDE__{key}"), (*value).to_owned()));
    }
    let plugins = vec![plugin_directory];
    let sources = Sources { plugins, environment, ..Sources::default() };
    Builder::new(sources).start().unwrap()
}

/// CPU nanoseconds per event.
fn by_channel(time: Duration) -> f64 {
    let (sender, batches) = mpsc::sync_channel(64);
    let cpu = clock::own();
    std::thread::spawn(move || {
        let batch = vec![7_u8; BATCH_BYTES];
        let start = Instant::now();
        while start.elapsed() < time {
            sender.send(std::hint::black_box(&batch).clone()).unwrap();
        }
    });
    let events = batches.iter().count() as u64 * PER_BATCH;
    per(clock::own() - cpu, events)
}

/// CPU nanoseconds per event.
fn by_socket(time: Duration) -> f64 {
    let mut other = Other::start(Role::Stream(BATCH_BYTES));
    let mut batch = vec![0; BATCH_BYTES];
    other.socket.read_exact(&mut batch).unwrap();
    let cpu = || clock::own() + clock::of(other.pid());
    let (start_cpu, start) = (cpu(), Instant::now());
    let (mut batches, mut socket) = (0, &other.socket);
    while start.elapsed() < time {
        socket.read_exact(&mut batch).unwrap();
        batches += 1;
    }
    per(cpu() - start_cpu, batches * PER_BATCH)
}
