//! What the batches of one stream show over the rounds: rows, keys, series, counters, gaps.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use dropsonde_plugin_api::schema::{Role, StreamKind, StreamSchema};

use crate::model::{ColumnData, Data, RawBatch};

/// Most series that are remembered of one stream.
const MAX_SERIES: usize = 500_000;

/// One stream, as far as it was seen.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) schema: StreamSchema,
    /// Rows of each batch: fewest, most, all.
    pub(super) rows: Option<(usize, usize, u64)>,
    /// Rows of the batches after the first.
    pub(super) later_rows: Option<(usize, usize)>,
    /// Rows beyond the limit.
    pub(super) left_out: usize,
    /// A batch in which two records had the same keys.
    pub(super) twin: bool,
    /// Series of all batches.
    pub(super) series: usize,
    /// In how many batches of each half of the rounds there were series never seen before.
    pub(super) new_in: [u32; 2],
    /// Batches of each half.
    pub(super) batches_in: [u32; 2],
    /// Counters that fell: how often, and one example.
    pub(super) fallen: BTreeMap<String, (u32, f64, f64)>,
    /// Least and largest share of missing values by column, of batches after the first.
    pub(super) gaps: Vec<Option<(f64, f64)>>,
    known: HashSet<u64>,
    last: HashMap<(u64, usize), f64>,
}

impl Seen {
    pub(super) fn new(schema: &StreamSchema) -> Self {
        Self {
            schema: schema.clone(),
            rows: None,
            later_rows: None,
            left_out: 0,
            twin: false,
            series: 0,
            new_in: [0; 2],
            batches_in: [0; 2],
            fallen: BTreeMap::new(),
            gaps: vec![None; schema.columns.len()],
            known: HashSet::new(),
            last: HashMap::new(),
        }
    }

    pub(super) fn is_event(&self) -> bool {
        self.schema.kind == StreamKind::Event
    }

    pub(super) fn has_key(&self) -> bool {
        self.schema.columns.iter().any(|column| column.role == Role::Key)
    }

    /// Takes a checked batch of this stream, in the first half of the rounds or the second.
    pub(super) fn take(&mut self, mut batch: RawBatch, late: bool, most_rows: usize) {
        self.left_out += batch.truncate(most_rows);
        let rows = batch.rows;
        let first = self.rows.is_none();
        let (fewest, most, all) = self.rows.unwrap_or((rows, rows, 0));
        self.rows = Some((fewest.min(rows), most.max(rows), all + rows as u64));
        if !first {
            let (fewest, most) = self.later_rows.unwrap_or((rows, rows));
            self.later_rows = Some((fewest.min(rows), most.max(rows)));
            self.note_gaps(&batch);
        }
        if self.is_event() {
            return; // each stands for itself
        }
        let keys: Vec<usize> = self.columns_of(Role::Key);
        let counters: Vec<usize> = self.columns_of(Role::Counter);
        let mut here = HashSet::new();
        let mut new = false;
        for row in 0..rows {
            let key = key_of(&batch, &keys, row);
            if !here.insert(key) {
                self.twin = true;
                continue; // of which of the two a later one is the next can't be known
            }
            if self.known.len() < MAX_SERIES {
                new |= self.known.insert(key);
            }
            for column in &counters {
                self.compare(&batch, key, *column, row);
            }
        }
        self.series = self.known.len();
        let half = usize::from(late);
        self.batches_in[half] += 1;
        self.new_in[half] += u32::from(new && !first);
        // A series that was away may have begun anew.
        self.last.retain(|(key, _), _| here.contains(key));
    }

    fn columns_of(&self, role: Role) -> Vec<usize> {
        let columns = self.schema.columns.iter().enumerate();
        columns.filter(|(_, column)| column.role == role).map(|(index, _)| index).collect()
    }

    fn compare(&mut self, batch: &RawBatch, key: u64, column: usize, row: usize) {
        let Some(now) = batch.columns.get(column).and_then(|data| data.number(row)) else { return };
        let before = self.last.insert((key, column), now);
        if let Some(before) = before.filter(|before| now < *before) {
            let name = self.schema.columns.get(column).map(|column| column.name.clone());
            let fallen = self.fallen.entry(name.unwrap_or_default()).or_insert((0, before, now));
            fallen.0 += 1;
        }
    }

    fn note_gaps(&mut self, batch: &RawBatch) {
        for (gap, column) in self.gaps.iter_mut().zip(&batch.columns) {
            if batch.rows == 0 {
                continue;
            }
            let missing = (0..batch.rows).filter(|row| !column.is_valid(*row)).count();
            let share = missing as f64 / batch.rows as f64;
            let (least, most) = gap.unwrap_or((share, share));
            *gap = Some((least.min(share), most.max(share)));
        }
    }
}

fn key_of(batch: &RawBatch, keys: &[usize], row: usize) -> u64 {
    let mut hasher = DefaultHasher::new();
    for column in keys.iter().filter_map(|index| batch.columns.get(*index)) {
        hash_value(column, row, &mut hasher);
    }
    hasher.finish()
}

/// Keys are texts or whole numbers; the check of the declaration saw to that.
fn hash_value(column: &ColumnData, row: usize, hasher: &mut DefaultHasher) {
    match &column.data {
        Data::U64(values) => values.get(row).hash(hasher),
        Data::I64(values) => values.get(row).hash(hasher),
        Data::Text { ends, bytes } => {
            let end = |row: usize| ends.get(row).map(|end| *end as usize);
            let start = row.checked_sub(1).map_or(Some(0), end);
            let text = start.zip(end(row)).and_then(|(start, end)| bytes.get(start..end));
            text.hash(hasher);
        }
        Data::F64(_) | Data::Bool(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use dropsonde_plugin_api::schema::{ColumnSchema, ValueType};

    use super::*;

    fn stream() -> StreamSchema {
        let columns = vec![
            ColumnSchema::new("name", Role::Key, ValueType::Text),
            ColumnSchema::new("count", Role::Counter, ValueType::U64),
        ];
        let (name, description) = (String::new(), String::new());
        StreamSchema { name, kind: StreamKind::Snapshot, description, columns }
    }

    fn batch(rows: &[(&str, Option<u64>)]) -> RawBatch {
        let (mut ends, mut bytes) = (Vec::new(), Vec::new());
        for (name, _) in rows {
            bytes.extend_from_slice(name.as_bytes());
            ends.push(bytes.len() as u32);
        }
        let counts = rows.iter().map(|(_, count)| count.unwrap_or(0)).collect();
        let validity = rows.iter().map(|(_, count)| u8::from(count.is_some())).collect();
        let columns = vec![
            ColumnData { data: Data::Text { ends, bytes }, validity: Vec::new() },
            ColumnData { data: Data::U64(counts), validity },
        ];
        RawBatch { stream: 0, rows: rows.len(), monotonic_ns: 0, columns }
    }

    #[test]
    fn new_series_twins_falls_and_gaps_are_seen() {
        let mut seen = Seen::new(&stream());
        seen.take(batch(&[("a", Some(5)), ("b", Some(9))]), false, 10);
        seen.take(batch(&[("a", Some(6)), ("b", None)]), false, 10);
        assert_eq!((seen.series, seen.new_in, seen.twin), (2, [0, 0], false));
        assert_eq!(seen.gaps[1], Some((0.5, 0.5)));
        seen.take(batch(&[("a", Some(4)), ("c", Some(1))]), true, 10);
        assert_eq!((seen.series, seen.new_in), (3, [0, 1]));
        assert_eq!(seen.fallen["count"], (1, 6.0, 4.0));
        seen.take(batch(&[("a", Some(4)), ("a", Some(4))]), true, 10);
        assert!(seen.twin);
        assert_eq!(seen.rows, Some((2, 2, 8)));
    }

    #[test]
    fn a_series_that_was_away_may_begin_anew_and_rows_beyond_the_limit_are_counted() {
        let mut seen = Seen::new(&stream());
        seen.take(batch(&[("a", Some(5))]), false, 1);
        seen.take(batch(&[("b", Some(5)), ("c", Some(5))]), false, 1);
        seen.take(batch(&[("a", Some(1))]), false, 1);
        assert!(seen.fallen.is_empty());
        assert_eq!(seen.left_out, 1);
    }
}
