//! Why a query has no answer.

use std::fmt;
use std::time::Duration;

use rusqlite::{Error, ErrorCode};
use thiserror::Error as ThisError;

use super::catalog::Catalog;
use crate::config::suggestion;

/// Why a query was refused, or ended before its last row. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, ThisError)]
pub enum QueryError {
    /// The SQL can't be read, or names what is not there.
    #[error("{what}{}", .place.map(|place| format!(", at {place}")).unwrap_or_default())]
    Sql {
        /// What is wrong, and the nearest right name.
        what: String,
        /// Where, if SQLite tells.
        place: Option<Place>,
    },
    /// The SQL would do something else than read.
    #[error("{0} is refused: a query is one SELECT, and only reads")]
    NotReadOnly(String),
    /// More is asked for than any query gets.
    #[error("{0}")]
    OutOfBounds(String),
    /// It took too long.
    #[error("the query took longer than {}; ask for less, or allow more, up to 60 s",
        humantime::format_duration(*.0))]
    Timeout(Duration),
    /// It needed too much memory.
    #[error("the query needs more than the 32 MiB that queries have; sort and group fewer rows")]
    Memory,
    /// One of its values or rows is too long.
    #[error("a value has more than 256 KiB, or a row more than 1 MiB; cut it, as by substr()")]
    TooBig,
    /// Too many queries run and wait.
    #[error("other queries run, and no turn came in time or too many wait; ask again later")]
    Busy,
    /// The database that the tables stand in could not be made, or that of history not opened.
    #[error("no database for the query: {0}")]
    Database(String),
    /// A stream was replaced by one with other columns as the query began.
    #[error("the columns of `{0}` changed as the query began; ask again")]
    Changed(String),
    /// The agent is shutting down, or the query broke.
    #[error("the agent ended the query: it shuts down, or its log says why")]
    Ended,
}

/// A place in SQL, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line.
    pub line: usize,
    /// Character in it.
    pub character: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "line {}, character {}", self.line, self.character)
    }
}

impl Place {
    fn new(sql: &str, offset: usize) -> Self {
        let before = sql.get(..offset).unwrap_or(sql);
        let line = before.rsplit('\n').next().unwrap_or_default();
        Self { line: before.matches('\n').count() + 1, character: line.chars().count() + 1 }
    }
}

impl QueryError {
    /// What SQLite says, with what helps.
    pub(super) fn from_sqlite(error: Error, catalog: &Catalog) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::OutOfMemory) => return Self::Memory,
            Some(ErrorCode::TooBig) => return Self::TooBig,
            _ => {}
        }
        match error {
            Error::MultipleStatement => Self::NotReadOnly("a second statement".into()),
            Error::SqliteFailure(_, Some(text)) | Error::SqlInputError { msg: text, .. }
                if text.contains(" may not be ") =>
            {
                Self::NotReadOnly("writing".into())
            }
            Error::SqlInputError { msg, sql, offset, .. } => Self::Sql {
                place: usize::try_from(offset).ok().map(|offset| Place::new(&sql, offset)),
                what: helpful(msg, catalog),
            },
            Error::SqliteFailure(_, Some(text)) => {
                Self::Sql { what: helpful(text, catalog), place: None }
            }
            other => Self::Sql { what: other.to_string(), place: None },
        }
    }
}

/// With the nearest right name, where a table or a column is not there.
fn helpful(message: String, catalog: &Catalog) -> String {
    let (name, known) = if let Some(name) = message.strip_prefix("no such table: ") {
        (name, catalog.names())
    } else if let Some(name) = message.strip_prefix("no such column: ") {
        (name.rsplit('.').next().unwrap_or(name), catalog.columns_in_use())
    } else {
        return message;
    };
    let mut known: Vec<&str> = known.into_iter().filter(|known| *known != name).collect();
    known.sort_unstable();
    known.dedup();
    if known.is_empty() {
        return message;
    }
    format!("{message}; {}", suggestion(name, &known))
}
