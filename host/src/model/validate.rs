//! What comes from a plugin is checked here before anything else looks at it.

use dropsonde_plugin_api::schema::{Role, StreamSchema, ValueType};
use thiserror::Error;

use super::batch::{ColumnData, Data, RawBatch};

/// Most rows of one batch. A machine with more interfaces, mounts or processes has none known.
pub(crate) const MAX_ROWS: usize = 100_000;
/// Most bytes of one batch: in a frame between runner and host no value takes more than a
/// quarter more.
pub(crate) const MAX_BATCH: usize = 48 << 20;

/// Why a batch was refused.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum BatchError {
    /// The plugin did not declare so many streams.
    #[error("stream {index} was not declared; the plugin declares {declared}")]
    UnknownStream {
        /// What the batch says.
        index: u32,
        /// How many there are.
        declared: usize,
    },
    /// Too many rows.
    #[error("{rows} rows in one batch of {}, allowed are {MAX_ROWS}", shown(stream))]
    TooManyRows {
        /// The stream.
        stream: String,
        /// The number.
        rows: u64,
    },
    /// Too many bytes.
    #[error("a batch of {} has {bytes} bytes, allowed are {MAX_BATCH}", shown(stream))]
    TooLarge {
        /// The stream.
        stream: String,
        /// The number.
        bytes: usize,
    },
    /// Not one column of values for each column of the schema.
    #[error("{columns} columns in a batch of {}, declared are {declared}", shown(stream))]
    ColumnCount {
        /// The stream.
        stream: String,
        /// What came.
        columns: usize,
        /// What should have come.
        declared: usize,
    },
    /// A column's values don't fit its declaration.
    #[error("column `{column}` of {}: {what}", shown(stream))]
    Column {
        /// The stream.
        stream: String,
        /// The column.
        column: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// A stream as messages call it: the main one has no name.
pub(crate) fn shown(stream: &str) -> String {
    if stream.is_empty() { "the main stream".into() } else { format!("`{stream}`") }
}

/// Checks a batch against the stream that it claims to be of. After this, every access within
/// `rows` succeeds. A float that is not finite becomes a missing value.
pub(crate) fn check(schemas: &[StreamSchema], batch: &mut RawBatch) -> Result<(), BatchError> {
    let unknown = || BatchError::UnknownStream { index: batch.stream, declared: schemas.len() };
    let schema = schemas.get(batch.stream as usize).ok_or_else(unknown)?;
    let stream = || schema.name.clone();
    if batch.rows > MAX_ROWS {
        return Err(BatchError::TooManyRows { stream: stream(), rows: batch.rows as u64 });
    }
    if batch.columns.len() != schema.columns.len() {
        return Err(BatchError::ColumnCount {
            stream: stream(),
            columns: batch.columns.len(),
            declared: schema.columns.len(),
        });
    }
    for (column, data) in schema.columns.iter().zip(&mut batch.columns) {
        check_column(column.value, column.role, data, batch.rows).map_err(|what| {
            BatchError::Column { stream: stream(), column: column.name.clone(), what }
        })?;
    }
    Ok(())
}

fn check_column(
    value: ValueType,
    role: Role,
    column: &mut ColumnData,
    rows: usize,
) -> Result<(), &'static str> {
    if !column.validity.is_empty() && column.validity.len() != rows {
        return Err("the validity has another length than the batch");
    }
    let length = match (&column.data, value) {
        (Data::U64(values), ValueType::U64) => values.len(),
        (Data::I64(values), ValueType::I64) => values.len(),
        (Data::F64(values), ValueType::F64) => values.len(),
        (Data::Bool(values), ValueType::Bool) => values.len(),
        (Data::Text { ends, .. }, ValueType::Text | ValueType::TextList) => ends.len(),
        _ => return Err("the values have another type than declared"),
    };
    if length != rows {
        return Err("the values have another length than the batch");
    }
    if role == Role::Key && column.validity.contains(&0) {
        return Err("a key is missing");
    }
    match &mut column.data {
        Data::Text { ends, bytes } => check_text(ends, bytes, value)?,
        Data::F64(values) if values.iter().any(|value| !value.is_finite()) => {
            column.validity.resize(rows, 1);
            for (value, valid) in values.iter_mut().zip(&mut column.validity) {
                if !value.is_finite() {
                    (*value, *valid) = (0.0, 0);
                }
            }
        }
        _ => {}
    }
    Ok(())
}

fn check_text(ends: &[u32], bytes: &[u8], value: ValueType) -> Result<(), &'static str> {
    let text = std::str::from_utf8(bytes).map_err(|_| "text that is not UTF-8")?;
    let mut start = 0;
    for end in ends {
        let end = *end as usize;
        if end < start || !text.is_char_boundary(end) {
            return Err("text offsets that don't fit the text");
        }
        if value == ValueType::TextList && end > start && bytes[end - 1] != 0 {
            return Err("a list whose last item has no end");
        }
        start = end;
    }
    if start == text.len() { Ok(()) } else { Err("text offsets that don't fit the text") }
}
