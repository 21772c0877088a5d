//! Predicates over the columns of a record, in the words of SQL's `WHERE`.

mod parse;
mod sql;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use dropsonde_plugin_api::schema::{ColumnSchema, StreamKind, ValueType};
use serde::Serialize;
use thiserror::Error;

use crate::model::{Batch, StreamInfo, Value};

/// Longest predicate, in bytes: it is evaluated for each record.
const MAX_TEXT: usize = 1024;

/// A predicate over the columns of a record.
///
/// ```text
/// interface = 'eth0' and bytes_recv_per_sec > 1e6
/// mount_point like '/srv/%' or not (percent < 90)
/// state in ('running', 'zombie') and io_read_bytes is not null
/// ```
///
/// It is written as in SQL's `WHERE` (ISO/IEC 9075-2, "search condition"): a column (in double
/// quotes where it is called like a word of this language), then `=`, `!=` or `<>`, `<`, `<=`,
/// `>`, `>=`, `[not] in (…)`, `[not] like` (`%` any text, `_` any character, case counts) or
/// `is [not] null`, joined by `and`, `or`, `not` and parentheses; a Boolean column may stand
/// alone. Text stands in single quotes, a quote within it twice. Key columns, rates and shares
/// are columns like others.
///
/// As in SQL, a comparison with a missing value, or of text with a number, is neither true nor
/// false, and a record passes only where the whole is true. Of a list of texts, one that fulfils
/// the comparison is enough.
#[derive(Debug, Clone, PartialEq)]
pub struct Filter {
    text: Arc<str>,
    predicate: Predicate<String>,
}

/// Why a text is no predicate.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{what} at character {at} of `{text}`; write such as interface = 'eth0' and errin > 0")]
pub struct FilterError {
    text: String,
    at: usize,
    what: String,
}

/// `C` names a column.
#[derive(Debug, Clone, PartialEq)]
enum Predicate<C> {
    Or(Vec<Self>),
    And(Vec<Self>),
    Not(Box<Self>),
    IsNull(C),
    IsTrue(C),
    Compare(C, Comparison, Literal),
    In(C, Vec<Literal>),
    Like(C, String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, Clone, PartialEq)]
enum Literal {
    Text(String),
    Integer(i128),
    Float(f64),
    Bool(bool),
}

impl Filter {
    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The columns that it names, each once.
    pub fn columns(&self) -> Vec<&str> {
        let mut columns = Vec::new();
        self.predicate.each_column(&mut |column: &String| {
            if !columns.contains(&column.as_str()) {
                columns.push(column.as_str());
            }
        });
        columns
    }

    /// A column of a stream that is compared with a value of another kind, and that value: such a
    /// comparison is never true. `None` as well if the stream lacks a column.
    pub(crate) fn mismatch<'a>(
        &'a self,
        stream: &'a StreamInfo,
    ) -> Option<(&'a ColumnSchema, String)> {
        self.predicate.mismatch(stream)
    }

    /// The predicate for the records of one stream; `None` if that lacks a column.
    pub(crate) fn bind(&self, stream: &StreamInfo) -> Option<Bound> {
        self.predicate.bind(stream).map(Bound)
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        if text.len() > MAX_TEXT {
            let shown: String = text.chars().take(40).collect();
            let what = format!("a predicate has {MAX_TEXT} bytes at most, this one {}", text.len());
            return Err(FilterError { text: shown + "…", at: 1, what });
        }
        let predicate = parse::predicate(text).map_err(|(at, what)| FilterError {
            text: text.to_owned(),
            at: at + 1,
            what,
        })?;
        Ok(Self { text: text.into(), predicate })
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Filter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

/// A predicate over the records of one stream.
pub(crate) struct Bound(Predicate<usize>);

impl Bound {
    /// The records of a batch for which it is true: the batch itself if it is so for all. A
    /// snapshot may be empty, which says that there is none now; events are `None` then.
    pub(crate) fn select(&self, batch: &Arc<Batch>) -> Option<Arc<Batch>> {
        let passes = |row: &usize| self.0.holds(batch, *row) == Some(true);
        let rows: Vec<usize> = (0..batch.rows()).filter(passes).collect();
        if rows.len() == batch.rows() {
            return Some(batch.clone());
        }
        let is_event = batch.stream.schema.kind == StreamKind::Event;
        (!rows.is_empty() || !is_event).then(|| Arc::new(batch.select(&rows)))
    }
}

impl Predicate<String> {
    fn each_column<'a>(&'a self, see: &mut impl FnMut(&'a String)) {
        match self {
            Self::Or(parts) | Self::And(parts) => {
                parts.iter().for_each(|part| part.each_column(see));
            }
            Self::Not(part) => part.each_column(see),
            Self::IsNull(column)
            | Self::IsTrue(column)
            | Self::Compare(column, ..)
            | Self::In(column, _)
            | Self::Like(column, _) => see(column),
        }
    }

    fn mismatch<'a>(&self, stream: &'a StreamInfo) -> Option<(&'a ColumnSchema, String)> {
        let column = |name: &str| stream.schema.columns.iter().find(|column| column.name == name);
        let fits = |column: &ColumnSchema, literal: &Literal| match literal {
            Literal::Text(_) => matches!(column.value, ValueType::Text | ValueType::TextList),
            Literal::Bool(_) => column.value == ValueType::Bool,
            Literal::Integer(_) | Literal::Float(_) => {
                matches!(column.value, ValueType::U64 | ValueType::I64 | ValueType::F64)
            }
        };
        match self {
            Self::Or(parts) | Self::And(parts) => {
                parts.iter().find_map(|part| part.mismatch(stream))
            }
            Self::Not(part) => part.mismatch(stream),
            Self::IsNull(_) => None,
            Self::IsTrue(name) => {
                let column = column(name)?;
                (column.value != ValueType::Bool).then(|| (column, "true".to_owned()))
            }
            Self::Compare(name, _, literal) => {
                let column = column(name)?;
                (!fits(column, literal)).then(|| (column, literal.to_string()))
            }
            Self::In(name, literals) => {
                let column = column(name)?;
                let other = literals.iter().find(|literal| !fits(column, literal))?;
                Some((column, other.to_string()))
            }
            Self::Like(name, pattern) => {
                let (column, pattern) = (column(name)?, Literal::Text(pattern.clone()));
                (!fits(column, &pattern)).then(|| (column, pattern.to_string()))
            }
        }
    }

    fn bind(&self, stream: &StreamInfo) -> Option<Predicate<usize>> {
        let all =
            |parts: &[Self]| parts.iter().map(|part| part.bind(stream)).collect::<Option<_>>();
        Some(match self {
            Self::Or(parts) => Predicate::Or(all(parts)?),
            Self::And(parts) => Predicate::And(all(parts)?),
            Self::Not(part) => Predicate::Not(Box::new(part.bind(stream)?)),
            Self::IsNull(column) => Predicate::IsNull(stream.column(column)?),
            Self::IsTrue(column) => Predicate::IsTrue(stream.column(column)?),
            Self::Compare(column, comparison, literal) => {
                Predicate::Compare(stream.column(column)?, *comparison, literal.clone())
            }
            Self::In(column, literals) => Predicate::In(stream.column(column)?, literals.clone()),
            Self::Like(column, pattern) => Predicate::Like(stream.column(column)?, pattern.clone()),
        })
    }
}

impl Predicate<usize> {
    /// `None`: unknown, as SQL has it.
    fn holds(&self, batch: &Batch, row: usize) -> Option<bool> {
        match self {
            Self::Or(parts) => any(parts.iter().map(|part| part.holds(batch, row))),
            Self::And(parts) => {
                any(parts.iter().map(|part| part.holds(batch, row).map(|holds| !holds)))
                    .map(|fails| !fails)
            }
            Self::Not(part) => part.holds(batch, row).map(|holds| !holds),
            Self::IsNull(column) => Some(batch.value(row, *column) == Value::Null),
            Self::IsTrue(column) => match batch.value(row, *column) {
                Value::Bool(value) => Some(value),
                _ => None,
            },
            Self::Compare(column, comparison, literal) => {
                each(batch.value(row, *column), |value| {
                    literal.order(value).map(|order| comparison.holds(order))
                })
            }
            Self::In(column, literals) => each(batch.value(row, *column), |value| {
                any(literals.iter().map(|literal| Some(literal.order(value)?.is_eq())))
            }),
            Self::Like(column, pattern) => each(batch.value(row, *column), |value| match value {
                Value::Text(text) => Some(like(pattern, text)),
                _ => None,
            }),
        }
    }
}

/// True if one is; unknown if none is but one is unknown.
fn any(mut parts: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut all_known = true;
    let found = parts.any(|part| {
        all_known &= part.is_some();
        part == Some(true)
    });
    if found { Some(true) } else { all_known.then_some(false) }
}

/// Of a list, one that holds is enough.
fn each(value: Value<'_>, holds: impl Fn(Value<'_>) -> Option<bool>) -> Option<bool> {
    match value {
        Value::List(items) => {
            any(items.split_terminator('\0').map(|item| holds(Value::Text(item))))
        }
        value => holds(value),
    }
}

impl fmt::Display for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "'{text}'"),
            Self::Integer(number) => write!(f, "{number}"),
            Self::Float(number) => write!(f, "{number}"),
            Self::Bool(value) => write!(f, "{value}"),
        }
    }
}

impl Comparison {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

impl Literal {
    /// How a value stands to it; `None` if they can't be compared.
    fn order(&self, value: Value<'_>) -> Option<Ordering> {
        match (value, self) {
            (Value::Text(value), Self::Text(text)) => Some(value.cmp(text)),
            (Value::Bool(value), Self::Bool(wanted)) => Some(value.cmp(wanted)),
            (Value::U64(value), Self::Integer(number)) => Some(i128::from(value).cmp(number)),
            (Value::I64(value), Self::Integer(number)) => Some(i128::from(value).cmp(number)),
            (Value::F64(value), Self::Integer(number)) => value.partial_cmp(&(*number as f64)),
            (Value::U64(value), Self::Float(number)) => (value as f64).partial_cmp(number),
            (Value::I64(value), Self::Float(number)) => (value as f64).partial_cmp(number),
            (Value::F64(value), Self::Float(number)) => value.partial_cmp(number),
            _ => None,
        }
    }
}

/// SQL's `LIKE`: goes back at most to the last `%`, so its time is at worst the product of the
/// lengths.
fn like(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut back: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let rest = (pattern.clone(), text.clone());
        match (pattern.next(), text.next()) {
            (None, None) => return true,
            (Some('%'), _) => {
                text = rest.1;
                back = Some((pattern.clone(), text.clone()));
                continue;
            }
            (Some(wanted), Some(found)) if wanted == '_' || wanted == found => continue,
            _ => {}
        }
        let Some((after, from)) = &mut back else { return false };
        if from.next().is_none() {
            return false;
        }
        (pattern, text) = (after.clone(), from.clone());
    }
}
