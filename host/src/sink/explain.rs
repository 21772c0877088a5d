//! Where a value comes from: plugin, generation, read, age, who subscribes, and what was lost.

use std::time::{Duration, SystemTime};

use dropsonde_plugin_api::schema::ColumnSchema;
use serde_json::{Value as Json, json};

use super::{prometheus, samples};
use crate::bus::SubscriptionStatus;
use crate::control::{Host, Status};
use crate::model::{Batch, StreamInfo};

/// How many samples of a metric are shown.
const SAMPLES: usize = 20;

/// All columns that a name may mean: `network.interfaces.bytes_recv`, the same behind its topic's
/// first token, a name of the Prometheus page or of OpenTelemetry, or a stream or its topic for all
/// of its columns; and the samples of a metric that is called so. Empty if nothing is.
pub(crate) fn explain(host: &Host, asked: &str, now: Duration) -> Vec<Json> {
    let status = host.status();
    let mut found = Vec::new();
    for stream in host.bus().streams() {
        let batch = host.bus().latest(&stream.topic);
        let samples = batch.as_ref().map(|batch| samples::of_metric(batch, asked));
        let samples = samples.unwrap_or_default();
        let columns: Vec<usize> = (0..stream.schema.columns.len())
            .filter(|index| is_called(&stream, *index, asked))
            .collect();
        if columns.is_empty() && samples.is_empty() {
            continue;
        }
        let columns: Vec<Json> =
            columns.into_iter().map(|index| column(&stream, index, batch.as_deref())).collect();
        found.push(json!({
            "stream": stream.name,
            "topic": stream.topic,
            "description": stream.schema.description,
            "columns": columns,
            "samples": samples.iter().take(SAMPLES).map(sample).collect::<Vec<_>>(),
            "samples_in_all": samples.len(),
            "collector": collector(&status, &stream.collector),
            "plugin": plugin(&status, &stream.plugin),
            "last_read": batch.map(|batch| read(&batch, now)),
            "counts": status.bus.streams.iter().find(|counts| counts.topic == stream.topic),
            "demand_seconds": host.bus().demand(&stream.topic).map(|demand| demand.as_secs_f64()),
            "subscriptions": subscriptions(&status, &stream.topic),
        }));
    }
    found
}

fn is_called(stream: &StreamInfo, index: usize, asked: &str) -> bool {
    let column = &stream.schema.columns[index];
    let after = |whole: &str| {
        let rest = asked.strip_prefix(whole);
        rest.is_some_and(|rest| rest.is_empty() || rest.strip_prefix('.') == Some(&column.name))
    };
    after(&stream.name)
        || after(&stream.topic)
        || (!column.otel.is_empty() && column.otel == asked)
        || prometheus::name_of(stream, index).is_some_and(|name| name == asked)
}

fn column(stream: &StreamInfo, index: usize, batch: Option<&Batch>) -> Json {
    let ColumnSchema { name, role, unit, description, otel, .. } = &stream.schema.columns[index];
    let missing = batch.map(|batch| {
        (0..batch.rows())
            .filter(|row| batch.value(*row, index) == crate::model::Value::Null)
            .count()
    });
    json!({
        "name": name,
        "role": role,
        "unit": unit,
        "description": description,
        "otel": (!otel.is_empty()).then_some(otel),
        "prometheus": prometheus::name_of(stream, index),
        "derived_by_the_host": index >= stream.declared,
        "rows_without_a_value": missing,
    })
}

fn sample(sample: &samples::Sample<'_>) -> Json {
    json!({
        "name": sample.metric,
        "labels": sample.labels.text,
        "type": prometheus::word(sample.kind),
        "help": sample.help,
        "value": sample.number,
    })
}

fn collector(status: &Status, name: &str) -> Json {
    let found = status.collectors.iter().find(|collector| collector.name == name);
    found.map_or(Json::Null, |collector| {
        json!({
            "name": name,
            "phase": collector.phase,
            "status": collector.status,
            "isolation": collector.isolation,
            "moved": collector.moved,
            "interval_seconds": collector.interval_seconds,
            "paced": collector.paced,
            "restarts": collector.restarts,
            "missed_ticks": collector.missed_ticks,
            "rows_left_out": collector.rows_left_out,
            "last_error": collector.last_error,
        })
    })
}

fn plugin(status: &Status, name: &str) -> Json {
    let named = |plugin: &&crate::control::PluginStatus| plugin.name.as_deref() == Some(name);
    let found = status.plugins.iter().find(named);
    found.map_or(Json::Null, |plugin| {
        json!({
            "name": name,
            "file": plugin.file,
            "version": plugin.version,
            "sha256": plugin.sha256,
            "signed_by": plugin.signed_by,
        })
    })
}

fn read(batch: &Batch, now: Duration) -> Json {
    let time = |time: SystemTime| humantime::format_rfc3339_millis(time).to_string();
    json!({
        "generation": batch.generation,
        "sequence": batch.sequence,
        "time": time(batch.wall),
        "due": time(SystemTime::UNIX_EPOCH + batch.due),
        "age_seconds": now.saturating_sub(batch.monotonic).as_secs_f64(),
        "rows": batch.rows(),
    })
}

fn subscriptions(status: &Status, topic: &str) -> Vec<Json> {
    let wants = |subscription: &&SubscriptionStatus| {
        subscription.patterns.iter().any(|pattern| pattern.matches(topic))
    };
    let wanting = status.bus.subscriptions.iter().filter(wants);
    wanting.map(|subscription| json!(subscription)).collect()
}
