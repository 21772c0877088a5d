use std::time::{Duration, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint};
use prost::Message;

use super::super::Encoder;
use crate::sink::samples::tests::{Row, batch};

/// The metrics that are exported of a read.
fn exported(encoder: &mut Encoder, collector: &str, second: u64, rows: &[Row<'_>]) -> Vec<Metric> {
    assert!(encoder.add(&batch(collector, second, rows), |_| "1".into()));
    let requests = encoder.finish(|_| true);
    let [request] = &requests[..] else { panic!("{} requests", requests.len()) };
    let message = ExportMetricsServiceRequest::decode(request.body.clone()).unwrap();
    let scopes = message.resource_metrics.into_iter().flat_map(|one| one.scope_metrics);
    let metrics: Vec<Metric> = scopes.flat_map(|scope| scope.metrics).collect();
    let count: usize = metrics.iter().map(|metric| points(metric).len()).sum();
    assert_eq!(count as u64, request.items);
    metrics
}

fn points(metric: &Metric) -> &[NumberDataPoint] {
    match metric.data.as_ref().unwrap() {
        Data::Sum(sum) => &sum.data_points,
        Data::Gauge(gauge) => &gauge.data_points,
        other => panic!("{other:?}"),
    }
}

fn attributes(point: &NumberDataPoint) -> Vec<(String, String)> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let text = |value: &Value| match value {
        Value::StringValue(text) => text.clone(),
        other => panic!("{other:?}"),
    };
    let pair = |pair: &opentelemetry_proto::tonic::common::v1::KeyValue| {
        (pair.key.clone(), text(pair.value.as_ref().unwrap().value.as_ref().unwrap()))
    };
    point.attributes.iter().map(pair).collect()
}

fn encoder() -> Encoder {
    Encoder::new(b"", UNIX_EPOCH + Duration::from_secs(5))
}

#[test]
fn each_sample_is_a_point_of_the_metric_that_it_names() {
    let rows = [
        ("jobs_total", "queue=\"a \\\"b\\\"\"", "counter", "Jobs.", "+3"),
        ("jobs_total", "queue=\"c\"", "counter", "Jobs.", "+4"),
        ("h_bucket", "le=\"1\"", "histogram", "How long.", "+5"),
        ("free", "collector=\"x\"", "unknown", "", "-1.5"),
        ("of_agents", "collector=\"x\",exported_collector=\"y\"", "unknown", "", "1"),
        ("no_value", "", "gauge", "", "none"),
        ("bad name", "", "gauge", "", "1"),
    ];
    let metrics = exported(&mut encoder(), "mine", 20, &rows);
    let named: Vec<_> = metrics
        .iter()
        .map(|metric| {
            let is_sum = matches!(&metric.data, Some(Data::Sum(sum)) if sum.is_monotonic);
            (metric.name.as_str(), metric.description.as_str(), is_sum, points(metric).len())
        })
        .collect();
    assert_eq!(
        named,
        [
            ("jobs_total", "Jobs.", true, 2),
            ("h_bucket", "How long.", true, 1),
            ("free", "", false, 1),
            ("of_agents", "", false, 1)
        ]
    );
    let pairs = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Vec<_>>()
    };
    assert_eq!(
        attributes(&points(&metrics[0])[0]),
        pairs(&[("queue", "a \"b\""), ("collector", "mine")])
    );
    assert_eq!(
        attributes(&points(&metrics[2])[0]),
        pairs(&[("exported_collector", "x"), ("collector", "mine")])
    );
    let thrice =
        [("exported_exported_collector", "x"), ("exported_collector", "y"), ("collector", "mine")];
    assert_eq!(attributes(&points(&metrics[3])[0]), pairs(&thrice));
    let point = &points(&metrics[2])[0];
    assert_eq!((point.time_unix_nano, point.start_time_unix_nano), (20_000_000_000, 0));
}

#[test]
fn when_a_counter_began_is_said_once_it_went_back() {
    let mut encoder = encoder();
    let mut start = |second, number| {
        let rows = [("a_total", "", "counter", "", number)];
        points(&exported(&mut encoder, "exec", second, &rows)[0])[0].start_time_unix_nano
    };
    assert_eq!(start(20, "+5"), 0);
    assert_eq!(start(30, "+6"), 0);
    assert_eq!(start(40, "+1"), 30_000_000_000);
    assert_eq!(start(50, "+9"), 30_000_000_000);
}

#[test]
fn many_samples_are_all_exported() {
    let names: Vec<String> = (0..5000).map(|index| format!("x=\"{index}\"")).collect();
    let rows: Vec<Row<'_>> =
        names.iter().map(|labels| ("a", labels.as_str(), "gauge", "", "1")).collect();
    let metrics = exported(&mut encoder(), "exec", 20, &rows);
    assert_eq!(metrics.iter().map(|metric| points(metric).len()).sum::<usize>(), 5000);
}
