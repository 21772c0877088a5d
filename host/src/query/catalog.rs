//! Which tables there are, and what they are called.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::QueryError;
use super::index::Indexes;
use crate::bus::Bus;
use crate::model::{Batch, StreamInfo};

/// Rows that a table is taken to have where nothing is known of it.
const GUESS: usize = 100;

/// The table of a stream. Snapshots have one; what happens is not kept, and so has none. Two
/// streams of one table's name are named by their own, in quotes.
pub(crate) fn table_of(stream: &StreamInfo) -> Option<String> {
    stream.topic.starts_with("metrics.").then(|| table_name(stream))
}

/// A stream's name as a table's: `network_interfaces`.
pub(super) fn table_name(stream: &StreamInfo) -> String {
    stream.name.replace(['.', '-'], "_")
}

/// One table of one query.
pub(super) struct Table {
    pub(super) stream: Arc<StreamInfo>,
    pub(super) indexes: Indexes,
    bus: Bus,
    in_use: AtomicBool,
    batch: OnceLock<Arc<Batch>>,
}

impl Table {
    fn new(stream: Arc<StreamInfo>, bus: Bus) -> Self {
        let (indexes, in_use) = (Indexes::new(&stream), AtomicBool::new(false));
        Self { stream, indexes, bus, in_use, batch: OnceLock::new() }
    }

    /// The query names it.
    pub(super) fn connect(&self) {
        self.in_use.store(true, Ordering::Relaxed);
    }

    fn is_in_use(&self) -> bool {
        self.in_use.load(Ordering::Relaxed)
    }

    /// What it holds, for the whole of the query; nothing if it could not be read.
    pub(super) fn batch(&self) -> Option<&Arc<Batch>> {
        self.batch.get()
    }

    /// How many rows it will have, as far as can be told before it is read.
    pub(super) fn expected_rows(&self) -> usize {
        let last = || self.bus.latest(&self.stream.topic);
        self.batch().cloned().or_else(last).map_or(GUESS, |batch| batch.rows())
    }
}

/// The tables of one query.
pub(super) struct Catalog {
    tables: Vec<Arc<Table>>,
    /// What each name means: more than one stream where it is ambiguous.
    names: BTreeMap<String, Vec<Arc<Table>>>,
}

impl Catalog {
    /// Each stream stands at its name as a table, and in quotes at its own: `"network.interfaces"`.
    /// Where both are the same, that stream has it before others; the first has it before the
    /// next.
    pub(super) fn new(streams: Vec<Arc<StreamInfo>>, bus: &Bus) -> Self {
        let table = |stream| Arc::new(Table::new(stream, bus.clone()));
        let tables: Vec<_> = streams.into_iter().map(table).collect();
        let mut own: BTreeMap<String, Vec<Arc<Table>>> = BTreeMap::new();
        let mut names = BTreeMap::<String, Vec<Arc<Table>>>::new();
        for table in &tables {
            own.entry(table.stream.name.clone()).or_insert_with(|| vec![table.clone()]);
            names.entry(table_name(&table.stream)).or_default().push(table.clone());
        }
        names.extend(own);
        Self { tables, names }
    }

    /// All names, and what they mean.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &[Arc<Table>])> {
        self.names.iter().map(|(name, tables)| (name.as_str(), tables.as_slice()))
    }

    /// The names that need no quotes.
    pub(super) fn names(&self) -> Vec<&str> {
        self.names.keys().map(String::as_str).filter(|name| !name.contains(['.', '-'])).collect()
    }

    /// The columns of the tables that the query names.
    pub(super) fn columns_in_use(&self) -> Vec<&str> {
        let columns = self.in_use().flat_map(|table| &table.stream.schema.columns);
        columns.map(|column| column.name.as_str()).collect()
    }

    /// The streams that the query names.
    pub(super) fn streams_in_use(&self) -> Vec<Arc<StreamInfo>> {
        self.in_use().map(|table| table.stream.clone()).collect()
    }

    /// Fills the tables.
    pub(super) fn fill(&self, batches: Vec<Arc<Batch>>) -> Result<(), QueryError> {
        for batch in batches {
            let of = |table: &&Arc<Table>| table.stream.topic == batch.stream.topic;
            let Some(table) = self.in_use().find(of) else { continue };
            if table.stream.schema.columns != batch.stream.schema.columns {
                return Err(QueryError::Changed(table.stream.name.clone()));
            }
            let _ = table.batch.set(batch); // an error: it was read twice, and the first serves
        }
        Ok(())
    }

    fn in_use(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.tables.iter().filter(|table| table.is_in_use())
    }
}
