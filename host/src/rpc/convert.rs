//! From the host's types to messages.

use std::time::{Duration, SystemTime};

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, ValueType};

use super::proto::{self, column::Values};
use crate::bus;
use crate::control::{OwnUse, PluginStatus, Status};
use crate::model::{Batch, StreamInfo, Value};
use crate::query::table_of;
use crate::slot::SlotStatus;

/// Longest duration that means anything here: a hundred years.
const LONGEST: u64 = 100 * 365 * 24 * 3600;

/// A duration from a client.
pub(super) fn duration(from: prost_types::Duration, name: &str) -> Result<Duration, String> {
    let (seconds, nanos) = (u64::try_from(from.seconds), u32::try_from(from.nanos));
    match (seconds, nanos) {
        (Ok(seconds @ ..=LONGEST), Ok(nanos @ ..=999_999_999)) => Ok(Duration::new(seconds, nanos)),
        (Ok(_), Ok(..=999_999_999)) => Err(format!("{name}: 100 years at most")),
        _ => Err(format!("{name}: it is negative, or has more than 999,999,999 nanoseconds")),
    }
}

fn to_duration(from: Duration) -> Option<prost_types::Duration> {
    from.try_into().ok() // longer than 292 billion years
}

fn seconds(from: f64) -> Option<prost_types::Duration> {
    Duration::try_from_secs_f64(from).ok().and_then(to_duration)
}

pub(super) fn timestamp(from: SystemTime) -> prost_types::Timestamp {
    from.into()
}

pub(super) fn status(from: &Status, now: SystemTime) -> proto::Status {
    proto::Status {
        plugins: from.plugins.iter().map(plugin).collect(),
        collectors: from.collectors.iter().map(collector).collect(),
        bus: Some(proto::Bus {
            reads: from.bus.reads,
            reads_saved: from.bus.reads_saved,
            subscriptions: from.bus.subscriptions.iter().map(subscription).collect(),
        }),
        agent: Some(agent(&from.host, now)),
        config_rejection: from.config.last_rejection.clone().unwrap_or_default(),
    }
}

fn agent(from: &OwnUse, now: SystemTime) -> proto::Agent {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    proto::Agent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        cpu: seconds(from.cpu_seconds),
        resident_bytes: from.resident_bytes,
        open_descriptors: from.open_files,
        uptime: from.start_time_seconds.and_then(|start| seconds((now - start).max(0.0))),
    }
}

fn plugin(from: &PluginStatus) -> proto::Plugin {
    proto::Plugin {
        file: from.file.clone(),
        name: from.name.clone().unwrap_or_default(),
        version: from.version.clone().unwrap_or_default(),
        api_version: from.api_version.clone().unwrap_or_default(),
        description: from.description.clone().unwrap_or_default(),
        generation: from.generation,
        state: from.state.to_owned(),
        rejection: from.rejection.clone(),
        signed_by: from.signed_by.clone(),
        lacks: from.lacks.clone(),
    }
}

fn collector(from: &SlotStatus) -> proto::Collector {
    let failures = from.failures.iter().map(|(cause, count)| ((*cause).to_owned(), *count));
    proto::Collector {
        name: from.name.clone(),
        plugin: from.plugin.clone(),
        generation: from.generation,
        isolation: from.isolation.name().to_owned(),
        moved: from.moved.clone(),
        sandbox_missing: from.sandbox.iter().flat_map(|sandbox| sandbox.missing.clone()).collect(),
        phase: from.phase.name().to_owned(),
        status: from.status.to_owned(),
        ready: from.ready,
        reason: from.reason.clone(),
        restarts: from.restarts,
        last_error: from.last_error.clone(),
        failures: failures.collect(),
        required: from.required,
        interval: seconds(from.interval_seconds),
        streams: from.streams.clone(),
        rounds: from.rounds,
        failed_rounds: from.failed_rounds,
        rounds_duration: seconds(from.round_duration.sum()),
        cpu: seconds(from.cpu_seconds),
        missed_ticks: from.missed_ticks,
        batches: from.batches,
        rows_left_out: from.rows_left_out,
        last_batch_age: from.last_batch_age_seconds.and_then(seconds),
        disabled: from.disabled,
        paced_interval: from.paced.and_then(|paced| seconds(paced.interval_seconds)),
        paced_remaining: from.paced.and_then(|paced| seconds(paced.remaining_seconds?)),
    }
}

fn subscription(from: &bus::SubscriptionStatus) -> proto::Subscription {
    proto::Subscription {
        name: from.name.clone(),
        topics: from.patterns.iter().map(ToString::to_string).collect(),
        interval: from.interval_seconds.and_then(seconds),
        delivered: from.delivered,
        lost: Some(losses(from.lost)),
        waiting: from.waiting as u64,
    }
}

pub(super) fn losses(from: bus::Losses) -> proto::Losses {
    let bus::Losses { overflow, replaced, deadline, bus } = from;
    proto::Losses { overflow, replaced, deadline, bus }
}

pub(super) fn stream(from: &StreamInfo) -> proto::Stream {
    let kind = match from.schema.kind {
        StreamKind::Snapshot => "snapshot",
        StreamKind::Event => "event",
    };
    proto::Stream {
        topic: from.topic.clone(),
        name: from.name.clone(),
        collector: from.collector.to_string(),
        plugin: from.plugin.to_string(),
        kind: kind.to_owned(),
        description: from.schema.description.clone(),
        columns: from.schema.columns.iter().map(column_info).collect(),
        table: table_of(from).unwrap_or_default(),
    }
}

fn role(from: Role) -> proto::Role {
    match from {
        Role::Key => proto::Role::Key,
        Role::Counter => proto::Role::Counter,
        Role::Gauge => proto::Role::Gauge,
        Role::Attribute => proto::Role::Attribute,
    }
}

fn column_info(from: &ColumnSchema) -> proto::ColumnInfo {
    let value = match from.value {
        ValueType::U64 => "u64",
        ValueType::I64 => "i64",
        ValueType::F64 => "f64",
        ValueType::Bool => "bool",
        ValueType::Text => "text",
        ValueType::TextList => "text_list",
    };
    proto::ColumnInfo {
        name: from.name.clone(),
        role: role(from.role).into(),
        r#type: value.to_owned(),
        unit: from.unit.clone(),
        description: from.description.clone(),
    }
}

pub(super) fn batch(from: &Batch) -> proto::Batch {
    let columns = from.stream.schema.columns.iter().enumerate();
    proto::Batch {
        topic: from.stream.topic.clone(),
        collector: from.stream.collector.to_string(),
        generation: from.generation,
        sequence: from.sequence,
        timestamp: Some(timestamp(from.wall)),
        due: Some(timestamp(SystemTime::UNIX_EPOCH + from.due)),
        rows: from.rows() as u64,
        columns: columns.map(|(index, schema)| column(from, index, schema)).collect(),
    }
}

fn column(from: &Batch, index: usize, schema: &ColumnSchema) -> proto::Column {
    let of = |row| from.value(row, index);
    let rows = 0..from.rows();
    let missing = rows.clone().any(|row| of(row) == Value::Null);
    let validity = if missing {
        rows.clone().map(|row| u8::from(of(row) != Value::Null)).collect()
    } else {
        Vec::new()
    };
    let rows = rows.map(of);
    let values =
        match schema.value {
            ValueType::U64 => Values::U64(proto::UInt64Values {
                values: rows
                    .map(|value| if let Value::U64(value) = value { value } else { 0 })
                    .collect(),
            }),
            ValueType::I64 => Values::I64(proto::Int64Values {
                values: rows
                    .map(|value| if let Value::I64(value) = value { value } else { 0 })
                    .collect(),
            }),
            ValueType::F64 => Values::F64(proto::DoubleValues {
                values: rows
                    .map(|value| if let Value::F64(value) = value { value } else { 0.0 })
                    .collect(),
            }),
            ValueType::Bool => Values::Bool(proto::BoolValues {
                values: rows.map(|value| value == Value::Bool(true)).collect(),
            }),
            ValueType::Text => Values::Text(proto::TextValues {
                values: rows
                    .map(|value| {
                        if let Value::Text(value) = value {
                            value.to_owned()
                        } else {
                            String::new()
                        }
                    })
                    .collect(),
            }),
            ValueType::TextList => Values::TextList(proto::TextListValues {
                values: rows.map(|value| proto::TextValues { values: items(value) }).collect(),
            }),
        };
    let role = role(schema.role).into();
    proto::Column { name: schema.name.clone(), validity, values: Some(values), role }
}

fn items(value: Value<'_>) -> Vec<String> {
    match value {
        Value::List(items) => items.split_terminator('\0').map(str::to_owned).collect(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_make_no_sense_are_refused_whatever_they_are() {
        let read = |seconds, nanos| duration(prost_types::Duration { seconds, nanos }, "max_age");
        assert_eq!(read(1, 500_000_000), Ok(Duration::from_millis(1500)));
        let wrong =
            [(-1, 0), (0, -1), (i64::MIN, i32::MIN), (1, i32::MAX), (i64::MAX, 0), (i64::MIN, 0)];
        for (seconds, nanos) in wrong {
            assert!(read(seconds, nanos).unwrap_err().starts_with("max_age: "));
        }
    }
}
