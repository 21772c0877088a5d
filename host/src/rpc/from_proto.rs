//! From messages to the host's types, for clients. What an agent sends is not trusted to fit
//! together: columns that are too short have missing values.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

use super::proto::{self, column::Values};
use crate::model::{Batch, ColumnData, Data, Read, StreamInfo};

/// A batch; its schema has names, roles and types, and no units or descriptions.
pub(super) fn batch(from: proto::Batch) -> Batch {
    let rows = usize::try_from(from.rows).unwrap_or(usize::MAX);
    let longest = from.columns.iter().map(rows_of).max().unwrap_or(0);
    let rows = rows.min(longest);
    let (schemas, columns): (Vec<_>, Vec<_>) =
        from.columns.into_iter().map(|from| column(from, rows)).unzip();
    let wall = time(from.timestamp);
    let due = time(from.due).duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let (generation, sequence) = (from.generation, from.sequence);
    let read = Read { generation, sequence, wall, monotonic: Duration::ZERO, due };
    Batch::new(Arc::new(stream(from.topic, &from.collector, schemas)), read, rows, columns)
}

fn stream(topic: String, collector: &str, columns: Vec<ColumnSchema>) -> StreamInfo {
    let is_event = topic.starts_with("events.");
    let name = topic.strip_prefix("metrics.").or(topic.strip_prefix("events.")).unwrap_or(&topic);
    StreamInfo {
        collector: collector.into(),
        plugin: "".into(),
        name: name.to_owned(),
        declared: columns.len(),
        derived: Vec::new(),
        schema: StreamSchema {
            name: String::new(),
            kind: if is_event { StreamKind::Event } else { StreamKind::Snapshot },
            description: String::new(),
            columns,
        },
        topic,
    }
}

fn time(from: Option<prost_types::Timestamp>) -> SystemTime {
    from.and_then(|time| time.try_into().ok()).unwrap_or(SystemTime::UNIX_EPOCH)
}

fn rows_of(column: &proto::Column) -> usize {
    match &column.values {
        Some(Values::U64(values)) => values.values.len(),
        Some(Values::I64(values)) => values.values.len(),
        Some(Values::F64(values)) => values.values.len(),
        Some(Values::Bool(values)) => values.values.len(),
        Some(Values::Text(values)) => values.values.len(),
        Some(Values::TextList(values)) => values.values.len(),
        None => 0,
    }
}

fn column(from: proto::Column, rows: usize) -> (ColumnSchema, ColumnData) {
    let role = match from.role() {
        proto::Role::Key => Role::Key,
        proto::Role::Counter => Role::Counter,
        proto::Role::Gauge => Role::Gauge,
        proto::Role::Attribute | proto::Role::Unspecified => Role::Attribute,
    };
    let (value, data) = match from.values {
        Some(Values::U64(values)) => (ValueType::U64, Data::U64(values.values)),
        Some(Values::I64(values)) => (ValueType::I64, Data::I64(values.values)),
        Some(Values::F64(values)) => (ValueType::F64, Data::F64(values.values)),
        Some(Values::Bool(values)) => {
            (ValueType::Bool, Data::Bool(values.values.into_iter().map(u8::from).collect()))
        }
        Some(Values::Text(values)) => (ValueType::Text, text(values.values.into_iter())),
        Some(Values::TextList(lists)) => {
            let joined = lists
                .values
                .into_iter()
                .map(|list| list.values.into_iter().map(|item| item + "\0").collect::<String>());
            (ValueType::TextList, text(joined))
        }
        None => (ValueType::Text, Data::Text { ends: Vec::new(), bytes: Vec::new() }),
    };
    let mut validity = from.validity;
    if !validity.is_empty() {
        validity.resize(rows, 0);
    }
    (ColumnSchema::new(from.name, role, value), ColumnData { data, validity })
}

fn text(values: impl Iterator<Item = String>) -> Data {
    let (mut ends, mut bytes) = (Vec::new(), Vec::new());
    for value in values {
        bytes.extend_from_slice(value.as_bytes());
        ends.push(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    }
    Data::Text { ends, bytes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::convert;

    fn a_batch_of_all_types() -> Batch {
        let column = |name, role, value| ColumnSchema {
            unit: "1".into(),
            description: "A value.".into(),
            ..ColumnSchema::new(name, role, value)
        };
        let columns = vec![
            column("key", Role::Key, ValueType::Text),
            column("large", Role::Gauge, ValueType::U64),
            column("negative", Role::Gauge, ValueType::I64),
            column("float", Role::Gauge, ValueType::F64),
            column("flag", Role::Attribute, ValueType::Bool),
            column("list", Role::Attribute, ValueType::TextList),
        ];
        let all = |data| ColumnData { data, validity: Vec::new() };
        let first = |data| ColumnData { data, validity: vec![1, 0] };
        let data = vec![
            all(text(["ä".to_owned(), String::new()].into_iter())),
            first(Data::U64(vec![u64::MAX, 0])),
            all(Data::I64(vec![i64::MIN, 3])),
            first(Data::F64(vec![0.1, 0.0])),
            all(Data::Bool(vec![1, 0])),
            first(text(["a\0b\0".to_owned(), String::new()].into_iter())),
        ];
        let read = Read {
            generation: 3,
            sequence: 7,
            wall: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            monotonic: Duration::ZERO,
            due: Duration::from_secs(1_700_000_000),
        };
        let stream = stream("metrics.test.all".into(), "test", columns);
        Batch::new(Arc::new(stream), read, 2, data)
    }

    #[test]
    fn a_batch_is_the_same_on_the_other_side() {
        let sent = a_batch_of_all_types();
        let received = batch(convert::batch(&sent));
        assert_eq!(received.json(), sent.json());
        let keys = |batch: &Batch| batch.stream.keys().collect::<Vec<_>>();
        assert_eq!(keys(&received), keys(&sent));
    }

    #[test]
    fn columns_that_do_not_fit_have_missing_values() {
        let mut sent = convert::batch(&a_batch_of_all_types());
        sent.rows = u64::MAX;
        sent.columns[0].values = None;
        sent.columns[1].validity = vec![1];
        let received = batch(sent);
        assert_eq!(received.rows(), 2);
        assert_eq!(received.value(0, 0), crate::model::Value::Null);
    }
}
