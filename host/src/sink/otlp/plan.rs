//! What the columns of a stream are in OTLP: made once for each stream, as bytes.

use std::sync::Arc;

use dropsonde_plugin_api::schema::{ColumnSchema, Role};

use super::wire;
use crate::model::{Batch, StreamInfo, Value};

/// Tags of `Metric`, `Sum` and `NumberDataPoint` (opentelemetry/proto/metrics/v1/metrics.proto).
pub(super) mod tag {
    pub(in super::super) const SCOPE_METRICS: u32 = 2;
    pub(in super::super) const SCOPE: u32 = 1;
    pub(in super::super) const SCOPE_NAME: u32 = 1;
    pub(in super::super) const SCOPE_VERSION: u32 = 2;
    pub(in super::super) const METRICS: u32 = 2;
    pub(in super::super) const METRIC_NAME: u32 = 1;
    pub(in super::super) const METRIC_DESCRIPTION: u32 = 2;
    pub(in super::super) const METRIC_UNIT: u32 = 3;
    pub(in super::super) const METRIC_GAUGE: u32 = 5;
    pub(in super::super) const METRIC_SUM: u32 = 7;
    pub(in super::super) const POINTS: u32 = 1;
    pub(in super::super) const SUM_TEMPORALITY: u32 = 2;
    pub(in super::super) const SUM_IS_MONOTONIC: u32 = 3;
    pub(in super::super) const POINT_START: u32 = 2;
    pub(in super::super) const POINT_TIME: u32 = 3;
    pub(in super::super) const POINT_DOUBLE: u32 = 4;
    pub(in super::super) const POINT_INT: u32 = 6;
    pub(in super::super) const POINT_ATTRIBUTES: u32 = 7;
}

/// A stream as metrics.
pub(super) struct Plan {
    pub(super) stream: Arc<StreamInfo>,
    pub(super) metrics: Vec<Metric>,
    /// Columns that are attributes of every point, and as what.
    attributes: Vec<(usize, String)>,
    /// How many of its columns are counters.
    pub(super) counters: usize,
    /// Values of one record.
    pub(super) values: usize,
}

/// One metric: several columns may be points of it.
pub(super) struct Metric {
    /// Name, description and unit.
    pub(super) head: Vec<u8>,
    pub(super) is_sum: bool,
    pub(super) columns: Vec<PointColumn>,
}

/// A column whose values are points.
pub(super) struct PointColumn {
    pub(super) index: usize,
    /// The attributes that tell it from other columns of the metric.
    pub(super) attributes: Vec<u8>,
    /// Shares are percentages here and fractions there.
    pub(super) is_percentage: bool,
    /// Of a counter, its place among the stream's counters.
    pub(super) counter: Option<usize>,
}

impl Plan {
    pub(super) fn new(stream: &Arc<StreamInfo>) -> Self {
        let columns = &stream.schema.columns;
        let mut named: Vec<(String, bool, Vec<usize>)> = Vec::new();
        for (index, column) in
            columns.iter().enumerate().filter(|(index, column)| is_value(stream, *index, column))
        {
            let name = name_of(stream, column);
            let is_sum = column.role == Role::Counter;
            match named.iter_mut().find(|known| known.0 == name && known.1 == is_sum) {
                Some((_, _, columns)) => columns.push(index),
                None => named.push((name, is_sum, vec![index])),
            }
        }
        let mut counters = 0;
        let mut metric = |(name, is_sum, indices): (String, bool, Vec<usize>)| {
            let column = |index: usize| {
                let column = columns.get(index)?;
                let counter = is_sum.then_some(counters);
                counters += usize::from(is_sum);
                Some(PointColumn::new(index, column, counter))
            };
            let described = indices.first().and_then(|first| columns.get(*first));
            let head = described.map(|column| head(&name, column, indices.len() > 1));
            let columns = indices.into_iter().filter_map(column).collect();
            Metric { head: head.unwrap_or_default(), is_sum, columns }
        };
        let metrics: Vec<Metric> = named.into_iter().map(&mut metric).collect();
        let values = metrics.iter().map(|metric| metric.columns.len()).sum();
        Self { stream: stream.clone(), metrics, attributes: attributes(stream), counters, values }
    }

    /// The attributes of a record, which all its points have; they tell its series from others.
    pub(super) fn attributes_of(&self, batch: &Batch, row: usize, out: &mut Vec<u8>) {
        for (index, name) in &self.attributes {
            wire::attribute(tag::POINT_ATTRIBUTES, name, batch.value(row, *index), out);
        }
        if self.stream.collector != self.stream.plugin {
            let collector = Value::Text(&self.stream.collector);
            wire::attribute(tag::POINT_ATTRIBUTES, "collector", collector, out);
        }
    }
}

impl PointColumn {
    fn new(index: usize, column: &ColumnSchema, counter: Option<usize>) -> Self {
        let mut attributes = Vec::new();
        for (name, value) in &column.attributes {
            wire::attribute(tag::POINT_ATTRIBUTES, name, Value::Text(value), &mut attributes);
        }
        Self { index, attributes, is_percentage: is_percentage(column), counter }
    }
}

/// Numbers, but no rates: whoever receives makes its own.
fn is_value(stream: &StreamInfo, index: usize, column: &ColumnSchema) -> bool {
    let is_rate = index >= stream.declared && column.otel.is_empty();
    matches!(column.role, Role::Counter | Role::Gauge) && !is_rate
}

/// By the semantic conventions, where the column has such a name.
fn name_of(stream: &StreamInfo, column: &ColumnSchema) -> String {
    if column.otel.is_empty() {
        format!("dropsonde.{}.{}", stream.name, column.name)
    } else {
        column.otel.clone()
    }
}

fn is_percentage(column: &ColumnSchema) -> bool {
    column.unit == "%" && !column.otel.is_empty()
}

fn head(name: &str, column: &ColumnSchema, shared: bool) -> Vec<u8> {
    let mut head = Vec::new();
    wire::text(tag::METRIC_NAME, name, &mut head);
    if !shared {
        // The description of one column would be wrong for others.
        wire::text(tag::METRIC_DESCRIPTION, &column.description, &mut head);
    }
    let unit = if is_percentage(column) { "1" } else { &column.unit };
    wire::text(tag::METRIC_UNIT, unit, &mut head);
    head
}

/// What tells a record from others, and what the conventions have said of it: as on the page for
/// Prometheus.
pub(super) fn attributes(stream: &StreamInfo) -> Vec<(usize, String)> {
    let columns = stream.schema.columns.iter().enumerate();
    let attributes = columns.filter_map(|(index, column)| match column.role {
        Role::Key if column.otel.is_empty() => Some((index, column.name.clone())),
        Role::Key | Role::Attribute if !column.otel.is_empty() => {
            Some((index, column.otel.clone()))
        }
        _ => None,
    });
    attributes.collect()
}
