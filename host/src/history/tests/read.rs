//! What a reader gets: each record once, from the tier that has it.

use std::path::Path;

use super::super::id::{HOUR_MS, MINUTE_MS};
use super::super::read::{Answer, Question, ReadError, read};
use super::super::store::Store;
use super::support::{Given, START, batch, load, stream};
use super::{column, place};
use crate::config::Keep;
use dropsonde_plugin_api::schema::{Role, ValueType};
use serde_json::json;
use std::time::Duration;

fn question(stream: &str, from: i64, to: i64, step: i64) -> Question {
    let stream = stream.to_owned();
    Question { stream, from, to, step, columns: None, filter: None, limit: 1000 }
}

fn rows(answer: &Answer, series: usize) -> Vec<(i64, String)> {
    let rows = &answer.series[series].1.rows;
    rows.iter().map(|(ms, values)| ((ms - START) / 1000, json!(values).to_string())).collect()
}

fn error(path: &Path, question: &Question) -> String {
    read(path, question).unwrap_err().to_string()
}

/// Part `a` goes up by one each 10 s for three hours, `b` is its double.
fn three_hours(path: &Path) -> Store {
    let info = load();
    let mut store = Store::open(path, true).unwrap();
    let batches: Vec<_> = (0..3 * 360)
        .map(|tick| {
            let value = tick as f64;
            let rows = [
                vec![Given::Text("a"), Given::F64(value)],
                vec![Given::Text("b"), Given::F64(2.0 * value)],
            ];
            batch(&info, START + 10_000 * tick, &rows)
        })
        .collect();
    store.write(&batches).unwrap();
    store
}

const END: i64 = START + 3 * HOUR_MS;

#[test]
fn every_step_gives_each_record_once_whatever_was_rolled_up_and_forgotten() {
    for rolled in [0, MINUTE_MS, HOUR_MS + 7 * MINUTE_MS, 3 * HOUR_MS] {
        for raw in [4, 2, 1] {
            let (_directory, path) = place();
            let mut store = three_hours(&path);
            store.roll_up(START + rolled).unwrap();
            let keep = Keep { raw: Duration::from_secs(raw * 1200), ..Keep::default() };
            store.forget(&keep, END, u64::MAX).unwrap();
            for step in [5 * MINUTE_MS, 20 * MINUTE_MS, HOUR_MS] {
                let answer = read(&path, &question("test.load", START, END, step)).unwrap();
                assert!(!answer.truncated);
                assert_eq!(answer.series.len(), 2);
                for (series, times) in [(0, 1.0), (1, 2.0)] {
                    let each = step / 10_000;
                    let average = |n: i64| ((n * each) as f64 + (each - 1) as f64 / 2.0) * times;
                    let expected: Vec<(i64, f64)> =
                        (0..3 * HOUR_MS / step).map(|n| (START + n * step, average(n))).collect();
                    let rows = &answer.series[series].1.rows;
                    let found: Vec<(i64, f64)> =
                        rows.iter().map(|(ms, row)| (*ms, row[0].as_f64().unwrap())).collect();
                    assert_eq!(found, expected, "rolled {rolled}, raw {raw}, step {step}");
                }
            }
        }
    }
}

#[test]
fn what_a_tier_no_longer_has_comes_from_the_next_coarser_one() {
    let (_directory, path) = place();
    let mut store = three_hours(&path);
    store.roll_up(END).unwrap();
    let [raw, minute] = [1200, 3600].map(Duration::from_secs);
    store.forget(&Keep { raw, minute, ..Keep::default() }, END, u64::MAX).unwrap();
    let read = |step| {
        let answer = read(&path, &question("test.load", START, END, step)).unwrap();
        rows(&answer, 0)
    };
    let raws = read(10_000);
    assert_eq!(raws.len(), 2 + 40 + 120, "two hours, 40 minutes, 20 minutes of raw records");
    let row = |at, value: f64| (at, format!("[{value:?}]"));
    assert_eq!(raws[..3], [row(0, 179.5), row(3600, 539.5), row(7200, 722.5)]);
    assert_eq!(raws[41..44], [row(9540, 956.5), row(9600, 960.0), row(9610, 961.0)]);
    let minutes = read(MINUTE_MS);
    assert_eq!(minutes.len(), 2 + 60);
    assert_eq!(minutes[1..3], [row(3600, 539.5), row(7200, 722.5)]);
}

#[test]
fn a_step_gathers_averages_extremes_and_last_values_of_each_series() {
    let (_directory, path) = place();
    let info = stream(&[
        column("part", Role::Key, ValueType::Text),
        column("load", Role::Gauge, ValueType::F64),
        column("total", Role::Counter, ValueType::U64),
        column("up", Role::Attribute, ValueType::Bool),
        column("tags", Role::Attribute, ValueType::TextList),
    ]);
    let mut store = Store::open(&path, true).unwrap();
    for (at, value, tags) in [(0, 4.0, "x\0"), (20, 1.0, "y\0z\0"), (40, 7.0, ""), (70, 9.0, "x\0")]
    {
        let row = vec![
            Given::Text("a"),
            Given::F64(value),
            Given::U64(100 + at),
            Given::Bool(at != 40),
            Given::Text(tags),
        ];
        let empty = vec![Given::Text("b"), Given::Null, Given::Null, Given::Null, Given::Null];
        store.write(&[batch(&info, START + 1000 * at as i64, &[row, empty])]).unwrap();
    }
    let of = |columns: &str, filter: Option<&str>| {
        let mut question = question("metrics.test.part", START + 30_000, START + 80_000, 60_000);
        question.columns = Some(columns.split(',').map(str::to_owned).collect());
        question.filter = filter.map(|filter| filter.parse().unwrap());
        read(&path, &question)
    };
    let check = || {
        let answer = of("load,load_min,load_max,total,up,tags", None).unwrap();
        assert_eq!(answer.keys, ["part"]);
        assert_eq!(answer.series[0].0, [json!("a")]);
        let expected = [
            (0, "[4.0,1.0,7.0,140,false,[]]".to_owned()),
            (60, "[9.0,9.0,9.0,170,true,[\"x\"]]".to_owned()),
        ];
        assert_eq!(rows(&answer, 0), expected);
        assert_eq!(rows(&answer, 1)[0].1, "[null,null,null,null,null,null]");
    };
    check();
    store.roll_up(START + 60_000).unwrap(); // the first step is a minute now, the second is raw
    check();
    for (filter, expected) in [
        ("part = 'b'", vec![json!("b")]),
        ("load >= 4 and not (part like 'B%')", vec![json!("a")]),
        ("tags = 'x'", vec![json!("a")]),
        ("up", vec![json!("a")]),
        ("part in ('c', 'd''e')", vec![]),
        ("load is null or total < 100", vec![json!("b")]),
    ] {
        let answer = of("load", Some(filter)).unwrap();
        let keys: Vec<_> = answer.series.into_iter().map(|(key, _)| key[0].clone()).collect();
        assert_eq!(keys, expected, "{filter}");
    }
    let wrong = |columns, filter| of(columns, filter).unwrap_err().to_string();
    assert_eq!(
        wrong("load,lod_max", None),
        "columns: test.part has no column `lod_max`; did you mean `load_max`?"
    );
    assert!(
        wrong("load", Some("prt = 'a'")).starts_with("where: `metrics.test.part` has no column")
    );
    assert!(wrong("load", Some("part > 3")).starts_with("where: "));
}

#[test]
fn an_answer_has_bounds_and_says_so() {
    let (_directory, path) = place();
    assert_eq!(
        error(&path, &question("test.load", START, END, 1)),
        "nothing is stored yet; history.flush says when it is written"
    );
    let store = three_hours(&path); // it is read while it is open
    let mut asked = question("test.load", START, END, 10_000);
    asked.limit = 7;
    let answer = read(&path, &asked).unwrap();
    let counts: Vec<_> = answer.series.iter().map(|(_, series)| series.rows.len()).collect();
    assert_eq!((counts, answer.truncated), (vec![4, 3], true));
    // The steps that it has are whole: both series have all their records of them.
    for limit in [1, 2, 3, 36, 37] {
        let whole = read(&path, &question("test.load", START, END, 5 * MINUTE_MS)).unwrap();
        let asked = Question { limit, ..question("test.load", START, END, 5 * MINUTE_MS) };
        let answer = read(&path, &asked).unwrap();
        assert!(answer.truncated);
        let rows: usize = answer.series.iter().map(|(_, series)| series.rows.len()).sum();
        assert_eq!(rows, limit);
        for ((key, part), (other, all)) in answer.series.iter().zip(&whole.series) {
            assert_eq!((key, &part.rows[..]), (other, &all.rows[..part.rows.len()]), "{limit}");
        }
    }
    let all = Question { limit: 72, ..question("test.load", START, END, 5 * MINUTE_MS) };
    assert!(!read(&path, &all).unwrap().truncated, "nothing is missing");
    assert_eq!(
        error(&path, &question("test.lod", START, END, 1)),
        "no stream `test.lod` is stored; did you mean `test.load`?"
    );
    let none = read(&path, &question("test.load", END, END + 1000, 1)).unwrap();
    assert!(none.series.is_empty() && !none.truncated);
    drop(store);
    std::fs::write(&path, [7; 9000]).unwrap();
    let damaged = read(&path, &question("test.load", START, END, 1)).unwrap_err();
    assert!(matches!(damaged, ReadError::Sqlite { .. }), "{damaged}");
}
