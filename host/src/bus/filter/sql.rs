//! A predicate as SQL over stored records: it holds for the same ones as over live ones.

use std::fmt::Write;

use dropsonde_plugin_api::schema::ValueType;

use super::{Comparison, Filter, Literal, Predicate};
use crate::model::StreamInfo;

impl Filter {
    /// The predicate as SQLite's SQL, where lists are stored as JSON and `LIKE` tells upper case
    /// from lower. `None` if the stream lacks a column.
    pub(crate) fn sql(&self, stream: &StreamInfo) -> Option<String> {
        let mut sql = String::new();
        self.predicate.write(stream, &mut sql)?;
        Some(sql)
    }
}

impl Predicate<String> {
    fn write(&self, stream: &StreamInfo, sql: &mut String) -> Option<()> {
        match self {
            Self::Or(parts) => join(parts, " OR ", stream, sql)?,
            Self::And(parts) => join(parts, " AND ", stream, sql)?,
            Self::Not(part) => {
                sql.push_str("NOT ");
                join(std::slice::from_ref(&**part), "", stream, sql)?;
            }
            Self::IsNull(name) => {
                stream.column(name)?;
                let _ = write!(sql, "{} IS NULL", quoted(name)); // to memory, as all of these
            }
            Self::IsTrue(name) => {
                stream.column(name)?;
                sql.push_str(&quoted(name));
            }
            Self::Compare(name, comparison, literal) => {
                each(name, stream, sql, |value| {
                    format!("{value} {} {}", sign(*comparison), value_of(literal))
                })?;
            }
            Self::In(name, literals) => {
                let literals: Vec<String> = literals.iter().map(value_of).collect();
                let literals = literals.join(", ");
                each(name, stream, sql, |value| format!("{value} IN ({literals})"))?;
            }
            Self::Like(name, pattern) => {
                let pattern = value_of(&Literal::Text(pattern.clone()));
                each(name, stream, sql, |value| format!("{value} LIKE {pattern}"))?;
            }
        }
        Some(())
    }
}

fn join(
    parts: &[Predicate<String>],
    by: &str,
    stream: &StreamInfo,
    sql: &mut String,
) -> Option<()> {
    sql.push('(');
    for (index, part) in parts.iter().enumerate() {
        sql.push_str(if index == 0 { "" } else { by });
        part.write(stream, sql)?;
    }
    sql.push(')');
    Some(())
}

/// Of a list, one item for which it holds is enough.
fn each(
    name: &str,
    stream: &StreamInfo,
    sql: &mut String,
    holds: impl Fn(&str) -> String,
) -> Option<()> {
    let column = &stream.schema.columns.get(stream.column(name)?)?;
    let name = quoted(name);
    let _ = if column.value == ValueType::TextList {
        let holds = holds("item.value");
        write!(
            sql,
            "CASE WHEN {name} IS NOT NULL THEN \
             EXISTS (SELECT 1 FROM json_each({name}) AS item WHERE {holds}) END"
        )
    } else {
        write!(sql, "{}", holds(&name))
    };
    Some(())
}

fn sign(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => "=",
        Comparison::NotEqual => "<>",
        Comparison::Less => "<",
        Comparison::LessOrEqual => "<=",
        Comparison::Greater => ">",
        Comparison::GreaterOrEqual => ">=",
    }
}

fn value_of(literal: &Literal) -> String {
    match literal {
        Literal::Text(text) => format!("'{}'", text.replace('\'', "''")),
        Literal::Integer(number) => number.to_string(),
        Literal::Float(number) => format!("{number:e}"),
        Literal::Bool(value) => u8::from(*value).to_string(),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
