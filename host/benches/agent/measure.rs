//! Repeats a measurement and its reference in turn, so that both meet the same load, and keeps
//! the median of each.

use std::time::Duration;

use crate::Effort;
use crate::clock;

/// The median of what was measured.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// CPU nanoseconds of this process that one of `count` repetitions takes.
pub(crate) fn per_call(count: u64, work: impl FnOnce()) -> f64 {
    let start = clock::own();
    work();
    per(clock::own() - start, count)
}

/// Nanoseconds a piece.
pub(crate) fn per(time: Duration, count: u64) -> f64 {
    time.as_nanos() as f64 / count as f64
}

/// Takes each of the probes in turn, as often as the effort says; their medians, in order. The
/// first turn only warms up.
pub(crate) fn in_turn<const N: usize>(
    effort: Effort,
    mut probes: [&mut dyn FnMut() -> f64; N],
) -> [f64; N] {
    let mut values: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    for turn in 0..=effort.repetitions {
        for (probe, values) in probes.iter_mut().zip(&mut values) {
            let value = probe();
            if turn > 0 {
                values.push(value);
            }
        }
    }
    values.map(median)
}
