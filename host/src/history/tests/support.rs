//! Streams and batches for these tests.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};
use rusqlite::types::ValueRef;

use super::super::store::Store;
use crate::model::{Batch, ColumnData, Data, Read, StreamInfo};

/// A whole hour: milliseconds since 1970.
pub(super) const START: i64 = 1_700_000_000_000 - 1_700_000_000_000 % 3_600_000;

#[derive(Clone, Copy)]
pub(super) enum Given {
    Null,
    U64(u64),
    I64(i64),
    F64(f64),
    Bool(bool),
    Text(&'static str),
}

pub(super) fn column(name: &str, role: Role, value: ValueType) -> ColumnSchema {
    ColumnSchema { unit: "1".to_owned(), ..ColumnSchema::new(name, role, value) }
}

/// A stream of the collector `test`, called by its first column.
pub(super) fn stream(columns: &[ColumnSchema]) -> Arc<StreamInfo> {
    let (collector, plugin): (Arc<str>, Arc<str>) = ("test".into(), "test".into());
    let schema = schema("part", columns);
    Arc::new(StreamInfo::new(&collector, &plugin, schema))
}

/// The stream `test.load`: one gauge by key.
pub(super) fn load() -> Arc<StreamInfo> {
    let (collector, plugin): (Arc<str>, Arc<str>) = ("test".into(), "test".into());
    let columns =
        [column("part", Role::Key, ValueType::Text), column("load", Role::Gauge, ValueType::F64)];
    Arc::new(StreamInfo::new(&collector, &plugin, schema("load", &columns)))
}

/// A stream of this name.
pub(super) fn named(name: &str, columns: &[ColumnSchema]) -> Arc<StreamInfo> {
    let test: Arc<str> = "test".into();
    let topic = format!("metrics.{name}");
    Arc::new(StreamInfo::at(topic, name.to_owned(), &test, &test, schema("", columns)))
}

fn schema(name: &str, columns: &[ColumnSchema]) -> StreamSchema {
    StreamSchema {
        name: name.to_owned(),
        kind: StreamKind::Snapshot,
        description: String::new(),
        columns: columns.to_owned(),
    }
}

/// Rows of the declared columns; derived ones are missing.
pub(super) fn batch(info: &Arc<StreamInfo>, at: i64, rows: &[Vec<Given>]) -> Arc<Batch> {
    let since = Duration::from_millis(at.unsigned_abs());
    let wall = UNIX_EPOCH + since;
    let read = Read { generation: 1, sequence: 1, wall, monotonic: since, due: since };
    let declared = (0..info.declared).map(|index| {
        let values: Vec<Given> = rows.iter().map(|row| row[index]).collect();
        data(info.schema.columns[index].value, &values)
    });
    let derived = info.derived.iter().map(|_| ColumnData::floats(vec![None; rows.len()]));
    let columns = declared.chain(derived).collect();
    Arc::new(Batch::new(info.clone(), read, rows.len(), columns))
}

fn data(kind: ValueType, values: &[Given]) -> ColumnData {
    let validity = values.iter().map(|value| u8::from(!matches!(value, Given::Null))).collect();
    let all = values.iter();
    let data = match kind {
        ValueType::U64 => {
            Data::U64(all.map(|v| if let Given::U64(v) = v { *v } else { 0 }).collect())
        }
        ValueType::I64 => {
            Data::I64(all.map(|v| if let Given::I64(v) = v { *v } else { 0 }).collect())
        }
        ValueType::F64 => {
            Data::F64(all.map(|v| if let Given::F64(v) = v { *v } else { 0.0 }).collect())
        }
        ValueType::Bool => {
            Data::Bool(all.map(|v| u8::from(matches!(v, Given::Bool(true)))).collect())
        }
        ValueType::Text | ValueType::TextList => {
            let (mut ends, mut bytes) = (Vec::new(), Vec::new());
            for value in all {
                if let Given::Text(text) = value {
                    bytes.extend(text.as_bytes());
                }
                ends.push(u32::try_from(bytes.len()).unwrap());
            }
            Data::Text { ends, bytes }
        }
    };
    ColumnData { data, validity }
}

/// The rows of a query, their values with `|` between them.
pub(super) fn texts(store: &Store, sql: &str) -> Vec<String> {
    let mut statement = store.connection.prepare(sql).unwrap();
    let width = statement.column_count();
    let rows = statement.query_map([], |row| {
        let text = |index| {
            Ok(match row.get_ref(index)? {
                ValueRef::Null => "null".to_owned(),
                ValueRef::Integer(value) => value.to_string(),
                ValueRef::Real(value) => value.to_string(),
                ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
                ValueRef::Blob(_) => "blob".to_owned(),
            })
        };
        let values: rusqlite::Result<Vec<String>> = (0..width).map(text).collect();
        Ok(values?.join("|"))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

pub(super) fn count(store: &Store, table: &str) -> i64 {
    let sql = format!("SELECT count(*) FROM {table}");
    store.connection.query_row(&sql, [], |row| row.get(0)).unwrap()
}
