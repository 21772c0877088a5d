//! A stream as subscribers see it: what the plugin declared, and what the host derives.

use std::sync::Arc;

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

/// A stream of one collector, with the columns that the host adds.
#[derive(Debug, PartialEq)]
pub struct StreamInfo {
    /// The collector that publishes it.
    pub collector: Arc<str>,
    /// The plugin that it came from.
    pub plugin: Arc<str>,
    /// Full name: `network.interfaces`.
    pub name: String,
    /// Topic on the bus: `metrics.network.interfaces`.
    pub topic: String,
    /// Schema with the derived columns at the end.
    pub schema: StreamSchema,
    /// How many columns the plugin declared; those after are derived.
    pub declared: usize,
    /// How each derived column is made, in order.
    pub derived: Vec<Derived>,
}

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

impl StreamInfo {
    /// Adds the derived columns: each counter's share where it declares one, otherwise its rate.
    /// A counter that serves as a whole has no rate of its own: it only tells the time.
    pub fn new(collector: &Arc<str>, plugin: &Arc<str>, schema: StreamSchema) -> Self {
        let dotted = if schema.name.is_empty() { "" } else { "." };
        let name = format!("{collector}{dotted}{}", schema.name);
        let prefix = match schema.kind {
            StreamKind::Snapshot => "metrics",
            StreamKind::Event => "events",
        };
        let topic = format!("{prefix}.{name}");
        Self::at(topic, name, collector, plugin, schema)
    }

    /// A stream at a topic of its own choice: the host's streams.
    pub(crate) fn at(
        topic: String,
        name: String,
        collector: &Arc<str>,
        plugin: &Arc<str>,
        mut schema: StreamSchema,
    ) -> Self {
        let declared = schema.columns.len();
        let (derived, columns): (Vec<_>, Vec<_>) = derive(&schema).into_iter().unzip();
        schema.columns.extend(columns);
        let (collector, plugin) = (collector.clone(), plugin.clone());
        Self { collector, plugin, name, topic, schema, declared, derived }
    }

    /// The columns that tell records apart.
    pub fn keys(&self) -> impl Iterator<Item = usize> {
        (0..self.declared).filter(|index| self.schema.columns[*index].role == Role::Key)
    }

    /// Index of a column by name.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.schema.columns.iter().position(|column| column.name == name)
    }
}

/// The columns that the host adds: none to events, which happen once each.
pub(super) fn derive(schema: &StreamSchema) -> Vec<(Derived, ColumnSchema)> {
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
        name: name.to_owned(),
        role: Role::Gauge,
        value: ValueType::F64,
        unit: unit.to_owned(),
        description,
        otel: String::new(),
        attributes: source.attributes.clone(),
        share: None,
    }
}
