//! Rows by the value of a column, so that a join doesn't read a whole table for each row of
//! another.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, OnceLock};

use dropsonde_plugin_api::schema::ValueType;
use rusqlite::types::ValueRef;

use crate::model::{Batch, StreamInfo, Value};

/// The indexes of one table, each made when it is first asked for.
pub(super) struct Indexes(Vec<OnceLock<Arc<Index>>>);

/// Rows of one column in the order of their values' hashes. Rows whose hash is the same may
/// have different values: SQLite compares once more.
pub(super) struct Index(Vec<(u64, u32)>);

/// What an index knows of a value.
pub(super) enum Found {
    /// No row has it.
    None,
    /// It is among these.
    Rows(Vec<u32>),
    /// Any row may have it: SQLite converts between text and numbers as it compares.
    Any,
}

impl Indexes {
    pub(super) fn new(stream: &StreamInfo) -> Self {
        Self(stream.schema.columns.iter().map(|_| OnceLock::new()).collect())
    }

    /// The rows in whose column a value stands.
    pub(super) fn find(&self, batch: &Batch, column: usize, value: ValueRef<'_>) -> Found {
        let Some(schema) = batch.stream.schema.columns.get(column) else { return Found::Any };
        let is_text = schema.value == ValueType::Text;
        let hash = match value {
            ValueRef::Null => return Found::None,
            ValueRef::Integer(value) if !is_text => hash_number(value as f64),
            ValueRef::Real(value) if !is_text => hash_number(value),
            ValueRef::Text(text) if is_text => hash_text(text),
            _ => return Found::Any,
        };
        let Some(index) = self.0.get(column) else { return Found::Any };
        Found::Rows(index.get_or_init(|| Arc::new(Index::new(batch, column))).rows(hash))
    }
}

/// Whether a column of this type can have an index.
pub(super) fn is_indexable(kind: ValueType) -> bool {
    kind != ValueType::TextList
}

impl Index {
    fn new(batch: &Batch, column: usize) -> Self {
        let hash = |row| match batch.value(row, column) {
            Value::Null | Value::List(_) => None, // equal to nothing; not indexed
            Value::U64(value) => Some(hash_number(value as f64)),
            Value::I64(value) => Some(hash_number(value as f64)),
            Value::F64(value) => Some(hash_number(value)),
            Value::Bool(value) => Some(hash_number(f64::from(u8::from(value)))),
            Value::Text(text) => Some(hash_text(text.as_bytes())),
        };
        let rows = (0..batch.rows()).filter_map(|row| Some((hash(row)?, u32::try_from(row).ok()?)));
        let mut rows: Vec<_> = rows.collect();
        rows.sort_unstable();
        Self(rows)
    }

    fn rows(&self, hash: u64) -> Vec<u32> {
        let from = self.0.partition_point(|(other, _)| *other < hash);
        let from = self.0.get(from..).unwrap_or_default();
        from.iter().take_while(|(other, _)| *other == hash).map(|(_, row)| *row).collect()
    }
}

/// Numbers that are equal have the same, integers and floats alike.
fn hash_number(value: f64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (value + 0.0).to_bits().hash(&mut hasher); // −0 becomes 0
    hasher.finish()
}

fn hash_text(text: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}
