//! OTLP requests, read by the messages that are generated from OTLP's own files.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message;

use crate::model::Batch;
use crate::sink::otlp::{Request, logs, metrics};

/// What is encoded of these batches is decoded, with as many items as it says.
pub(super) fn assert_decodes(batches: &[Arc<Batch>]) {
    let mut encoder = metrics::Encoder::new(&[], UNIX_EPOCH);
    for batch in batches {
        encoder.add(batch, |_| String::new());
    }
    assert_items(&encoder.finish(|_| true), |body| {
        let message = ExportMetricsServiceRequest::decode(body).ok()?;
        let scopes = message.resource_metrics.into_iter().flat_map(|one| one.scope_metrics);
        let metrics = scopes.flat_map(|scope| scope.metrics);
        Some(metrics.map(|metric| points(metric.data.as_ref())).sum())
    });
    let mut encoder = logs::Encoder::new(Default::default());
    batches.iter().for_each(|batch| encoder.add(batch, |_| String::new()));
    assert_items(&encoder.finish(), |body| {
        let message = ExportLogsServiceRequest::decode(body).ok()?;
        let scopes = message.resource_logs.into_iter().flat_map(|one| one.scope_logs);
        Some(scopes.map(|scope| scope.log_records.len()).sum())
    });
}

fn assert_items(requests: &[Request], count: impl Fn(&[u8]) -> Option<usize>) {
    for request in requests {
        assert_eq!(count(&request.body), usize::try_from(request.items).ok());
    }
}

fn points(data: Option<&Data>) -> usize {
    let points = match data {
        Some(Data::Sum(sum)) => &sum.data_points,
        Some(Data::Gauge(gauge)) => &gauge.data_points,
        other => unreachable!("{other:?}"),
    };
    assert!(points.iter().all(|point| point.value.is_some()));
    points.len()
}
