//! One query on its thread.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Statement;
use rusqlite::types::ValueRef;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

use super::catalog::Catalog;
use super::guard::{Stop, Stopped, guard, open};
use super::rows::{Cell, Chunk};
use super::{Query, QueryError, table};
use crate::bus::Bus;
use crate::model::{Batch, StreamInfo};

/// Most rows of one chunk.
const CHUNK_ROWS: usize = 256;
/// A chunk is full once its values have so many bytes.
const CHUNK_BYTES: usize = 64 << 10;

/// Most bytes of one row of an answer.
const ROW_BYTES: usize = 1 << 20;

/// What a statement turned out to be.
pub(super) struct Prepared {
    pub(super) columns: Vec<String>,
    /// The streams that it names.
    pub(super) streams: Vec<Arc<StreamInfo>>,
}

/// A query, and what it may need.
pub(super) struct Job {
    pub(super) query: Query,
    pub(super) history: Option<PathBuf>,
    pub(super) streams: Vec<Arc<StreamInfo>>,
    pub(super) bus: Bus,
    /// When its time is up, by the monotonic clock.
    pub(super) ends: Duration,
    pub(super) asker: Asker,
}

/// Whoever asks, as the thread of the query sees it.
pub(super) struct Asker {
    pub(super) prepared: oneshot::Sender<Result<Prepared, QueryError>>,
    pub(super) batches: oneshot::Receiver<Vec<Arc<Batch>>>,
    pub(super) output: Output,
}

/// Where the rows go.
pub(super) struct Output {
    pub(super) chunks: mpsc::Sender<Result<Chunk, QueryError>>,
    pub(super) deadline: Instant,
    pub(super) runtime: Handle,
}

/// Why no more rows are made.
enum Over {
    /// There are no more, or none that were asked for.
    End { truncated: bool },
    /// Nobody takes them.
    Unwanted,
}

impl Asker {
    /// Tells that there will be no rows.
    fn refuse(self, error: QueryError) {
        let _ = self.prepared.send(Err(error)); // an error: nobody waits
    }

    /// Tells what the query names, and waits for it. `None`: nobody waits any more.
    fn fetch(self, prepared: Prepared) -> Option<(Vec<Arc<Batch>>, Output)> {
        self.prepared.send(Ok(prepared)).ok()?;
        Some((self.batches.blocking_recv().ok()?, self.output))
    }
}

impl Output {
    /// Waits for room until the deadline. False: the query may as well end.
    fn send(&self, chunk: Result<Chunk, QueryError>) -> bool {
        let sent = timeout_at(self.deadline, self.chunks.send(chunk));
        self.runtime.block_on(sent).is_ok_and(|sent| sent.is_ok())
    }
}

impl Job {
    /// Prepares the statement, waits for what it names, and hands over its rows. Blocks.
    pub(super) fn run(self) {
        let Self { query, history, streams, bus, ends, asker } = self;
        let (catalog, stopped) = (Catalog::new(streams, &bus), Stopped::default());
        let explain = |error| match stopped.why() {
            Some(Stop::NotReadOnly(what)) => QueryError::NotReadOnly(what),
            Some(Stop::Deadline) => QueryError::Timeout(query.timeout),
            Some(Stop::Memory) => QueryError::Memory,
            Some(Stop::Unwanted) => QueryError::Ended,
            None => QueryError::from_sqlite(error, &catalog),
        };
        let wanted = asker.output.chunks.clone();
        let connection = open(history.as_deref()).and_then(|connection| {
            table::register(&connection, &catalog)?;
            guard(&connection, &stopped, ends, move || wanted.is_closed())?;
            Ok(connection)
        });
        let connection = match connection {
            Ok(connection) => connection,
            Err(error) => {
                let file = history.map(|file| format!(" ({})", file.display()));
                let what = format!("{error}{}", file.unwrap_or_default());
                return asker.refuse(QueryError::Database(what));
            }
        };
        let statement = connection.prepare(&query.sql).map_err(explain).and_then(only_reads);
        let mut statement = match statement {
            Ok(statement) => statement,
            Err(error) => return asker.refuse(error),
        };
        let columns = statement.column_names().into_iter().map(str::to_owned).collect();
        let prepared = Prepared { columns, streams: catalog.streams_in_use() };
        let Some((batches, output)) = asker.fetch(prepared) else { return };
        let over = catalog.fill(batches).and_then(|()| {
            hand_over(&mut statement, query.limit, |rows| output.send(Ok(Chunk::Rows(rows))))
                .map_err(explain)
        });
        match over {
            Ok(Over::End { truncated }) => output.send(Ok(Chunk::End { truncated })),
            Ok(Over::Unwanted) => false,
            Err(error) => output.send(Err(error)),
        };
    }
}

/// What neither the authorizer nor SQLite refuses, and yet is no question.
fn only_reads(statement: Statement<'_>) -> Result<Statement<'_>, QueryError> {
    let sql = |what: &str| Err(QueryError::Sql { what: what.to_owned(), place: None });
    match statement {
        statement if statement.column_count() == 0 && statement.expanded_sql().is_none() => {
            sql("there is no SQL in it")
        }
        statement if !statement.readonly() || statement.column_count() == 0 => {
            Err(QueryError::NotReadOnly("what gives no rows".into()))
        }
        statement if statement.parameter_count() > 0 => {
            sql("parameters (`?`, `:name`) get no values here: write them into the SQL")
        }
        statement => Ok(statement),
    }
}

/// Hands over the rows in chunks, for as long as `send` takes them.
fn hand_over(
    statement: &mut Statement<'_>,
    limit: u64,
    send: impl Fn(Vec<Vec<Cell>>) -> bool,
) -> rusqlite::Result<Over> {
    let columns = statement.column_count();
    let mut rows = statement.raw_query();
    let (mut chunk, mut bytes, mut count) = (Vec::new(), 0, 0);
    let truncated = loop {
        let Some(row) = rows.next()? else { break false };
        if count == limit {
            break true;
        }
        count += 1;
        let values = (0..columns).map(|column| row.get_ref(column));
        let values: Vec<ValueRef<'_>> = values.collect::<rusqlite::Result<_>>()?;
        let size: usize = values.iter().map(size).sum();
        if size > ROW_BYTES {
            return Err(too_big());
        }
        chunk.push(values.into_iter().map(cell).collect());
        bytes += size;
        if chunk.len() == CHUNK_ROWS || bytes >= CHUNK_BYTES {
            bytes = 0;
            if !send(std::mem::take(&mut chunk)) {
                return Ok(Over::Unwanted);
            }
        }
    };
    if !chunk.is_empty() && !send(chunk) {
        return Ok(Over::Unwanted);
    }
    Ok(Over::End { truncated })
}

fn size(value: &ValueRef<'_>) -> usize {
    match value {
        ValueRef::Null | ValueRef::Integer(_) | ValueRef::Real(_) => 8,
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes.len(),
    }
}

fn cell(value: ValueRef<'_>) -> Cell {
    match value {
        ValueRef::Null => Cell::Null,
        ValueRef::Integer(value) => Cell::Integer(value),
        ValueRef::Real(value) => Cell::Real(value),
        ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
        ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
    }
}

fn too_big() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_TOOBIG), None)
}
