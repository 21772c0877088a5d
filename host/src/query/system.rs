//! What the host tells of itself, as tables.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use dropsonde_plugin_api::schema::StreamKind;
use dropsonde_plugin_api::{Column, Record};
use serde::Serialize;

use super::catalog::{table_name, table_of};
use crate::bus::{BusStatus, StreamStatus};
use crate::clock;
use crate::model::{Batch, ColumnData, Read, StreamInfo};
use crate::slot::SlotStatus;

/// Topics of the tables, which are on no bus.
const TOPIC: &str = "table.dropsonde";

/// A collector, and how it is.
#[derive(Record)]
#[record(stream = "collectors")]
struct Collector<'a> {
    /// Its name.
    #[key]
    collector: &'a str,
    /// The plugin that it is an instance of.
    #[attribute]
    plugin: &'a str,
    /// Which image of the plugin serves; 0 before the first.
    #[gauge(unit = "1")]
    generation: u32,
    /// `process` or `thread`.
    #[attribute]
    isolation: &'a str,
    /// Where it stands.
    #[attribute]
    phase: &'a str,
    /// The same as an OpenTelemetry component status.
    #[attribute]
    status: &'a str,
    /// Whether it delivers, and on time.
    #[gauge(unit = "1")]
    ready: bool,
    /// Why it does not.
    #[attribute]
    reason: Option<String>,
    /// The last failure, even if it is over.
    #[attribute]
    last_error: Option<String>,
    /// Runners that were started anew after a failure.
    #[gauge(unit = "{restart}")]
    restarts: u64,
    /// Its own interval; demand may be faster.
    #[gauge(unit = "s")]
    interval_seconds: f64,
    /// Rounds that went well.
    #[gauge(unit = "{round}")]
    rounds: u64,
    /// Rounds that failed in whole or in part.
    #[gauge(unit = "{round}")]
    failed_rounds: u64,
    /// Ticks that came while the last round still went on, or late.
    #[gauge(unit = "{tick}")]
    missed_ticks: u64,
    /// Batches published.
    #[gauge(unit = "{batch}")]
    batches: u64,
    /// CPU time of the plugin's own calls.
    #[gauge(unit = "s")]
    cpu_seconds: f64,
    /// Age of its last batch.
    #[gauge(unit = "s")]
    last_batch_age_seconds: Option<f64>,
}

/// A stream, and what was read and asked of it.
#[derive(Record)]
#[record(stream = "streams")]
struct Stream<'a> {
    /// Its topic on the bus.
    #[key]
    topic: &'a str,
    /// Its table; none for events and what the host tells of itself.
    #[attribute]
    table_name: Option<String>,
    /// The collector that publishes it.
    #[attribute]
    collector: &'a str,
    /// The plugin that it comes from.
    #[attribute]
    plugin: &'a str,
    /// `snapshot` or `event`.
    #[attribute]
    kind: &'a str,
    /// What one record stands for.
    #[attribute]
    description: &'a str,
    /// Batches published.
    #[gauge(unit = "{batch}")]
    batches: u64,
    /// Records in them.
    #[gauge(unit = "{record}")]
    records: u64,
    /// Requests answered from its last batch.
    #[gauge(unit = "{request}")]
    cache_hits: u64,
    /// Requests that joined a read that was under way.
    #[gauge(unit = "{request}")]
    coalesced: u64,
    /// Subscribers that it serves.
    #[gauge(unit = "{subscriber}")]
    subscribers: u64,
}

/// A column of a table.
#[derive(Record)]
#[record(stream = "columns")]
struct ColumnOf<'a> {
    /// The table.
    #[key]
    table_name: String,
    /// The column.
    #[key]
    column_name: &'a str,
    /// Where it stands in the table, from 1.
    #[gauge(unit = "1")]
    position: u64,
    /// `key`, `counter`, `gauge` or `attribute`.
    #[attribute]
    role: String,
    /// `u64`, `i64`, `f64`, `bool`, `text` or `text_list`.
    #[attribute]
    value_type: String,
    /// By the Unified Code for Units of Measure.
    #[attribute]
    unit: &'a str,
    /// What it means.
    #[attribute]
    description: &'a str,
    /// The host makes it, of what the plugin counts.
    #[gauge(unit = "1")]
    derived: bool,
}

/// The host's own tables.
pub(super) fn streams() -> Vec<Arc<StreamInfo>> {
    vec![stream::<Collector<'_>>(), stream::<Stream<'_>>(), stream::<ColumnOf<'_>>()]
}

/// Whether a stream is one of the host's own tables.
pub(crate) fn is_system(stream: &StreamInfo) -> bool {
    stream.topic.starts_with(TOPIC)
}

/// What the host's own tables are made of.
pub(crate) struct Facts {
    /// The collectors, as they are now.
    pub(crate) collectors: Vec<SlotStatus>,
    /// The bus, as it is now.
    pub(crate) bus: BusStatus,
    /// All streams.
    pub(crate) streams: Vec<Arc<StreamInfo>>,
}

impl Facts {
    /// What stands in one of the host's own tables.
    pub(crate) fn read(&self, table: &Arc<StreamInfo>) -> Arc<Batch> {
        let records = match table.schema.name.as_str() {
            Collector::STREAM => append(table, self.collectors.iter().map(collector)),
            Stream::STREAM => append(table, self.streams.iter().map(|stream| self.stream(stream))),
            _ => {
                let own = streams();
                let tables =
                    self.streams.iter().filter(|stream| table_of(stream).is_some()).chain(&own);
                append(table, tables.flat_map(|stream| columns(stream)))
            }
        };
        let (rows, columns) = records;
        let wall = clock::wall();
        let due = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        let read = Read { generation: 0, sequence: 1, wall, monotonic: clock::monotonic(), due };
        Arc::new(Batch::new(table.clone(), read, rows, columns))
    }

    fn stream<'a>(&self, stream: &'a StreamInfo) -> Stream<'a> {
        let counts = self.bus.streams.iter().find(|counts| counts.topic == stream.topic);
        let count = |of: fn(&StreamStatus) -> u64| counts.map_or(0, of);
        Stream {
            topic: &stream.topic,
            table_name: table_of(stream),
            collector: &stream.collector,
            plugin: &stream.plugin,
            kind: match stream.schema.kind {
                StreamKind::Snapshot => "snapshot",
                StreamKind::Event => "event",
            },
            description: &stream.schema.description,
            batches: count(|counts| counts.batches),
            records: count(|counts| counts.records),
            cache_hits: count(|counts| counts.cache_hits),
            coalesced: count(|counts| counts.coalesced),
            subscribers: count(|counts| counts.subscribers as u64),
        }
    }
}

fn stream<R: Record>() -> Arc<StreamInfo> {
    let (host, topic): (Arc<str>, _) = ("dropsonde".into(), format!("{TOPIC}.{}", R::STREAM));
    Arc::new(StreamInfo::at(topic, format!("dropsonde_{}", R::STREAM), &host, &host, R::schema()))
}

fn append<R: Record>(
    table: &StreamInfo,
    records: impl Iterator<Item = R>,
) -> (usize, Vec<ColumnData>) {
    let columns = table.schema.columns.iter();
    let mut columns: Vec<Column> = columns.map(|column| Column::new(column.value)).collect();
    let rows = records.map(|record| record.append(&mut columns)).count();
    (rows, columns.iter().map(ColumnData::from).collect())
}

fn collector(status: &SlotStatus) -> Collector<'_> {
    Collector {
        collector: &status.name,
        plugin: &status.plugin,
        generation: status.generation,
        isolation: status.isolation.name(),
        phase: status.phase.name(),
        status: status.status,
        ready: status.ready,
        reason: status.reason.clone(),
        last_error: status.last_error.clone(),
        restarts: status.restarts,
        interval_seconds: status.interval_seconds,
        rounds: status.rounds,
        failed_rounds: status.failed_rounds,
        missed_ticks: status.missed_ticks,
        batches: status.batches,
        cpu_seconds: status.cpu_seconds,
        last_batch_age_seconds: status.last_batch_age_seconds,
    }
}

fn columns(stream: &StreamInfo) -> impl Iterator<Item = ColumnOf<'_>> {
    stream.schema.columns.iter().enumerate().map(|(index, column)| ColumnOf {
        table_name: table_name(stream),
        column_name: &column.name,
        position: index as u64 + 1,
        role: word(&column.role),
        value_type: word(&column.value),
        unit: &column.unit,
        description: &column.description,
        derived: index >= stream.declared,
    })
}

/// As it stands in JSON.
fn word(value: &impl Serialize) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().to_owned()
}
