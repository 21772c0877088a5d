//! What a plugin lends or returns, made the host's own. Nothing that it says is taken for
//! granted: lengths and tags are looked at, and text is cut and made UTF-8. Whether values fit
//! their declaration is for the host to check, which trusts no runner.

use dropsonde_plugin_api::abi::abi_stable::std_types::RStr;
use dropsonde_plugin_api::abi::{
    AbiBatch, AbiColumn, AbiColumnView, AbiDescription, AbiFailure, AbiStream,
};
use dropsonde_plugin_api::schema::{ColumnSchema, Share, StreamSchema, ValueType};

use crate::clock;
use crate::model::{BatchError, ColumnData, Data, MAX_BATCH, MAX_ROWS, RawBatch};
use crate::runner::Failure;
use crate::runner::worker::{Parts, bounded, declared};

/// Largest text of one column in one batch.
const MAX_TEXT: usize = 16 << 20;

/// A message of the plugin's.
pub(super) fn text(text: RStr<'_>) -> String {
    bounded(text.as_rslice().as_slice())
}

/// The outcome of a call: what was partial, or why it failed.
pub(super) fn failure(outcome: AbiFailure) -> Result<Vec<String>, Failure> {
    let message = text(outcome.message.as_rstr());
    Err(match outcome.kind {
        AbiFailure::NONE => return Ok(partial(&outcome)),
        AbiFailure::SETTINGS => Failure::Settings { path: text(outcome.path.as_rstr()), message },
        AbiFailure::PANICKED => Failure::Panicked(message),
        AbiFailure::REFUSED => Failure::BadBatch(message),
        _ => Failure::Failed(message),
    })
}

fn partial(outcome: &AbiFailure) -> Vec<String> {
    let mut parts = Parts::default();
    outcome.partial.iter().for_each(|part| parts.add(|| text(part.as_rstr())));
    parts.into_named()
}

/// The streams that a plugin declares.
pub(super) fn streams(description: &AbiDescription) -> Result<Vec<StreamSchema>, String> {
    description.streams.iter().map(stream).collect()
}

fn stream(stream: &AbiStream) -> Result<StreamSchema, String> {
    let name = text(stream.name.as_rstr());
    let kind = declared::kind(stream.kind.into(), &name)?;
    let columns = stream.columns.iter().map(column).collect::<Result<_, _>>()?;
    Ok(StreamSchema { name, kind, description: text(stream.description.as_rstr()), columns })
}

fn column(column: &AbiColumn) -> Result<ColumnSchema, String> {
    let name = text(column.name.as_rstr());
    let role = declared::role(column.role, &name)?;
    let value = declared::value(column.value, &name)?;
    let share = match column.share.as_slice() {
        [name, of, otel] => Some(Share {
            name: text(name.as_rstr()),
            of: text(of.as_rstr()),
            otel: text(otel.as_rstr()),
        }),
        _ => None,
    };
    Ok(ColumnSchema {
        name,
        role,
        value,
        unit: text(column.unit.as_rstr()),
        description: text(column.description.as_rstr()),
        otel: text(column.otel.as_rstr()),
        attributes: column
            .attributes
            .chunks_exact(2)
            .map(|pair| (text(pair[0].as_rstr()), text(pair[1].as_rstr())))
            .collect(),
        share,
    })
}

/// Copies a batch, once its lengths are known to be bounded.
pub(super) fn copy(streams: &[StreamSchema], batch: &AbiBatch<'_>) -> Result<RawBatch, BatchError> {
    let unknown = || BatchError::UnknownStream { index: batch.stream, declared: streams.len() };
    let schema = streams.get(batch.stream as usize).ok_or_else(unknown)?;
    let stream = || schema.name.clone();
    if batch.rows > MAX_ROWS as u64 {
        return Err(BatchError::TooManyRows { stream: stream(), rows: batch.rows });
    }
    if batch.columns.len() != schema.columns.len() {
        return Err(BatchError::ColumnCount {
            stream: stream(),
            columns: batch.columns.len(),
            declared: schema.columns.len(),
        });
    }
    let rows = batch.rows as usize;
    let mut bytes = 0;
    for (column, view) in schema.columns.iter().zip(batch.columns.iter()) {
        bytes += size(column.value, view, rows).map_err(|what| BatchError::Column {
            stream: stream(),
            column: column.name.clone(),
            what,
        })?;
    }
    if bytes > MAX_BATCH {
        return Err(BatchError::TooLarge { stream: stream(), bytes });
    }
    let columns = schema.columns.iter().zip(batch.columns.iter());
    let columns = columns.map(|(column, view)| copy_column(column.value, view)).collect();
    Ok(RawBatch { stream: batch.stream, rows, monotonic_ns: clock::monotonic_ns(), columns })
}

/// Bytes of a column, if its lengths are those of a batch of so many rows.
fn size(value: ValueType, view: &AbiColumnView<'_>, rows: usize) -> Result<usize, &'static str> {
    let (length, bytes) = match value {
        ValueType::U64 => (view.u64s.len(), 8 * rows),
        ValueType::I64 => (view.i64s.len(), 8 * rows),
        ValueType::F64 => (view.f64s.len(), 8 * rows),
        ValueType::Bool => (view.bytes.len(), rows),
        ValueType::Text | ValueType::TextList if view.bytes.len() > MAX_TEXT => {
            return Err("more text than 16 MiB");
        }
        ValueType::Text | ValueType::TextList => (view.ends.len(), view.bytes.len() + 4 * rows),
    };
    if length != rows {
        return Err("the values have another length than the batch");
    }
    match view.validity.len() {
        0 => Ok(bytes),
        length if length == rows => Ok(bytes + rows),
        _ => Err("the validity has another length than the batch"),
    }
}

fn copy_column(value: ValueType, view: &AbiColumnView<'_>) -> ColumnData {
    let data = match value {
        ValueType::U64 => Data::U64(view.u64s.to_vec()),
        ValueType::I64 => Data::I64(view.i64s.to_vec()),
        ValueType::F64 => Data::F64(view.f64s.to_vec()),
        ValueType::Bool => Data::Bool(view.bytes.to_vec()),
        ValueType::Text | ValueType::TextList => {
            Data::Text { ends: view.ends.to_vec(), bytes: view.bytes.to_vec() }
        }
    };
    ColumnData { data, validity: view.validity.to_vec() }
}
