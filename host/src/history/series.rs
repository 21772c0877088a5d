//! Records of one series, gathered into steps.

use dropsonde_plugin_api::schema::ValueType;
use rusqlite::types::ValueRef;
use serde_json::Value as Json;

use super::read::json;

/// A column of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Picked {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(super) value: ValueType,
    pub(super) what: What,
    /// Which column of the stream it is made of.
    pub(super) index: usize,
}

/// What a step has of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    Average,
    Low,
    High,
    Last,
}

/// What tells series apart; in the order of the keys' values.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(Vec<Part>);

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    Missing,
    Number(i64),
    /// Of a key beyond `i64`, which is stored as a float: its bits, which order as it does.
    Huge(u64),
    Text(String),
}

impl Key {
    pub(super) fn of(values: Vec<ValueRef<'_>>) -> Self {
        let part = |value| match value {
            ValueRef::Integer(value) => Part::Number(value),
            ValueRef::Real(value) => Part::Huge(value.to_bits()),
            ValueRef::Text(text) => Part::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Null | ValueRef::Blob(_) => Part::Missing,
        };
        Self(values.into_iter().map(part).collect())
    }

    /// Of its texts.
    pub(super) fn bytes(&self) -> usize {
        let bytes = |part: &Part| if let Part::Text(text) = part { text.len() } else { 0 };
        self.0.iter().map(bytes).sum()
    }

    pub(super) fn json(self) -> Vec<Json> {
        let part = |part| match part {
            Part::Missing => Json::Null,
            Part::Number(value) => value.into(),
            Part::Huge(bits) => f64::from_bits(bits).into(),
            Part::Text(text) => text.into(),
        };
        self.0.into_iter().map(part).collect()
    }
}

/// The rows of one series, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Series {
    /// Start of the step, milliseconds since 1970, and a value for each column.
    pub(crate) rows: Vec<(i64, Vec<Json>)>,
    /// The step that is being gathered.
    at: Option<i64>,
    sums: Vec<Sum>,
}

#[derive(Debug)]
enum Sum {
    Average {
        total: f64,
        weight: f64,
    },
    /// The least or the most of the values, and whether it is the most.
    Extreme(Option<f64>, bool),
    /// And how many bytes of text it has.
    Last(Json, ValueType, usize),
}

impl Series {
    /// Whether this step is being gathered.
    pub(super) fn is_at(&self, step: i64) -> bool {
        self.at == Some(step)
    }

    /// What comes next belongs to this step.
    pub(super) fn turn_to(&mut self, step: i64, columns: &[Picked]) {
        if self.is_at(step) {
            return;
        }
        self.finish();
        self.at = Some(step);
        self.sums.extend(columns.iter().map(|column| match column.what {
            What::Average => Sum::Average { total: 0.0, weight: 0.0 },
            What::Low => Sum::Extreme(None, false),
            What::High => Sum::Extreme(None, true),
            What::Last => Sum::Last(Json::Null, column.value, 0),
        }));
    }

    /// Says by how many bytes of text it has grown.
    pub(super) fn add(&mut self, column: usize, weight: f64, value: ValueRef<'_>) -> usize {
        let number = match value {
            ValueRef::Integer(value) => Some(value as f64),
            ValueRef::Real(value) => Some(value),
            _ => None,
        };
        match (self.sums.get_mut(column), number) {
            (Some(Sum::Last(last, of, bytes)), _) => {
                let now = if let ValueRef::Text(text) = value { text.len() } else { 0 };
                let before = std::mem::replace(bytes, now);
                *last = json(value, *of);
                return now.saturating_sub(before);
            }
            (Some(Sum::Average { total, weight: all }), Some(number)) => {
                *total += number * weight;
                *all += weight;
            }
            (Some(Sum::Extreme(extreme, most)), Some(number)) => {
                let further = |old: f64| if *most { old.max(number) } else { old.min(number) };
                *extreme = Some(extreme.map_or(number, further));
            }
            _ => {}
        }
        0
    }

    /// The step is complete.
    pub(super) fn finish(&mut self) {
        let Some(at) = self.at.take() else { return };
        let values = self.sums.drain(..).map(|sum| match sum {
            Sum::Average { weight: 0.0, .. } => Json::Null,
            Sum::Average { total, weight } => (total / weight).into(),
            Sum::Extreme(extreme, _) => extreme.map_or(Json::Null, Json::from),
            Sum::Last(last, ..) => last,
        });
        self.rows.push((at, values.collect()));
    }
}
