//! Opens the file: one agent at a time, of a layout that it knows, and sound.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};
use rustix::fs::{FlockOperation, flock};

use super::error::StoreError;
use crate::clock;

/// Says whose file it is ("Drop"; pragma.html, "application_id").
pub(super) const APPLICATION: i64 = 0x4472_6F70;
/// The layout of the file (pragma.html, "user_version").
pub(super) const LAYOUT: i64 = 1;

/// Wide records fit a page of this size; see `host/decisions`, "history".
const PAGE_SIZE: u32 = 8192;
/// The write-ahead log is copied back when it has so many pages, and cut to so many bytes.
const CHECKPOINT_PAGES: u32 = 512;
const LOG_BYTES: u32 = CHECKPOINT_PAGES * PAGE_SIZE;
/// Pages that the writer remembers, KiB.
const CACHE_KIB: u32 = 1024;
/// How long a start waits for the check of a large file. What it does not get to shows when it
/// is read.
const CHECK: Duration = Duration::from_secs(2);
/// Damaged files that are kept.
const KEPT: usize = 3;

const CATALOGUE: &str = "CREATE TABLE _streams (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL,
    stream TEXT NOT NULL,
    base TEXT NOT NULL UNIQUE,
    schema TEXT NOT NULL,
    minute_from INTEGER NOT NULL,
    hour_from INTEGER NOT NULL,
    set_aside INTEGER NOT NULL DEFAULT 0
)";

/// The file, for writing.
pub(super) struct Opened {
    pub(super) connection: Connection,
    /// Device and inode.
    pub(super) identity: (u64, u64),
    /// Held until the file is closed.
    pub(super) lock: File,
}

/// Opens the file, and makes it if it is not there.
pub(super) fn open(path: &Path, check: bool) -> Result<Opened, StoreError> {
    let place = |cause| StoreError::Place { path: path.to_owned(), cause };
    let sqlite = |cause| StoreError::Sqlite { path: path.to_owned(), cause };
    if let Some(directory) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(place)?;
    }
    let mut private = OpenOptions::new();
    private.create(true).append(true).mode(0o600);
    let lock = private.open(beside(path, ".lock")).map_err(place)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            return Err(StoreError::InUse { path: path.to_owned() });
        }
        Err(error) => return Err(place(error.into())),
    }
    // Command lines may hold secrets: for this user alone. One that is there is not opened here:
    // to close it would give up SQLite's locks on it (fcntl(2), "record locks").
    match private.create_new(true).open(path) {
        // A log whose file was removed belongs to nothing.
        Ok(_) => ["-wal", "-shm"].iter().for_each(|end| drop(fs::remove_file(beside(path, end)))),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(place(error)),
    }
    let gone = || place(io::ErrorKind::NotFound.into());
    let identity = identity_of(path).ok_or_else(gone)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    let (application, layout, tables) = marks(&connection).map_err(sqlite)?;
    let is_new = (application, layout, tables) == (0, 0, 0);
    if !is_new && application != APPLICATION {
        return Err(StoreError::Foreign { path: path.to_owned() });
    }
    if layout > LAYOUT {
        let path = path.to_owned();
        return Err(StoreError::Newer { path, found: layout, known: LAYOUT });
    }
    if check && !is_new {
        quick_check(&connection, path)?;
    }
    prepare(&connection, is_new).map_err(sqlite)?;
    Ok(Opened { connection, identity, lock })
}

/// Whose the file is, its layout, and how many tables and indexes it has.
fn marks(connection: &Connection) -> rusqlite::Result<(i64, i64, i64)> {
    let value = |sql| connection.query_row(sql, [], |row| row.get(0));
    Ok((
        value("PRAGMA application_id")?,
        value("PRAGMA user_version")?,
        value("SELECT count(*) FROM sqlite_master")?,
    ))
}

fn prepare(connection: &Connection, is_new: bool) -> rusqlite::Result<()> {
    if is_new {
        connection.pragma_update(None, "page_size", PAGE_SIZE)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A commit is with the kernel when it returns, which outlives a SIGKILL. A power cut may
    // take the last commits with it; the file stays sound (pragma.html, "synchronous").
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    connection.pragma_update(None, "journal_size_limit", LOG_BYTES)?;
    connection.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    connection.set_prepared_statement_cache_capacity(256);
    if is_new {
        let transaction = connection.unchecked_transaction()?;
        transaction.execute_batch(CATALOGUE)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", LAYOUT)?;
        transaction.commit()?;
    }
    Ok(())
}

fn quick_check(connection: &Connection, path: &Path) -> Result<(), StoreError> {
    let sqlite = |cause| StoreError::Sqlite { path: path.to_owned(), cause };
    let until = clock::monotonic() + CHECK;
    let over = move || clock::monotonic() > until;
    connection.progress_handler(10_000, Some(over)).map_err(sqlite)?;
    let checked = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0));
    connection.progress_handler(0, None::<fn() -> bool>).map_err(sqlite)?;
    match checked {
        Ok(ok) if ok == "ok" => Ok(()),
        Ok(what) => Err(StoreError::Damaged { path: path.to_owned(), what }),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => {
            tracing::debug!(path = %path.display(), "too large to be checked whole at the start");
            Ok(())
        }
        Err(error) => Err(sqlite(error)),
    }
}

/// Renames a damaged file, and what belongs to it, so that a new one can be begun; of earlier
/// ones the newest stay. Returns its new name.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, StoreError> {
    let place = |cause| StoreError::Place { path: path.to_owned(), cause };
    let time = humantime::format_rfc3339_millis(clock::wall()).to_string();
    let time: String = time.chars().filter(|character| !"-:.".contains(*character)).collect();
    let to = beside(path, &format!(".corrupt-{time}"));
    for part in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, part), beside(&to, part)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(place(error)),
            _ => {}
        }
    }
    let mut earlier = set_aside_before(path);
    earlier.sort();
    for old in earlier.iter().rev().skip(KEPT) {
        ["-wal", "-shm", ""].iter().for_each(|part| drop(fs::remove_file(beside(old, part))));
    }
    Ok(to)
}

fn set_aside_before(path: &Path) -> Vec<PathBuf> {
    let start = beside(path, ".corrupt-");
    let entries = path.parent().and_then(|directory| fs::read_dir(directory).ok());
    let paths = entries.into_iter().flatten().flatten().map(|entry| entry.path());
    let is_one = |path: &PathBuf| {
        let (path, start) = (path.to_string_lossy(), start.to_string_lossy());
        path.starts_with(&*start) && !path.ends_with("-wal") && !path.ends_with("-shm")
    };
    paths.filter(is_one).collect()
}

/// Device and inode.
pub(super) fn identity_of(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|meta| (meta.dev(), meta.ino()))
}

/// A file whose name is that of another with something after it.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
