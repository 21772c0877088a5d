//! The store: writes batches into the tables of their streams, one transaction at a time.

use std::collections::HashMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, ErrorCode, params};

use super::error::StoreError;
use super::id::{self, HOUR_MS, MINUTE_MS};
use super::layout::Layout;
use super::open::{self, Opened};
use super::streams::{self, Tables};
use crate::model::{Batch, StreamInfo, Value};

/// Most that the write-ahead log may take while a reader keeps it from being emptied.
pub(super) const MOST_LOG: u64 = if cfg!(test) { 1 << 20 } else { 64 << 20 };

/// The open file.
pub(crate) struct Store {
    pub(super) path: PathBuf,
    pub(super) connection: Connection,
    /// Device and inode.
    identity: (u64, u64),
    _lock: File,
    /// The streams that are written, by topic.
    streams: HashMap<String, Known>,
}

/// A stream, as far as it was seen since the file was opened.
enum Known {
    Stored(Box<Stored>),
    /// It can't be stored as it is.
    Not(Arc<StreamInfo>),
}

struct Stored {
    info: Arc<StreamInfo>,
    tables: Tables,
    insert: String,
    /// The highest id.
    last: i64,
}

/// What was written.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(super) batches: u64,
    pub(super) rows: u64,
    /// Records that no table takes.
    pub(super) unstorable: u64,
    /// Streams that were found not to be storable just now, and why.
    pub(super) refused: Vec<(String, String)>,
    /// Streams whose schema has changed such that what was stored was set aside.
    pub(super) set_aside: Vec<String>,
}

impl Store {
    /// Opens the file, and makes it if it is not there. `check`: looks for damage, for 2 s at most.
    pub(crate) fn open(path: &Path, check: bool) -> Result<Self, StoreError> {
        let Opened { connection, identity, lock } = open::open(path, check)?;
        let (path, streams) = (path.to_owned(), HashMap::new());
        Ok(Self { path, connection, identity, _lock: lock, streams })
    }

    /// Writes batches, in order: all or none. After an error the store must be opened anew.
    pub(crate) fn write(&mut self, batches: &[Arc<Batch>]) -> Result<Written, StoreError> {
        self.check_log()?;
        let path = self.path.clone();
        self.write_all(batches).map_err(|cause| StoreError::Sqlite { path, cause })
    }

    fn write_all(&mut self, batches: &[Arc<Batch>]) -> rusqlite::Result<Written> {
        let mut written = Written::default();
        let transaction = self.connection.unchecked_transaction()?;
        for batch in batches {
            let topic = &batch.stream.topic;
            let is_current = self.streams.get(topic).is_some_and(|known| known.fits(&batch.stream));
            if !is_current {
                let known = Known::find(&transaction, &batch.stream, &mut written)?;
                self.streams.insert(topic.clone(), known);
            }
            match self.streams.get_mut(topic) {
                Some(Known::Stored(stored)) => stored.write(&transaction, batch, &mut written)?,
                Some(Known::Not(_)) | None => written.unstorable += batch.rows() as u64,
            }
        }
        transaction.commit()?;
        Ok(written)
    }

    /// Tries to empty a write-ahead log that has grown; refuses to let it grow without bound.
    fn check_log(&self) -> Result<(), StoreError> {
        let log = open::beside(&self.path, "-wal");
        let size = || fs::metadata(&log).map_or(0, |meta| meta.len());
        if size() > MOST_LOG {
            let sql = "PRAGMA wal_checkpoint(TRUNCATE)";
            let _ = self.connection.query_row(sql, [], |_| Ok(())); // shows in its size
            let bytes = size();
            if bytes > MOST_LOG {
                return Err(StoreError::Held { path: self.path.clone(), bytes });
            }
        }
        Ok(())
    }

    /// Whether the file is still at its place: what is written to one that was removed is gone.
    pub(super) fn is_there(&self) -> bool {
        open::identity_of(&self.path).is_some_and(|identity| identity == self.identity)
    }

    /// Whether a stream is being written.
    pub(super) fn is_written(&self, base: &str) -> bool {
        self.streams
            .values()
            .any(|known| matches!(known, Known::Stored(stored) if stored.tables.base == base))
    }

    /// How far minutes and hours of a stream are made.
    pub(super) fn set_made(&mut self, base: &str, minutes: i64, hours: i64) {
        for known in self.streams.values_mut() {
            if let Known::Stored(stored) = known
                && stored.tables.base == base
            {
                (stored.tables.minute_from, stored.tables.hour_from) = (minutes, hours);
            }
        }
    }

    /// Bytes of the file that are in use, and bytes that it has.
    pub(super) fn size(&self) -> rusqlite::Result<(u64, u64)> {
        let value = |name| -> rusqlite::Result<u64> {
            let read: i64 = self.connection.pragma_query_value(None, name, |row| row.get(0))?;
            Ok(read.unsigned_abs())
        };
        let (page, pages, free) =
            (value("page_size")?, value("page_count")?, value("freelist_count")?);
        Ok((page * pages.saturating_sub(free), page * pages))
    }
}

impl Known {
    fn fits(&self, stream: &Arc<StreamInfo>) -> bool {
        let info = match self {
            Self::Stored(stored) => &stored.info,
            Self::Not(info) => info,
        };
        Arc::ptr_eq(info, stream) || info.schema == stream.schema
    }

    /// The tables of a stream, made or changed where they have to be.
    fn find(
        connection: &Connection,
        stream: &Arc<StreamInfo>,
        written: &mut Written,
    ) -> rusqlite::Result<Self> {
        if let Err(why) = Layout::of(&stream.schema) {
            written.refused.push((stream.topic.clone(), why));
            return Ok(Self::Not(stream.clone()));
        }
        let (tables, set_aside) = streams::adopt(connection, stream)?;
        if set_aside {
            written.set_aside.push(stream.topic.clone());
        }
        let insert = tables.layout.insert(&tables.base, &stream.schema.columns);
        let last = tables.last(connection)?;
        Ok(Self::Stored(Box::new(Stored { info: stream.clone(), tables, insert, last })))
    }
}

impl Stored {
    fn write(
        &mut self,
        connection: &Connection,
        batch: &Batch,
        written: &mut Written,
    ) -> rusqlite::Result<()> {
        let ms = id::ms(batch.wall);
        let first = self.next_id(connection, ms)?;
        let mut insert = connection.prepare_cached(&self.insert)?;
        let columns = batch.stream.schema.columns.len();
        for row in 0..batch.rows() {
            let id = first + row as i64;
            insert.raw_bind_parameter(1, id)?;
            for column in 0..columns {
                insert.raw_bind_parameter(column + 2, Sql(batch.value(row, column)))?;
            }
            match insert.raw_execute() {
                Ok(_) => {
                    written.rows += 1;
                    self.last = self.last.max(id);
                }
                // Such as a text longer than SQLite takes: of this record alone.
                Err(error) if is_of_the_record(&error) => written.unstorable += 1,
                Err(error) => return Err(error),
            }
        }
        written.batches += 1;
        self.reopen_minute(connection, ms)
    }

    /// Ids go up with time. Where the wall clock was set back, it is told where there is room.
    fn next_id(&self, connection: &Connection, ms: i64) -> rusqlite::Result<i64> {
        let first = id::first(ms);
        if first > self.last {
            return Ok(first);
        }
        let sql = format!("SELECT max(_id) FROM {} WHERE _id < ?", self.tables.raw());
        let before: Option<i64> =
            connection.prepare_cached(&sql)?.query_row([id::first(ms + 1)], |row| row.get(0))?;
        Ok(before.map_or(first, |before| first.max(before + 1)))
    }

    /// A minute that was made already is made anew when more of it comes.
    fn reopen_minute(&mut self, connection: &Connection, ms: i64) -> rusqlite::Result<()> {
        let (minute, hour) = (ms - ms % MINUTE_MS, ms - ms % HOUR_MS);
        if minute >= self.tables.minute_from && hour >= self.tables.hour_from {
            return Ok(());
        }
        self.tables.minute_from = self.tables.minute_from.min(minute);
        self.tables.hour_from = self.tables.hour_from.min(hour);
        let sql = "UPDATE _streams SET minute_from = min(minute_from, ?), \
                   hour_from = min(hour_from, ?) WHERE base = ?";
        connection.execute(sql, params![minute, hour, self.tables.base])?;
        Ok(())
    }
}

fn is_of_the_record(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch)
    )
}

/// A value as SQLite stores it: whole numbers beyond `i64` as floats, lists as JSON.
struct Sql<'a>(Value<'a>);

impl ToSql for Sql<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            Value::Null => ToSqlOutput::Borrowed(ValueRef::Null),
            Value::U64(value) => match i64::try_from(value) {
                Ok(value) => ToSqlOutput::from(value),
                Err(_) => ToSqlOutput::from(value as f64),
            },
            Value::I64(value) => ToSqlOutput::from(value),
            Value::F64(value) => ToSqlOutput::from(value),
            Value::Bool(value) => ToSqlOutput::from(value),
            Value::Text(value) => ToSqlOutput::from(value),
            Value::List(items) => {
                let items: Vec<&str> = items.split_terminator('\0').collect();
                ToSqlOutput::from(serde_json::json!(items).to_string())
            }
        })
    }
}
