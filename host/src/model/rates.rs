//! Rates and shares: derived once, by the host, from the counters of one stream.
//!
//! The state belongs to the slot, not to the plugin: a restart or a hot reload loses no rate.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use dropsonde_plugin_api::schema::Derived;

use super::batch::{ColumnData, Data, Floats, RawBatch};
use super::stream::StreamInfo;

/// Derives from each batch of a stream and the one before it.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: Records,
}

/// What is kept of a batch, row by row. The rows of the next one are as a rule the same, and in
/// the same order: they are found by walking along, and looked up only where that fails.
#[derive(Debug, Default)]
struct Records {
    keys: Keys,
    /// When each was read.
    at: Vec<Duration>,
    /// The key stands at another row too: whose values these are can't be known.
    twice: Vec<bool>,
    /// Of each column that something is derived from; NaN is missing.
    values: BTreeMap<usize, Vec<f64>>,
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
        let last = std::mem::take(&mut self.last);
        let mut now = Records::of(stream, batch);
        let before = now.find_in(&last);
        let column = |derived: &Derived| {
            let mut out = Floats::with_capacity(batch.rows);
            let mut push = |one: &dyn Fn(usize, usize) -> Option<f64>| {
                for (row, before) in before.iter().enumerate() {
                    let value = before.and_then(|before| one(row, before));
                    out.push(value.filter(|value| value.is_finite()));
                }
            };
            match *derived {
                Derived::Rate { of } => {
                    let growth = growth(&last, &now, of);
                    push(&|row, before| {
                        let elapsed = now.at[row].checked_sub(last.at[before])?;
                        let growth = Some(growth(row, before)).filter(|growth| *growth >= 0.0)?;
                        Some(growth / elapsed.as_secs_f64()) // 0 makes no finite rate
                    });
                }
                Derived::Share { of, whole } => {
                    let (part, whole) = (growth(&last, &now, of), growth(&last, &now, whole));
                    push(&|row, before| {
                        let whole = Some(whole(row, before)).filter(|whole| *whole > 0.0)?;
                        let part = Some(part(row, before)).filter(|part| !part.is_nan())?;
                        // Single parts of CPU time may step back (proc_stat(5) on iowait): that
                        // is no time.
                        Some((part.max(0.0) / whole * 100.0).min(100.0))
                    });
                }
            }
            ColumnData::from(out)
        };
        let derived = stream.derived.iter().map(column).collect();
        self.last = now;
        derived
    }

    /// Notes where the counters of a new generation begin, from the batch that proved it. A
    /// counter of the kernel goes on, and nothing is to be noted; one that the plugin itself
    /// opens begins anew, and its rate goes on from here.
    pub(crate) fn rebase(&mut self, stream: &StreamInfo, batch: &RawBatch) {
        let mut now = Records::of(stream, batch);
        let found = now.find_in(&self.last).into_iter().enumerate();
        for (row, before) in found.filter_map(|(row, before)| Some((row, before?))) {
            let went_back = stream.derived.iter().any(|derived| {
                let (Derived::Rate { of } | Derived::Share { of, .. }) = *derived;
                // Or is missing now.
                let growth = growth(&self.last, &now, of)(row, before);
                !self.last.values[&of][before].is_nan() && (growth.is_nan() || growth < 0.0)
            });
            if went_back {
                self.last.at[before] = now.at[row];
                for (last, now) in self.last.values.values_mut().zip(now.values.values()) {
                    last[before] = now[row];
                }
            }
        }
    }
}

/// By how much a column's value in `now` is greater than in `last`, by their rows; NaN if one is
/// missing.
fn growth<'a>(
    last: &'a Records,
    now: &'a Records,
    column: usize,
) -> impl Fn(usize, usize) -> f64 + 'a {
    let of = |records: &'a Records| records.values.get(&column).map_or(&[][..], Vec::as_slice);
    let (last, now) = (of(last), of(now));
    move |row, before| match (now.get(row), last.get(before)) {
        (Some(now), Some(last)) => now - last,
        _ => f64::NAN,
    }
}

impl Records {
    fn of(stream: &StreamInfo, batch: &RawBatch) -> Self {
        let mut values = BTreeMap::new();
        for derived in &stream.derived {
            let (of, whole) = match *derived {
                Derived::Rate { of } => (of, None),
                Derived::Share { of, whole } => (of, Some(whole)),
            };
            for index in std::iter::once(of).chain(whole) {
                let column = batch.columns.get(index);
                let number = |row| column.and_then(|column| column.number(row)).unwrap_or(f64::NAN);
                let all = || (0..batch.rows).map(number).collect();
                values.entry(index).or_insert_with(all);
            }
        }
        Self {
            keys: Keys::of(stream, batch),
            at: vec![Duration::from_nanos(batch.monotonic_ns); batch.rows],
            twice: vec![false; batch.rows],
            values,
        }
    }

    /// Where each row stands in `last`, if it is known that it is the same. Marks those whose key
    /// stands twice.
    fn find_in(&mut self, last: &Self) -> Vec<Option<usize>> {
        let mut found = vec![None; self.at.len()];
        let mut index = None;
        // Which row has a key of `last`, or a new one.
        let mut taken = vec![None; last.at.len()];
        let mut new = HashMap::new();
        let mut next = 0;
        for row in 0..found.len() {
            let key = self.keys.get(row);
            let is_next = last.keys.get(next) == key && !last.twice.get(next).is_some_and(|it| *it);
            let before = match key {
                _ if is_next => Some(next),
                Some(key) => index.get_or_insert_with(|| last.keys.index()).get(key).copied(),
                None => None,
            };
            let other = match before {
                Some(before) => {
                    next = before + 1;
                    taken[before].replace(row)
                }
                None => new.insert(key, row),
            };
            if let Some(other) = other {
                (self.twice[row], self.twice[other]) = (true, true);
                (found[row], found[other]) = (None, None);
            } else if before.is_some_and(|before| !last.twice[before]) {
                found[row] = before;
            }
        }
        found
    }
}

impl Keys {
    fn of(stream: &StreamInfo, batch: &RawBatch) -> Self {
        let columns: Vec<&ColumnData> =
            stream.keys().filter_map(|key| batch.columns.get(key)).collect();
        let mut keys = Self { bytes: Vec::new(), ends: Vec::with_capacity(batch.rows) };
        for row in 0..batch.rows {
            columns.iter().for_each(|column| append(&mut keys.bytes, column, row));
            keys.ends.push(keys.bytes.len());
        }
        keys
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
