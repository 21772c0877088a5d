//! The rows that a plugin in C pushes, made into columns.

use std::slice;

use dropsonde_plugin_api::abi::c::{CValue, MISSING};
use dropsonde_plugin_api::schema::{StreamSchema, ValueType};
use dropsonde_plugin_api::{Column, Values};

use crate::clock;
use crate::model::{ColumnData, Data, MAX_BATCH, MAX_ROWS, RawBatch, shown};

/// So many events are handed over at once, or so many bytes of them.
const FLUSH_ROWS: usize = 256;
const FLUSH_BYTES: usize = 1 << 20;

/// What was pushed to each stream since it was last taken.
pub(super) struct Rows(Vec<Stream>);

struct Stream {
    types: Vec<ValueType>,
    columns: Vec<Column>,
    rows: usize,
    bytes: usize,
    begun: bool,
}

impl Rows {
    pub(super) fn of(streams: &[StreamSchema]) -> Self {
        Self(streams.iter().map(Stream::new).collect())
    }

    pub(super) fn clear(&mut self) {
        self.take().for_each(drop);
    }

    /// A batch of a stream, though it may have no rows.
    pub(super) fn begin(&mut self, stream: u32) -> Result<(), String> {
        self.stream(stream).map(|stream| stream.begun = true)
    }

    fn stream(&mut self, index: u32) -> Result<&mut Stream, String> {
        let declared = self.0.len();
        self.0.get_mut(index as usize).ok_or_else(|| {
            format!("stream {index} was not declared; the plugin declares {declared}")
        })
    }

    /// Takes a row, or none of it. Whether there are enough to hand over as events.
    ///
    /// # Safety
    /// There are so many values, and what they point to has the length that they say.
    pub(super) unsafe fn push(
        &mut self,
        schemas: &[StreamSchema],
        index: u32,
        values: *const CValue,
        count: u64,
    ) -> Result<bool, String> {
        let stream = self.stream(index)?;
        let schema = &schemas[index as usize]; // as many as there are streams
        let wrong = |what: String| Err(format!("a row of {}: {what}", shown(&schema.name)));
        let declared = stream.columns.len();
        if count != declared as u64 {
            return wrong(format!("it has {count} values, declared are {declared}"));
        }
        if values.is_null() || !values.is_aligned() {
            return wrong(format!("its values are at {values:?}"));
        }
        if stream.rows >= MAX_ROWS {
            return wrong(format!("there are {MAX_ROWS}, which is the most"));
        }
        // SAFETY: as the caller has it.
        let values = unsafe { slice::from_raw_parts(values, declared) };
        let mut bytes = stream.bytes;
        for ((value, kind), column) in values.iter().zip(&stream.types).zip(&schema.columns) {
            match size(value, *kind) {
                Ok(size) => bytes = bytes.saturating_add(size),
                Err(what) => return wrong(format!("column `{}`: {what}", column.name)),
            }
        }
        if bytes > MAX_BATCH {
            return wrong(format!("with it the batch has {bytes} bytes, allowed are {MAX_BATCH}"));
        }
        for ((value, kind), column) in values.iter().zip(&stream.types).zip(&mut stream.columns) {
            // SAFETY: its type is that of its column, its text is not NULL, and as long as the
            // caller has it.
            unsafe { put(value, *kind, column) };
        }
        stream.bytes = bytes;
        stream.rows += 1;
        stream.begun = true;
        Ok(stream.rows >= FLUSH_ROWS || stream.bytes >= FLUSH_BYTES)
    }

    /// What there is, a batch for each stream that was begun.
    pub(super) fn take(&mut self) -> impl Iterator<Item = RawBatch> + '_ {
        (0..).zip(&mut self.0).filter(|(_, stream)| stream.begun).map(|(index, stream)| {
            let columns = stream.types.iter().map(|kind| Column::new(*kind)).collect();
            let columns = std::mem::replace(&mut stream.columns, columns);
            let rows = std::mem::take(&mut stream.rows);
            (stream.bytes, stream.begun) = (0, false);
            let columns = columns.into_iter().map(data).collect();
            RawBatch { stream: index, rows, monotonic_ns: clock::monotonic_ns(), columns }
        })
    }
}

impl Stream {
    fn new(schema: &StreamSchema) -> Self {
        let types: Vec<ValueType> = schema.columns.iter().map(|column| column.value).collect();
        let columns = types.iter().map(|kind| Column::new(*kind)).collect();
        Self { types, columns, rows: 0, bytes: 0, begun: false }
    }
}

/// Bytes that a value takes, if it can be one of its column.
fn size(value: &CValue, kind: ValueType) -> Result<usize, String> {
    if value.r#type == MISSING {
        return Ok(9);
    }
    let expected = match kind {
        ValueType::U64 => 0,
        ValueType::I64 => 1,
        ValueType::F64 => 2,
        ValueType::Bool => 3,
        ValueType::Text => 4,
        ValueType::TextList => 5,
    };
    if value.r#type != expected {
        return Err(format!("a value of type {}, declared is {expected}", value.r#type));
    }
    if !matches!(kind, ValueType::Text | ValueType::TextList) {
        return Ok(9);
    }
    // SAFETY: any bits are a pointer; it is not followed here.
    let is_null = unsafe { value.of.text }.is_null();
    if value.length > MAX_BATCH as u64 || (is_null && value.length > 0) {
        return Err(format!("a text of {} bytes that can't be there", value.length));
    }
    Ok((value.length as usize).saturating_add(5))
}

/// # Safety
/// The value is one that `size` has let pass, with so many bytes behind its pointer.
unsafe fn put(value: &CValue, kind: ValueType, column: &mut Column) {
    if value.r#type == MISSING {
        return column.push_null();
    }
    // SAFETY: the type says which of the union it is, and any bits are a number.
    let of = value.of;
    match kind {
        // SAFETY: as above.
        ValueType::U64 => column.push_u64(unsafe { of.u64 }),
        // SAFETY: as above.
        ValueType::I64 => column.push_i64(unsafe { of.i64 }),
        // SAFETY: as above.
        ValueType::F64 => column.push_f64(unsafe { of.f64 }),
        // SAFETY: as above.
        ValueType::Bool => column.push_bool(unsafe { of.u64 } != 0),
        ValueType::Text | ValueType::TextList => {
            let bytes = match value.length as usize {
                0 => &[],
                // SAFETY: it is not NULL, and the caller says how long it is.
                length => unsafe { slice::from_raw_parts(of.text.cast::<u8>(), length) },
            };
            let text = String::from_utf8_lossy(bytes);
            if kind == ValueType::Text {
                column.push_text(&text);
            } else {
                column.push_list(text.split_terminator('\0'));
            }
        }
    }
}

fn data(column: Column) -> ColumnData {
    let (values, validity) = column.into_parts();
    let data = match values {
        Values::U64(values) => Data::U64(values),
        Values::I64(values) => Data::I64(values),
        Values::F64(values) => Data::F64(values),
        Values::Bool(values) => Data::Bool(values),
        Values::Text { ends, bytes } => Data::Text { ends, bytes },
    };
    ColumnData { data, validity }
}
