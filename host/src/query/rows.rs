//! The answer to a query, as it comes.

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::QueryError;

/// One value of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value.
    Null,
    /// Integers, and booleans as 0 and 1.
    Integer(i64),
    /// Floats, and integers above 2⁶³ − 1.
    Real(f64),
    /// Text; a list of texts is a JSON array.
    Text(String),
    /// Bytes, which only SQL itself makes: no stream has any.
    Blob(Vec<u8>),
}

/// What comes from the thread that runs a query.
pub(super) enum Chunk {
    Rows(Vec<Vec<Cell>>),
    /// There are no more, or none that were asked for.
    End {
        truncated: bool,
    },
}

/// The rows of an answer. Dropping it ends the query.
pub struct Rows {
    columns: Vec<String>,
    chunks: mpsc::Receiver<Result<Chunk, QueryError>>,
    deadline: Instant,
    late: QueryError,
    has_ended: bool,
    truncated: bool,
}

impl Rows {
    pub(super) fn new(
        columns: Vec<String>,
        chunks: mpsc::Receiver<Result<Chunk, QueryError>>,
        deadline: Instant,
        late: QueryError,
    ) -> Self {
        Self { columns, chunks, deadline, late, has_ended: false, truncated: false }
    }

    /// Names of the columns; some may be the same.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Whether there were more rows than the limit; known after the last.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// The next rows, one or more; `None` after the last. An error ends the answer: what came
    /// before it is a part. Cancel safe.
    pub async fn next(&mut self) -> Result<Option<Vec<Vec<Cell>>>, QueryError> {
        if self.has_ended {
            return Ok(None);
        }
        let chunk = timeout_at(self.deadline, self.chunks.recv()).await;
        match chunk.map_err(|_| self.late.clone()) {
            Ok(Some(Ok(Chunk::Rows(rows)))) => return Ok(Some(rows)),
            Ok(Some(Ok(Chunk::End { truncated }))) => self.truncated = truncated,
            Ok(Some(Err(error))) | Err(error) => return self.end(error),
            // It could not hand its rows over in time, or it broke.
            Ok(None) if Instant::now() >= self.deadline => return self.end(self.late.clone()),
            Ok(None) => return self.end(QueryError::Ended),
        }
        self.has_ended = true;
        Ok(None)
    }

    fn end<T>(&mut self, error: QueryError) -> Result<T, QueryError> {
        self.has_ended = true;
        self.chunks.close();
        Err(error)
    }
}
