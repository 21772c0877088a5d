//! What a stream looks like: plain data that the plugin declares and the host reads.

mod check;
mod derived;
mod unit;

use serde::{Deserialize, Serialize};

pub use check::{SchemaError, check};
pub use derived::{Derived, derived};
pub use unit::{UnitError, check_unit};

/// Most streams that one plugin may declare: the wanted ones travel as the bits of a `u64`.
pub const MAX_STREAMS: usize = 64;

/// Most records of one stream that a host keeps of one batch, unless the user sets
/// `limits.rows`; those beyond are left out and counted.
pub const DEFAULT_ROWS: u64 = 10_000;

/// A stream: a named, typed sequence of records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamSchema {
    /// Name below the collector's: `interfaces`, or empty for the collector's main stream.
    pub name: String,
    /// Whether a batch replaces the last one or adds to it.
    pub kind: StreamKind,
    /// What one record stands for; the doc comment of the record struct.
    pub description: String,
    /// The fields of a record, in order.
    pub columns: Vec<ColumnSchema>,
}

/// Whether a batch replaces the last one or adds to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamKind {
    /// Each batch replaces the last: metrics.
    Snapshot,
    /// Each batch adds to those before: events.
    Event,
}

/// One field of a record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnSchema {
    /// The field's name.
    pub name: String,
    /// What the field is for.
    pub role: Role,
    /// How its values are stored.
    pub value: ValueType,
    /// Unit by the Unified Code for Units of Measure: `By`, `s`, `1`, `%`, `{packet}`.
    /// Empty for keys and attributes.
    pub unit: String,
    /// What the field means; its doc comment.
    pub description: String,
    /// Metric name by the OpenTelemetry semantic conventions; empty if there is none.
    pub otel: String,
    /// Fixed attributes that tell this column from others of the same metric:
    /// `direction=receive`.
    pub attributes: Vec<(String, String)>,
    /// The share of another counter that the host derives from this one.
    pub share: Option<Share>,
}

impl ColumnSchema {
    /// A column of which no more is said: what is not given is empty.
    pub fn new(name: impl Into<String>, role: Role, value: ValueType) -> Self {
        Self {
            name: name.into(),
            role,
            value,
            unit: String::new(),
            description: String::new(),
            otel: String::new(),
            attributes: Vec::new(),
            share: None,
        }
    }
}

/// What a field is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Says which interface, device, mount point, process… the record is about.
    Key,
    /// Cumulative and monotonic; the host derives its rate.
    Counter,
    /// A value that goes up and down.
    Gauge,
    /// Text, a flag or the number of something else; it describes the record.
    Attribute,
}

/// How the values of a column are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueType {
    /// Unsigned 64-bit integer.
    U64,
    /// Signed 64-bit integer.
    I64,
    /// 64-bit float.
    F64,
    /// Boolean.
    Bool,
    /// UTF-8 text.
    Text,
    /// List of texts; each is followed by a NUL, as in `/proc/PID/cmdline`.
    TextList,
}

/// A percentage that the host derives: how much of another counter's growth was this one's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Name of the derived column, for example `user_percent`.
    pub name: String,
    /// The counter of the same record that is the whole.
    pub of: String,
    /// Metric name of the derived ratio by the OpenTelemetry semantic conventions, or empty.
    pub otel: String,
}
