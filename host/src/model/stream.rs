//! A stream as subscribers see it: what the plugin declared, and what the host derives.

use std::sync::Arc;

use dropsonde_plugin_api::schema::{Derived, Role, StreamKind, StreamSchema, derived};

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
        let (derived, columns): (Vec<_>, Vec<_>) = derived(&schema).into_iter().unzip();
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
