//! What is derived of a checked batch.

use std::time::Duration;

use crate::model::{ColumnData, Derived, Rates, RawBatch, StreamInfo};

/// The derived columns of a second round. Whatever the values are: rates are not below zero,
/// shares are within 0 and 100, and where nothing has changed nothing has grown.
pub(super) fn derive(info: &StreamInfo, first: &RawBatch, second: &RawBatch) -> Vec<ColumnData> {
    let mut rates = Rates::default();
    let fresh = rates.derive(info, first);
    assert_shape(info, first, &fresh);
    let all_missing = |column: &ColumnData| (0..first.rows).all(|row| column.number(row).is_none());
    assert!(fresh.iter().all(all_missing), "a first sample has no rate");
    let mut same = first.clone();
    let second_later = Duration::from_nanos(first.monotonic_ns) + Duration::from_secs(1);
    same.monotonic_ns = u64::try_from(second_later.as_nanos()).unwrap_or(u64::MAX);
    for column in rates.derive(info, &same) {
        let growth = (0..first.rows).filter_map(|row| column.number(row)).find(|rate| *rate != 0.0);
        assert_eq!(growth, None, "growth of what has not changed");
    }
    let derived = rates.derive(info, second);
    assert_shape(info, second, &derived);
    rates.rebase(info, first);
    derived
}

fn assert_shape(info: &StreamInfo, batch: &RawBatch, columns: &[ColumnData]) {
    assert_eq!(columns.len(), info.schema.columns.len() - info.declared);
    for (derived, column) in info.derived.iter().zip(columns) {
        let most = match derived {
            Derived::Rate { .. } => f64::MAX,
            Derived::Share { .. } => 100.0,
        };
        for number in (0..batch.rows).filter_map(|row| column.number(row)) {
            assert!((0.0..=most).contains(&number), "{derived:?}: {number}");
        }
    }
}
