//! A stream as a virtual table of SQLite.
//!
//! SQLite calls this from C, where a panic would end the process: nothing here may panic.

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use dropsonde_plugin_api::schema::{Role, ValueType};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConnection, VTabCursor,
    sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error, Result, ffi};

use super::catalog::{Catalog, Table};
use super::index::{Found, is_indexable};
use crate::model::{Batch, StreamInfo, Value};

/// Columns that tell of the read; they stand behind those of the stream, and `*` leaves them out.
const OF_THE_READ: [(&str, &str); 3] =
    [("_timestamp", "REAL"), ("_generation", "INTEGER"), ("_sequence", "INTEGER")];

/// Puts the tables into a database. They come to life as a statement names them.
pub(super) fn register(connection: &Connection, catalog: &Catalog) -> Result<()> {
    const MODULE: Module<'_, Live> = Module::eponymous_only_module();
    for (name, tables) in catalog.entries() {
        connection.create_module(name, &MODULE, Some(tables.to_vec()))?;
    }
    Ok(())
}

/// Bytes that SQLite has taken, for all connections of this process together.
pub(super) fn memory_used() -> i64 {
    // SAFETY: it reads a counter under SQLite's own lock and may be called at any time.
    unsafe { ffi::sqlite3_memory_used() }
}

#[repr(C)]
struct Live {
    /// SQLite's own part, which must come first.
    base: sqlite3_vtab,
    table: Arc<Table>,
}

// SAFETY: `Live` is `repr(C)` and begins with `sqlite3_vtab`.
unsafe impl VTab<'_> for Live {
    /// What the name means.
    type Aux = Vec<Arc<Table>>;
    type Cursor = Cursor;

    fn connect(
        _: &mut VTabConnection,
        tables: Option<&Self::Aux>,
        name: &[u8],
        _database: &[u8],
        _table: &[u8],
        _arguments: &[&[u8]],
    ) -> Result<(Cow<'static, CStr>, Self)> {
        let [table] = tables.map(Vec::as_slice).unwrap_or_default() else {
            return Err(Error::ModuleError(ambiguous(name, tables)));
        };
        table.connect();
        let declaration = CString::new(declaration(&table.stream))?;
        Ok((Cow::Owned(declaration), Self { base: sqlite3_vtab::default(), table: table.clone() }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> Result<bool> {
        let rows = self.table.expected_rows() as f64;
        let columns = &self.table.stream.schema.columns;
        let mut best: Option<(usize, c_int, bool)> = None;
        for (index, constraint) in info.constraints().enumerate() {
            let column = usize::try_from(constraint.column()).unwrap_or(usize::MAX);
            let Some(schema) = columns.get(column) else { continue };
            let is_equal = constraint.operator() == IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ;
            if !is_equal || !constraint.is_usable() || !is_indexable(schema.value) {
                continue;
            }
            if schema.value == ValueType::Text && info.collation(index)? != "BINARY" {
                continue;
            }
            let is_key = schema.role == Role::Key;
            if best.is_none_or(|(_, _, best_is_key)| is_key && !best_is_key) {
                best = Some((index, constraint.column(), is_key));
            }
        }
        let found = match best {
            Some((index, column, is_key)) => {
                info.constraint_usage(index).set_argv_index(1);
                info.set_idx_num(column + 1);
                let alone = is_key && self.table.stream.keys().count() == 1;
                if alone { 1.0 } else { (rows / 10.0).max(1.0) }
            }
            None => rows,
        };
        info.set_estimated_rows(found as i64);
        info.set_estimated_cost(1.0 + found);
        Ok(true)
    }

    fn open(&mut self) -> Result<Cursor> {
        let (table, rows) = (self.table.clone(), Selected::All(0));
        Ok(Cursor { base: sqlite3_vtab_cursor::default(), table, rows, at: 0 })
    }
}

fn ambiguous(name: &[u8], tables: Option<&Vec<Arc<Table>>>) -> String {
    let streams = tables.into_iter().flatten().map(|table| format!("\"{}\"", table.stream.name));
    let streams: Vec<String> = streams.collect();
    let name = String::from_utf8_lossy(name);
    format!("`{name}` may mean {}: name one of them in double quotes", streams.join(" or "))
}

fn declaration(stream: &StreamInfo) -> String {
    let own = stream.schema.columns.iter().map(|column| {
        let kind = match column.value {
            ValueType::U64 | ValueType::I64 | ValueType::Bool => "INTEGER",
            ValueType::F64 => "REAL",
            ValueType::Text | ValueType::TextList => "TEXT",
        };
        format!("\"{}\" {kind}", column.name)
    });
    let of_the_read = OF_THE_READ.iter().map(|(name, kind)| {
        let taken = stream.column(name).is_some();
        // A stream may have a column of that name. Then the other is out of the way.
        format!("\"{name}{}\" {kind} HIDDEN", if taken { " of the read" } else { "" })
    });
    let columns: Vec<String> = own.chain(of_the_read).collect();
    format!("CREATE TABLE live({})", columns.join(", "))
}

#[repr(C)]
struct Cursor {
    /// SQLite's own part, which must come first.
    base: sqlite3_vtab_cursor,
    table: Arc<Table>,
    rows: Selected,
    at: usize,
}

/// The rows that a cursor goes through.
enum Selected {
    /// So many, from the first.
    All(usize),
    These(Vec<u32>),
}

impl Cursor {
    fn row(&self) -> Option<usize> {
        match &self.rows {
            Selected::All(rows) => (self.at < *rows).then_some(self.at),
            Selected::These(rows) => rows.get(self.at).map(|row| *row as usize),
        }
    }
}

// SAFETY: `Cursor` is `repr(C)` and begins with `sqlite3_vtab_cursor`.
unsafe impl VTabCursor for Cursor {
    fn filter(&mut self, plan: c_int, _: Option<&str>, values: &Filters<'_>) -> Result<()> {
        self.at = 0;
        let Some(batch) = self.table.batch() else { return Ok(()) };
        let all = Selected::All(batch.rows());
        let column = usize::try_from(plan).ok().and_then(|plan| plan.checked_sub(1));
        self.rows = match (column, values.iter().next()) {
            (Some(column), Some(value)) => match self.table.indexes.find(batch, column, value) {
                Found::None => Selected::All(0),
                Found::Rows(rows) => Selected::These(rows),
                Found::Any => all,
            },
            _ => all,
        };
        Ok(())
    }

    fn next(&mut self) -> Result<()> {
        self.at += 1;
        Ok(())
    }

    fn eof(&self) -> bool {
        self.row().is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> Result<()> {
        let value = match (self.table.batch(), self.row(), usize::try_from(column)) {
            (Some(batch), Some(row), Ok(column)) => value(batch, row, column),
            _ => SQL_NULL,
        };
        context.set_result(&value)
    }

    fn rowid(&self) -> Result<i64> {
        Ok(self.row().unwrap_or_default() as i64)
    }
}

const SQL_NULL: ToSqlOutput<'_> = ToSqlOutput::Borrowed(ValueRef::Null);

fn value(batch: &Batch, row: usize, column: usize) -> ToSqlOutput<'_> {
    let own = batch.stream.schema.columns.len();
    if let Some(which) = column.checked_sub(own) {
        return of_the_read(batch, which);
    }
    match batch.value(row, column) {
        Value::Null => SQL_NULL,
        // What SQLite has no integers for becomes a float, as in its own arithmetic.
        Value::U64(value) => match i64::try_from(value) {
            Ok(value) => value.into(),
            Err(_) => (value as f64).into(),
        },
        Value::I64(value) => value.into(),
        Value::F64(value) => value.into(),
        Value::Bool(value) => value.into(),
        Value::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
        Value::List(items) => {
            let items: Vec<&str> = items.split_terminator('\0').collect();
            serde_json::to_string(&items).map_or(SQL_NULL, ToSqlOutput::from)
        }
    }
}

fn of_the_read(batch: &Batch, which: usize) -> ToSqlOutput<'static> {
    match which {
        0 => {
            let since = batch.wall.duration_since(UNIX_EPOCH);
            since.map_or(SQL_NULL, |since| since.as_secs_f64().into())
        }
        1 => batch.generation.into(),
        _ => i64::try_from(batch.sequence).unwrap_or(i64::MAX).into(),
    }
}
