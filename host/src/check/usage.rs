//! What a process holds at a moment, and whether that goes on growing.

use std::fs;

use serde::{Deserialize, Serialize};

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Usage {
    /// Memory that no file backs, swapped out or not.
    pub(super) memory_kib: u64,
    pub(super) descriptors: u64,
    pub(super) threads: u64,
}

impl Usage {
    /// Of a process by its number, or `self`. Some hundred microseconds: the kernel counts pages.
    /// `None` if it is gone, or the kernel does not tell.
    pub(super) fn of(process: &str) -> Option<Self> {
        let count =
            |what: &str| Some(fs::read_dir(format!("/proc/{process}/{what}")).ok()?.count());
        // Not statm or status: on machines of many CPUs those are some megabytes off.
        let rollup = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok()?;
        Some(Self {
            memory_kib: memory_kib(&rollup)?,
            descriptors: count("fd")? as u64,
            threads: count("task")? as u64,
        })
    }
}

/// The text of `/proc/PID/smaps_rollup` (proc(5)).
fn memory_kib(rollup: &str) -> Option<u64> {
    let field = |name: &str| {
        let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_ascii_whitespace().next()?.parse::<u64>().ok()
    };
    Some(field("Anonymous:")? + field("Swap:").unwrap_or(0))
}

/// How something grew over rounds, after it has warmed up.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Growth {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The lesser growth of the two halves: what happens once is no leak.
    pub(super) in_each_half: u64,
    /// That, for each round of a half.
    pub(super) per_round: f64,
}

impl Growth {
    /// Of samples by round, in order; the first tenth of the rounds is left out. `None` if there
    /// are too few.
    pub(super) fn of(samples: &[(u32, u64)]) -> Option<Self> {
        let last = samples.last()?;
        let warm: Vec<&(u32, u64)> =
            samples.iter().filter(|(round, _)| *round > last.0 / 10).collect();
        let first = **warm.first()?;
        let middle =
            **warm.iter().min_by_key(|(round, _)| round.abs_diff((first.0 + last.0) / 2))?;
        let rounds = middle.0.saturating_sub(first.0).min(last.0.saturating_sub(middle.0));
        if rounds == 0 {
            return None;
        }
        let half = |from: (u32, u64), to: (u32, u64)| to.1.saturating_sub(from.1);
        let in_each_half = half(first, middle).min(half(middle, *last));
        let per_round = in_each_half as f64 / f64::from(rounds);
        Some(Self { from: first.1, to: last.1, in_each_half, per_round })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn growth(of: impl Fn(u32) -> u64) -> Growth {
        Growth::of(&(1..=100).map(|round| (round, of(round))).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn what_grows_in_each_round_is_told_from_what_grew_once() {
        let leak = growth(|round| 1000 + 4 * u64::from(round));
        assert_eq!(leak.per_round, 4.0);
        assert_eq!((leak.from, leak.to), (1000 + 44, 1400));
        assert_eq!(growth(|round| if round > 70 { 9000 } else { 1000 }).per_round, 0.0);
        assert_eq!(growth(|round| if round < 8 { 0 } else { 5000 }).per_round, 0.0, "warming up");
        assert_eq!(growth(|round| 1000 - u64::from(round)).per_round, 0.0);
    }

    #[test]
    fn of_too_few_samples_nothing_can_be_said() {
        assert_eq!(Growth::of(&[]), None);
        assert_eq!(Growth::of(&[(1, 5), (2, 6)]), None);
        assert!(Growth::of(&[(1, 5), (2, 6), (3, 7)]).is_some());
    }

    #[test]
    fn a_process_can_be_looked_at_and_one_that_is_not_there_can_not() {
        let usage = Usage::of("self").unwrap();
        assert!(usage.memory_kib > 100 && usage.descriptors > 2 && usage.threads > 0, "{usage:?}");
        assert_eq!(Usage::of("0"), None);
        assert_eq!(memory_kib("Rss: 5 kB\nAnonymous:      7 kB\nSwap:  2 kB\n"), Some(9));
    }
}
