//! What columns are called on the page, and their labels.

use std::borrow::Cow;
use std::fmt::Write;

use dropsonde_plugin_api::schema::{ColumnSchema, Role};

use crate::model::{Batch, StreamInfo, Value};

/// How a column stands on the page.
pub(super) struct Naming {
    pub(super) name: String,
    pub(super) kind: &'static str,
    pub(super) help: String,
    pub(super) attributes: Vec<(String, String)>,
    pub(super) scale: f64,
}

/// What a column is called on the page, if it stands there.
pub(in crate::sink) fn name_of(info: &StreamInfo, index: usize) -> Option<String> {
    naming(info, index, info.schema.columns.get(index)?).map(|naming| naming.name)
}

pub(super) fn naming(info: &StreamInfo, index: usize, column: &ColumnSchema) -> Option<Naming> {
    let derived = index >= info.declared;
    if !matches!(column.role, Role::Counter | Role::Gauge) || (derived && column.otel.is_empty()) {
        return None;
    }
    let counter = column.role == Role::Counter;
    // Percentages that carry a conventional name are ratios there.
    let ratio = column.unit == "%" && !column.otel.is_empty();
    let base = if column.otel.is_empty() {
        format!("dropsonde_{}_{}", info.name, column.name)
    } else {
        column.otel.clone()
    };
    let mut name = sanitize(&base);
    let suffix = if ratio { "ratio" } else { unit_suffix(&column.unit, counter) };
    let (bare, total) = match name.strip_suffix("_total") {
        Some(bare) if counter => (bare.to_owned(), true),
        _ => (name, counter),
    };
    name = bare;
    if !suffix.is_empty() && !name.split('_').any(|word| word == suffix) {
        let _ = write!(name, "_{suffix}");
    }
    if total {
        name.push_str("_total");
    }
    let help = if column.otel.is_empty() {
        column.description.clone()
    } else {
        // Several columns share the family; the description of one would be wrong for others.
        format!("{} ({}).", column.otel, if ratio { "1" } else { &column.unit })
    };
    let attributes =
        column.attributes.iter().map(|(key, value)| (sanitize(key), value.clone())).collect();
    let scale = if ratio { 0.01 } else { 1.0 };
    Some(Naming { name, kind: if counter { "counter" } else { "gauge" }, help, attributes, scale })
}

/// The unit as the OpenTelemetry specification's "Prometheus and OpenMetrics Compatibility" has
/// it: annotations in braces have none.
fn unit_suffix(unit: &str, counter: bool) -> &'static str {
    match unit {
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "ns" => "nanoseconds",
        "%" => "percent",
        "Hz" => "hertz",
        "MHz" => "mhz",
        "Cel" => "celsius",
        "1" if !counter => "ratio",
        _ => "",
    }
}

/// What tells a record from others, and what the conventions have said of it.
/// The columns that are labels, and as what.
pub(super) fn labelled(info: &StreamInfo) -> Vec<(usize, String)> {
    let columns = info.schema.columns.iter().enumerate();
    let labels = columns.filter_map(|(index, column)| {
        let name = match (column.role, column.otel.is_empty()) {
            (Role::Key, true) => &column.name,
            (Role::Key | Role::Attribute, false) => &column.otel,
            _ => return None,
        };
        Some((index, sanitize(name)))
    });
    labels.collect()
}

pub(super) fn own_labels<'a>(
    batch: &'a Batch,
    row: usize,
    labelled: &'a [(usize, String)],
    own: &mut Vec<(&'a str, Cow<'a, str>)>,
) {
    own.clear();
    own.extend(labelled.iter().filter_map(|(index, name)| {
        let value = match batch.value(row, *index) {
            Value::Text(text) => Cow::Borrowed(text),
            Value::U64(value) => Cow::Owned(value.to_string()),
            Value::I64(value) => Cow::Owned(value.to_string()),
            Value::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
            Value::Null | Value::F64(_) | Value::List(_) => return None,
        };
        Some((name.as_str(), value))
    }));
}

/// A collector that is not called as its plugin says so in a label: there may be several.
pub(super) fn labels(
    info: &StreamInfo,
    attributes: &[(String, String)],
    own: &[(&str, Cow<'_, str>)],
) -> String {
    let collector = (info.collector != info.plugin).then_some(("collector", &*info.collector));
    let attributes = attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own = own.iter().map(|(name, value)| (*name, &**value));
    label_set(attributes.chain(own).chain(collector))
}

/// In order of name, and without empty ones, which are to Prometheus as if they were not there: so
/// what tells samples apart there tells them apart as text.
pub(super) fn label_set<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let mut labels: Vec<(Cow<'a, str>, &str)> = Vec::new();
    for (name, value) in pairs.into_iter().filter(|(_, value)| !value.is_empty()) {
        // A label that is there already is renamed, as Prometheus does with its own.
        let mut name = Cow::Borrowed(name);
        while labels.iter().any(|(other, _)| *other == name) {
            name.to_mut().insert_str(0, "exported_");
        }
        labels.push((name, value));
    }
    labels.sort_unstable();
    let mut text = String::with_capacity(64);
    for (name, value) in labels {
        text.push(if text.is_empty() { '{' } else { ',' });
        text.extend([&*name, "=\""]);
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    if !text.is_empty() {
        text.push('}');
    }
    text
}

/// A name as Prometheus takes it: no digit first, and `__` is its own.
pub(super) fn sanitize(name: &str) -> String {
    let plain = |character: char| if character.is_ascii_alphanumeric() { character } else { '_' };
    let name: String = name.chars().map(plain).collect();
    let mut name = name.trim_start_matches('_').to_owned();
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}
