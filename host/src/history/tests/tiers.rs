//! Minutes and hours against a plain computation, and what is forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::schema::{Role, ValueType};

use super::super::id::{HOUR_MS, MINUTE_MS};
use super::super::store::Store;
use super::place;
use super::support::{Given, START, batch, column, count, load, named, stream, texts};
use crate::config::Keep;
use crate::model::StreamInfo;

fn three() -> Arc<StreamInfo> {
    stream(&[
        column("part", Role::Key, ValueType::Text),
        column("load", Role::Gauge, ValueType::F64),
        column("total", Role::Counter, ValueType::U64),
        column("state", Role::Attribute, ValueType::Text),
    ])
}

type Sample = (i64, &'static str, Option<f64>, u64, &'static str);

/// Two hours of two parts, some values missing; one part is gone for a while.
fn samples() -> Vec<Sample> {
    let mut random = fastrand::Rng::with_seed(5);
    let mut samples = Vec::new();
    for tick in 0..(2 * 360) {
        for part in ["a", "b"] {
            if part == "a" || !(100..220).contains(&tick) {
                let load = (random.u8(..10) > 0).then(|| random.f64() * 100.0);
                let state = if random.bool() { "up" } else { "down" };
                samples.push((START + 10_000 * tick, part, load, random.u64(..1 << 40), state));
            }
        }
    }
    samples
}

fn write(store: &mut Store, info: &Arc<StreamInfo>, samples: &[Sample]) {
    for (at, part, load, total, state) in samples {
        let load = load.map_or(Given::Null, Given::F64);
        let row = vec![Given::Text(part), load, Given::U64(*total), Given::Text(state)];
        store.write(&[batch(info, *at, &[row])]).unwrap();
    }
}

#[derive(Debug, Default, Clone, PartialEq)]
struct Sum {
    count: i64,
    average: Option<f64>,
    low: Option<f64>,
    high: Option<f64>,
    total: u64,
    state: String,
}

/// By the start of each minute, and the part.
type Sums = BTreeMap<(i64, String), Sum>;

fn minutes_of(samples: &[Sample]) -> Sums {
    let mut groups: BTreeMap<(i64, String), Vec<&Sample>> = BTreeMap::new();
    for sample in samples {
        let minute = sample.0 - sample.0 % MINUTE_MS;
        groups.entry((minute, sample.1.to_owned())).or_default().push(sample);
    }
    let sum = |group: Vec<&Sample>| {
        let loads: Vec<f64> = group.iter().filter_map(|sample| sample.2).collect();
        let last = group[group.len() - 1];
        Sum {
            count: group.len() as i64,
            average: (!loads.is_empty()).then(|| loads.iter().sum::<f64>() / loads.len() as f64),
            low: loads.iter().copied().reduce(f64::min),
            high: loads.iter().copied().reduce(f64::max),
            total: last.3,
            state: last.4.to_owned(),
        }
    };
    groups.into_iter().map(|(key, group)| (key, sum(group))).collect()
}

/// An hour's average is that of its minutes, by the number of their records.
fn hours_of(minutes: &Sums) -> Sums {
    let mut groups: BTreeMap<(i64, String), Vec<&Sum>> = BTreeMap::new();
    for ((minute, part), sum) in minutes {
        groups.entry((minute - minute % HOUR_MS, part.clone())).or_default().push(sum);
    }
    let sum = |group: Vec<&Sum>| {
        let known: Vec<&&Sum> = group.iter().filter(|sum| sum.average.is_some()).collect();
        let weight: i64 = known.iter().map(|sum| sum.count).sum();
        let total: f64 = known.iter().map(|sum| sum.average.unwrap() * sum.count as f64).sum();
        let last = group[group.len() - 1];
        Sum {
            count: group.iter().map(|sum| sum.count).sum(),
            average: (weight > 0).then(|| total / weight as f64),
            low: known.iter().filter_map(|sum| sum.low).reduce(f64::min),
            high: known.iter().filter_map(|sum| sum.high).reduce(f64::max),
            total: last.total,
            state: last.state.clone(),
        }
    };
    groups.into_iter().map(|(key, group)| (key, sum(group))).collect()
}

fn stored(store: &Store, table: &str) -> Sums {
    let sql = format!(
        "SELECT _timestamp, part, _count, load, load_min, load_max, total, state FROM {table}"
    );
    let mut statement = store.connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| {
        let sum = Sum {
            count: row.get(2)?,
            average: row.get(3)?,
            low: row.get(4)?,
            high: row.get(5)?,
            total: row.get::<_, i64>(6)? as u64,
            state: row.get(7)?,
        };
        Ok((((row.get::<_, f64>(0)? * 1000.0) as i64, row.get(1)?), sum))
    });
    let mut sums = Sums::new();
    for row in rows.unwrap() {
        let (key, sum) = row.unwrap();
        assert!(sums.insert(key, sum).is_none(), "twice in {table}");
    }
    sums
}

#[track_caller]
fn same(found: &Sums, expected: &Sums) {
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (key, expected) in expected {
        let found = &found[key];
        let (a, b) = (found.average.unwrap_or(-1.0), expected.average.unwrap_or(-1.0));
        assert!((a - b).abs() < 1e-9, "{key:?}: {a} is not {b}");
        assert_eq!(&Sum { average: expected.average, ..found.clone() }, expected, "{key:?}");
    }
}

#[test]
fn minutes_and_hours_are_what_a_plain_computation_gives() {
    let (_directory, path) = place();
    let (info, samples) = (three(), samples());
    let mut store = Store::open(&path, true).unwrap();
    write(&mut store, &info, &samples);
    let end = START + 2 * HOUR_MS;
    store.roll_up(end - 1).unwrap();
    let last = end - MINUTE_MS;
    let minutes = minutes_of(&samples);
    let mut complete = minutes.clone();
    complete.retain(|(minute, _), _| *minute < last);
    same(&stored(&store, "test_part_1m"), &complete);
    assert_eq!(count(&store, "test_part_1h"), 2, "the second hour is not over");
    store.roll_up(end).unwrap();
    same(&stored(&store, "test_part_1m"), &minutes);
    same(&stored(&store, "test_part_1h"), &hours_of(&minutes));
    store.roll_up(end + HOUR_MS).unwrap();
    same(&stored(&store, "test_part_1h"), &hours_of(&minutes));
}

#[test]
fn a_restart_at_any_moment_changes_no_minute_and_no_hour() {
    let (_directory, path) = place();
    let (info, samples) = (three(), samples());
    for some in samples.chunks(37) {
        // Ends without warning: nothing but what was committed is left.
        let mut store = Store::open(&path, false).unwrap();
        write(&mut store, &info, some);
        store.roll_up(some[some.len() - 1].0).unwrap();
    }
    let mut store = Store::open(&path, true).unwrap();
    store.roll_up(START + 2 * HOUR_MS).unwrap();
    let minutes = minutes_of(&samples);
    same(&stored(&store, "test_part_1m"), &minutes);
    same(&stored(&store, "test_part_1h"), &hours_of(&minutes));
}

#[test]
fn a_minute_is_made_anew_when_the_clock_goes_back_into_it() {
    let (_directory, path) = place();
    let (info, mut samples) = (three(), samples());
    let mut store = Store::open(&path, true).unwrap();
    write(&mut store, &info, &samples);
    store.roll_up(START + 2 * HOUR_MS).unwrap();
    let again = [(START + 5 * MINUTE_MS + 59_999, "b", Some(1e6), 7, "late")];
    write(&mut store, &info, &again);
    drop(store);
    let mut store = Store::open(&path, true).unwrap();
    store.roll_up(START + 2 * HOUR_MS).unwrap();
    samples.extend(again);
    samples.sort_by_key(|sample| sample.0);
    let minutes = minutes_of(&samples);
    same(&stored(&store, "test_part_1m"), &minutes);
    same(&stored(&store, "test_part_1h"), &hours_of(&minutes));
}

#[test]
fn the_longest_pause_is_caught_up_with_bit_by_bit() {
    let (_directory, path) = place();
    let info = load();
    let mut store = Store::open(&path, true).unwrap();
    let minutes = 700;
    for minute in 0..minutes {
        let row = vec![Given::Text("a"), Given::F64(1.0)];
        store.write(&[batch(&info, START + minute * MINUTE_MS, &[row])]).unwrap();
    }
    let mut turns = 0;
    while count(&store, "test_load_1m") < minutes {
        store.roll_up(START + 100 * HOUR_MS).unwrap();
        turns += 1;
    }
    assert_eq!(turns, 3, "240 at once");
    store.roll_up(START + 100 * HOUR_MS).unwrap();
    assert_eq!(count(&store, "test_load_1h"), 12);
}

fn days(raw: u64, minute: u64, hour: u64) -> Keep {
    let [raw, minute, hour] = [raw, minute, hour].map(|days| Duration::from_secs(days * 24 * 3600));
    Keep { raw, minute, hour, ..Keep::default() }
}

#[test]
fn each_tier_is_forgotten_at_its_own_age_and_never_before_the_next_is_made() {
    let (_directory, path) = place();
    let info = load();
    let mut store = Store::open(&path, true).unwrap();
    for hour in 0..72 {
        let row = vec![Given::Text("a"), Given::F64(1.0)];
        store.write(&[batch(&info, START + hour * HOUR_MS, &[row])]).unwrap();
    }
    let now = START + 72 * HOUR_MS;
    let counts =
        |store: &Store| ["test_load", "test_load_1m", "test_load_1h"].map(|t| count(store, t));
    store.forget(&days(1, 2, 3), now, u64::MAX).unwrap();
    assert_eq!(counts(&store), [72, 0, 0], "not rolled up yet");
    store.roll_up(now).unwrap();
    assert!(store.forget(&days(1, 2, 3), now, 10).unwrap(), "more than one turn may do");
    assert_eq!(counts(&store), [62, 72, 72]);
    store.forget(&days(1, 2, 3), now, u64::MAX).unwrap();
    assert_eq!(counts(&store), [24, 48, 72]);
    store.forget(&days(1, 2, 3), now + 24 * HOUR_MS, u64::MAX).unwrap();
    assert_eq!(counts(&store), [0, 24, 48]);
}

#[test]
fn the_file_keeps_to_its_size_by_forgetting_the_oldest_raw_records_first() {
    let (_directory, path) = place();
    let info = named("text", &[column("text", Role::Attribute, ValueType::Text)]);
    let long: &'static str = "x".repeat(500).leak();
    let mut store = Store::open(&path, true).unwrap();
    let keep = Keep { size: 2 << 20, ..Keep::default() };
    let length = || fs::metadata(&path).unwrap().len();
    let mut largest = 0;
    for second in 0..600 {
        let at = START + second * 1000;
        store.write(&[batch(&info, at, &vec![vec![Given::Text(long)]; 20])]).unwrap();
        store.roll_up(at).unwrap();
        store.forget(&keep, at, 1000).unwrap();
        largest = largest.max(length());
    }
    assert!(largest <= keep.size, "{largest}: 6 MB were written");
    assert!(count(&store, "text") > 2000, "room is used");
    assert_eq!(count(&store, "text_1m"), 9, "minutes outlive the raw records");
    let newest = texts(&store, "SELECT max(_timestamp) - min(_timestamp) FROM text");
    assert!(newest[0].parse::<f64>().unwrap() < 200.0, "{newest:?}");
    // A smaller size, as after a reload: the file shrinks.
    let keep = Keep { size: 1 << 20, ..keep };
    while store.forget(&keep, START + 600_000, 500).unwrap() {}
    store.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert!(length() <= keep.size, "{}", length());
    assert_eq!(texts(&store, "PRAGMA integrity_check"), ["ok"]);
}
