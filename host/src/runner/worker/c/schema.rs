//! The streams that a plugin in C declares.

use std::ffi::c_char;
use std::slice;

use dropsonde_plugin_api::abi::c::{CColumn, CStream};
use dropsonde_plugin_api::schema::{ColumnSchema, Share, StreamSchema};

use super::text;
use crate::model::shown;
use crate::runner::worker::declared;

/// Most columns of a stream, and most texts of a list that ends with NULL.
const MAX_COLUMNS: u64 = 256;
const MAX_TEXTS: usize = 64;

/// # Safety
/// There are so many streams there, and what they point to is as the header says.
pub(super) unsafe fn streams(
    streams: *const CStream,
    count: u64,
) -> Result<Vec<StreamSchema>, String> {
    if !streams.is_aligned() {
        return Err("the streams are not aligned".into());
    }
    // SAFETY: as the caller has it; the table's reader has bounded the number.
    let streams = unsafe { slice::from_raw_parts(streams, count as usize) };
    // SAFETY: as the caller has it.
    streams.iter().map(|given| unsafe { stream(given) }).collect()
}

/// # Safety
/// What it points to is as the header says.
unsafe fn stream(stream: &CStream) -> Result<StreamSchema, String> {
    // SAFETY: as the caller has it.
    let (name, description) = unsafe { (text(stream.name), text(stream.description)) };
    let kind = declared::kind(stream.kind, &name)?;
    let (columns, count) = (stream.columns, stream.column_count);
    if columns.is_null() || !columns.is_aligned() || count > MAX_COLUMNS {
        return Err(format!(
            "{} has {count} columns at {columns:?}, allowed are 1 to {MAX_COLUMNS}",
            shown(&name)
        ));
    }
    // SAFETY: as the caller has it.
    let columns = unsafe { slice::from_raw_parts(columns, count as usize) };
    // SAFETY: as the caller has it.
    let columns = columns.iter().map(|given| unsafe { column(given) }).collect::<Result<_, _>>()?;
    Ok(StreamSchema { name, kind, description, columns })
}

/// # Safety
/// What it points to is as the header says.
unsafe fn column(column: &CColumn) -> Result<ColumnSchema, String> {
    // SAFETY: as the caller has it.
    let name = unsafe { text(column.name) };
    let role = declared::role(column.role, &name)?;
    let value = declared::value(column.r#type, &name)?;
    // SAFETY: as the caller has it.
    let (attributes, share) = unsafe { (texts(column.attributes), texts(column.share)) };
    if attributes.len() > MAX_TEXTS {
        return Err(format!("column `{name}` has more than {} attributes", MAX_TEXTS / 2));
    }
    if attributes.len() % 2 != 0 {
        return Err(format!("an attribute of column `{name}` has a name and no value"));
    }
    let share = match share.as_slice() {
        [] => None,
        [name, of, otel] => Some(Share { name: name.clone(), of: of.clone(), otel: otel.clone() }),
        _ => return Err(format!("the share of column `{name}` is not three texts")),
    };
    let pair = |pair: &[String]| (pair[0].clone(), pair[1].clone());
    Ok(ColumnSchema {
        role,
        value,
        // SAFETY: as the caller has it.
        unit: unsafe { text(column.unit) },
        // SAFETY: the same.
        description: unsafe { text(column.description) },
        // SAFETY: the same.
        otel: unsafe { text(column.otel) },
        attributes: attributes.chunks_exact(2).map(pair).collect(),
        share,
        name,
    })
}

/// # Safety
/// It is NULL, or texts of which the last is followed by NULL.
unsafe fn texts(list: *const *const c_char) -> Vec<String> {
    if list.is_null() || !list.is_aligned() {
        return Vec::new();
    }
    // SAFETY: as the caller has it; nothing behind the NULL is looked at.
    let pointers = (0..=MAX_TEXTS).map(|at| unsafe { list.add(at).read() });
    // SAFETY: as the caller has it.
    pointers.take_while(|start| !start.is_null()).map(|start| unsafe { text(start) }).collect()
}
