//! Rates and shares: derived once, by the host, from the counters of one stream.
//!
//! The state belongs to the slot, not to the plugin: a restart or a hot reload loses no rate.

use std::collections::HashMap;
use std::time::Duration;

use super::batch::{ColumnData, Data, RawBatch};
use super::stream::{Derived, StreamInfo};

/// The last values of a stream's counters, by record.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: HashMap<Vec<u8>, Last>,
    round: u64,
    at: Duration,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Last {
    round: u64,
    values: Vec<Option<f64>>,
}

impl Rates {
    /// Makes the derived columns of a checked batch. A first sample, a counter that went back
    /// and a missing value have no rate: they are missing, not zero.
    pub(crate) fn derive(&mut self, stream: &StreamInfo, batch: &RawBatch) -> Vec<ColumnData> {
        if stream.derived.is_empty() {
            return Vec::new();
        }
        let at = Duration::from_nanos(batch.monotonic_ns);
        let elapsed = at.checked_sub(self.at).filter(|time| !time.is_zero());
        let elapsed = elapsed.map(|time| time.as_secs_f64());
        self.at = at;
        self.round += 1;
        let keys: Vec<usize> = stream.keys().collect();
        let mut out: Vec<Vec<Option<f64>>> =
            stream.derived.iter().map(|_| Vec::with_capacity(batch.rows)).collect();
        for row in 0..batch.rows {
            self.key.clear();
            keys.iter().for_each(|key| append_key(&mut self.key, &batch.columns[*key], row));
            let now = batch.columns.iter().map(|column| column.number(row));
            let last = match self.last.get_mut(&self.key) {
                // A key that stands twice in one batch has no history of its own.
                Some(last) if last.round + 1 == self.round => Some(last),
                _ => None,
            };
            let now: Vec<Option<f64>> = now.collect();
            for (derived, out) in stream.derived.iter().zip(&mut out) {
                let value =
                    last.as_ref().and_then(|last| one(*derived, &last.values, &now, elapsed));
                out.push(value);
            }
            match last {
                Some(last) => *last = Last { round: self.round, values: now },
                None => {
                    self.last.insert(self.key.clone(), Last { round: self.round, values: now });
                }
            }
        }
        let round = self.round;
        self.last.retain(|_, last| last.round == round);
        out.into_iter().map(ColumnData::floats).collect()
    }
}

fn one(
    derived: Derived,
    last: &[Option<f64>],
    now: &[Option<f64>],
    elapsed: Option<f64>,
) -> Option<f64> {
    let growth = |column: usize| Some((*now.get(column)?)? - (*last.get(column)?)?);
    match derived {
        Derived::Rate { of } => growth(of)
            .filter(|growth| *growth >= 0.0)
            .map(|growth| growth / elapsed.unwrap_or(f64::NAN)),
        Derived::Share { of, whole } => {
            let whole = growth(whole).filter(|whole| *whole > 0.0)?;
            // Single parts of CPU time may step back (proc_stat(5) on iowait): that is no time.
            Some((growth(of)?.max(0.0) / whole * 100.0).min(100.0))
        }
    }
    .filter(|value| value.is_finite())
}

fn append_key(key: &mut Vec<u8>, column: &ColumnData, row: usize) {
    match &column.data {
        Data::U64(values) => key.extend(values[row].to_le_bytes()),
        Data::I64(values) => key.extend(values[row].to_le_bytes()),
        Data::Text { ends, bytes } => {
            let start = row.checked_sub(1).map_or(0, |before| ends[before]) as usize;
            key.extend(&bytes[start..ends[row] as usize]);
            key.push(0);
        }
        Data::F64(_) | Data::Bool(_) => {}
    }
}
