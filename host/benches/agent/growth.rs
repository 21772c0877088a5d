//! How cost grows: with collectors, with subscribers, with rows. Each point is a cost per piece,
//! beside the point before it: 1.00 is linear, less is better.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use dropsonde::bench::{Source, page};
use dropsonde::model::{ColumnData, Data, RawBatch};
use dropsonde::{Batch, Bus, Subscribe};
use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

use crate::Effort;
use crate::measure::{in_turn, median, per_call};
use crate::publish::{BURST, OnBus, Way};
use crate::table::{Figure, Row};
use crate::whole_agent::{Agent, cpu_per_second};

/// Rows that are measured together, so that few take long enough.
const ROWS: usize = 20_000;

pub(crate) fn collectors(effort: Effort) -> Vec<Row> {
    let second = |_| Duration::from_secs(1);
    let cost = |mode, count| {
        let agent = Agent::of_still(count, mode, second);
        agent.settle(effort);
        cpu_per_second(agent.pid(), effort) / count as f64
    };
    let mut rows = Vec::new();
    // A host takes no more than 256 libraries.
    for (mode, counts) in [("thread", &[1, 10, 100][..]), ("process", &[1, 10, 100, 1000])] {
        let costs = counts.iter().map(|count| (*count, Figure::Microseconds(cost(mode, *count))));
        rows.extend(curve(costs, |count| {
            format!("growth: {count} collectors that read nothing at 1 s, CPU per second and collector, {mode} mode")
        }));
    }
    rows
}

pub(crate) fn subscribers(effort: Effort) -> Vec<Row> {
    let counts = [1, 10, 100, 1_000, 10_000];
    let mut buses = counts.map(|count| OnBus::new(Way::Task, count));
    let [a, b, c, d, e] = &mut buses;
    let costs = in_turn(
        effort,
        [
            &mut || a.per_delivery(effort, BURST),
            &mut || b.per_delivery(effort, BURST),
            &mut || c.per_delivery(effort, BURST),
            &mut || d.per_delivery(effort, BURST),
            &mut || e.per_delivery(effort, BURST),
        ],
    );
    let costs = counts.into_iter().zip(costs.map(Figure::Nanoseconds));
    curve(costs, |count| format!("growth: publish to {count} tasks, per delivery"))
}

/// The points of a curve, each beside the one before.
fn curve(
    points: impl Iterator<Item = (usize, Figure)>,
    name: impl Fn(usize) -> String,
) -> Vec<Row> {
    let mut before = None;
    let row = |(count, measured)| {
        let reference = if before.is_some() { "the line before" } else { "–" };
        Row { work: name(count), measured, reference, floor: before.replace(measured) }
    };
    points.map(row).collect()
}

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let counts = [1, 10, 100, 1_000, 10_000, 100_000];
    let costs = counts.map(|count| {
        let mut stream = Stream::new(count);
        let measured: Vec<_> = (0..=effort.repetitions).map(|_| stream.measure()).skip(1).collect();
        std::array::from_fn(|part| {
            median(measured.iter().map(|costs: &[f64; 3]| costs[part]).collect())
        })
    });
    let parts = ["checked, its rates derived, published", "as JSON", "as Prometheus text"];
    let of_part = |(part, what): (usize, &&str)| {
        let costs: [[f64; 3]; 6] = costs;
        let points = counts.into_iter().zip(costs.map(|costs| Figure::Nanoseconds(costs[part])));
        curve(points, |count| format!("growth: a batch of {count} rows {what}, per row"))
    };
    parts.iter().enumerate().flat_map(of_part).collect()
}

/// A stream of a key, two counters and two gauges, with one subscriber.
struct Stream {
    runtime: tokio::runtime::Runtime,
    bus: Bus,
    source: Source,
    raw: RawBatch,
}

impl Stream {
    fn new(rows: usize) -> Self {
        let runtime = crate::runtime();
        let context = runtime.enter();
        let bus = Bus::new();
        let source = Source::of(&bus, "metrics.bench", schema());
        bus.subscribe_inline(Subscribe::to("metrics.bench").unwrap(), |batch| {
            black_box(batch);
        });
        drop(context);
        Self { runtime, bus, source, raw: raw(rows) }
    }

    /// CPU nanoseconds per row: checked and published, as JSON, as Prometheus text.
    fn measure(&mut self) -> [f64; 3] {
        let count = (ROWS / self.raw.rows).max(1);
        let rows = (count * self.raw.rows) as u64;
        let raw: Vec<RawBatch> = (0..count).map(|_| self.next()).collect();
        let mut batches: Vec<Arc<Batch>> = Vec::with_capacity(count);
        let published = per_call(rows, || {
            self.runtime.block_on(async {
                for raw in raw {
                    let batch = self.source.finish(raw).unwrap();
                    self.source.publish(batch.clone()).await;
                    batches.push(batch);
                }
                tokio::task::yield_now().await; // to the dispatcher
            });
        });
        let json = per_call(rows, || {
            for batch in &batches {
                black_box(batch.json());
            }
        });
        let prometheus = per_call(rows, || {
            for batch in &batches {
                black_box(page(std::slice::from_ref(batch), &self.bus));
            }
        });
        [published, json, prometheus]
    }

    /// A second later, with counters that have grown.
    fn next(&mut self) -> RawBatch {
        self.raw.monotonic_ns += 1_000_000_000;
        for column in &mut self.raw.columns {
            if let Data::U64(values) = &mut column.data {
                values.iter_mut().for_each(|value| *value += 1_000);
            }
        }
        self.raw.clone()
    }
}

pub(crate) fn schema() -> StreamSchema {
    let column = |name, role, value| ColumnSchema {
        unit: "1".to_owned(),
        description: "A column.".to_owned(),
        ..ColumnSchema::new(name, role, value)
    };
    StreamSchema {
        name: String::new(),
        kind: StreamKind::Snapshot,
        description: "A record.".to_owned(),
        columns: vec![
            column("name", Role::Key, ValueType::Text),
            column("read", Role::Counter, ValueType::U64),
            column("written", Role::Counter, ValueType::U64),
            column("used", Role::Gauge, ValueType::U64),
            column("ratio", Role::Gauge, ValueType::F64),
        ],
    }
}

pub(crate) fn raw(rows: usize) -> RawBatch {
    let column = |data| ColumnData { data, validity: Vec::new() };
    let (mut ends, mut bytes) = (Vec::new(), Vec::new());
    for row in 0..rows {
        bytes.extend(format!("name-{row}").into_bytes());
        ends.push(bytes.len() as u32);
    }
    let numbers = |from: u64| (0..rows as u64).map(|row| from + row * 7919).collect::<Vec<u64>>();
    let columns = vec![
        column(Data::Text { ends, bytes }),
        column(Data::U64(numbers(1 << 30))),
        column(Data::U64(numbers(1 << 20))),
        column(Data::U64(numbers(1))),
        column(Data::F64((0..rows).map(|row| row as f64 / 7.0).collect())),
    ];
    RawBatch { stream: 0, rows, monotonic_ns: 0, columns }
}
