//! How long something took, as a Prometheus histogram counts it.

use std::time::Duration;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

/// Upper bounds of the buckets, in seconds; one more has no bound.
const BOUNDS: [f64; 11] = [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];

/// Counts of durations.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Histogram {
    counts: [u64; BOUNDS.len() + 1],
    sum: Duration,
}

impl Histogram {
    /// Counts one.
    pub(crate) fn record(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound);
        self.counts[bucket.unwrap_or(BOUNDS.len())] += 1;
        self.sum += took;
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together, in seconds.
    pub fn sum(&self) -> f64 {
        self.sum.as_secs_f64()
    }

    /// Each upper bound in seconds, and how many were no longer than it.
    pub fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = BOUNDS.into_iter().chain([f64::INFINITY]);
        bounds.zip(self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        }))
    }
}

impl Serialize for Histogram {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Histogram", 3)?;
        fields.serialize_field("count", &self.count())?;
        fields.serialize_field("sum_seconds", &self.sum())?;
        let buckets: Vec<(f64, u64)> = self.buckets().take(BOUNDS.len()).collect();
        fields.serialize_field("buckets", &buckets)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_count_what_is_no_longer_than_their_bound() {
        let mut histogram = Histogram::default();
        for micros in [50, 100, 101, 2_000, 20_000_000] {
            histogram.record(Duration::from_micros(micros));
        }
        let buckets: Vec<(f64, u64)> = histogram.buckets().collect();
        assert_eq!(buckets[..4], [(0.0001, 2), (0.0003, 3), (0.001, 3), (0.003, 4)]);
        assert_eq!(buckets[11], (f64::INFINITY, 5));
        assert_eq!(histogram.count(), 5);
        assert!((histogram.sum() - 20.002_251).abs() < 1e-9);
    }
}
