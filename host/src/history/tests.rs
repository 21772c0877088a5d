//! The store and its tiers, without an agent.

#[path = "tests/read.rs"]
mod read;
#[path = "tests/support.rs"]
mod support;
#[path = "tests/tiers.rs"]
mod tiers;

use std::fs;
use std::path::Path;
use std::time::Duration;

use dropsonde_plugin_api::schema::{Role, ValueType};
use tempfile::TempDir;

use super::error::{Cause, StoreError};
use super::id::{HOUR_MS, MINUTE_MS};
use super::open;
use super::store::{MOST_LOG, Store};
use crate::config::Keep;
use support::{Given, START, batch, column, count, load, stream, texts};

fn place() -> (TempDir, std::path::PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("history").join("history.db");
    (directory, path)
}

fn cause(path: &Path) -> Cause {
    Store::open(path, true).map(drop).unwrap_err().cause()
}

#[test]
fn what_was_written_is_read_back_as_it_was() {
    let (_directory, path) = place();
    let info = stream(&[
        column("part", Role::Key, ValueType::Text),
        column("huge", Role::Counter, ValueType::U64),
        column("small", Role::Counter, ValueType::U64),
        column("on", Role::Gauge, ValueType::Bool),
        column("below", Role::Attribute, ValueType::I64),
        column("parents", Role::Attribute, ValueType::TextList),
        column("missing", Role::Gauge, ValueType::F64),
    ]);
    let record = [
        Given::Text("a'\"b"),
        Given::U64(u64::MAX),
        Given::U64(i64::MAX as u64),
        Given::Bool(true),
        Given::I64(i64::MIN),
        Given::Text("x\0y\"\0"),
        Given::Null,
    ];
    let mut store = Store::open(&path, true).unwrap();
    let written = store.write(&[batch(&info, START + 7, &[record.to_vec()])]).unwrap();
    assert_eq!((written.rows, written.batches, written.unstorable), (1, 1, 0));
    // Rates stand at the end: a first sample has none.
    let sql = "SELECT _timestamp, part, huge, typeof(huge), small, \"on\", below, parents, missing, \
               huge_per_sec FROM test_part";
    let seconds = (START + 7) as f64 / 1000.0;
    let expected = format!(
        "{seconds}|a'\"b|{}|real|9223372036854775807|1|-9223372036854775808|[\"x\",\"y\\\"\"]|null|null",
        u64::MAX as f64
    );
    assert_eq!(texts(&store, sql), [expected]);
}

#[test]
fn records_of_one_instant_and_of_a_clock_that_was_set_back_all_have_their_place() {
    let (_directory, path) = place();
    let info = load();
    let mut store = Store::open(&path, true).unwrap();
    let two = |value| {
        vec![vec![Given::Text("a"), Given::F64(value)], vec![Given::Text("b"), Given::F64(value)]]
    };
    for (at, value) in
        [(START, 1.0), (START, 2.0), (START + 5000, 3.0), (START, 4.0), (START + 1, 5.0)]
    {
        store.write(&[batch(&info, at, &two(value))]).unwrap();
    }
    drop(store);
    let mut store = Store::open(&path, true).unwrap(); // the highest id is found again
    store.write(&[batch(&info, START + 5000, &two(6.0))]).unwrap();
    let sql =
        format!("SELECT (_id >> 20) - {START}, load FROM test_load WHERE part = 'b' ORDER BY _id");
    assert_eq!(texts(&store, &sql), ["0|1", "0|2", "0|4", "1|5", "5000|3", "5000|6"]);
}

#[test]
fn a_new_column_is_added_and_one_that_is_gone_stays() {
    let (_directory, path) = place();
    let key = column("part", Role::Key, ValueType::Text);
    let old = stream(&[key.clone(), column("gone", Role::Gauge, ValueType::F64)]);
    let new = stream(&[column("fresh", Role::Gauge, ValueType::I64), key]);
    let mut store = Store::open(&path, true).unwrap();
    store.write(&[batch(&old, START, &[vec![Given::Text("a"), Given::F64(1.0)]])]).unwrap();
    store.write(&[batch(&new, START + 1000, &[vec![Given::I64(2), Given::Text("a")]])]).unwrap();
    store.write(&[batch(&old, START + 2000, &[vec![Given::Text("a"), Given::F64(3.0)]])]).unwrap();
    let raw = texts(&store, "SELECT part, gone, fresh FROM test_part ORDER BY _id");
    assert_eq!(raw, ["a|1|null", "a|null|2", "a|3|null"]);
    store.roll_up(START + MINUTE_MS).unwrap();
    let sql = "SELECT _count, part, gone, gone_max, fresh, fresh_min, fresh_max FROM test_part_1m";
    assert_eq!(texts(&store, sql), ["3|a|2|3|2|2|2"]);
}

#[test]
fn a_column_that_means_something_else_sets_the_old_tables_aside_until_they_are_forgotten() {
    let (_directory, path) = place();
    let key = column("part", Role::Key, ValueType::Text);
    let old = stream(&[key.clone(), column("load", Role::Gauge, ValueType::F64)]);
    let new = stream(&[key, column("load", Role::Attribute, ValueType::Text)]);
    let mut store = Store::open(&path, true).unwrap();
    store.write(&[batch(&old, START, &[vec![Given::Text("a"), Given::F64(1.5)]])]).unwrap();
    let heavy = vec![Given::Text("a"), Given::Text("heavy")];
    let written = store.write(&[batch(&new, START + 1000, &[heavy])]).unwrap();
    assert_eq!(written.set_aside, ["metrics.test.part"]);
    assert_eq!(texts(&store, "SELECT load FROM test_part"), ["heavy"]);
    let sql = "SELECT name FROM sqlite_master WHERE name GLOB 'test_part_before_*' ORDER BY name";
    let tables = texts(&store, sql);
    assert_eq!(tables.len(), 3, "{tables:?}");
    assert_eq!(texts(&store, &format!("SELECT load FROM {}", tables[0])), ["1.5"]);
    let keep = Keep {
        raw: Duration::from_secs(1),
        minute: Duration::from_secs(1),
        hour: Duration::from_secs(1),
        ..Keep::default()
    };
    store.roll_up(START + 2 * HOUR_MS).unwrap();
    store.forget(&keep, START + 3 * HOUR_MS, 1000).unwrap();
    assert_eq!(texts(&store, sql).len(), 0, "empty, and never written again");
    assert_eq!(count(&store, "test_part"), 0, "empty, and still written");
}

#[test]
fn streams_whose_names_make_one_table_name_have_tables_of_their_own() {
    let (_directory, path) = place();
    let columns = [column("load", Role::Gauge, ValueType::F64)];
    let names = ["a.b_1m", "a.b", "a_b", "a-b", "sqlite_x"];
    let mut store = Store::open(&path, true).unwrap();
    for (index, name) in names.iter().enumerate() {
        let info = support::named(name, &columns);
        store.write(&[batch(&info, START, &[vec![Given::F64(index as f64)]])]).unwrap();
    }
    let sql = "SELECT stream, base FROM _streams ORDER BY id";
    let expected = ["a.b_1m|a_b_1m", "a.b|a_b_2", "a_b|a_b_3", "a-b|a_b_4", "sqlite_x|_sqlite_x"];
    assert_eq!(texts(&store, sql), expected);
}

#[test]
fn a_stream_that_no_table_takes_is_named_and_counted_and_the_others_go_on() {
    let (_directory, path) = place();
    let own = support::named("own", &[column("_id", Role::Gauge, ValueType::F64)]);
    let mut store = Store::open(&path, true).unwrap();
    let good = batch(&load(), START, &[vec![Given::Text("a"), Given::F64(1.0)]]);
    let bad = batch(&own, START, &[vec![Given::F64(1.0)], vec![Given::F64(1.0)]]);
    let written = store.write(&[bad.clone(), good, bad]).unwrap();
    assert_eq!((written.rows, written.unstorable), (1, 4));
    assert_eq!(written.refused.len(), 1, "once: {:?}", written.refused);
    let wide: Vec<_> =
        (0..700).map(|index| column(&format!("c{index}"), Role::Gauge, ValueType::F64)).collect();
    let wide = support::named("wide", &wide);
    let row = vec![Given::F64(0.0); 700];
    let written = store.write(&[batch(&wide, START, &[row])]).unwrap();
    assert!(written.refused[0].1.contains("2103 columns"), "{:?}", written.refused);
}

#[test]
fn what_is_not_this_agents_file_is_not_touched() {
    let (_directory, path) = place();
    let store = Store::open(&path, true).unwrap();
    assert_eq!(cause(&path), Cause::InUse);
    store.connection.pragma_update(None, "user_version", open::LAYOUT + 1).unwrap();
    drop(store);
    let error = Store::open(&path, true).map(drop).unwrap_err();
    assert!(matches!(&error, StoreError::Newer { found: 2, known: 1, .. }), "{error}");
    fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)").unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    assert_eq!(cause(&path), Cause::Refused);
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_reader_that_does_not_end_stops_the_log_from_growing_without_bound() {
    let (_directory, path) = place();
    let info = load();
    let mut store = Store::open(&path, true).unwrap();
    let rows: Vec<_> = (0..5000).map(|_| vec![Given::Text("a"), Given::F64(0.5)]).collect();
    let mut at = START;
    let mut write = |store: &mut Store| {
        at += 1000;
        store.write(&[batch(&info, at, &rows)])
    };
    write(&mut store).unwrap();
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM test_load").unwrap();
    let error = (0..100).find_map(|_| write(&mut store).err()).expect("it is held");
    assert_eq!(error.cause(), Cause::InUse);
    assert!(error.to_string().contains("end the program that has it open"), "{error}");
    let log = || fs::metadata(open::beside(&path, "-wal")).unwrap().len();
    assert!(log() < 2 * MOST_LOG, "{}", log());
    let before = log();
    assert!(write(&mut store).is_err());
    assert_eq!(log(), before);
    drop(reader);
    write(&mut store).unwrap();
    assert!(log() < before);
}

#[test]
fn damage_is_found_at_the_start_and_the_newest_three_damaged_files_are_kept() {
    let (directory, path) = place();
    let info = load();
    for round in 0..5 {
        let mut store = Store::open(&path, true).unwrap();
        let rows: Vec<_> =
            (0..2000).map(|value| vec![Given::Text("a"), Given::F64(value.into())]).collect();
        store.write(&[batch(&info, START, &rows)]).unwrap();
        drop(store);
        let mut bytes = fs::read(&path).unwrap();
        let from = if round % 2 == 0 { 0 } else { bytes.len() / 2 };
        bytes[from..from + 3000].fill(0xA5);
        fs::write(&path, bytes).unwrap();
        assert_eq!(cause(&path), Cause::Damaged, "round {round}");
        let aside = open::set_aside(&path).unwrap();
        assert!(aside.exists() && !path.exists());
        std::thread::sleep(Duration::from_millis(2)); // their names tell milliseconds
    }
    let names = fs::read_dir(directory.path().join("history")).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert_eq!(names.filter(|name| name.contains("corrupt")).count(), 3);
}
