//! From what was counted to what happened: with more events than hardware counters, the kernel
//! lets them take turns (perf_event_open(2), PERF_FORMAT_TOTAL_TIME_RUNNING).

/// What one counter says.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) count: u64,
    /// How long the event was to be counted.
    pub(crate) enabled_ns: u64,
    /// How long it was on the hardware.
    pub(crate) running_ns: u64,
}

/// `count` × `enabled` / `running`, rounded down; `None` if the event was to be counted and never
/// was.
pub(crate) fn scale(Reading { count, enabled_ns, running_ns }: Reading) -> Option<u64> {
    if enabled_ns == running_ns {
        return Some(count);
    }
    let scaled = u128::from(count) * u128::from(enabled_ns);
    let scaled = scaled.checked_div(u128::from(running_ns))?;
    Some(u64::try_from(scaled).unwrap_or(u64::MAX))
}

/// The scaled count of one counter. It never falls: each span between two readings is scaled by
/// its own times, where scaling the whole would take back what was said before.
#[derive(Debug, Default)]
pub(crate) struct Estimate {
    /// Up to where the span is in `total`.
    accounted: Reading,
    total: u64,
}

impl Estimate {
    /// Takes the next reading. `None` if the event had no turn since the last accounted one;
    /// that span is then part of the next.
    pub(crate) fn advance(&mut self, now: Reading) -> Option<u64> {
        let span = Reading {
            count: now.count.saturating_sub(self.accounted.count),
            enabled_ns: now.enabled_ns.saturating_sub(self.accounted.enabled_ns),
            running_ns: now.running_ns.saturating_sub(self.accounted.running_ns),
        };
        self.total = self.total.saturating_add(scale(span)?);
        self.accounted = now;
        Some(self.total)
    }

    /// As far as it is known.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(count: u64, enabled_ns: u64, running_ns: u64) -> Reading {
        Reading { count, enabled_ns, running_ns }
    }

    #[test]
    fn a_count_that_ran_all_the_time_is_exact() {
        assert_eq!(scale(reading(u64::MAX, 7, 7)), Some(u64::MAX));
        assert_eq!(scale(reading(0, 7, 7)), Some(0));
    }

    #[test]
    fn a_count_that_ran_for_a_part_is_scaled_to_the_whole() {
        assert_eq!(scale(reading(100, 1000, 250)), Some(400));
        assert_eq!(scale(reading(10, 10, 3)), Some(33));
    }

    #[test]
    fn a_count_that_never_ran_is_missing_not_zero() {
        assert_eq!(scale(reading(0, 1000, 0)), None);
    }

    #[test]
    fn a_count_that_was_never_enabled_is_what_it_is() {
        assert_eq!(scale(reading(0, 0, 0)), Some(0));
    }

    #[test]
    fn great_numbers_neither_wrap_nor_overflow() {
        assert_eq!(scale(reading(1 << 60, 1 << 50, 1 << 49)), Some(1 << 61));
        assert_eq!(scale(reading(u64::MAX, 2, 1)), Some(u64::MAX));
    }

    #[test]
    fn an_estimate_never_falls() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.advance(reading(100, 10, 5)), Some(200));
        // The whole would now be scaled to 133.
        assert_eq!(estimate.advance(reading(100, 20, 15)), Some(200));
        assert_eq!(estimate.advance(reading(110, 30, 20)), Some(220));
    }

    #[test]
    fn a_span_without_a_turn_is_missing_and_made_up_for_later() {
        let mut estimate = Estimate::default();
        assert_eq!(estimate.advance(reading(0, 10, 0)), None);
        assert_eq!(estimate.advance(reading(50, 20, 10)), Some(100));
        assert_eq!(estimate.advance(reading(50, 40, 10)), None);
        assert_eq!(estimate.total(), 100);
        assert_eq!(estimate.advance(reading(60, 60, 20)), Some(140));
    }
}
