//! What was pushed, for a test to look at.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use crate::collector::Batch;
use crate::column::{Column, Values};
use crate::record::Record;
use crate::schema::{StreamSchema, ValueType};

/// What one round produced, or what an event source emitted meanwhile.
#[derive(Debug)]
pub struct Round {
    /// The names of all streams that the plugin declares.
    declared: Vec<String>,
    streams: BTreeMap<String, Vec<Map<String, Value>>>,
    /// What was reported as unreadable, in order.
    pub partial: Vec<String>,
}

impl Round {
    /// An empty one, of a plugin with these streams.
    pub(super) fn new(schemas: &[StreamSchema]) -> Self {
        let declared = schemas.iter().map(|schema| schema.name.clone()).collect();
        Self { declared, streams: BTreeMap::new(), partial: Vec::new() }
    }

    /// What is in it; it is empty then.
    pub(super) fn take(&mut self) -> Self {
        Self {
            declared: self.declared.clone(),
            streams: std::mem::take(&mut self.streams),
            partial: std::mem::take(&mut self.partial),
        }
    }

    /// Adds the records that wait in a batch.
    pub(super) fn add(&mut self, batch: &mut Batch) {
        for stream in batch.streams.iter().filter(|stream| stream.touched) {
            let rows = self.streams.entry(stream.schema.name.clone()).or_default();
            rows.extend((0..stream.rows).map(|row| row_of(&stream.schema, &stream.columns, row)));
        }
        self.partial.append(&mut batch.partial);
    }

    /// The records of a stream, in the order in which they were pushed; none if nothing was.
    /// A missing value is `null`. The main stream's name is empty.
    ///
    /// # Panics
    /// If the plugin declares no such stream.
    #[track_caller]
    pub fn rows(&self, stream: &str) -> &[Map<String, Value>] {
        self.must_declare(stream);
        self.streams.get(stream).map_or(&[], Vec::as_slice)
    }

    #[track_caller]
    #[allow(clippy::panic)] // a test's assertion
    pub(super) fn must_declare(&self, stream: &str) {
        if !self.declared.iter().any(|name| name == stream) {
            let declared: Vec<String> = self.declared.iter().map(|name| shown(name)).collect();
            panic!("the plugin does not declare {}, only {}", shown(stream), declared.join(", "));
        }
    }

    /// The same, of the stream of a type.
    ///
    /// # Panics
    /// If the plugin does not declare it.
    #[track_caller]
    pub fn records<R: Record>(&self) -> &[Map<String, Value>] {
        self.rows(R::STREAM)
    }

    /// The one record whose column has this value.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    #[allow(clippy::panic)] // a test's assertion
    pub fn row(&self, stream: &str, column: &str, value: impl Into<Value>) -> &Map<String, Value> {
        let value = value.into();
        self.rows(stream)
            .iter()
            .find(|row| row.get(column) == Some(&value))
            .unwrap_or_else(|| panic!("no record of `{stream}` has {column} = {value}: {self:?}"))
    }

    /// The same, of the stream of a type: `round.record::<Interface>("interface", "eth0")`.
    ///
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn record<R: Record>(&self, column: &str, value: impl Into<Value>) -> &Map<String, Value> {
        self.row(R::STREAM, column, value)
    }

    /// That the stream of these records' type got exactly these, in this order.
    ///
    /// # Panics
    /// If not, with each column that differs.
    #[track_caller]
    #[allow(clippy::panic)] // a test's assertion
    pub fn assert_records<R: Record>(&self, expected: impl IntoIterator<Item = R>) {
        let expected = rows_from(expected);
        let differences = differences(self.records::<R>(), &expected);
        if !differences.is_empty() {
            panic!("the records of {} differ:\n{differences}", shown(R::STREAM));
        }
    }

    /// The names of the streams that got records, or were published though empty.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.streams.keys().map(String::as_str)
    }
}

/// A stream as messages call it: the main one has no name.
pub(super) fn shown(stream: &str) -> String {
    if stream.is_empty() { "the main stream".to_owned() } else { format!("`{stream}`") }
}

fn rows_from<R: Record>(records: impl IntoIterator<Item = R>) -> Vec<Map<String, Value>> {
    let schema = R::schema();
    let new = |column: &crate::schema::ColumnSchema| Column::new(column.value);
    let mut columns: Vec<Column> = schema.columns.iter().map(new).collect();
    let records = records.into_iter().map(|record| record.append(&mut columns)).count();
    (0..records).map(|row| row_of(&schema, &columns, row)).collect()
}

/// A line for each difference; nothing if there is none.
fn differences(found: &[Map<String, Value>], expected: &[Map<String, Value>]) -> String {
    let mut text = String::new();
    for index in 0..found.len().max(expected.len()) {
        let line = match (found.get(index), expected.get(index)) {
            (Some(found), Some(expected)) => {
                for (column, expected) in expected {
                    let found = found.get(column).unwrap_or(&Value::Null);
                    if found != expected {
                        let _ = writeln!(
                            text,
                            "  record {index}: {column} is {found}, expected {expected}"
                        );
                    }
                }
                continue;
            }
            (Some(found), None) => format!("  record {index} was not expected: {}", json(found)),
            (None, Some(expected)) => format!("  record {index} is missing: {}", json(expected)),
            (None, None) => continue,
        };
        text.push_str(&line);
        text.push('\n');
    }
    text
}

fn json(row: &Map<String, Value>) -> String {
    Value::Object(row.clone()).to_string()
}

fn row_of(schema: &StreamSchema, columns: &[Column], row: usize) -> Map<String, Value> {
    schema
        .columns
        .iter()
        .zip(columns)
        .map(|(column, data)| (column.name.clone(), value_of(column.value, data, row)))
        .collect()
}

fn value_of(kind: ValueType, column: &Column, row: usize) -> Value {
    if !column.is_valid(row) {
        return Value::Null;
    }
    match column.values() {
        Values::U64(values) => values[row].into(),
        Values::I64(values) => values[row].into(),
        Values::F64(values) => values[row].into(),
        Values::Bool(values) => (values[row] != 0).into(),
        Values::Text { ends, bytes } => {
            let start = row.checked_sub(1).map_or(0, |before| ends[before]) as usize;
            let text = String::from_utf8_lossy(&bytes[start..ends[row] as usize]);
            match kind {
                ValueType::TextList => text.split_terminator('\0').collect(),
                _ => text.into(),
            }
        }
    }
}
