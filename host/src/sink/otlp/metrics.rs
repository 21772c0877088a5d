//! Snapshots as OTLP metrics: bytes of `ExportMetricsServiceRequest`.
//!
//! A counter is a cumulative, monotonic sum, anything else a gauge. The columns of a stream that
//! have one OpenTelemetry name are points of one metric. A sum's start is the boot of the machine,
//! or, once it was seen to go back, the read before. Samples of other programs have names of their
//! own.

mod samples;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::body::Bytes;
use opentelemetry_proto::tonic::metrics::v1::AggregationTemporality;

use super::plan::{Metric, Plan, PointColumn, tag};
use super::{Request, wire};
use crate::model::{Batch, StreamInfo, Value};
use crate::sink::samples::Shape;

/// A request is ended when it has become so large: receivers take 4 MiB unless told otherwise.
const LARGE: usize = 1 << 20;
/// Most points of a stream that are written before the size is looked at: a point has some
/// hundred bytes.
const POINTS: usize = 4096;

/// Makes requests of batches. Keeps what it knows of each stream while it is there.
pub(crate) struct Encoder {
    /// `ResourceMetrics` up to its scopes: the resource, as a field.
    resource: Vec<u8>,
    /// Nanoseconds since 1970.
    boot: u64,
    streams: HashMap<String, Stream>,
    finished: Vec<Request>,
    /// The scopes of the request in the making.
    scopes: Vec<u8>,
    items: u64,
    scratch: Scratch,
}

/// Buffers that are filled over and over.
#[derive(Default)]
struct Scratch {
    /// Attributes of all rows of a part, and where each ends.
    attributes: Vec<u8>,
    ends: Vec<usize>,
    /// Starts of the counters of all rows of a part.
    starts: Vec<u64>,
    points: Vec<u8>,
    metrics: Vec<u8>,
}

/// One stream, as it was exported so far.
struct Stream {
    plan: Plan,
    samples: Option<Shape>,
    /// The generation of the plugin that the scope is of.
    generation: u32,
    /// `InstrumentationScope`, as a field.
    scope: Vec<u8>,
    sequence: u64,
    series: HashMap<Box<[u8]>, Series>,
    /// Time of the last batch.
    before: u64,
    round: u64,
}

/// The counters of one record.
struct Series {
    round: u64,
    last: Box<[f64]>,
    starts: Box<[u64]>,
}

impl Encoder {
    /// `resource` is the bytes of a `Resource`; `boot` the wall time at which the machine started.
    pub(crate) fn new(resource: &[u8], boot: SystemTime) -> Self {
        let mut field = Vec::new();
        wire::field(1, resource, &mut field);
        Self {
            resource: field,
            boot: nanoseconds(boot),
            streams: HashMap::new(),
            finished: Vec::new(),
            scopes: Vec::new(),
            items: 0,
            scratch: Scratch::default(),
        }
    }

    /// Adds a batch, unless it was exported before; says whether it did. `version` is the plugin's.
    pub(crate) fn add(&mut self, batch: &Batch, version: impl FnOnce(&str) -> String) -> bool {
        let info = &batch.stream;
        let known = self.streams.remove(&info.topic);
        let mut stream = match known {
            Some(known) if Arc::ptr_eq(&known.plan.stream, info) => known,
            // A runner that was started anew has the same stream: its counters go on, or back.
            Some(mut known) if known.plan.stream == *info => {
                known.plan.stream = info.clone();
                known
            }
            _ => Stream::new(info),
        };
        if stream.scope.is_empty() || stream.generation != batch.generation {
            stream.generation = batch.generation;
            stream.scope = scope(&info.plugin, &version(&info.plugin));
        }
        let is_new = stream.sequence != batch.sequence;
        if is_new {
            stream.sequence = batch.sequence;
            stream.round += 1;
            self.batch(&mut stream, batch);
            let round = stream.round;
            stream.series.retain(|_, series| series.round == round);
            stream.before = nanoseconds(batch.wall);
        }
        self.streams.insert(info.topic.clone(), stream);
        is_new
    }

    fn batch(&mut self, stream: &mut Stream, batch: &Batch) {
        let rows = (POINTS / stream.plan.values.max(1)).max(1);
        for first in (0..batch.rows()).step_by(rows) {
            let part = first..batch.rows().min(first + rows);
            self.items += match stream.samples {
                Some(shape) => self.scratch.write_samples(stream, shape, batch, part),
                None => {
                    self.scratch.rows(stream, batch, part.clone(), self.boot);
                    self.scratch.write(stream, batch, part)
                }
            };
            if !self.scratch.metrics.is_empty() {
                let length = stream.scope.len() + self.scratch.metrics.len();
                wire::head(tag::SCOPE_METRICS, length, &mut self.scopes);
                self.scopes.extend_from_slice(&stream.scope);
                self.scopes.extend_from_slice(&self.scratch.metrics);
            }
            if self.scopes.len() >= LARGE {
                self.end_request();
            }
        }
    }

    fn end_request(&mut self) {
        if self.scopes.is_empty() {
            return;
        }
        let length = self.resource.len() + self.scopes.len();
        let mut body = Vec::with_capacity(length + 8);
        wire::head(1, length, &mut body);
        body.extend_from_slice(&self.resource);
        body.append(&mut self.scopes);
        let items = std::mem::take(&mut self.items);
        self.finished.push(Request { body: Bytes::from(body), items });
    }

    /// The requests that are made of what was added; streams that are no longer `there` are
    /// forgotten.
    pub(crate) fn finish(&mut self, there: impl Fn(&str) -> bool) -> Vec<Request> {
        self.end_request();
        self.streams.retain(|topic, _| there(topic));
        std::mem::take(&mut self.finished)
    }
}

/// `InstrumentationScope`, as a field.
fn scope(plugin: &str, version: &str) -> Vec<u8> {
    let (mut inner, mut scope) = (Vec::new(), Vec::new());
    wire::text(tag::SCOPE_NAME, &format!("dropsonde/{plugin}"), &mut inner);
    wire::text(tag::SCOPE_VERSION, version, &mut inner);
    wire::field(tag::SCOPE, &inner, &mut scope);
    scope
}

impl Stream {
    fn new(info: &Arc<StreamInfo>) -> Self {
        let (plan, samples, series) = (Plan::new(info), Shape::of(info), HashMap::new());
        let (generation, scope) = (0, Vec::new());
        Self { plan, samples, generation, scope, sequence: 0, series, before: 0, round: 0 }
    }

    /// When the counters of a record began to count; appended to `starts`.
    fn starts(&mut self, batch: &Batch, row: usize, key: &[u8], boot: u64, starts: &mut Vec<u64>) {
        if self.plan.counters == 0 {
            return;
        }
        if !self.series.contains_key(key) {
            let (last, starts) =
                (vec![f64::MIN; self.plan.counters], vec![boot; self.plan.counters]);
            let series = Series { round: 0, last: last.into(), starts: starts.into() };
            self.series.insert(key.into(), series);
        }
        let Some(series) = self.series.get_mut(key) else { return };
        // A key that stands twice in one batch has no history of its own.
        let twice = series.round == self.round;
        series.round = self.round;
        let columns = self.plan.metrics.iter().flat_map(|metric| &metric.columns);
        let counters = columns.filter(|column| column.counter.is_some());
        for ((column, last), start) in counters.zip(&mut series.last).zip(&mut series.starts) {
            if let Some(value) = number(batch.value(row, column.index)).filter(|_| !twice) {
                if value < *last {
                    *start = self.before;
                }
                *last = value;
            }
        }
        starts.extend_from_slice(&series.starts);
    }
}

impl Scratch {
    /// The attributes of the rows, and the starts of their counters.
    fn rows(
        &mut self,
        stream: &mut Stream,
        batch: &Batch,
        rows: std::ops::Range<usize>,
        boot: u64,
    ) {
        self.attributes.clear();
        self.ends.clear();
        self.starts.clear();
        for row in rows {
            let start = self.attributes.len();
            stream.plan.attributes_of(batch, row, &mut self.attributes);
            self.ends.push(self.attributes.len());
            let key = self.attributes.get(start..).unwrap_or_default();
            stream.starts(batch, row, key, boot, &mut self.starts);
        }
    }

    /// The metrics of the rows; says how many points they have.
    fn write(&mut self, stream: &Stream, batch: &Batch, rows: std::ops::Range<usize>) -> u64 {
        self.metrics.clear();
        let mut count = 0;
        for metric in &stream.plan.metrics {
            self.points.clear();
            let mut begin = 0;
            for (row, (nth, end)) in rows.clone().zip(self.ends.iter().enumerate()) {
                let attributes = self.attributes.get(begin..*end).unwrap_or_default();
                begin = *end;
                let starts = self.starts.get(nth * stream.plan.counters..).unwrap_or_default();
                for column in &metric.columns {
                    count +=
                        u64::from(point(batch, row, column, attributes, starts, &mut self.points));
                }
            }
            if !self.points.is_empty() {
                end_metric(metric, &self.points, &mut self.metrics);
            }
        }
        count
    }
}

/// Appends a point, as a field of its metric's data; nothing if the value is missing.
fn point(
    batch: &Batch,
    row: usize,
    column: &PointColumn,
    attributes: &[u8],
    starts: &[u64],
    out: &mut Vec<u8>,
) -> bool {
    let value = batch.value(row, column.index);
    let (tag, bits) = match value {
        Value::F64(_) | Value::U64(_) | Value::I64(_) if column.is_percentage => {
            (tag::POINT_DOUBLE, (number(value).unwrap_or_default() / 100.0).to_bits())
        }
        Value::U64(value) => match i64::try_from(value) {
            Ok(value) => (tag::POINT_INT, value.cast_unsigned()),
            Err(_) => (tag::POINT_DOUBLE, (value as f64).to_bits()),
        },
        Value::I64(value) => (tag::POINT_INT, value.cast_unsigned()),
        Value::F64(value) => (tag::POINT_DOUBLE, value.to_bits()),
        Value::Bool(value) => (tag::POINT_INT, value.into()),
        Value::Null | Value::Text(_) | Value::List(_) => return false,
    };
    let start = column.counter.and_then(|counter| starts.get(counter));
    let numbers = if start.is_some() { 27 } else { 18 }; // a key and 8 bytes each
    wire::head(tag::POINTS, attributes.len() + column.attributes.len() + numbers, out);
    if let Some(start) = start {
        wire::fixed64(tag::POINT_START, *start, out);
    }
    wire::fixed64(tag::POINT_TIME, nanoseconds(batch.wall), out);
    wire::fixed64(tag, bits, out);
    out.extend_from_slice(&column.attributes);
    out.extend_from_slice(attributes);
    true
}

fn end_metric(metric: &Metric, points: &[u8], out: &mut Vec<u8>) {
    let mut rest = Vec::new();
    if metric.is_sum {
        let cumulative = AggregationTemporality::Cumulative as u64;
        wire::varint(tag::SUM_TEMPORALITY, cumulative, &mut rest);
        wire::varint(tag::SUM_IS_MONOTONIC, 1, &mut rest);
    }
    let mut data = Vec::new();
    let kind = if metric.is_sum { tag::METRIC_SUM } else { tag::METRIC_GAUGE };
    wire::head(kind, points.len() + rest.len(), &mut data);
    let length = metric.head.len() + data.len() + points.len() + rest.len();
    wire::head(tag::METRICS, length, out);
    [&metric.head[..], &data, points, &rest].iter().for_each(|part| out.extend_from_slice(part));
}

fn number(value: Value<'_>) -> Option<f64> {
    match value {
        Value::U64(value) => Some(value as f64),
        Value::I64(value) => Some(value as f64),
        Value::F64(value) => Some(value),
        _ => None,
    }
}

/// Since 1970.
pub(super) fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
