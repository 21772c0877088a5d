//! Reading: records of a time, one for each step and series, from the tiers that have them.
//!
//! A reader opens the file for itself, read-only: it never delays the writer, and sees whole
//! flushes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::schema::ValueType;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, ErrorCode, OpenFlags, Row};
use serde_json::Value as Json;
use thiserror::Error;

use super::id::{self, HOUR_MS, MINUTE_MS};
use super::layout::{Fate, Tier, quoted};
use super::series::{Key, Picked, Series, What};
use super::streams::{self, Tables};
use crate::bus::Filter;
use crate::clock;
use crate::config::suggestion;
use crate::model::StreamInfo;
use crate::sink::asked::complaint;

/// Longest that a reader may take: while it reads, the write-ahead log is not emptied.
const LONGEST: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug)]
pub(crate) struct Question {
    /// Name or topic.
    pub(crate) stream: String,
    /// Milliseconds since 1970, and up to when.
    pub(crate) from: i64,
    pub(crate) to: i64,
    /// One record for so many milliseconds.
    pub(crate) step: i64,
    /// Without it, all.
    pub(crate) columns: Option<Vec<String>>,
    pub(crate) filter: Option<Filter>,
    /// Most rows of all series together.
    pub(crate) limit: usize,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) topic: String,
    pub(crate) stream: String,
    pub(crate) keys: Vec<String>,
    pub(crate) columns: Vec<Picked>,
    pub(crate) series: Vec<(Vec<Json>, Series)>,
    /// There are more rows, of later times.
    pub(crate) truncated: bool,
}

/// Why nothing was found.
#[derive(Debug, Error)]
pub(crate) enum ReadError {
    #[error("{0}")]
    Unknown(String),
    #[error("{0}")]
    Wrong(String),
    #[error("this took longer than {LONGEST:?}; ask for a shorter time or a larger step")]
    TooLong,
    #[error("{path} can't be read: {cause}")]
    Sqlite { path: PathBuf, cause: rusqlite::Error },
}

/// Answers a question. Blocks, for 5 s at most.
pub(crate) fn read(file: &Path, question: &Question) -> Result<Answer, ReadError> {
    let sqlite = |cause: rusqlite::Error| match cause.sqlite_error_code() {
        Some(ErrorCode::OperationInterrupted) => ReadError::TooLong,
        // It is made by its writer's first flush.
        Some(ErrorCode::CannotOpen) => nothing_yet(),
        _ => ReadError::Sqlite { path: file.to_owned(), cause },
    };
    let connection = open(file).map_err(sqlite)?;
    let all = match streams::all(&connection) {
        Err(error) if error.to_string().contains("no such table") => return Err(nothing_yet()),
        all => all.map_err(sqlite)?,
    };
    let tables = find(&all, &question.stream)?;
    let (keys, columns) = pick(tables, question.columns.as_deref())?;
    let predicate = predicate(tables, question.filter.as_ref())?;
    let mut reading = Reading {
        question,
        most: question.limit.min(MOST_VALUES / (columns.len() + 1)),
        tables,
        keys: &keys,
        columns: &columns,
        predicate,
        series: BTreeMap::new(),
        rows: 0,
        bytes: 0,
        last: i64::MIN,
        truncated: false,
    };
    reading.all(&connection).map_err(sqlite)?;
    let Reading { series, truncated, .. } = reading;
    let series = series.into_iter();
    let series = series.map(|(key, mut series)| {
        series.finish();
        (key.json(), series)
    });
    Ok(Answer {
        topic: tables.topic.clone(),
        stream: tables.stream.clone(),
        series: series.collect(),
        keys,
        columns,
        truncated,
    })
}

fn nothing_yet() -> ReadError {
    ReadError::Unknown("nothing is stored yet; history.flush says when it is written".to_owned())
}

fn open(file: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(Duration::from_secs(1))?;
    connection.pragma_update(None, "case_sensitive_like", true)?;
    let until = clock::monotonic() + LONGEST;
    connection.progress_handler(10_000, Some(move || clock::monotonic() > until))?;
    connection.execute_batch("BEGIN")?; // all of it as of one flush
    Ok(connection)
}

fn find<'a>(all: &'a [Tables], name: &str) -> Result<&'a Tables, ReadError> {
    let mut current = all.iter().filter(|tables| !tables.set_aside);
    let found = current.clone().find(|tables| tables.stream == name || tables.topic == name);
    found.ok_or_else(|| {
        let known: Vec<&str> = current.by_ref().map(|tables| &*tables.stream).collect();
        if known.is_empty() {
            return nothing_yet();
        }
        let hint = suggestion(name, &known);
        ReadError::Unknown(format!("no stream `{name}` is stored; {hint}"))
    })
}

/// The keys, and the columns that are wanted.
fn pick(
    tables: &Tables,
    wanted: Option<&[String]>,
) -> Result<(Vec<String>, Vec<Picked>), ReadError> {
    let schema = |name: &str| tables.schema.columns.iter().find(|column| column.name == name);
    let mut keys = Vec::new();
    let mut known = Vec::new();
    for (index, column) in tables.layout.columns.iter().enumerate() {
        let unit = schema(&column.name).map(|column| column.unit.clone()).unwrap_or_default();
        let picked = |name: &str, what| Picked {
            name: name.to_owned(),
            unit: unit.clone(),
            value: column.value,
            what,
            index,
        };
        match column.fate {
            Fate::Key => keys.push(column.name.clone()),
            Fate::Last => known.push(picked(&column.name, What::Last)),
            Fate::Average => known.extend([
                picked(&column.name, What::Average),
                picked(&column.low, What::Low),
                picked(&column.high, What::High),
            ]),
        }
    }
    let Some(wanted) = wanted else {
        known.retain(|column| matches!(column.what, What::Last | What::Average));
        return Ok((keys, known));
    };
    let mut columns = Vec::new();
    for name in wanted.iter().filter(|name| !keys.contains(name)) {
        let Some(column) = known.iter().find(|column| column.name == *name) else {
            let known: Vec<&str> = known.iter().map(|column| &*column.name).collect();
            let hint = suggestion(name, &known);
            return Err(ReadError::Wrong(format!(
                "columns: {} has no column `{name}`; {hint}",
                tables.stream
            )));
        };
        if columns.iter().any(|picked: &Picked| picked.name == column.name) {
            return Err(ReadError::Wrong(format!("columns: `{name}` stands there twice")));
        }
        columns.push(column.clone());
    }
    Ok((keys, columns))
}

/// The predicate as SQL.
fn predicate(tables: &Tables, filter: Option<&Filter>) -> Result<Option<String>, ReadError> {
    let Some(filter) = filter else { return Ok(None) };
    let nobody: Arc<str> = "".into();
    let info = StreamInfo {
        collector: nobody.clone(),
        plugin: nobody,
        name: tables.stream.clone(),
        topic: tables.topic.clone(),
        schema: tables.schema.clone(),
        declared: tables.schema.columns.len(),
        derived: Vec::new(),
    };
    if let Some(complaint) = complaint(filter, &info) {
        return Err(ReadError::Wrong(format!("where: {complaint}")));
    }
    Ok(filter.sql(&info))
}

/// Values of one answer, and bytes of its texts, at most: it is put together in memory.
const MOST_VALUES: usize = 200_000;
const MOST_BYTES: usize = 16 << 20;

struct Reading<'a> {
    /// Rows, at most.
    most: usize,
    question: &'a Question,
    tables: &'a Tables,
    keys: &'a [String],
    columns: &'a [Picked],
    predicate: Option<String>,
    series: BTreeMap<Key, Series>,
    rows: usize,
    /// Of texts.
    bytes: usize,
    /// The last step that has a row.
    last: i64,
    truncated: bool,
}

impl Reading<'_> {
    /// Until all is read, or the steps that there is room for are whole.
    fn all(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let step = self.question.step;
        // A step is made of whole minutes or hours, or of raw records.
        let coarsest = if step % HOUR_MS == 0 {
            Tier::Hour
        } else if step % MINUTE_MS == 0 {
            Tier::Minute
        } else {
            Tier::Raw
        };
        let (minutes, raw) = self.tables.cuts(connection, coarsest)?;
        let from = self.question.from - self.question.from.rem_euclid(step);
        for (tier, start, end) in
            [(Tier::Hour, from, minutes), (Tier::Minute, minutes, raw), (Tier::Raw, raw, i64::MAX)]
        {
            let (start, end) = (start.max(from), end.min(self.question.to));
            if start < end && !self.part(connection, tier, start, end)? {
                break;
            }
        }
        Ok(())
    }

    /// The records of one tier and time. Whether later ones are wanted.
    fn part(
        &mut self,
        connection: &Connection,
        tier: Tier,
        start: i64,
        end: i64,
    ) -> rusqlite::Result<bool> {
        let mut statement = connection.prepare(&self.sql(tier))?;
        let mut rows = statement.query([id::first(start), id::first(end)])?;
        while let Some(row) = rows.next()? {
            if !self.take(row)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether a later one is wanted.
    fn take(&mut self, row: &Row<'_>) -> rusqlite::Result<bool> {
        let ms = id::ms_of(row.get(0)?);
        let step = ms - ms.rem_euclid(self.question.step);
        let weight: f64 = row.get(1)?;
        let values = 2 + self.keys.len();
        let key = Key::of((2..values).map(|index| row.get_ref(index)).collect::<Result<_, _>>()?);
        let is_new = self.series.get(&key).is_none_or(|series| !series.is_at(step));
        if is_new && (self.rows >= self.most || self.bytes >= MOST_BYTES) {
            self.truncated = true;
            return Ok(step <= self.last); // of other series there may be more of that step
        }
        if is_new {
            (self.rows, self.last) = (self.rows + 1, step);
            self.bytes += key.bytes();
        }
        let series = self.series.entry(key).or_default();
        series.turn_to(step, self.columns);
        for index in 0..self.columns.len() {
            self.bytes += series.add(index, weight, row.get_ref(values + index)?);
        }
        Ok(true)
    }

    /// Time, weight, keys, and the value of each column.
    fn sql(&self, tier: Tier) -> String {
        let weight = if tier == Tier::Raw { "1.0" } else { "CAST(_count AS REAL)" };
        let mut sql = format!("SELECT _id, {weight}");
        for key in self.keys {
            sql.push_str(&format!(", {}", quoted(key)));
        }
        for column in self.columns {
            let stored = &self.tables.layout.columns[column.index];
            let name = match (tier, column.what) {
                (Tier::Minute | Tier::Hour, What::Low) => &stored.low,
                (Tier::Minute | Tier::Hour, What::High) => &stored.high,
                _ => &stored.name,
            };
            sql.push_str(&format!(", {}", quoted(name)));
        }
        sql.push_str(&format!(" FROM {} WHERE _id >= ?1 AND _id < ?2", self.tables.of(tier)));
        if let Some(predicate) = &self.predicate {
            sql.push_str(&format!(" AND ({predicate})"));
        }
        sql + " ORDER BY _id"
    }
}

/// A stored value as JSON, of its column's type.
pub(super) fn json(value: ValueRef<'_>, of: ValueType) -> Json {
    match (value, of) {
        (ValueRef::Integer(value), ValueType::Bool) => (value != 0).into(),
        (ValueRef::Integer(value), _) => value.into(),
        (ValueRef::Real(value), _) => value.into(),
        (ValueRef::Text(text), ValueType::TextList) => {
            serde_json::from_slice(text).unwrap_or(Json::Null)
        }
        (ValueRef::Text(text), _) => String::from_utf8_lossy(text).into(),
        (ValueRef::Null | ValueRef::Blob(_), _) => Json::Null,
    }
}
