use std::time::Duration;

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::metrics::v1::metric::Data as MetricData;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{Metric as Decoded, NumberDataPoint};
use prost::Message;

use super::*;
use crate::model::{ColumnData, Data, Read};

fn column(name: &str, role: Role, value: ValueType, unit: &str, otel: &str) -> ColumnSchema {
    let direction = name.split_once('_').map(|(_, direction)| direction);
    let attribute = |value: &str| ("direction".to_owned(), value.to_owned());
    ColumnSchema {
        name: name.into(),
        role,
        value,
        unit: unit.into(),
        description: format!("What {name} is."),
        otel: otel.into(),
        attributes: direction.map(attribute).into_iter().collect(),
        share: None,
    }
}

fn stream(collector: &str, columns: Vec<ColumnSchema>) -> Arc<StreamInfo> {
    let (name, kind, description) = ("parts".into(), StreamKind::Snapshot, String::new());
    let schema = StreamSchema { name, kind, description, columns };
    Arc::new(StreamInfo::new(&collector.into(), &"net".into(), schema))
}

fn batch(stream: &Arc<StreamInfo>, second: u64, rows: usize, columns: Vec<Data>) -> Batch {
    let at = Duration::from_secs(second);
    let wall = UNIX_EPOCH + at;
    let read = Read { generation: 1, sequence: second, wall, monotonic: at, due: at };
    let mut columns: Vec<ColumnData> =
        columns.into_iter().map(|data| ColumnData { data, validity: Vec::new() }).collect();
    let derived = stream.schema.columns.len() - columns.len();
    columns.extend((0..derived).map(|_| ColumnData::floats(vec![Some(1.0); rows])));
    Batch::new(stream.clone(), read, rows, columns)
}

fn texts(rows: &[&str]) -> Data {
    let ends = rows.iter().scan(0, |end, row| {
        *end += row.len() as u32;
        Some(*end)
    });
    Data::Text { ends: ends.collect(), bytes: rows.concat().into_bytes() }
}

fn encoder() -> Encoder {
    Encoder::new(b"", UNIX_EPOCH + Duration::from_secs(5))
}

fn decoded(requests: &[Request]) -> Vec<Decoded> {
    let metrics = |request: &Request| {
        let message = ExportMetricsServiceRequest::decode(request.body.clone()).unwrap();
        let metrics: Vec<Decoded> = message
            .resource_metrics
            .into_iter()
            .flat_map(|resource| resource.scope_metrics)
            .inspect(|scope| assert_eq!(scope.scope.as_ref().unwrap().name, "dropsonde/net"))
            .flat_map(|scope| scope.metrics)
            .collect();
        let count: usize = metrics.iter().map(|metric| points(metric).len()).sum();
        assert_eq!(count as u64, request.items);
        metrics
    };
    requests.iter().flat_map(metrics).collect()
}

fn points(metric: &Decoded) -> &[NumberDataPoint] {
    match metric.data.as_ref().unwrap() {
        MetricData::Sum(sum) => {
            assert!(sum.is_monotonic);
            assert_eq!(sum.aggregation_temporality(), AggregationTemporality::Cumulative);
            &sum.data_points
        }
        MetricData::Gauge(gauge) => &gauge.data_points,
        other => panic!("{other:?}"),
    }
}

fn attributes<'a>(point: &'a NumberDataPoint) -> Vec<(&'a str, &'a Any)> {
    let pair = |pair: &'a KeyValue| {
        (pair.key.as_str(), pair.value.as_ref().unwrap().value.as_ref().unwrap())
    };
    point.attributes.iter().map(pair).collect()
}

fn one_of_each() -> Vec<ColumnSchema> {
    vec![
        column("device", Role::Key, ValueType::Text, "", "net.device"),
        column("state", Role::Attribute, ValueType::Text, "", ""),
        column("bytes_in", Role::Counter, ValueType::U64, "By", "net.io"),
        column("bytes_out", Role::Counter, ValueType::U64, "By", "net.io"),
        column("load", Role::Gauge, ValueType::F64, "%", "net.utilization"),
        column("up", Role::Gauge, ValueType::Bool, "1", ""),
    ]
}

fn one_row(stream: &Arc<StreamInfo>, second: u64, bytes: [u64; 2]) -> Batch {
    let columns = vec![
        texts(&["eth0"]),
        texts(&["fine"]),
        Data::U64(vec![bytes[0]]),
        Data::U64(vec![bytes[1]]),
        Data::F64(vec![50.0]),
        Data::Bool(vec![1]),
    ];
    batch(stream, second, 1, columns)
}

#[test]
fn names_units_types_and_attributes_are_those_of_the_conventions() {
    let stream = stream("net", one_of_each());
    let mut encoder = encoder();
    encoder.add(&one_row(&stream, 9, [7, u64::MAX]), |_| "1.0".to_owned());
    let metrics = decoded(&encoder.finish(|_| true));
    let heads: Vec<_> =
        metrics.iter().map(|metric| (&*metric.name, &*metric.unit, &*metric.description)).collect();
    let expected = [
        ("net.io", "By", ""),
        ("net.utilization", "1", "What load is."),
        ("dropsonde.net.parts.up", "1", "What up is."),
    ];
    assert_eq!(heads, expected); // no rates
    let [received, sent] = points(&metrics[0]) else { panic!("{:?}", metrics[0]) };
    assert_eq!(received.value, Some(Number::AsInt(7)));
    assert_eq!(sent.value, Some(Number::AsDouble(u64::MAX as f64))); // it has no such integer
    assert_eq!(
        (received.start_time_unix_nano, received.time_unix_nano),
        (5_000_000_000, 9_000_000_000)
    );
    let text = |text: &str| Any::StringValue(text.into());
    let expected = [("direction", &text("in")), ("net.device", &text("eth0"))];
    assert_eq!(attributes(received), expected);
    assert_eq!(attributes(sent)[0], ("direction", &text("out")));
    let [utilization] = points(&metrics[1]) else { panic!("{:?}", metrics[1]) };
    assert_eq!(utilization.value, Some(Number::AsDouble(0.5)));
    assert_eq!(utilization.start_time_unix_nano, 0);
    assert_eq!(points(&metrics[2])[0].value, Some(Number::AsInt(1)));
}

#[test]
fn a_collector_that_is_not_called_as_its_plugin_is_told_apart() {
    let stream = stream("other", one_of_each());
    let mut encoder = encoder();
    encoder.add(&one_row(&stream, 9, [7, 8]), |_| String::new());
    let metrics = decoded(&encoder.finish(|_| true));
    let collector = Any::StringValue("other".into());
    for metric in &metrics {
        points(metric).iter().for_each(|point| {
            assert_eq!(attributes(point).last(), Some(&("collector", &collector)));
        });
    }
}

#[test]
fn a_batch_is_exported_once_and_a_counter_that_went_back_starts_anew() {
    let stream = stream("net", one_of_each());
    let mut encoder = encoder();
    let mut starts: Vec<Vec<u64>> = Vec::new();
    for (second, bytes) in [(9, [7, 8]), (9, [7, 8]), (19, [9, 9]), (29, [3, 10]), (39, [4, 11])] {
        encoder.add(&one_row(&stream, second, bytes), |_| String::new());
        let metrics = decoded(&encoder.finish(|_| true));
        starts.extend(metrics.first().map(|metric| {
            points(metric).iter().map(|point| point.start_time_unix_nano / 1_000_000_000).collect()
        }));
    }
    let expected: [Vec<u64>; 4] = [vec![5, 5], vec![5, 5], vec![19, 5], vec![19, 5]];
    assert_eq!(starts, expected);
    encoder.finish(|_| false);
    assert!(encoder.streams.is_empty(), "what is gone is forgotten");
}

#[test]
fn large_batches_are_spread_over_requests_that_receivers_take() {
    let stream = stream("net", one_of_each());
    let rows = 30_000;
    let names: Vec<String> = (0..rows).map(|row| format!("device-{row}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let columns = vec![
        texts(&names),
        texts(&vec!["fine"; rows]),
        Data::U64((0..rows as u64).collect()),
        Data::U64(vec![1; rows]),
        Data::F64(vec![1.0; rows]),
        Data::Bool(vec![0; rows]),
    ];
    let mut encoder = encoder();
    encoder.add(&batch(&stream, 9, rows, columns), |_| String::new());
    let requests = encoder.finish(|_| true);
    assert!(requests.len() > 4);
    assert!(requests.iter().all(|request| request.body.len() < 2 << 20));
    let metrics = decoded(&requests);
    let of = |name: &str| -> Vec<Option<Number>> {
        let named = metrics.iter().filter(|metric| metric.name == name);
        named.flat_map(points).map(|point| point.value).collect()
    };
    let expected: Vec<_> = (0..rows as i64)
        .flat_map(|row| [Some(Number::AsInt(row)), Some(Number::AsInt(1))])
        .collect();
    assert_eq!(of("net.io"), expected);
}
