//! What goes wrong with the store, and what that means for what waits to be written.

use std::io;
use std::path::PathBuf;

use rusqlite::ErrorCode;
use thiserror::Error;

/// Why the store can't be used now.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    #[error(
        "{path} was written by a newer version (layout {found}, this one knows {known}); nothing is stored: update the agent, or set another history.path"
    )]
    Newer { path: PathBuf, found: i64, known: i64 },
    #[error(
        "{path} is an SQLite file of something else; nothing is stored: set another history.path"
    )]
    Foreign { path: PathBuf },
    #[error("{path} is in use by another agent; set another history.path for one of them")]
    InUse { path: PathBuf },
    #[error("{path}: {cause}; set history.path to where this user may write")]
    Place { path: PathBuf, cause: io::Error },
    #[error("{path}: {what}")]
    Damaged { path: PathBuf, what: String },
    #[error(
        "{path}: a reader that does not end keeps {bytes} bytes of its write-ahead log in use; end the program that has it open"
    )]
    Held { path: PathBuf, bytes: u64 },
    #[error("{path}: {cause}{}", fix(.cause))]
    Sqlite { path: PathBuf, cause: rusqlite::Error },
}

/// Why records were lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// There was no space, or the file may not grow (SQLITE_FULL).
    Full,
    /// The file or its directory can't be written to, or read.
    Io,
    /// Another agent, or a reader that does not end.
    InUse,
    /// The file was damaged, and could not be set aside in time.
    Damaged,
    /// The file is of a newer version, or something else's.
    Refused,
    /// Records that no table takes.
    Unstorable,
    /// The agent ended before they could be written.
    Ended,
}

impl Cause {
    pub(crate) const ALL: [Self; 7] = [
        Self::Full,
        Self::Io,
        Self::InUse,
        Self::Damaged,
        Self::Refused,
        Self::Unstorable,
        Self::Ended,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Io => "io",
            Self::InUse => "in_use",
            Self::Damaged => "damaged",
            Self::Refused => "refused",
            Self::Unstorable => "unstorable",
            Self::Ended => "ended",
        }
    }
}

impl StoreError {
    pub(super) fn cause(&self) -> Cause {
        match self {
            Self::Newer { .. } | Self::Foreign { .. } => Cause::Refused,
            Self::InUse { .. } | Self::Held { .. } => Cause::InUse,
            Self::Place { cause, .. } if cause.kind() == io::ErrorKind::StorageFull => Cause::Full,
            Self::Place { .. } => Cause::Io,
            Self::Damaged { .. } => Cause::Damaged,
            Self::Sqlite { cause, .. } => match cause.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Cause::Full,
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Cause::Damaged,
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Cause::InUse,
                _ => Cause::Io,
            },
        }
    }
}

fn fix(cause: &rusqlite::Error) -> &'static str {
    match cause.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "; make room, or set history.keep.size lower",
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
            "; set history.path to where this user may write"
        }
        _ => "",
    }
}
