//! What a query may do: read, for so long, with so much memory.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;

use super::table;
use crate::clock;

/// Most bytes that SQLite may hold in this process: it refuses to take more.
const HARD_MEMORY: i64 = 64 << 20;
/// Beyond this, queries end. What is between the two is left to who else uses SQLite here.
const MEMORY: i64 = 32 << 20;
/// Most bytes of one value or row. Some of SQLite's functions take a time that grows with the
/// square of it, and can't be interrupted.
const LENGTH: i32 = 256 << 10;
/// Instructions of SQLite's virtual machine between two looks at time and memory.
const OPERATIONS: i32 = 100;
/// The schema of the history database.
const HISTORY: &str = "history";

/// Functions that reach beyond the database; one whose value takes its memory only as it is handed
/// over, where nothing looks; and those that take minutes over large objects, and can't be
/// interrupted.
const FORBIDDEN: [&str; 5] =
    ["load_extension", "fts3_tokenizer", "zeroblob", "json_patch", "jsonb_patch"];

/// Why a query was stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// Its time is up.
    Deadline,
    /// It took too much memory.
    Memory,
    /// Nobody waits for its rows.
    Unwanted,
    /// It would do something else than read.
    NotReadOnly(String),
}

/// Where the first reason stands for which a query was stopped.
#[derive(Clone, Default)]
pub(super) struct Stopped(Arc<Mutex<Option<Stop>>>);

impl Stopped {
    pub(super) fn why(&self) -> Option<Stop> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn because(&self, why: Stop) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(why);
    }
}

/// An empty database in memory; a file of history stands in it as `history`, read-only.
pub(super) fn open(history: Option<&Path>) -> rusqlite::Result<Connection> {
    let connection = Connection::open_in_memory()?;
    let settings = [
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_CREATE, false),
        (DbConfig::SQLITE_DBCONFIG_ENABLE_ATTACH_WRITE, false),
        (DbConfig::SQLITE_DBCONFIG_DQS_DML, false), // a wrong name in quotes is no text
        (DbConfig::SQLITE_DBCONFIG_DQS_DDL, false), // the same
    ];
    for (setting, value) in settings {
        connection.set_db_config(setting, value)?;
    }
    if let Some(path) = history {
        let path = path.to_string_lossy();
        connection.execute(&format!("ATTACH ?1 AS {HISTORY}"), [path])?;
    }
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "query_only", true)?;
    // Of the process; it never goes up again, and nobody here asks for less.
    connection.pragma_update(None, "hard_heap_limit", HARD_MEMORY)?;
    let limits = [
        (Limit::SQLITE_LIMIT_LENGTH, LENGTH),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 200),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (Limit::SQLITE_LIMIT_VDBE_OP, 100_000),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 1_000),
        (Limit::SQLITE_LIMIT_TRIGGER_DEPTH, 1),
        (Limit::SQLITE_LIMIT_WORKER_THREADS, 0),
    ];
    for (limit, value) in limits {
        connection.set_limit(limit, value)?;
    }
    Ok(connection)
}

/// From here on the connection only reads, until `ends` on the monotonic clock.
pub(super) fn guard(
    connection: &Connection,
    stopped: &Stopped,
    ends: Duration,
    is_unwanted: impl Fn() -> bool + Send + 'static,
) -> rusqlite::Result<()> {
    let notes = stopped.clone();
    connection.progress_handler(
        OPERATIONS,
        Some(move || {
            let why = if is_unwanted() {
                Stop::Unwanted
            } else if clock::monotonic() >= ends {
                Stop::Deadline
            } else if table::memory_used() > MEMORY {
                Stop::Memory
            } else {
                return false;
            };
            notes.because(why);
            true
        }),
    )?;
    let notes = stopped.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| match refusal(&context.action) {
        None => Authorization::Allow,
        Some(what) => {
            notes.because(Stop::NotReadOnly(what));
            Authorization::Deny
        }
    }))
}

/// What is refused of an action; `None` if it only reads.
fn refusal(action: &AuthAction<'_>) -> Option<String> {
    Some(match action {
        AuthAction::Select | AuthAction::Recursive | AuthAction::Read { .. } => return None,
        AuthAction::Function { function_name } if FORBIDDEN.contains(function_name) => {
            format!("the function {function_name}()")
        }
        AuthAction::Function { .. } => return None,
        AuthAction::Pragma { pragma_name, .. } => format!("PRAGMA {pragma_name}"),
        AuthAction::Attach { .. } | AuthAction::Detach { .. } => "another database".into(),
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => "a transaction".into(),
        _ => "writing".into(),
    })
}
