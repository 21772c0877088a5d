//! Streams of samples: what other programs measured, under their own names.
//!
//! A stream is one by its shape: a snapshot whose two keys are the texts `metric` and `labels`,
//! with a number in the counter `total` or the gauge `value`, and the texts `type`, `help` and
//! `unit`, which may be missing. `labels` is what Prometheus writes between braces, in order of
//! name. Sinks that know metrics by name show such a stream by the names in it.
//!
//! The rows come from a plugin: what does not stand the check here is shown nowhere by its name.

use std::borrow::Cow;

use dropsonde_plugin_api::schema::{Role, StreamKind, ValueType};
use thiserror::Error;

use crate::model::{Batch, StreamInfo, Value};

/// The columns of a stream of samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    metric: usize,
    labels: usize,
    kind: Option<usize>,
    help: Option<usize>,
    unit: Option<usize>,
    total: usize,
    value: usize,
}

impl Shape {
    /// The shape of a stream, if it is one of samples.
    pub(super) fn of(stream: &StreamInfo) -> Option<Self> {
        let column = |name: &str, role: Role, value: ValueType| {
            let index = stream.column(name)?;
            let column = stream.schema.columns.get(index)?;
            (column.role == role && column.value == value).then_some(index)
        };
        let text = |name| column(name, Role::Attribute, ValueType::Text);
        let is_snapshot = stream.schema.kind == StreamKind::Snapshot;
        if !is_snapshot || stream.keys().count() != 2 {
            return None;
        }
        Some(Self {
            metric: column("metric", Role::Key, ValueType::Text)?,
            labels: column("labels", Role::Key, ValueType::Text)?,
            kind: text("type"),
            help: text("help"),
            unit: text("unit"),
            total: column("total", Role::Counter, ValueType::F64)?,
            value: column("value", Role::Gauge, ValueType::F64)?,
        })
    }

    /// The name in a row, as the plugin wrote it.
    pub(super) fn metric<'a>(&self, batch: &'a Batch, row: usize) -> &'a str {
        match batch.value(row, self.metric) {
            Value::Text(text) => text,
            _ => "",
        }
    }

    /// The sample of a row; why not, if it is not what a sample must be.
    pub(super) fn sample<'a>(&self, batch: &'a Batch, row: usize) -> Result<Sample<'a>, Unfit> {
        let text = |column: Option<usize>| match column.map(|column| batch.value(row, column)) {
            Some(Value::Text(text)) => text,
            _ => "",
        };
        let number = |column| match batch.value(row, column) {
            Value::F64(number) => Some(number),
            _ => None,
        };
        let metric = self.metric(batch, row);
        if !is_name(metric, true) {
            return Err(Unfit::Name);
        }
        let total = number(self.total);
        let sample = Sample {
            metric,
            labels: Labels::parse(text(Some(self.labels))).ok_or(Unfit::Labels)?,
            kind: Kind::named(text(self.kind)),
            help: text(self.help),
            unit: text(self.unit),
            counts: total.is_some(),
            number: total.or_else(|| number(self.value)),
        };
        sample.check()?;
        Ok(sample)
    }
}

/// The samples of a metric, or a part of it, that is called so; none if the batch is not of samples.
pub(super) fn of_metric<'a>(batch: &'a Batch, name: &str) -> Vec<Sample<'a>> {
    let Some(shape) = Shape::of(&batch.stream) else { return Vec::new() };
    let samples = (0..batch.rows()).filter_map(|row| shape.sample(batch, row).ok());
    samples.filter(|sample| sample.metric == name || sample.family().0 == name).collect()
}

/// Why a sample is shown nowhere by its name, or is left out of the Prometheus page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Unfit {
    /// It has a name that none can have.
    #[error("that is no name of a metric")]
    Name,
    /// Its labels do not stand in their one form.
    #[error("its labels are not as Prometheus writes them, in order of name")]
    Labels,
    /// A metric of its type has no such sample.
    #[error("a {0} has no sample of this name and these labels")]
    Part(&'static str),
    /// Whoever reads the page would refuse all of it.
    #[error("the value of its label `{0}` is no number")]
    Bound(&'static str),
    /// Another metric of this name, or with a part that is called so, was there before.
    #[error("a metric of another type has this name, or a part that is called so")]
    Type,
    /// A series stands on the page once.
    #[error("another sample has its name and labels")]
    Twice,
    /// It went from agent to agent: two that read each other would never end.
    #[error("it came through more than two other agents")]
    Far,
    /// The agent reads what it shows.
    #[error("it is of this agent's own page, which is there without it")]
    OwnPage,
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    Unknown,
}

impl Kind {
    fn named(word: &str) -> Self {
        match word {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            _ => Self::Unknown,
        }
    }

    /// What the names of its samples end in, beyond that of the metric.
    pub(super) fn parts(self) -> &'static [&'static str] {
        match self {
            Self::Histogram => &["_bucket", "_sum", "_count"],
            Self::Summary => &["_sum", "_count"],
            Self::Counter | Self::Gauge | Self::Unknown => &[],
        }
    }
}

/// One row, checked.
#[derive(Debug)]
pub(super) struct Sample<'a> {
    pub(super) metric: &'a str,
    pub(super) labels: Labels<'a>,
    pub(super) kind: Kind,
    pub(super) help: &'a str,
    pub(super) unit: &'a str,
    /// Whether its number only counts up.
    pub(super) counts: bool,
    pub(super) number: Option<f64>,
}

impl<'a> Sample<'a> {
    /// The name of the metric that it is a part of, and the rest of its own.
    pub(super) fn family(&self) -> (&'a str, &'a str) {
        let mut parts = self.kind.parts().iter();
        let cut = parts.find_map(|part| self.metric.strip_suffix(part)).map_or(0, str::len);
        self.metric.split_at(if cut > 0 { cut } else { self.metric.len() })
    }

    /// Whether its metric can have such a sample.
    fn check(&self) -> Result<(), Unfit> {
        let (_, part) = self.family();
        let (word, bound, has_part) = match self.kind {
            Kind::Histogram => ("histogram", "le", !part.is_empty()),
            Kind::Summary => ("summary", "quantile", true),
            Kind::Counter | Kind::Gauge | Kind::Unknown => return Ok(()),
        };
        let needs_bound = part.is_empty() || part == "_bucket";
        match self.labels.get(bound) {
            None if needs_bound => Err(Unfit::Part(word)),
            _ if !has_part => Err(Unfit::Part(word)),
            // On any part: who reads the page takes each for a number.
            Some(text) if !is_bound(text) => Err(Unfit::Bound(bound)),
            _ => Ok(()),
        }
    }
}

/// Labels in their one form: names in order, values as they are escaped.
#[derive(Debug)]
pub(super) struct Labels<'a> {
    pub(super) text: &'a str,
    pub(super) pairs: Vec<(&'a str, &'a str)>,
}

impl<'a> Labels<'a> {
    /// `a="1",b="2"`; `None` if it is anything else.
    fn parse(text: &'a str) -> Option<Self> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (name, behind) = rest.split_once("=\"")?;
            let end = closing_quote(behind)?;
            if end == 0 {
                return None; // to Prometheus, no label at all
            }
            let in_order = pairs.last().is_none_or(|(before, _)| *before < name);
            if !in_order || !is_name(name, false) || name == "__name__" {
                return None;
            }
            pairs.push((name, behind.get(..end)?));
            rest = behind.get(end + 1..)?;
            if !rest.is_empty() {
                rest = rest.strip_prefix(',').filter(|rest| !rest.is_empty())?;
            }
        }
        Some(Self { text, pairs })
    }

    /// The value of one, as it is escaped.
    pub(super) fn get(&self, name: &str) -> Option<&'a str> {
        self.pairs.iter().find(|(other, _)| *other == name).map(|(_, value)| *value)
    }

    /// What a label is called beside the label `collector` of the agent: one of that name is
    /// renamed, as Prometheus does it.
    pub(super) fn beside_collector(&self, name: &'a str) -> Cow<'a, str> {
        let mut name = Cow::Borrowed(name);
        if name == "collector" {
            while self.get(&name).is_some() {
                name.to_mut().insert_str(0, "exported_");
            }
        }
        name
    }
}

/// Whether this is a bound of a histogram, or a quantile: a number, or infinity by its name.
fn is_bound(text: &str) -> bool {
    let is_named = || text.trim_start_matches(['+', '-']).starts_with(['i', 'I']);
    text.parse().is_ok_and(|bound: f64| bound.is_finite() || (bound.is_infinite() && is_named()))
}

/// Where an escaped value ends.
fn closing_quote(text: &str) -> Option<usize> {
    let mut bytes = text.bytes().enumerate();
    while let Some((index, byte)) = bytes.next() {
        match byte {
            b'"' => return Some(index),
            b'\n' => return None,
            b'\\' if !matches!(bytes.next(), Some((_, b'\\' | b'"' | b'n'))) => return None,
            _ => {}
        }
    }
    None
}

/// A value as it was before it was escaped.
pub(super) fn unescaped(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        let escaped = (character == '\\').then(|| characters.next()).flatten();
        plain.push(match escaped {
            Some('n') => '\n',
            Some(other) => other,
            None => character,
        });
    }
    plain
}

fn is_name(name: &str, colons: bool) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || (colons && byte == b':');
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(fits)
}

#[cfg(test)]
pub(super) mod tests;
