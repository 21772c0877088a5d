//! Rates and shares: derived once, by the host, from the counters of one stream.
//!
//! The state belongs to the slot, not to the plugin: a restart or a hot reload loses no rate.

use std::collections::HashMap;
use std::time::Duration;

use dropsonde_plugin_api::schema::Derived;

use super::batch::{ColumnData, Data, Floats, RawBatch};
use super::stream::StreamInfo;

/// Derives from each batch of one stream and the batch before it.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    /// The columns that something is derived from.
    counters: Vec<usize>,
    last: Records,
    spare: Spare,
}

/// What is filled anew for each batch.
#[derive(Debug, Default)]
struct Spare {
    now: Records,
    /// Where each row stood in the batch before, if it is known that it is the same.
    before: Vec<Option<usize>>,
    /// Which row has the key of each of the batch before.
    taken: Vec<Option<usize>>,
}

/// Batches of more rows leave no room behind for the next one.
const KEPT: usize = 1000;

/// What is kept of a batch, row by row. The rows of the next one are as a rule the same, and in
/// the same order: they are found by walking along, and looked up only where that fails.
#[derive(Debug, Default)]
struct Records {
    keys: Keys,
    /// When each was read.
    at: Vec<Duration>,
    /// The key stands at another row too: whose values these are can't be known.
    twice: Vec<bool>,
    /// Of each counter, of all rows; NaN is missing.
    values: Vec<f64>,
}

/// The values of the key columns, as bytes that differ where they do.
#[derive(Debug, Default)]
struct Keys {
    bytes: Vec<u8>,
    /// Where each row's end.
    ends: Vec<usize>,
}

impl Rates {
    /// Makes the derived columns of a checked batch. A first sample, a counter that went back
    /// and a missing value have no rate: they are missing, not zero.
    pub(crate) fn derive(&mut self, stream: &StreamInfo, batch: &RawBatch) -> Vec<ColumnData> {
        if stream.derived.is_empty() {
            return Vec::new();
        }
        self.look_at(stream, batch);
        let derived = stream.derived.iter().map(|derived| self.column(derived)).collect();
        std::mem::swap(&mut self.last, &mut self.spare.now);
        if batch.rows > KEPT {
            self.spare = Spare::default();
        }
        derived
    }

    fn column(&self, derived: &Derived) -> ColumnData {
        let Spare { now, before, .. } = &self.spare;
        let rows = before.iter().enumerate();
        let mut out = Floats::with_capacity(before.len());
        let mut push = |value: Option<f64>| out.push(value.filter(|value| value.is_finite()));
        match *derived {
            Derived::Rate { of } => {
                let growth = self.growth(of);
                let rate = |row: usize, before: usize| {
                    let elapsed = now.at[row].checked_sub(self.last.at[before])?;
                    let growth = Some(growth(row, before)).filter(|growth| *growth >= 0.0)?;
                    Some(growth / elapsed.as_secs_f64()) // 0 makes no finite rate
                };
                rows.for_each(|(row, before)| push(before.and_then(|before| rate(row, before))));
            }
            Derived::Share { of, whole } => {
                let (part, whole) = (self.growth(of), self.growth(whole));
                let share = |row: usize, before: usize| {
                    let whole = Some(whole(row, before)).filter(|whole| *whole > 0.0)?;
                    let part = Some(part(row, before)).filter(|part| !part.is_nan())?;
                    // Single parts of CPU time may step back (proc_stat(5) on iowait): that is
                    // no time.
                    Some((part.max(0.0) / whole * 100.0).min(100.0))
                };
                rows.for_each(|(row, before)| push(before.and_then(|before| share(row, before))));
            }
        }
        ColumnData::from(out)
    }

    /// Notes where the counters of a new generation begin, from the batch that proved it. A
    /// counter of the kernel goes on, and nothing is to be noted; one that the plugin itself
    /// opens begins anew, and its rate goes on from here.
    pub(crate) fn rebase(&mut self, stream: &StreamInfo, batch: &RawBatch) {
        self.look_at(stream, batch);
        let found = std::mem::take(&mut self.spare.before).into_iter().enumerate();
        for (row, before) in found.filter_map(|(row, before)| Some((row, before?))) {
            let went_back = stream.derived.iter().any(|derived| {
                let (Derived::Rate { of } | Derived::Share { of, .. }) = *derived;
                let was = self.last.values_of(&self.counters, of).get(before);
                let growth = self.growth(of)(row, before);
                // Or is missing now.
                was.is_some_and(|was| !was.is_nan()) && (growth.is_nan() || growth < 0.0)
            });
            if went_back {
                let (now, last) = (&self.spare.now, &mut self.last);
                last.at[before] = now.at[row];
                let (rows, rows_now) = (last.at.len(), now.at.len());
                for counter in 0..self.counters.len() {
                    last.values[counter * rows + before] = now.values[counter * rows_now + row];
                }
            }
        }
    }

    /// Takes in a batch, and finds its rows in the one before.
    fn look_at(&mut self, stream: &StreamInfo, batch: &RawBatch) {
        if self.counters.is_empty() {
            let of = |derived: &Derived| match *derived {
                Derived::Rate { of } => [of, of],
                Derived::Share { of, whole } => [of, whole],
            };
            self.counters = stream.derived.iter().flat_map(of).collect();
            self.counters.sort_unstable();
            self.counters.dedup();
        }
        self.spare.now.fill(stream, &self.counters, batch);
        self.spare.find_in(&self.last);
    }

    /// By how much a column's value is greater than in the batch before, by its row in each; NaN
    /// if one is missing.
    fn growth(&self, column: usize) -> impl Fn(usize, usize) -> f64 {
        let last = self.last.values_of(&self.counters, column);
        let now = self.spare.now.values_of(&self.counters, column);
        move |row, before| match (now.get(row), last.get(before)) {
            (Some(now), Some(last)) => now - last,
            _ => f64::NAN,
        }
    }
}

impl Spare {
    /// Marks the rows whose key stands twice.
    fn find_in(&mut self, last: &Records) {
        let Self { now, before: found, taken } = self;
        let rows = now.at.len();
        found.clear();
        found.resize(rows, None);
        taken.clear();
        taken.resize(last.at.len(), None);
        let mut index = None;
        let mut new = HashMap::new();
        let mut next = 0;
        for row in 0..rows {
            let Some(key) = now.keys.get(row) else { continue }; // as many as there are rows
            let is_next = last.keys.get(next) == Some(key) && !last.twice[next];
            let before = if is_next {
                Some(next)
            } else {
                index.get_or_insert_with(|| last.keys.index()).get(key).copied()
            };
            let other = match before {
                Some(before) => {
                    next = before + 1;
                    taken[before].replace(row)
                }
                None => new.insert(key, row),
            };
            if let Some(other) = other {
                (now.twice[row], now.twice[other]) = (true, true);
                (found[row], found[other]) = (None, None);
            } else if before.is_some_and(|before| !last.twice[before]) {
                found[row] = before;
            }
        }
    }
}

impl Records {
    fn fill(&mut self, stream: &StreamInfo, counters: &[usize], batch: &RawBatch) {
        self.keys.fill(stream, batch);
        self.at.clear();
        self.at.resize(batch.rows, Duration::from_nanos(batch.monotonic_ns));
        self.twice.clear();
        self.twice.resize(batch.rows, false);
        self.values.clear();
        for counter in counters {
            let column = batch.columns.get(*counter);
            let number = |row| column.and_then(|column| column.number(row)).unwrap_or(f64::NAN);
            self.values.extend((0..batch.rows).map(number));
        }
    }

    fn values_of(&self, counters: &[usize], column: usize) -> &[f64] {
        let rows = self.at.len();
        let start = counters.binary_search(&column).ok().map(|index| index * rows);
        start.and_then(|start| self.values.get(start..start + rows)).unwrap_or_default()
    }
}

impl Keys {
    fn fill(&mut self, stream: &StreamInfo, batch: &RawBatch) {
        self.bytes.clear();
        self.ends.clear();
        for row in 0..batch.rows {
            for column in stream.keys().filter_map(|key| batch.columns.get(key)) {
                append(&mut self.bytes, column, row);
            }
            self.ends.push(self.bytes.len());
        }
    }

    fn get(&self, row: usize) -> Option<&[u8]> {
        let start = row.checked_sub(1).map_or(Some(0), |before| self.ends.get(before).copied())?;
        self.bytes.get(start..*self.ends.get(row)?)
    }

    /// Of a key that stands twice, the first row.
    fn index(&self) -> HashMap<&[u8], usize> {
        let rows = (0..self.ends.len()).rev();
        rows.filter_map(|row| Some((self.get(row)?, row))).collect()
    }
}

fn append(key: &mut Vec<u8>, column: &ColumnData, row: usize) {
    match &column.data {
        Data::U64(values) => key.extend(values[row].to_le_bytes()),
        Data::I64(values) => key.extend(values[row].to_le_bytes()),
        Data::Text { ends, bytes } => {
            let start = row.checked_sub(1).map_or(0, |before| ends[before]) as usize;
            let text = &bytes[start..ends[row] as usize];
            key.extend((text.len() as u32).to_le_bytes()); // any character may stand in the text
            key.extend(text);
        }
        Data::F64(_) | Data::Bool(_) => {}
    }
}
