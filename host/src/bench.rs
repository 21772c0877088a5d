//! Doors for the benchmark program to what the crate keeps to itself. No behaviour of its own.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use dropsonde_plugin_api::abi::{Capability, PluginModuleRef};
use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

use crate::bus::{Bus, Publisher};
use crate::clock;
use crate::control::{ConfigStatus, OwnUse, Status};
use crate::history::Store;
use crate::loader::{Functions, Loaded};
use crate::model::{Batch, ColumnData, Data, Rates, RawBatch, Read, StreamInfo, check};
use crate::runner::{Begin, Isolation, Quiet, Reply, Request, Spawner, Threads, start_process};
use crate::sink::otlp::metrics;
use crate::sink::prometheus;

/// Opens a plugin for good. Only for plugins that are known to be sound.
pub fn open(path: &Path) -> Result<PluginModuleRef, String> {
    let loaded = Loaded::open(path).map_err(|error| error.to_string())?;
    let Functions::Rust(module) = loaded.functions else { return Err("not in Rust".into()) };
    loaded.leak();
    Ok(module)
}

/// Ten numbers.
fn numbers(kind: StreamKind) -> StreamSchema {
    let column = |index| ColumnSchema {
        unit: "1".to_owned(),
        ..ColumnSchema::new(format!("number_{index}"), Role::Gauge, ValueType::U64)
    };
    let columns = (0..10).map(column).collect();
    StreamSchema { name: String::new(), kind, description: String::new(), columns }
}

fn info(topic: &str, schema: StreamSchema) -> Arc<StreamInfo> {
    let name: Arc<str> = "bench".into();
    Arc::new(StreamInfo::at(topic.to_owned(), topic.to_owned(), &name, &name, schema))
}

/// A stream of ten numbers.
pub fn stream(topic: &str, kind: StreamKind) -> Arc<StreamInfo> {
    info(topic, numbers(kind))
}

/// A batch of it, of one record.
pub fn batch(stream: &Arc<StreamInfo>, sequence: u64) -> Arc<Batch> {
    let monotonic = clock::monotonic();
    let read = Read { generation: 1, sequence, wall: clock::wall(), monotonic, due: monotonic };
    batch_of(stream, read, 1)
}

/// A batch of it, of so many records, read so many seconds after 1970.
pub fn batch_at(stream: &Arc<StreamInfo>, second: u64, rows: usize) -> Arc<Batch> {
    let due = Duration::from_secs(second);
    let wall = UNIX_EPOCH + due;
    let read = Read { generation: 1, sequence: second, wall, monotonic: due, due };
    batch_of(stream, read, rows)
}

fn batch_of(stream: &Arc<StreamInfo>, read: Read, rows: usize) -> Arc<Batch> {
    let column = |value| ColumnData { data: Data::U64(vec![value; rows]), validity: Vec::new() };
    Arc::new(Batch::new(stream.clone(), read, rows, (0..10).map(column).collect()))
}

/// Publishes a stream.
pub struct Source {
    publisher: Publisher,
    declared: [StreamSchema; 1],
    rates: Rates,
    sequence: u64,
}

impl Source {
    /// Puts a stream of ten numbers on the bus.
    pub fn new(bus: &Bus, topic: &str) -> Self {
        Self::of(bus, topic, numbers(StreamKind::Snapshot))
    }

    /// Puts a stream of this schema on the bus.
    pub fn of(bus: &Bus, topic: &str, schema: StreamSchema) -> Self {
        let declared = [schema.clone()];
        let publisher = bus.publisher(info(topic, schema));
        Self { publisher, declared, rates: Rates::default(), sequence: 0 }
    }

    /// What a slot makes of what a runner hands over: checked, with rates.
    pub fn finish(&mut self, mut raw: RawBatch) -> Result<Arc<Batch>, String> {
        check(&self.declared, &mut raw).map_err(|error| error.to_string())?;
        let info = self.publisher.info();
        let rates = self.rates.derive(info, &raw);
        self.sequence += 1;
        let monotonic = Duration::from_nanos(raw.monotonic_ns);
        let (wall, sequence) = (clock::wall(), self.sequence);
        let read = Read { generation: 1, sequence, wall, monotonic, due: monotonic };
        let columns = raw.columns.into_iter().chain(rates).collect();
        Ok(Arc::new(Batch::new(info.clone(), read, raw.rows, columns)))
    }

    /// A batch of one record of ten numbers.
    pub fn batch(&self, sequence: u64) -> Arc<Batch> {
        batch(self.publisher.info(), sequence)
    }

    /// As a slot publishes.
    pub async fn publish(&self, batch: Arc<Batch>) {
        self.publisher.publish(batch).await;
    }
}

/// The Prometheus page of these batches, and of a host that has nothing else.
pub fn page(batches: &[Arc<Batch>], bus: &Bus) -> String {
    let status = Status {
        history: None,
        host: OwnUse::default(),
        otlp: None,
        plugins: Vec::new(),
        collectors: Vec::new(),
        config: ConfigStatus::default(),
        bus: bus.status(),
        libraries: (&Quiet::default()).into(),
    };
    prometheus::page(batches, &status).text
}

/// Makes OTLP requests of batches.
pub struct OtlpEncoder(metrics::Encoder);

impl OtlpEncoder {
    /// For no resource in particular.
    #[allow(clippy::new_without_default)] // it is made once
    pub fn new() -> Self {
        Self(metrics::Encoder::new(&[], std::time::UNIX_EPOCH))
    }

    /// Bytes of the requests that a batch makes; none if it is the one before.
    pub fn request(&mut self, batch: &Batch) -> Vec<axum::body::Bytes> {
        self.0.add(batch, |_| String::new());
        self.0.finish(|_| true).into_iter().map(|request| request.body).collect()
    }
}

/// The store of history.
pub struct Stored(Store);

impl Stored {
    /// Makes a file.
    pub fn create(path: &Path) -> Result<Self, String> {
        Store::open(path, false).map(Self).map_err(|error| error.to_string())
    }

    /// Writes batches by one transaction.
    pub fn write(&mut self, batches: &[Arc<Batch>]) -> Result<(), String> {
        self.0.write(batches).map(drop).map_err(|error| error.to_string())
    }

    /// Makes the minutes and hours of all that was written.
    pub fn roll_up(&mut self) -> Result<(), String> {
        self.0.roll_up(i64::MAX).map_err(|error| error.to_string())
    }
}

/// Starts runners as slots do.
pub struct Runners {
    spawner: Spawner,
    threads: Threads,
}

/// A polled collector that stands.
pub struct Runner {
    runner: crate::runner::Runner,
    streams: Vec<StreamSchema>,
    round: u64,
}

impl Runners {
    /// On the current runtime.
    pub fn new() -> std::io::Result<Self> {
        let spawner =
            Spawner::new(tokio::runtime::Handle::current(), crate::runner::Cgroups::default())?;
        let records = std::env::temp_dir().join(format!("dropsonde-bench-{}", std::process::id()));
        Ok(Self { spawner, threads: Threads::new(&records, |_, _| {})? })
    }

    /// Starts a polled collector without settings.
    pub async fn start(&self, image: &Path, isolation: Isolation) -> Result<Runner, String> {
        self.start_with(image, isolation, "{}", &[]).await
    }

    /// Starts a polled collector with these settings, which are JSON.
    pub async fn start_with(
        &self,
        image: &Path,
        isolation: Isolation,
        settings: &str,
        capabilities: &[Capability],
    ) -> Result<Runner, String> {
        let begin = Begin {
            image: image.to_owned(),
            events: false,
            collector: "bench".to_owned(),
            settings: settings.to_owned(),
            state_dir: String::new(),
            limits: crate::config::Limits::default(),
            capabilities: capabilities.to_owned(),
            sandbox: true,
            check_only: false,
        };
        let mut runner = match isolation {
            Isolation::Process => start_process(&self.spawner, begin),
            Isolation::Thread => self.threads.start(begin, ""),
        };
        let mut streams = Vec::new();
        loop {
            match runner.replies.recv().await {
                Some(Reply::Described { streams: declared, .. }) => streams = declared,
                Some(Reply::Created) => return Ok(Runner { runner, streams, round: 0 }),
                Some(Reply::Closed(failure)) => return Err(format!("{failure:?}")),
                Some(_) => {}
                None => return Err("it ended without a word".to_owned()),
            }
        }
    }
}

impl Runner {
    /// One round, from the request to the checked batch; the rows that it gave.
    pub async fn round(&mut self) -> Result<usize, String> {
        self.round += 1;
        self.runner.send(Request::Collect { id: self.round, wanted: u64::MAX });
        let mut rows = 0;
        loop {
            match self.runner.replies.recv().await {
                Some(Reply::Batch(mut raw)) => {
                    check(&self.streams, &mut raw).map_err(|error| error.to_string())?;
                    rows += raw.rows;
                }
                Some(Reply::Done { outcome: Ok(_), .. }) => return Ok(rows),
                Some(Reply::Log { .. }) => {}
                Some(other) => return Err(format!("{other:?}")),
                None => return Err("it ended without a word".to_owned()),
            }
        }
    }

    /// Ends it, and waits.
    pub async fn stop(self) {
        self.runner.stop(Duration::from_secs(5)).await;
    }
}
