//! What is to be exported, as it becomes so.

use std::time::Duration;

use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::{Request, logs, metrics};
use crate::bus::{Batches, Overflow, Pattern, Subscribe, Subscription};
use crate::config::Otlp;
use crate::control::{Host, boot_time};
use crate::model::StreamInfo;
use dropsonde_plugin_api::schema::StreamKind;

/// Batches of events that may wait to be encoded.
const ROOM: usize = 4096;
/// So many records are exported together, if they come in time.
const GATHER: (usize, Duration) = (1024, Duration::from_secs(1));

pub(super) enum Source {
    Snapshots(Snapshots),
    Events(Events),
}

impl Source {
    /// Waits until there is something to export. Cancel-safe.
    pub(super) async fn next(&mut self) -> Vec<Request> {
        match self {
            Self::Snapshots(snapshots) => {
                snapshots.timer.tick().await;
                snapshots.since()
            }
            Self::Events(events) => {
                let batches = events.batches.recv_many().await;
                events.requests(&batches)
            }
        }
    }

    /// What is there now, for the last export.
    pub(super) fn rest(&mut self) -> Vec<Request> {
        match self {
            Self::Snapshots(snapshots) => snapshots.since(),
            Self::Events(events) => events.rest(),
        }
    }
}

/// The last batches of the streams, each interval. They are looked up, not subscribed to: no
/// stream is read more often for it, and nothing has to wait.
pub(super) struct Snapshots {
    host: Host,
    streams: Vec<Pattern>,
    timer: Interval,
    encoder: metrics::Encoder,
}

impl Snapshots {
    pub(super) fn new(host: &Host, config: &Otlp, resource: &[u8]) -> Self {
        let mut timer = interval_at(Instant::now() + config.interval, config.interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let encoder = metrics::Encoder::new(resource, boot_time());
        Self { host: host.clone(), streams: config.streams.clone(), timer, encoder }
    }

    /// What was read since the last time.
    fn since(&mut self) -> Vec<Request> {
        let bus = self.host.bus();
        let wanted = |stream: &StreamInfo| {
            stream.schema.kind == StreamKind::Snapshot
                && self.streams.iter().any(|pattern| pattern.matches(&stream.topic))
        };
        let mut streams = bus.streams();
        streams.retain(|stream| wanted(stream));
        for batch in streams.iter().filter_map(|stream| bus.latest(&stream.topic)) {
            if self.encoder.add(&batch, |plugin| self.host.version_of(plugin)) {
                bus.count_cache_hit(&batch.stream.topic);
            }
        }
        self.encoder.finish(|topic| streams.iter().any(|stream| stream.topic == topic))
    }
}

/// Events, as they come.
pub(super) struct Events {
    host: Host,
    batches: Subscription,
    encoder: logs::Encoder,
}

impl Events {
    /// `None`: none are asked for.
    pub(super) fn new(host: &Host, config: &Otlp, resource: Resource) -> Option<Self> {
        let request = Subscribe::to_all(&config.events)?
            .named("otlp")
            .gather(GATHER.0, GATHER.1)
            .overflow(Overflow::DropOldest(ROOM));
        let encoder = logs::Encoder::new(resource);
        Some(Self { batches: host.subscribe(request), host: host.clone(), encoder })
    }

    fn requests(&mut self, batches: &Batches) -> Vec<Request> {
        for batch in batches.iter() {
            self.encoder.add(batch, |plugin| self.host.version_of(plugin));
        }
        self.encoder.finish()
    }

    fn rest(&mut self) -> Vec<Request> {
        while let Some(batch) = self.batches.try_recv() {
            self.encoder.add(&batch, |plugin| self.host.version_of(plugin));
        }
        self.encoder.finish()
    }
}
