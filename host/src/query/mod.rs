//! SQL over everything live: every snapshot stream is a table, answered from the bus.
//!
//! A query has a SQLite database of its own, in memory, in which each stream is a virtual table.
//! Preparing the statement tells which streams it names; exactly those are read, all side by
//! side, and every cursor sees the same batches. The statement then runs on a blocking thread,
//! with bounds on time, memory and rows, and can't write: the authorizer lets nothing through
//! but reading.

mod catalog;
mod error;
mod guard;
mod index;
mod rows;
mod system;
#[allow(unsafe_code)] // SQLite's virtual tables: structures whose layout C relies on
mod table;
#[cfg(test)]
mod tests;
mod work;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout_at};

pub(crate) use catalog::table_of;
pub use error::{Place, QueryError};
pub use rows::{Cell, Rows};
pub(crate) use system::{Facts, is_system};

use crate::bus::Bus;
use crate::clock;
use crate::model::{Batch, StreamInfo};
use work::{Asker, Job, Output};

/// Queries that run at once; the others wait for their turn.
const TURNS: usize = 2;
/// Queries that may wait; further ones are refused.
const WAITING: usize = 16;
/// Chunks of rows that lie ready for whoever reads them.
const CHUNKS: usize = 4;
/// Longest that a query may take.
const LONGEST: Duration = Duration::from_secs(60);
/// Most rows that a query may ask for.
const MOST_ROWS: u64 = 1_000_000;
/// Most bytes of SQL.
const MOST_SQL: usize = 64 << 10;

/// A question in SQL.
#[derive(Debug, Clone)]
pub struct Query {
    /// One `SELECT`, 64 KiB at most.
    pub sql: String,
    /// How old the batches may be that answer it: older ones are read anew, if that can be had
    /// within half of the timeout. Without it, the last batch of each stream answers.
    pub max_age: Option<Duration>,
    /// Longest that it may take, from the wait for its turn to its last row; 60 s at most.
    pub timeout: Duration,
    /// Most rows of the answer, 1 to 1,000,000; the others are left out.
    pub limit: u64,
}

impl Query {
    /// From the last batches, within 5 s, with 10,000 rows at most.
    pub fn new(sql: impl Into<String>) -> Self {
        Self { sql: sql.into(), max_age: None, timeout: Duration::from_secs(5), limit: 10_000 }
    }

    /// Whether it may mean the schema `history`: what does not is spared its file.
    fn names_history(&self) -> bool {
        self.sql.to_ascii_lowercase().contains("history")
    }

    fn check(&self) -> Result<(), QueryError> {
        let bound = |what| Err(QueryError::OutOfBounds(what));
        if self.sql.len() > MOST_SQL {
            return bound("the SQL is longer than 64 KiB".into());
        }
        if self.sql.contains('\0') {
            return bound("the SQL has a NUL in it, behind which nothing would be read".into());
        }
        if self.timeout.is_zero() || self.timeout > LONGEST {
            let given = humantime::format_duration(self.timeout);
            return bound(format!("a query takes more than 0 s and 60 s at most, not {given}"));
        }
        if !(1..=MOST_ROWS).contains(&self.limit) {
            return bound(format!("a query gives 1 to {MOST_ROWS} rows, not {}", self.limit));
        }
        Ok(())
    }
}

/// What runs queries: two at a time, sixteen waiting.
pub(crate) struct Engine {
    /// Of those that run and those that wait.
    places: Arc<Semaphore>,
    turns: Arc<Semaphore>,
}

impl Engine {
    /// Costs nothing until it is asked.
    pub(crate) fn new() -> Self {
        let places = Arc::new(Semaphore::new(TURNS + WAITING));
        Self { places, turns: Arc::new(Semaphore::new(TURNS)) }
    }

    /// Answers a query over those of the streams that have tables, and the host's own tables.
    /// `history` is a database that stands in it as the schema of that name, if it is named.
    /// `read` gets those that it names, and how long it may take; the batches that it returns are
    /// all that the query sees.
    pub(crate) async fn run<F>(
        &self,
        query: Query,
        streams: Vec<Arc<StreamInfo>>,
        bus: Bus,
        history: Option<PathBuf>,
        read: impl FnOnce(Vec<Arc<StreamInfo>>, Duration) -> F,
    ) -> Result<Rows, QueryError>
    where
        F: Future<Output = Vec<Arc<Batch>>>,
    {
        query.check()?;
        let (ends, deadline) = (clock::monotonic() + query.timeout, Instant::now() + query.timeout);
        let (patience, late) = (query.timeout / 2, QueryError::Timeout(query.timeout));
        let place = self.places.clone().try_acquire_owned().map_err(|_| QueryError::Busy)?;
        let turn = timeout_at(deadline, self.turns.clone().acquire_owned());
        let turn = turn.await.map_err(|_| QueryError::Busy)?.map_err(|_| QueryError::Ended)?;
        let (prepared, is_prepared) = oneshot::channel();
        let (batches, are_read) = oneshot::channel();
        let (rows, chunks) = mpsc::channel(CHUNKS);
        let output = Output { chunks: rows, deadline, runtime: Handle::current() };
        let streams = streams.into_iter().filter(|stream| table_of(stream).is_some());
        let job = Job {
            history: history.filter(|_| query.names_history()),
            query,
            streams: system::streams().into_iter().chain(streams).collect(),
            bus,
            ends,
            asker: Asker { prepared, batches: are_read, output },
        };
        tokio::task::spawn_blocking(move || {
            job.run();
            drop((turn, place));
        });
        let prepared = timeout_at(deadline, is_prepared).await.map_err(|_| late.clone())?;
        let prepared = prepared.map_err(|_| QueryError::Ended)??;
        let read = timeout_at(deadline, read(prepared.streams, patience));
        // An error: nobody waits for them any more, and the rows will say why.
        let _ = batches.send(read.await.map_err(|_| late.clone())?);
        Ok(Rows::new(prepared.columns, chunks, deadline, late))
    }
}
