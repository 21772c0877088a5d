//! A batch as an OTLP request, beside the same request made of the messages that
//! `opentelemetry-proto` generates.

use std::hint::black_box;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use dropsonde::bench::{OtlpEncoder, Source};
use dropsonde::{Batch, Bus, Value};
use dropsonde_plugin_api::schema::Role;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use prost::Message;

use crate::Effort;
use crate::growth::{raw, schema};
use crate::measure::{in_turn, per_call};
use crate::table::{Figure, Row};

const ROWS: usize = 100;
/// Two counters and two gauges.
const VALUES: usize = 4 * ROWS;

pub(crate) fn rows(effort: Effort) -> Vec<Row> {
    let runtime = crate::runtime();
    let context = runtime.enter();
    let mut source = Source::of(&Bus::new(), "metrics.bench", schema());
    drop(context);
    let batches: Vec<Arc<Batch>> =
        (0..500 / effort.haste).map(|_| source.finish(raw(ROWS)).unwrap()).collect();
    let values = (batches.len() * VALUES) as u64;
    let mut encoder = OtlpEncoder::new();
    let [ours, plain] = in_turn(
        effort,
        [
            &mut || {
                per_call(values, || {
                    batches.iter().for_each(|one| drop(black_box(encoder.request(one))))
                })
            },
            &mut || {
                per_call(values, || batches.iter().for_each(|one| drop(black_box(request(one)))))
            },
        ],
    )
    .map(Figure::Nanoseconds);
    vec![Row::new(
        format!("OTLP request of {ROWS} rows, per value"),
        ours,
        "the same made of `opentelemetry-proto`'s messages",
        plain,
    )]
}

fn request(batch: &Batch) -> Vec<u8> {
    let columns = batch.stream.schema.columns[..batch.stream.declared].iter().enumerate();
    let values = columns.filter(|(_, column)| column.role != Role::Key);
    let metrics = values.map(|(index, column)| {
        let is_sum = column.role == Role::Counter;
        let data_points = (0..batch.rows()).map(|row| point(batch, row, index, is_sum)).collect();
        let data = if is_sum {
            Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true })
        } else {
            Data::Gauge(Gauge { data_points })
        };
        Metric {
            name: format!("dropsonde.bench.{}", column.name),
            description: column.description.clone(),
            unit: column.unit.clone(),
            data: Some(data),
            ..Metric::default()
        }
    });
    let scope = ScopeMetrics { metrics: metrics.collect(), ..ScopeMetrics::default() };
    let resource = ResourceMetrics { scope_metrics: vec![scope], ..ResourceMetrics::default() };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }.encode_to_vec()
}

fn point(batch: &Batch, row: usize, column: usize, is_sum: bool) -> NumberDataPoint {
    let Value::Text(name) = batch.value(row, 0) else { panic!("the key is text") };
    let value = Some(AnyValue { value: Some(Any::StringValue(name.to_owned())) });
    let attribute = KeyValue { key: "name".to_owned(), value, ..KeyValue::default() };
    NumberDataPoint {
        attributes: vec![attribute],
        start_time_unix_nano: u64::from(is_sum),
        time_unix_nano: batch.wall.duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64,
        value: match batch.value(row, column) {
            Value::U64(value) => Some(Number::AsInt(value as i64)),
            Value::F64(value) => Some(Number::AsDouble(value)),
            _ => None,
        },
        ..NumberDataPoint::default()
    }
}
