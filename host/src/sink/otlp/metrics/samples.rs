//! Streams of samples in OTLP: each row is a point of the metric that it names.
//!
//! What only counts up is a cumulative sum, all else a gauge; the parts of a histogram or summary
//! are metrics by their own names, as Prometheus stores them. When the counting began is not known,
//! and not said, until a counter was seen to go back.

use std::ops::Range;

use super::{Scratch, Series, Stream, end_metric, nanoseconds};
use crate::model::{Batch, Value};
use crate::sink::otlp::plan::{Metric, tag};
use crate::sink::otlp::wire;
use crate::sink::samples::{Sample, Shape, unescaped};

/// What OTLP has for a start that is not known.
const UNKNOWN: u64 = 0;

impl Scratch {
    /// The metrics of the rows; says how many points they have.
    pub(super) fn write_samples(
        &mut self,
        stream: &mut Stream,
        shape: Shape,
        batch: &Batch,
        rows: Range<usize>,
    ) -> u64 {
        self.metrics.clear();
        self.points.clear();
        let mut count = 0;
        // Rows of one metric stand together, as programs write them.
        let mut open: Option<(&str, Metric)> = None;
        for sample in rows.filter_map(|row| shape.sample(batch, row).ok()) {
            let Some(number) = sample.number else { continue };
            let is_same = |(name, metric): &(&str, Metric)| {
                *name == sample.metric && metric.is_sum == sample.counts
            };
            if !open.as_ref().is_some_and(is_same) {
                if let Some((_, metric)) = open.replace((sample.metric, metric_of(&sample))) {
                    end_metric(&metric, &self.points, &mut self.metrics);
                }
                self.points.clear();
            }
            self.attributes.clear();
            self.attributes.extend(attributes(stream, &sample));
            let start = if sample.counts {
                stream.start(sample.metric, &self.attributes, number)
            } else {
                UNKNOWN
            };
            point(batch, number, start, &self.attributes, &mut self.points);
            count += 1;
        }
        if let Some((_, metric)) = open {
            end_metric(&metric, &self.points, &mut self.metrics);
        }
        count
    }
}

impl Stream {
    /// When a counter began to count, in nanoseconds since 1970.
    fn start(&mut self, metric: &str, attributes: &[u8], number: f64) -> u64 {
        let key = [metric.as_bytes(), &[0], attributes].concat();
        let series = self.series.entry(key.into()).or_insert_with(|| Series {
            round: 0,
            last: [f64::MIN].into(),
            starts: [UNKNOWN].into(),
        });
        series.round = self.round;
        let (Some(last), Some(start)) = (series.last.first_mut(), series.starts.first_mut()) else {
            return UNKNOWN;
        };
        if number < *last {
            *start = self.before;
        }
        *last = number;
        *start
    }
}

fn metric_of(sample: &Sample<'_>) -> Metric {
    let mut head = Vec::new();
    wire::text(tag::METRIC_NAME, sample.metric, &mut head);
    wire::text(tag::METRIC_DESCRIPTION, sample.help, &mut head);
    wire::text(tag::METRIC_UNIT, sample.unit, &mut head);
    Metric { head, is_sum: sample.counts, columns: Vec::new() }
}

fn attributes(stream: &Stream, sample: &Sample<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut add = |name: &str, value: &str| {
        wire::attribute(tag::POINT_ATTRIBUTES, name, Value::Text(value), &mut out);
    };
    let info = &stream.plan.stream;
    let several = info.collector != info.plugin; // as all that this collector exports
    for (name, value) in &sample.labels.pairs {
        let name = if several { sample.labels.beside_collector(name) } else { (*name).into() };
        add(&name, &unescaped(value));
    }
    if several {
        add("collector", &info.collector);
    }
    out
}

fn point(batch: &Batch, number: f64, start: u64, attributes: &[u8], out: &mut Vec<u8>) {
    let numbers = if start == UNKNOWN { 18 } else { 27 }; // a key and 8 bytes each
    wire::head(tag::POINTS, attributes.len() + numbers, out);
    if start != UNKNOWN {
        wire::fixed64(tag::POINT_START, start, out);
    }
    wire::fixed64(tag::POINT_TIME, nanoseconds(batch.wall), out);
    wire::fixed64(tag::POINT_DOUBLE, number.to_bits(), out);
    out.extend_from_slice(attributes);
}

#[cfg(test)]
mod tests;
