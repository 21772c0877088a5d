//! Export by OTLP, the OpenTelemetry protocol: snapshots as metrics, events as logs.
//!
//! ```text
//! bus ──► source ──► encoder ──► outbox ──► client ──► receiver
//!        (interval)  (bytes)   (disk, bounded)  (gRPC | HTTP)
//! ```
//! Each signal has a task of its own, and one request under way. A request is bytes from the
//! encoder on: so it waits, and so it travels. It goes to disk when its first try fails or others
//! wait before it; they are sent in order. What a receiver may be asked again is asked again, after
//! a pause that grows; everything else is dropped and counted.

mod client;
pub(crate) mod logs;
pub(crate) mod metrics;
mod outbox;
mod plan;
mod resource;
mod sender;
mod source;
mod status;
mod store;
mod wire;

use std::time::Duration;

use axum::body::Bytes;
use prost::Message;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use status::Shared;
pub use status::{OtlpStatus, SignalStatus};

use self::client::Client;
use self::outbox::Outbox;
use self::sender::Sender;
use self::source::{Events, Snapshots, Source};
use self::status::Counts;
use self::store::Store;
use crate::config::Config;
use crate::control::Host;

/// What is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signal {
    Metrics,
    Logs,
}

impl Signal {
    /// As paths have it.
    fn name(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}

/// An export request of one signal, encoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) body: Bytes,
    /// Data points or log records in it.
    pub(crate) items: u64,
}

/// How long the end may take: what was read last is sent, and the rest goes to disk.
const END: Duration = Duration::from_secs(1);

/// A running export.
pub(crate) struct Exporter {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Exporter {
    /// Starts the export, if one is configured. Must be called on the runtime.
    pub(crate) fn start(host: &Host, config: &Config) -> Option<Self> {
        let otlp = config.otlp.as_ref()?;
        let status = Shared::new(otlp.endpoint.to_string(), otlp.protocol.name());
        host.exports(status.clone());
        let (stop, stopped) = watch::channel(false);
        let resource = resource::resource(&otlp.resource, &config.state_dir);
        let sender = |signal: Signal| {
            let path = otlp.queue_path.clone().unwrap_or_else(|| config.state_dir.join("otlp"));
            let store = Store::new(path.join(signal.name()));
            let (most, counts) = (otlp.queue_size / 2, Counts::new(&status, signal));
            let client = Client::new(otlp, signal);
            async move {
                let outbox = Outbox::open(store, most, counts.clone()).await;
                Sender::new(signal, client, outbox, counts)
            }
        };
        let mut tasks = Vec::new();
        let mut spawn = |signal, source: Source| {
            let sender = sender(signal);
            let stopped = stopped.clone();
            tasks.push(tokio::spawn(async move { sender.await.run(source, stopped).await }));
        };
        if !otlp.streams.is_empty() {
            let source = Snapshots::new(host, otlp, &resource.encode_to_vec());
            spawn(Signal::Metrics, Source::Snapshots(source));
        }
        if let Some(source) = Events::new(host, otlp, resource) {
            spawn(Signal::Logs, Source::Events(source));
        }
        Some(Self { stop, tasks })
    }

    /// Sends what was read since the last export, and leaves on disk what is not taken within a
    /// second.
    pub(crate) async fn end(self) {
        let _ = self.stop.send(true);
        // Beyond that a disk hangs: nothing more can be done.
        let deadline = tokio::time::Instant::now() + END + Duration::from_millis(250);
        for task in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout_at(deadline, task).await.is_err() {
                abort.abort();
            }
        }
    }
}
