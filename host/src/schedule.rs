//! The schedule: which collector is due, and for which of its streams.
//!
//! [`Timetable`] is pure: it is told what time it is. Ticks lie on a grid that is aligned to
//! whole multiples of each interval, so that collectors of the same interval share one wake-up.
//! A tick that comes late is run once; those that it missed are counted and never queued up.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::alarm::Alarm;
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

/// When each collector is due next. What is not due costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    collectors: HashMap<Arc<str>, Vec<Entry>>,
    /// Each collector once, at the time of its first entry.
    queue: BTreeSet<(Duration, Arc<str>)>,
}

#[derive(Debug)]
pub(crate) struct Entry {
    tier: Tier,
    next: Duration,
}

impl Timetable {
    /// Sets what a collector wants from `now` on. A tier that stays the same keeps its phase.
    pub(crate) fn set(&mut self, collector: &str, tiers: &[Tier], now: Duration) {
        let old = self.remove(collector);
        let entries = tiers.iter().map(|tier| {
            let interval = tier.interval.max(MIN_INTERVAL);
            // A change at the very moment of a tick must not swallow it.
            let same = old.iter().find(|entry| entry.tier.interval == interval);
            let next = same.map_or_else(|| after(now, interval), |entry| entry.next);
            Entry { tier: Tier { interval, ..*tier }, next }
        });
        let entries: Vec<Entry> = entries.collect();
        let Some(next) = first(&entries) else { return };
        let collector: Arc<str> = collector.into();
        self.queue.insert((next, collector.clone()));
        self.collectors.insert(collector, entries);
    }

    /// Takes a collector out; what it wanted.
    pub(crate) fn remove(&mut self, collector: &str) -> Vec<Entry> {
        let Some((name, entries)) = self.collectors.remove_entry(collector) else {
            return Vec::new();
        };
        if let Some(next) = first(&entries) {
            self.queue.remove(&(next, name));
        }
        entries
    }

    /// When something is due next.
    pub(crate) fn next(&self) -> Option<Duration> {
        self.queue.first().map(|(next, _)| *next)
    }

    /// Takes what is due by `now`; the earliest first, then by name.
    pub(crate) fn fire(&mut self, now: Duration) -> Vec<(Arc<str>, Tick)> {
        let mut due = Vec::new();
        while let Some((next, collector)) = self.queue.pop_first() {
            if next > now {
                self.queue.insert((next, collector));
                break;
            }
            let Some(entries) = self.collectors.get_mut(&collector) else { continue };
            due.extend(fire(entries, now).map(|tick| (collector.clone(), tick)));
            if let Some(next) = first(entries) {
                self.queue.insert((next, collector));
            }
        }
        due
    }
}

fn first(entries: &[Entry]) -> Option<Duration> {
    entries.iter().map(|entry| entry.next).min()
}

/// One tick for all streams of a collector that are due.
fn fire(entries: &mut [Entry], now: Duration) -> Option<Tick> {
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
    tick
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
    let (mut table, mut alarm) = (Timetable::default(), Alarm::new());
    loop {
        let next = table.next();
        heartbeat.expect(next);
        let sleep = async {
            match next {
                Some(next) => alarm.until(grid.instant(next)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            change = changes.recv() => match change {
                Some(Change::Set { collector, tiers }) => table.set(&collector, &tiers, grid.now()),
                Some(Change::Remove { collector }) => drop(table.remove(&collector)),
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
        let due: Vec<Arc<str>> = table.fire(ms(1000)).into_iter().map(|(name, _)| name).collect();
        assert_eq!(due, ["a".into(), "b".into()]);
        assert_eq!(table.next(), Some(ms(2000)));
    }

    #[test]
    fn a_late_tick_runs_once_and_counts_what_it_missed() {
        let mut table = Timetable::default();
        table.set("a", &[tier(1, SECOND)], ms(0));
        let fired = table.fire(ms(3400));
        assert_eq!(fired, [("a".into(), Tick { due: ms(3000), wanted: 1, missed: 2 })]);
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

    /// As the tiers come by themselves: a few fast ones, statistics, and much that is slow.
    fn thousand() -> (Timetable, impl Fn(usize) -> u64) {
        let interval = |index: usize| match index {
            ..10 => 1,
            10..100 => 10,
            _ => 300,
        };
        let mut table = Timetable::default();
        for index in 0..1000 {
            let tier = tier(1, Duration::from_secs(interval(index)));
            table.set(&format!("c{index}"), &[tier], ms(0));
        }
        (table, interval)
    }

    #[test]
    fn a_day_of_a_thousand_collectors_drifts_by_nothing() {
        const DAY: u64 = 86_400;
        let (mut table, interval) = thousand();
        let (mut ticks, mut now, mut wakes) = (0, ms(0), 0);
        while let Some(next) = table.next().filter(|next| *next <= Duration::from_secs(DAY)) {
            assert!(next > now, "time goes on");
            now = next;
            for (name, tick) in table.fire(next) {
                let index: usize = name[1..].parse().unwrap();
                assert_eq!(tick, Tick { due: next, wanted: 1, missed: 0 });
                assert_eq!(next.as_secs() % interval(index), 0, "aligned");
                ticks += 1;
            }
            wakes += 1;
        }
        let expected: u64 = (0..1000).map(|index| DAY / interval(index)).sum();
        assert_eq!((ticks, now, wakes), (expected, Duration::from_secs(DAY), DAY));
    }

    /// The machine slept for a night, or the process was stopped: each runs once, not a thousand
    /// times, and all are back on their grid.
    #[test]
    fn after_a_night_of_sleep_each_collector_runs_once_and_counts_what_it_missed() {
        const NIGHT: u64 = 8 * 3600;
        let (mut table, interval) = thousand();
        let fired = table.fire(ms(NIGHT * 1000 + 500));
        assert_eq!(fired.len(), 1000);
        for (name, tick) in fired {
            let interval = interval(name[1..].parse().unwrap());
            assert_eq!(tick.due, Duration::from_secs(NIGHT));
            assert_eq!(tick.missed, NIGHT / interval - 1, "{name}");
        }
        assert_eq!(table.next(), Some(Duration::from_secs(NIGHT + 1)));
        assert_eq!(table.fire(Duration::from_secs(NIGHT + 1)).len(), 10, "no burst");
    }

    /// Whatever is set and removed, the queue holds each collector once, at its first time.
    #[test]
    fn the_queue_holds_each_collector_once() {
        let mut random = fastrand::Rng::with_seed(11);
        let mut table = Timetable::default();
        let mut now = ms(0);
        for _ in 0..20_000 {
            let name = format!("c{}", random.u8(..20));
            match random.u8(..4) {
                0 => drop(table.remove(&name)),
                1 => {
                    let tiers: Vec<Tier> = (0..random.u8(..4))
                        .map(|bit| tier(1 << bit, ms(random.u64(0..2_000))))
                        .collect();
                    table.set(&name, &tiers, now);
                }
                _ => {
                    now += ms(random.u64(0..1_500));
                    let fired = table.fire(now);
                    assert!(fired.iter().all(|(_, tick)| tick.due <= now && tick.wanted != 0));
                }
            }
            assert_eq!(table.queue.len(), table.collectors.len());
            for (next, name) in &table.queue {
                assert_eq!(first(&table.collectors[name]), Some(*next));
            }
        }
    }
}
