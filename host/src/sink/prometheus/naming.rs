//! What columns are called on the page, and their labels.

use std::borrow::Cow;
use std::fmt::Write;

use dropsonde_plugin_api::schema::{ColumnSchema, Role};

use crate::model::{Batch, StreamInfo, Value};
use crate::sink::samples::Shape;

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
    if Shape::of(info).is_some() {
        return None; // its rows have names
    }
    naming(info, index, info.schema.columns.get(index)?).map(|naming| naming.name)
}

/// What a column's samples are on the page: those of two columns must differ in something.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    /// The family's name.
    pub(crate) name: String,
    /// `counter` or `gauge`.
    pub(crate) kind: &'static str,
    /// Fixed labels.
    pub(crate) attributes: Vec<(String, String)>,
    /// Names of the labels that each record has its own values of.
    pub(crate) labels: Vec<String>,
}

/// Where a column stands on the page, if it does.
pub(crate) fn place(info: &StreamInfo, index: usize) -> Option<Place> {
    let Naming { name, kind, mut attributes, .. } =
        naming(info, index, info.schema.columns.get(index)?)?;
    attributes.sort();
    let labels = labelled(info).into_iter().map(|(_, name)| name).collect();
    Some(Place { name, kind, attributes, labels })
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
    let unit = if ratio { ("ratio", 0.01) } else { base_unit(&column.unit, counter) };
    let name = name(&sanitize(&base), &column.unit, unit.0, counter);
    let help = if column.otel.is_empty() {
        column.description.clone()
    } else {
        // Several columns share the family; the description of one would be wrong for others.
        format!("{} ({}).", column.otel, if unit.0.is_empty() { &column.unit } else { unit.0 })
    };
    let attributes =
        column.attributes.iter().map(|(key, value)| (sanitize(key), value.clone())).collect();
    let kind = if counter { "counter" } else { "gauge" };
    Some(Naming { name, kind, help, attributes, scale: unit.1 })
}

/// The name in full: the base unit, and `total` for counters, at its end once; never a word there
/// that Prometheus keeps for the parts of histograms.
fn name(plain: &str, unit: &str, base_unit: &str, counter: bool) -> String {
    let (plain, total) = match plain.strip_suffix("_total") {
        Some(bare) if counter => (bare, true),
        _ => (plain, counter),
    };
    // `interval_ms` in seconds is `interval_seconds`.
    let own = format!("_{}", unit.to_ascii_lowercase());
    let is_word = !unit.is_empty() && unit.bytes().all(|byte| byte.is_ascii_alphabetic());
    let plain = plain.strip_suffix(&own).filter(|_| is_word).unwrap_or(plain);
    let mut name = plain.to_owned();
    if !base_unit.is_empty() && !name.split('_').any(|word| word == base_unit) {
        let _ = write!(name, "_{base_unit}");
    }
    if total {
        name.push_str("_total");
        return name;
    }
    match ["_count", "_sum", "_bucket"].iter().find_map(|part| name.strip_suffix(part)) {
        Some(before) => counted(before, unit),
        None => name,
    }
}

/// What is counted, instead of the word `count`: `core` or `logical`, in `{core}`, is `cores` or
/// `logical_cores`.
fn counted(before: &str, unit: &str) -> String {
    let Some(one) = unit.strip_prefix('{').and_then(|unit| unit.strip_suffix('}')) else {
        return before.to_owned();
    };
    let one = sanitize(one);
    let many = match one.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None if one.ends_with(['s', 'x']) || one.ends_with("ch") => format!("{one}es"),
        None => format!("{one}s"),
    };
    match before.rsplit_once('_') {
        Some((rest, last)) if last == one || last == many => format!("{rest}_{many}"),
        _ => format!("{before}_{many}"),
    }
}

/// The unit as the OpenTelemetry specification's "Prometheus and OpenMetrics Compatibility" has
/// it, in base units as Prometheus wants them, and what a value is multiplied by. Annotations in
/// braces have none.
fn base_unit(unit: &str, counter: bool) -> (&'static str, f64) {
    match unit {
        "By" => ("bytes", 1.0),
        "KiBy" => ("bytes", 1024.0),
        "MiBy" => ("bytes", 1_048_576.0),
        "s" => ("seconds", 1.0),
        "ms" => ("seconds", 1e-3),
        "us" => ("seconds", 1e-6),
        "ns" => ("seconds", 1e-9),
        "%" => ("percent", 1.0),
        "Hz" => ("hertz", 1.0),
        "MHz" => ("hertz", 1e6),
        "Cel" => ("celsius", 1.0),
        "1" if !counter => ("ratio", 1.0),
        _ => ("", 1.0),
    }
}

/// The columns that are labels, and as what: what tells a record from others, and what the
/// conventions have said of it.
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
