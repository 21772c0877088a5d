//! What the codes in a declaration mean. Plugins of every language use the same ones.

use dropsonde_plugin_api::schema::{Role, StreamKind, ValueType};

pub(super) fn kind(code: u32, stream: &str) -> Result<StreamKind, String> {
    Ok(match code {
        0 => StreamKind::Snapshot,
        1 => StreamKind::Event,
        other => return Err(format!("stream `{stream}` has the unknown kind {other}")),
    })
}

pub(super) fn role(code: u8, column: &str) -> Result<Role, String> {
    Ok(match code {
        0 => Role::Key,
        1 => Role::Counter,
        2 => Role::Gauge,
        3 => Role::Attribute,
        other => return Err(format!("column `{column}` has the unknown role {other}")),
    })
}

pub(super) fn value(code: u8, column: &str) -> Result<ValueType, String> {
    Ok(match code {
        0 => ValueType::U64,
        1 => ValueType::I64,
        2 => ValueType::F64,
        3 => ValueType::Bool,
        4 => ValueType::Text,
        5 => ValueType::TextList,
        other => return Err(format!("column `{column}` has the unknown type {other}")),
    })
}
