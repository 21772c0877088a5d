//! Rates and shares: derived once, by the host, from the counters of one stream.
//!
//! The state belongs to the slot, not to the plugin: a restart or a hot reload loses no rate.

use std::collections::HashMap;
use std::time::Duration;

use dropsonde_plugin_api::schema::Derived;

use super::batch::{ColumnData, Data, Floats, RawBatch};
use super::stream::StreamInfo;

/// The last values of a stream's counters, by record.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    last: HashMap<Vec<u8>, Last>,
    round: u64,
    key: Vec<u8>,
}

#[derive(Debug)]
struct Last {
    round: u64,
    at: Duration,
    values: Vec<Option<f64>>,
    /// The key stood twice in that round: whose values these are can't be known.
    twice: bool,
}

impl Rates {
    /// Makes the derived columns of a checked batch. A first sample, a counter that went back
    /// and a missing value have no rate: they are missing, not zero.
    pub(crate) fn derive(&mut self, stream: &StreamInfo, batch: &RawBatch) -> Vec<ColumnData> {
        if stream.derived.is_empty() {
            return Vec::new();
        }
        self.round += 1;
        let (round, at) = (self.round, Duration::from_nanos(batch.monotonic_ns));
        let keys: Vec<usize> = stream.keys().collect();
        let mut out: Vec<Floats> =
            stream.derived.iter().map(|_| Floats::with_capacity(batch.rows)).collect();
        for row in 0..batch.rows {
            self.set_key(&keys, batch, row);
            // A key that stands twice in one batch has no history of its own.
            let last = self.last.get_mut(&self.key);
            let history = last.as_deref().filter(|last| last.round + 1 == round && !last.twice);
            for (derived, out) in stream.derived.iter().zip(&mut out) {
                let now = |column: usize| batch.columns.get(column)?.number(row);
                out.push(history.and_then(|history| one(*derived, history, at, now)));
            }
            match last {
                Some(last) => {
                    last.twice = last.round == round;
                    (last.round, last.at) = (round, at);
                    last.values.clear();
                    last.values.extend(values_of(batch, row));
                }
                None => {
                    let values = values_of(batch, row).collect();
                    self.last.insert(self.key.clone(), Last { round, at, values, twice: false });
                }
            }
        }
        self.last.retain(|_, last| last.round == round);
        out.into_iter().map(ColumnData::from).collect()
    }

    /// Notes where the counters of a new generation begin, from the batch that proved it. A
    /// counter of the kernel goes on, and nothing is to be noted; one that the plugin itself
    /// opens begins anew, and its rate goes on from here.
    pub(crate) fn rebase(&mut self, stream: &StreamInfo, batch: &RawBatch) {
        let keys: Vec<usize> = stream.keys().collect();
        for row in 0..batch.rows {
            self.set_key(&keys, batch, row);
            let Some(last) = self.last.get_mut(&self.key) else { continue };
            let now: Vec<Option<f64>> = values_of(batch, row).collect();
            let went_back = stream.derived.iter().any(|derived| {
                let (Derived::Rate { of } | Derived::Share { of, .. }) = *derived;
                now[of] < last.values[of]
            });
            if went_back {
                last.at = Duration::from_nanos(batch.monotonic_ns);
                last.values = now;
            }
        }
    }

    fn set_key(&mut self, keys: &[usize], batch: &RawBatch, row: usize) {
        self.key.clear();
        for key in keys {
            append_key(&mut self.key, &batch.columns[*key], row);
        }
    }
}

fn values_of(batch: &RawBatch, row: usize) -> impl Iterator<Item = Option<f64>> {
    batch.columns.iter().map(move |column| column.number(row))
}

fn one(
    derived: Derived,
    last: &Last,
    at: Duration,
    now: impl Fn(usize) -> Option<f64>,
) -> Option<f64> {
    let growth = |column: usize| Some(now(column)? - (*last.values.get(column)?)?);
    match derived {
        Derived::Rate { of } => {
            let elapsed = at.checked_sub(last.at)?.as_secs_f64(); // 0 makes no finite rate
            growth(of).filter(|growth| *growth >= 0.0).map(|growth| growth / elapsed)
        }
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
            let text = &bytes[start..ends[row] as usize];
            key.extend((text.len() as u32).to_le_bytes()); // any character may stand in the text
            key.extend(text);
        }
        Data::F64(_) | Data::Bool(_) => {}
    }
}
