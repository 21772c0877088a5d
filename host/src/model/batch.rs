//! Batches: raw as they come from a runner, and finished as the bus carries them.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use dropsonde_plugin_api::schema::ValueType;
use dropsonde_plugin_api::{Column, Values};
use serde::{Deserialize, Serialize};

use super::StreamInfo;
use crate::sink::json;

/// One stream's rows, copied from the plugin and not yet checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RawBatch {
    /// Index of the stream in the plugin's description.
    pub stream: u32,
    /// Number of rows.
    pub rows: usize,
    /// Nanoseconds of `CLOCK_MONOTONIC` when the rows were handed over.
    pub monotonic_ns: u64,
    /// One for each declared column.
    pub columns: Vec<ColumnData>,
}

/// The values of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnData {
    /// The values; a missing one has a placeholder.
    pub data: Data,
    /// One byte a row, 0 where the value is missing; empty if none is.
    #[serde(with = "serde_bytes")]
    pub validity: Vec<u8>,
}

impl RawBatch {
    /// Bytes of its values.
    pub(crate) fn bytes(&self) -> usize {
        self.columns.iter().map(|column| column.data.bytes() + column.validity.len()).sum()
    }

    /// Leaves out the rows beyond `most` of a checked batch; says how many those were.
    pub(crate) fn truncate(&mut self, most: usize) -> usize {
        let beyond = self.rows.saturating_sub(most);
        if beyond > 0 {
            self.rows = most;
            self.columns.iter_mut().for_each(|column| column.truncate(most));
        }
        beyond
    }
}

/// Storage of a column by its type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Data {
    /// Unsigned integers.
    U64(Vec<u64>),
    /// Signed integers.
    I64(Vec<i64>),
    /// Floats.
    F64(Vec<f64>),
    /// Booleans, one byte each.
    #[serde(with = "serde_bytes")]
    Bool(Vec<u8>),
    /// Text, or NUL-terminated items of lists.
    Text {
        /// End of each row in `bytes`.
        ends: Vec<u32>,
        /// All rows, one after the other.
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
}

impl Data {
    fn bytes(&self) -> usize {
        match self {
            Self::U64(values) => size_of_val(values.as_slice()),
            Self::I64(values) => size_of_val(values.as_slice()),
            Self::F64(values) => size_of_val(values.as_slice()),
            Self::Bool(values) => values.len(),
            Self::Text { ends, bytes } => size_of_val(ends.as_slice()) + bytes.len(),
        }
    }
}

/// The records of one stream read at one instant. Immutable; shared by `Arc`.
#[derive(Debug)]
pub struct Batch {
    /// The stream, with its schema.
    pub stream: Arc<StreamInfo>,
    /// Which image of the plugin read it.
    pub generation: u32,
    /// Counts the batches of this stream from 1, across restarts and reloads.
    pub sequence: u64,
    /// Wall time of the read.
    pub wall: SystemTime,
    /// `CLOCK_MONOTONIC` of the read, since boot.
    pub monotonic: Duration,
    /// The tick that it was due at, on the schedule's grid; for a read that somebody asked for,
    /// the time of the read on that grid.
    pub due: Duration,
    rows: usize,
    columns: Vec<ColumnData>,
    json: OnceLock<Arc<str>>,
}

/// Which read a batch came from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    pub(crate) generation: u32,
    pub(crate) sequence: u64,
    pub(crate) wall: SystemTime,
    pub(crate) monotonic: Duration,
    pub(crate) due: Duration,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// The value is missing.
    Null,
    /// Unsigned integer.
    U64(u64),
    /// Signed integer.
    I64(i64),
    /// Float; always finite.
    F64(f64),
    /// Boolean.
    Bool(bool),
    /// Text.
    Text(&'a str),
    /// NUL-terminated items.
    List(&'a str),
}

impl Batch {
    /// Puts a batch together. The columns must fit the stream's schema, derived ones included;
    /// [`check`](super::check) sees to that for what comes from plugins.
    pub(crate) fn new(
        stream: Arc<StreamInfo>,
        read: Read,
        rows: usize,
        columns: Vec<ColumnData>,
    ) -> Self {
        debug_assert_eq!(stream.schema.columns.len(), columns.len());
        let Read { generation, sequence, wall, monotonic, due } = read;
        let json = OnceLock::new();
        Self { stream, generation, sequence, wall, monotonic, due, rows, columns, json }
    }

    /// The same read with only these of its records, in this order. Rows that are not there are
    /// left out.
    pub fn select(&self, rows: &[usize]) -> Self {
        let there: Vec<usize> = rows.iter().copied().filter(|row| *row < self.rows).collect();
        let rows = &there[..];
        let columns = self.columns.iter().map(|column| column.select(rows)).collect();
        Self {
            stream: self.stream.clone(),
            rows: rows.len(),
            columns,
            json: OnceLock::new(),
            ..*self
        }
    }

    /// Number of records.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The value of a column (by index) in a row. Null outside the batch.
    pub fn value(&self, row: usize, column: usize) -> Value<'_> {
        match (self.columns.get(column), self.stream.schema.columns.get(column)) {
            (Some(data), Some(schema)) if row < self.rows => data.value(row, schema.value),
            _ => Value::Null,
        }
    }

    /// The value of a column (by name) in a row. Null if there is no such column.
    pub fn get(&self, row: usize, column: &str) -> Value<'_> {
        self.stream.column(column).map_or(Value::Null, |index| self.value(row, index))
    }

    /// The batch as one line of JSON; made once, whoever asks.
    pub fn json(&self) -> Arc<str> {
        self.json.get_or_init(|| json::line(self).into()).clone()
    }
}

impl ColumnData {
    /// A column of floats, some of them missing.
    pub(crate) fn floats(values: Vec<Option<f64>>) -> Self {
        let mut floats = Floats::with_capacity(values.len());
        values.into_iter().for_each(|value| floats.push(value));
        floats.into()
    }

    /// Only these rows.
    fn select(&self, rows: &[usize]) -> Self {
        fn of<T: Copy + Default>(values: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|row| values.get(*row).copied().unwrap_or_default()).collect()
        }
        let data = match &self.data {
            Data::U64(values) => Data::U64(of(values, rows)),
            Data::I64(values) => Data::I64(of(values, rows)),
            Data::F64(values) => Data::F64(of(values, rows)),
            Data::Bool(values) => Data::Bool(of(values, rows)),
            Data::Text { ends, bytes } => {
                let (mut chosen, mut chosen_ends) = (Vec::new(), Vec::new());
                for row in rows {
                    let item = text(ends, bytes, *row).unwrap_or_default();
                    chosen.extend_from_slice(item.as_bytes());
                    chosen_ends.push(chosen.len() as u32); // no longer than what it is taken from
                }
                Data::Text { ends: chosen_ends, bytes: chosen }
            }
        };
        let validity = if self.validity.is_empty() { Vec::new() } else { of(&self.validity, rows) };
        Self { data, validity }
    }

    fn truncate(&mut self, rows: usize) {
        self.validity.truncate(rows);
        match &mut self.data {
            Data::U64(values) => values.truncate(rows),
            Data::I64(values) => values.truncate(rows),
            Data::F64(values) => values.truncate(rows),
            Data::Bool(values) => values.truncate(rows),
            Data::Text { ends, bytes } => {
                ends.truncate(rows);
                bytes.truncate(ends.last().map_or(0, |end| *end as usize));
            }
        }
    }

    /// Whether the value of a row is present.
    pub fn is_valid(&self, row: usize) -> bool {
        self.validity.get(row).is_none_or(|valid| *valid != 0)
    }

    fn value(&self, row: usize, kind: ValueType) -> Value<'_> {
        if !self.is_valid(row) {
            return Value::Null;
        }
        let value = match &self.data {
            Data::U64(values) => values.get(row).map(|value| Value::U64(*value)),
            Data::I64(values) => values.get(row).map(|value| Value::I64(*value)),
            Data::F64(values) => values.get(row).map(|value| Value::F64(*value)),
            Data::Bool(values) => values.get(row).map(|value| Value::Bool(*value != 0)),
            Data::Text { ends, bytes } => text(ends, bytes, row).map(|text| match kind {
                ValueType::TextList => Value::List(text),
                _ => Value::Text(text),
            }),
        };
        value.unwrap_or(Value::Null)
    }

    /// A number for deriving rates.
    pub(crate) fn number(&self, row: usize) -> Option<f64> {
        if !self.is_valid(row) {
            return None;
        }
        match &self.data {
            Data::U64(values) => values.get(row).map(|value| *value as f64),
            Data::I64(values) => values.get(row).map(|value| *value as f64),
            Data::F64(values) => values.get(row).copied(),
            Data::Bool(_) | Data::Text { .. } => None,
        }
    }
}

/// One row of a text column; `None` if the offsets don't fit, which `check` rules out.
pub(super) fn text<'a>(ends: &[u32], bytes: &'a [u8], row: usize) -> Option<&'a str> {
    let start = match row.checked_sub(1) {
        Some(before) => *ends.get(before)?,
        None => 0,
    };
    let bytes = bytes.get(start as usize..*ends.get(row)? as usize)?;
    std::str::from_utf8(bytes).ok()
}

/// A column of floats in the making.
#[derive(Default)]
pub(super) struct Floats {
    values: Vec<f64>,
    validity: Vec<u8>,
}

impl Floats {
    pub(super) fn with_capacity(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), validity: Vec::new() }
    }

    pub(super) fn push(&mut self, value: Option<f64>) {
        if value.is_none() && self.validity.is_empty() {
            self.validity.resize(self.values.len(), 1);
        }
        if value.is_none() || !self.validity.is_empty() {
            self.validity.push(u8::from(value.is_some()));
        }
        self.values.push(value.unwrap_or_default());
    }
}

impl From<Floats> for ColumnData {
    fn from(Floats { values, validity }: Floats) -> Self {
        Self { data: Data::F64(values), validity }
    }
}

impl From<&Column> for ColumnData {
    fn from(column: &Column) -> Self {
        let data = match column.values() {
            Values::U64(values) => Data::U64(values.clone()),
            Values::I64(values) => Data::I64(values.clone()),
            Values::F64(values) => Data::F64(values.clone()),
            Values::Bool(values) => Data::Bool(values.clone()),
            Values::Text { ends, bytes } => Data::Text { ends: ends.clone(), bytes: bytes.clone() },
        };
        Self { data, validity: column.validity().to_vec() }
    }
}
