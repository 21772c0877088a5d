//! The schedule: which collector is due, and for which of its streams.
//!
//! [`Timetable`] is pure: it is told what time it is. Ticks lie on a grid that is aligned to
//! whole multiples of each interval, so that collectors of the same interval share one wake-up.
//! A tick that comes late is run once; those that it missed are counted and never queued up.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::clock;

/// Shortest interval that may be asked for.
pub(crate) const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// Some streams of a collector, and how often they are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tier {
    /// One bit a stream.
    pub(crate) wanted: u64,
    pub(crate) interval: Duration,
}

/// A collector is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tick {
    /// When it was due, on the grid.
    pub(crate) due: Duration,
    /// One bit a stream.
    pub(crate) wanted: u64,
    /// Ticks that were missed before this one.
    pub(crate) missed: u64,
}

/// When each collector is due next.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    collectors: BTreeMap<String, Vec<Entry>>,
}

#[derive(Debug)]
struct Entry {
    tier: Tier,
    next: Duration,
}

impl Timetable {
    /// Sets what a collector wants from `now` on. A tier that stays the same keeps its phase.
    pub(crate) fn set(&mut self, collector: &str, tiers: &[Tier], now: Duration) {
        let old = self.collectors.remove(collector).unwrap_or_default();
        let entries = tiers.iter().map(|tier| {
            let interval = tier.interval.max(MIN_INTERVAL);
            // A change at the very moment of a tick must not swallow it.
            let same = old.iter().find(|entry| entry.tier.interval == interval);
            let next = same.map_or_else(|| after(now, interval), |entry| entry.next);
            Entry { tier: Tier { interval, ..*tier }, next }
        });
        let entries = entries.collect();
        self.collectors.insert(collector.to_owned(), entries);
    }

    pub(crate) fn remove(&mut self, collector: &str) {
        self.collectors.remove(collector);
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.collectors.values().flatten().map(|entry| entry.next).min()
    }

    /// Takes what is due by `now`.
    pub(crate) fn fire(&mut self, now: Duration) -> Vec<(String, Tick)> {
        let mut due = Vec::new();
        for (collector, entries) in &mut self.collectors {
            let mut tick: Option<Tick> = None;
            for entry in entries.iter_mut().filter(|entry| entry.next <= now) {
                let interval = entry.tier.interval;
                let missed = ((now - entry.next).as_nanos() / interval.as_nanos()) as u64;
                let last = entry.next + interval * u32::try_from(missed).unwrap_or(u32::MAX);
                entry.next = after(now, interval);
                let tick = tick.get_or_insert(Tick { due: last, wanted: 0, missed: 0 });
                tick.due = tick.due.max(last);
                tick.wanted |= entry.tier.wanted;
                tick.missed = tick.missed.max(missed);
            }
            due.extend(tick.map(|tick| (collector.clone(), tick)));
        }
        due
    }
}

/// The first point of the interval's grid after `now`.
fn after(now: Duration, interval: Duration) -> Duration {
    let cells = now.as_nanos() / interval.as_nanos() + 1;
    let nanos = cells.saturating_mul(interval.as_nanos());
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

/// The grid's own time: wall time as it was at the start, then monotonic. A jump of the wall
/// clock fires nothing and stops nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Grid {
    start: Instant,
    offset: Duration,
    monotonic: Duration,
}

impl Grid {
    pub(crate) fn new() -> Self {
        let offset = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), offset, monotonic: clock::monotonic() }
    }

    pub(crate) fn now(&self) -> Duration {
        self.offset + self.start.elapsed()
    }

    /// The grid's time of a point of `CLOCK_MONOTONIC`.
    pub(crate) fn at(&self, monotonic: Duration) -> Duration {
        (self.offset + monotonic).saturating_sub(self.monotonic)
    }

    fn instant(&self, at: Duration) -> Instant {
        self.start + at.saturating_sub(self.offset)
    }
}

/// What the schedule is told.
#[derive(Debug)]
pub(crate) enum Change {
    Set { collector: String, tiers: Vec<Tier> },
    Remove { collector: String },
}

/// Tells from outside whether the schedule keeps up.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// When something is due next, in nanoseconds of the grid's time.
    next: AtomicU64,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self { next: AtomicU64::new(u64::MAX) }
    }
}

impl Heartbeat {
    fn expect(&self, next: Option<Duration>) {
        let nanos = next.and_then(|next| u64::try_from(next.as_nanos()).ok());
        self.next.store(nanos.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// For how long something has been due that was not fired.
    pub(crate) fn lag(&self, now: Duration) -> Duration {
        now.saturating_sub(Duration::from_nanos(self.next.load(Ordering::Relaxed)))
    }
}

/// Sends each tick to `fire` when it is due, until the changes end.
pub(crate) async fn run(
    grid: Grid,
    heartbeat: Arc<Heartbeat>,
    mut changes: mpsc::UnboundedReceiver<Change>,
    mut fire: impl FnMut(&str, Tick),
) {
    let mut table = Timetable::default();
    loop {
        let next = table.next();
        heartbeat.expect(next);
        let sleep = async {
            match next {
                Some(next) => tokio::time::sleep_until(grid.instant(next)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.recv() => match change {
                Some(Change::Set { collector, tiers }) => table.set(&collector, &tiers, grid.now()),
                Some(Change::Remove { collector }) => table.remove(&collector),
                None => return,
            },
            () = sleep => {
                for (collector, tick) in table.fire(grid.now()) {
                    fire(&collector, tick);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn tier(wanted: u64, interval: Duration) -> Tier {
        Tier { wanted, interval }
    }

    #[test]
    fn collectors_of_one_interval_share_one_wake_up() {
        let mut table = Timetable::default();
        table.set("a", &[tier(1, SECOND)], ms(100));
        table.set("b", &[tier(1, SECOND)], ms(730));
        assert_eq!(table.next(), Some(ms(1000)));
        let due: Vec<String> = table.fire(ms(1000)).into_iter().map(|(name, _)| name).collect();
        assert_eq!(due, ["a", "b"]);
        assert_eq!(table.next(), Some(ms(2000)));
    }

    #[test]
    fn a_late_tick_runs_once_and_counts_what_it_missed() {
        let mut table = Timetable::default();
        table.set("a", &[tier(1, SECOND)], ms(0));
        let fired = table.fire(ms(3400));
        assert_eq!(fired, [("a".to_owned(), Tick { due: ms(3000), wanted: 1, missed: 2 })]);
        assert_eq!(table.next(), Some(ms(4000)));
        assert!(table.fire(ms(3999)).is_empty());
    }

    #[test]
    fn a_change_of_demand_swallows_no_tick() {
        let mut table = Timetable::default();
        table.set("a", &[tier(1, SECOND)], ms(0));
        table.set("a", &[tier(1, SECOND), tier(1, ms(100))], ms(1001));
        assert_eq!(table.fire(ms(1001)).len(), 1);
    }

    #[test]
    fn streams_of_one_collector_that_are_due_together_are_one_read() {
        let mut table = Timetable::default();
        table.set("a", &[tier(0b01, SECOND), tier(0b10, ms(500))], ms(0));
        let wanted: Vec<u64> = [500, 1000, 1500]
            .into_iter()
            .flat_map(|now| table.fire(ms(now)))
            .map(|(_, tick)| tick.wanted)
            .collect();
        assert_eq!(wanted, [0b10, 0b11, 0b10]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_schedule_that_stands_still_falls_behind_and_one_that_runs_does_not() {
        let (grid, heartbeat) = (Grid::new(), Arc::new(Heartbeat::default()));
        let (changes, queue) = mpsc::unbounded_channel();
        let running = tokio::spawn(run(grid, heartbeat.clone(), queue, |_, _| {}));
        let set = Change::Set { collector: "a".into(), tiers: vec![tier(1, SECOND)] };
        changes.send(set).unwrap();
        tokio::time::sleep(SECOND * 30).await;
        assert!(heartbeat.lag(grid.now()) < SECOND);
        running.abort();
        tokio::time::sleep(SECOND * 30).await;
        assert!(heartbeat.lag(grid.now()) > SECOND * 28);
    }

    #[test]
    fn an_hour_of_a_thousand_collectors_drifts_by_nothing() {
        let mut table = Timetable::default();
        let intervals = [1, 2, 5, 10, 60, 300];
        for index in 0..1000_usize {
            let interval = Duration::from_secs(intervals[index % intervals.len()]);
            table.set(&format!("c{index}"), &[tier(1, interval)], ms(0));
        }
        let (mut ticks, mut now) = (0, ms(0));
        while let Some(next) = table.next().filter(|next| *next <= Duration::from_secs(3600)) {
            now = next;
            ticks += table.fire(next).len() as u64;
        }
        let expected: u64 = (0..1000).map(|index| 3600 / intervals[index % intervals.len()]).sum();
        assert_eq!((ticks, now), (expected, Duration::from_secs(3600)));
    }
}
