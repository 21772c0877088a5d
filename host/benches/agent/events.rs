//! A flood of events, batches of a hundred, from a plugin to a subscriber.

use std::io::Read;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
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
        let costs: Vec<Cost> = (0..repetitions).map(|_| flood.measure(time)).collect();
        flood.end();
        let floor = || if mode == "thread" { by_channel(time) } else { by_socket(time) };
        let floor = median((0..repetitions).map(|_| floor()).collect());
        let middle = |of: fn(&Cost) -> f64| median(costs.iter().map(of).collect());
        let cost = Figure::Nanoseconds(middle(|cost| cost.per_event));
        let (rate, lost) = (middle(|cost| cost.rate).round(), middle(|cost| cost.lost));
        let work = format!("event to a subscriber, {mode} mode");
        rows.push(Row::new(work, cost, reference, Figure::Nanoseconds(floor)));
        let work = format!("events to a subscriber per second of wall time, {mode} mode");
        rows.push(Row::alone(work, Figure::Number(rate)));
        let work = format!("percent of the batches that it lost, {mode} mode");
        rows.push(Row::alone(work, Figure::Number(lost)));
    }
    rows
}

struct Flood {
    runtime: tokio::runtime::Runtime,
    host: Host,
    received: Arc<AtomicU64>,
    _directory: TempDir,
}

/// What a flood costs while it lasts.
struct Cost {
    /// CPU nanoseconds per event that arrived.
    per_event: f64,
    /// Events that arrived, per second of wall time.
    rate: f64,
    /// Percent of the batches that the subscriber lost.
    lost: f64,
}

impl Flood {
    fn start(mode: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let runtime = crate::runtime();
        let plugin = build::fixture("bench_flood");
        let received = Arc::new(AtomicU64::new(0));
        let host = runtime.block_on(async {
            let host = start_host(directory.path(), &[&plugin], &[("DEFAULTS__ISOLATION", mode)]);
            let events = host.subscribe(Subscribe::to("events.bench_flood.>").unwrap());
            tokio::spawn(count(events, received.clone()));
            host.settled().await;
            host
        });
        Self { runtime, host, received, _directory: directory }
    }

    fn measure(&self, time: Duration) -> Cost {
        self.runtime.block_on(async {
            let (pid, start, before) = (std::process::id(), Instant::now(), self.counts());
            let cpu = clock::of_family(pid);
            tokio::time::sleep(time).await;
            let (cpu, after) = (clock::of_family(pid) - cpu, self.counts());
            let [events, delivered, lost] =
                std::array::from_fn(|index| after[index] - before[index]);
            Cost {
                per_event: per(cpu, events),
                rate: events as f64 / start.elapsed().as_secs_f64(),
                lost: lost as f64 * 100.0 / (delivered + lost) as f64,
            }
        })
    }

    /// Events that were taken; batches that were taken, and those that were lost.
    fn counts(&self) -> [u64; 3] {
        let status = &self.host.bus().status().subscriptions[0];
        [self.received.load(Ordering::Relaxed), status.delivered, status.lost.total()]
    }

    fn end(self) {
        self.runtime.block_on(self.host.shutdown());
    }
}

async fn count(mut events: Subscription, received: Arc<AtomicU64>) {
    loop {
        let rows = events.recv().await.rows() as u64;
        received.fetch_add(rows, Ordering::Relaxed);
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
