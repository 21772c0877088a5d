//! What the host publishes of itself: `health.*` and `host.*`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use dropsonde_plugin_api::{Column, Record};

use crate::bus::{Bus, Publisher};
use crate::clock;
use crate::model::{Batch, ColumnData, Read, StreamInfo};
use crate::slot::SlotStatus;

/// The state of one collector.
#[derive(Record)]
struct Health<'a> {
    /// The collector.
    #[key]
    collector: &'a str,
    /// Where it stands.
    #[attribute]
    phase: &'a str,
    /// The same as an OpenTelemetry component status.
    #[attribute]
    status: &'a str,
    /// Whether it delivers.
    #[gauge(unit = "1")]
    ready: bool,
    /// Runners that were started anew after a failure.
    #[counter(unit = "{restart}")]
    restarts: u64,
    /// Which image of the plugin serves.
    #[gauge(unit = "1")]
    generation: u32,
    /// `process` or `thread`.
    #[attribute]
    isolation: &'a str,
    /// Why it runs in a process though a thread was asked for.
    #[attribute]
    moved: Option<String>,
    /// The last failure.
    #[attribute]
    last_error: Option<String>,
}

/// Something that happened to a plugin file.
#[derive(Record)]
#[record(kind = "event")]
struct PluginEvent<'a> {
    /// The file.
    #[key]
    file: &'a str,
    /// The plugin's name, if it is known.
    #[attribute]
    plugin: Option<String>,
    /// Which image of the plugin it is.
    #[gauge(unit = "1")]
    generation: Option<u32>,
    /// Why.
    #[attribute]
    reason: Option<&'a str>,
}

/// Something that happened to the configuration.
#[derive(Record)]
#[record(kind = "event")]
struct ConfigEvent<'a> {
    /// Applied or rejected.
    #[key]
    outcome: &'a str,
    /// The collectors concerned.
    #[attribute]
    collectors: Vec<String>,
    /// Why it was rejected.
    #[attribute]
    reason: Option<String>,
}

/// The host's own streams; each appears with its first batch.
#[derive(Default)]
pub(crate) struct Events {
    streams: Mutex<HashMap<String, (Publisher, u64)>>,
}

impl Events {
    pub(super) fn health(&self, bus: &Bus, status: &SlotStatus) {
        let record = Health {
            collector: &status.name,
            phase: status.phase.name(),
            status: status.phase.status(),
            ready: status.phase.is_ready(),
            restarts: status.restarts,
            generation: status.generation,
            isolation: status.isolation.name(),
            moved: status.moved.clone(),
            last_error: status.last_error.clone(),
        };
        self.publish(bus, format!("health.{}", status.name), &record);
    }

    /// `what` is `loaded`, `rejected` or `removed`.
    pub(super) fn plugin(
        &self,
        bus: &Bus,
        what: &str,
        file: &str,
        image: Option<(&str, u32)>,
        reason: Option<&str>,
    ) {
        let record = PluginEvent {
            file,
            plugin: image.map(|(plugin, _)| plugin.to_owned()),
            generation: image.map(|(_, generation)| generation),
            reason,
        };
        self.publish(bus, format!("host.plugin.{what}"), &record);
    }

    /// `outcome` is `applied` or `rejected`.
    pub(super) fn config(
        &self,
        bus: &Bus,
        outcome: &str,
        collectors: Vec<String>,
        reason: Option<String>,
    ) {
        let record = ConfigEvent { outcome, collectors, reason };
        self.publish(bus, format!("host.config.{outcome}"), &record);
    }

    pub(super) fn clear(&self) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn publish<R: Record>(&self, bus: &Bus, topic: String, record: &R) {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        let (publisher, sequence) = streams.entry(topic.clone()).or_insert_with(|| {
            let host: Arc<str> = "host".into();
            let info = StreamInfo::at(topic.clone(), topic, &host, &host, R::schema());
            (bus.publisher(Arc::new(info)), 0)
        });
        *sequence += 1;
        let info = publisher.info().clone();
        let declared = &info.schema.columns[..info.declared];
        let mut columns: Vec<Column> =
            declared.iter().map(|column| Column::new(column.value)).collect();
        record.append(&mut columns);
        let data = columns.iter().map(ColumnData::from);
        let derived = info.derived.iter().map(|_| ColumnData::floats(vec![None]));
        let wall = clock::wall();
        let read = Read {
            generation: 0,
            sequence: *sequence,
            wall,
            monotonic: clock::monotonic(),
            due: wall.duration_since(UNIX_EPOCH).unwrap_or_default(),
        };
        let batch = Batch::new(info.clone(), read, 1, data.chain(derived).collect());
        publisher.publish_now(Arc::new(batch));
    }
}
