//! Answers to SQL, as their rows are found.

use futures_util::{Stream, stream};
use tonic::Status;

use super::convert;
use super::proto::{self, query_reply::Kind, query_value};
use crate::control::Host;
use crate::query::{Cell, Query, QueryError, Rows};

/// Reads a request.
pub(super) fn asked(from: proto::QueryRequest) -> Result<Query, String> {
    let mut query = Query::new(from.sql);
    if let Some(max_age) = from.max_age {
        query.max_age = Some(convert::duration(max_age, "max_age")?);
    }
    if let Some(timeout) = from.timeout {
        query.timeout = convert::duration(timeout, "timeout")?;
    }
    if from.limit > 0 {
        query.limit = from.limit;
    }
    Ok(query)
}

/// Why there is no answer, or no more of it.
pub(super) fn refused(error: QueryError) -> Status {
    let text = error.to_string();
    match error {
        QueryError::Sql { .. } | QueryError::NotReadOnly(_) | QueryError::OutOfBounds(_) => {
            Status::invalid_argument(text)
        }
        QueryError::Timeout(_) => Status::deadline_exceeded(text),
        QueryError::Memory | QueryError::TooBig | QueryError::Busy => {
            Status::resource_exhausted(text)
        }
        QueryError::Database(_) | QueryError::Changed(_) => Status::failed_precondition(text),
        QueryError::Ended => Status::unavailable(text),
    }
}

struct Answer {
    host: Host,
    rows: Rows,
    count: u64,
    /// Not sent yet.
    columns: Option<Kind>,
    has_ended: bool,
}

/// The columns, the rows as they come, and the end. A client that cancels ends the query.
pub(super) fn answer(
    host: Host,
    rows: Rows,
) -> impl Stream<Item = Result<proto::QueryReply, Status>> {
    let columns = Kind::Columns(proto::QueryColumns { names: rows.columns().to_vec() });
    let answer = Answer { host, rows, count: 0, columns: Some(columns), has_ended: false };
    stream::unfold(answer, |mut answer| async move {
        let reply = answer.next().await?;
        Some((reply.map(|kind| proto::QueryReply { kind: Some(kind) }), answer))
    })
}

impl Answer {
    async fn next(&mut self) -> Option<Result<Kind, Status>> {
        if let Some(columns) = self.columns.take() {
            return Some(Ok(columns));
        }
        if self.has_ended {
            return None;
        }
        let rows = tokio::select! {
            biased; // what came before the end is sent
            rows = self.rows.next() => rows,
            () = self.host.ended() => Err(QueryError::Ended),
        };
        self.has_ended = !matches!(rows, Ok(Some(_)));
        Some(match rows {
            Ok(Some(rows)) => {
                self.count += rows.len() as u64;
                Ok(Kind::Rows(proto::QueryRows { rows: rows.into_iter().map(row).collect() }))
            }
            Ok(None) => Ok(Kind::End(proto::QueryEnd {
                rows: self.count,
                truncated: self.rows.truncated(),
            })),
            Err(error) => Err(refused(error)),
        })
    }
}

fn row(cells: Vec<Cell>) -> proto::QueryRow {
    let value = |cell| proto::QueryValue {
        value: match cell {
            Cell::Null => None,
            Cell::Integer(value) => Some(query_value::Value::Integer(value)),
            Cell::Real(value) => Some(query_value::Value::Real(value)),
            Cell::Text(text) => Some(query_value::Value::Text(text)),
            Cell::Blob(bytes) => Some(query_value::Value::Blob(bytes)),
        },
    };
    proto::QueryRow { values: cells.into_iter().map(value).collect() }
}
