//! The columns that the host adds to a stream.

use super::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

/// How a derived column is made. Indices are of columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Derived {
    /// Growth of a counter per second.
    Rate {
        /// The counter.
        of: usize,
    },
    /// Growth of a counter as a percentage of another's.
    Share {
        /// The part.
        of: usize,
        /// The whole.
        whole: usize,
    },
}

/// The columns that the host adds: none to events, which happen once each.
pub fn derived(schema: &StreamSchema) -> Vec<(Derived, ColumnSchema)> {
    if schema.kind == StreamKind::Event {
        return Vec::new();
    }
    let columns = &schema.columns;
    let position = |name: &str| columns.iter().position(|column| column.name == name);
    let is_whole = |name: &str| {
        columns.iter().any(|column| column.share.as_ref().is_some_and(|share| share.of == name))
    };
    columns
        .iter()
        .enumerate()
        .filter(|(_, column)| column.role == Role::Counter)
        .filter_map(|(of, column)| match &column.share {
            Some(share) => {
                let whole = position(&share.of)?;
                let description = format!("Share of `{}` in `{}`.", column.name, share.of);
                let mut made = column_like(column, &share.name, "%", description);
                made.otel.clone_from(&share.otel);
                Some((Derived::Share { of, whole }, made))
            }
            None if is_whole(&column.name) => None,
            None => {
                let name = format!("{}_per_sec", column.name);
                let unit = format!("{}/s", column.unit);
                let description = format!("Growth of `{}` per second.", column.name);
                Some((Derived::Rate { of }, column_like(column, &name, &unit, description)))
            }
        })
        .collect()
}

fn column_like(source: &ColumnSchema, name: &str, unit: &str, description: String) -> ColumnSchema {
    ColumnSchema {
        unit: unit.to_owned(),
        description,
        attributes: source.attributes.clone(),
        ..ColumnSchema::new(name, Role::Gauge, ValueType::F64)
    }
}
