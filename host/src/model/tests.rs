use std::sync::Arc;
use std::time::Duration;

use dropsonde_plugin_api::schema::{
    ColumnSchema, Role, Share, StreamKind, StreamSchema, ValueType,
};

use super::*;

fn column(name: &str, role: Role, value: ValueType) -> ColumnSchema {
    ColumnSchema {
        unit: "s".into(),
        description: "A column.".into(),
        ..ColumnSchema::new(name, role, value)
    }
}

fn schema(columns: Vec<ColumnSchema>) -> StreamSchema {
    StreamSchema {
        name: "s".into(),
        kind: StreamKind::Snapshot,
        description: "A stream.".into(),
        columns,
    }
}

fn info(columns: Vec<ColumnSchema>) -> StreamInfo {
    let name: Arc<str> = "c".into();
    StreamInfo::new(&name, &name, schema(columns))
}

fn text(rows: &[&str]) -> ColumnData {
    let mut ends = Vec::new();
    let mut bytes = Vec::new();
    for row in rows {
        bytes.extend(row.as_bytes());
        ends.push(bytes.len() as u32);
    }
    ColumnData { data: Data::Text { ends, bytes }, validity: Vec::new() }
}

fn numbers(rows: &[u64]) -> ColumnData {
    ColumnData { data: Data::U64(rows.to_vec()), validity: Vec::new() }
}

fn raw(at_ms: u64, rows: usize, columns: Vec<ColumnData>) -> RawBatch {
    RawBatch { stream: 0, rows, monotonic_ns: at_ms * 1_000_000, columns }
}

fn derived(rates: &mut Rates, info: &StreamInfo, batch: &RawBatch) -> Vec<Vec<Option<f64>>> {
    rates
        .derive(info, batch)
        .iter()
        .map(|column| (0..batch.rows).map(|row| column.number(row)).collect())
        .collect()
}

#[test]
fn a_rate_is_growth_by_time_and_missing_at_first_and_after_a_reset() {
    let info = info(vec![
        column("name", Role::Key, ValueType::Text),
        column("bytes", Role::Counter, ValueType::U64),
    ]);
    assert_eq!(info.schema.columns[2].name, "bytes_per_sec");
    assert_eq!(info.schema.columns[2].unit, "s/s");
    let mut rates = Rates::default();
    let mut round = |at, names: &[&str], values: &[u64]| {
        let batch = raw(at, names.len(), vec![text(names), numbers(values)]);
        derived(&mut rates, &info, &batch).remove(0)
    };
    assert_eq!(round(1000, &["a", "b"], &[100, 5]), [None, None]);
    assert_eq!(round(1500, &["b", "a"], &[5, 200]), [Some(0.0), Some(200.0)]);
    assert_eq!(round(2500, &["a"], &[50]), [None], "it went back");
    assert_eq!(round(3500, &["a", "b"], &[60, 9]), [Some(10.0), None], "`b` was away");
}

#[test]
fn a_key_that_stands_twice_has_no_rate() {
    let info = info(vec![
        column("name", Role::Key, ValueType::Text),
        column("bytes", Role::Counter, ValueType::U64),
    ]);
    let mut rates = Rates::default();
    let mut round = |at, names: &[&str], values: &[u64]| {
        let batch = raw(at, names.len(), vec![text(names), numbers(values)]);
        derived(&mut rates, &info, &batch).remove(0)
    };
    assert_eq!(round(1000, &["a", "a", "b"], &[5, 1, 7]), [None, None, None]);
    assert_eq!(round(2000, &["a", "a", "b"], &[5, 1, 8]), [None, None, Some(1.0)]);
    assert_eq!(round(3000, &["a", "b"], &[5, 9]), [None, Some(1.0)], "which one was it?");
    assert_eq!(round(4000, &["a", "b"], &[6, 9]), [Some(1.0), Some(0.0)]);
}

#[test]
fn keys_are_told_apart_whatever_their_characters() {
    let info = info(vec![
        column("one", Role::Key, ValueType::Text),
        column("two", Role::Key, ValueType::Text),
        column("bytes", Role::Counter, ValueType::U64),
    ]);
    let keys = [text(&["a\0", "a"]), text(&["b", "\0b"])];
    let mut rates = Rates::default();
    let mut round = |at, values: &[u64]| {
        let batch = raw(at, 2, vec![keys[0].clone(), keys[1].clone(), numbers(values)]);
        derived(&mut rates, &info, &batch).remove(0)
    };
    assert_eq!(round(1000, &[1, 100]), [None, None]);
    assert_eq!(round(2000, &[2, 105]), [Some(1.0), Some(5.0)]);
}

#[test]
fn no_rate_is_derived_across_two_records_of_which_one_key_differs() {
    let info = info(vec![
        column("pid", Role::Key, ValueType::U64),
        column("started", Role::Key, ValueType::U64),
        column("bytes", Role::Counter, ValueType::U64),
    ]);
    let mut rates = Rates::default();
    let mut round = |at, started: u64, bytes: u64| {
        let batch = raw(at, 1, vec![numbers(&[7]), numbers(&[started]), numbers(&[bytes])]);
        derived(&mut rates, &info, &batch)[0][0]
    };
    assert_eq!(round(1000, 100, 5), None);
    assert_eq!(round(2000, 100, 10), Some(5.0));
    assert_eq!(round(3000, 900, 1000), None, "another process has the pid");
    assert_eq!(round(4000, 900, 1001), Some(1.0));
}

#[test]
fn a_counter_that_a_new_generation_begins_anew_loses_no_rate() {
    let info = info(vec![
        column("name", Role::Key, ValueType::Text),
        column("bytes", Role::Counter, ValueType::U64),
    ]);
    let batch = |at, own: u64| raw(at, 2, vec![text(&["kernel", "own"]), numbers(&[at, own])]);
    let mut rates = Rates::default();
    derived(&mut rates, &info, &batch(1000, 500));
    rates.rebase(&info, &batch(1500, 0)); // what proved the new generation
    let now = derived(&mut rates, &info, &batch(2000, 5)).remove(0);
    assert_eq!(now, [Some(1000.0), Some(10.0)]);
}

/// Rows that stay, come, go, change places and stand twice, beside the plainest way to say what
/// their rates are.
#[test]
fn rates_are_those_of_the_same_key_in_the_batch_before_whatever_the_order() {
    let info = info(vec![
        column("name", Role::Key, ValueType::Text),
        column("bytes", Role::Counter, ValueType::U64),
    ]);
    let mut random = fastrand::Rng::with_seed(5);
    let mut rates = Rates::default();
    let mut names: Vec<String> = Vec::new();
    let mut before: Vec<(String, u64)> = Vec::new();
    for round in 1..2_000_u64 {
        match random.u8(..6) {
            0 => names.insert(random.usize(..=names.len()), format!("{}", random.u8(..20))),
            1 if !names.is_empty() => drop(names.remove(random.usize(..names.len()))),
            2 => random.shuffle(&mut names),
            3 if names.len() > 25 => names.truncate(3),
            _ => {} // the same again
        }
        let now: Vec<(String, u64)> =
            names.iter().map(|name| (name.clone(), random.u64(..1_000))).collect();
        let texts: Vec<&str> = names.iter().map(String::as_str).collect();
        let values: Vec<u64> = now.iter().map(|(_, value)| *value).collect();
        let batch = raw(round * 1_000, now.len(), vec![text(&texts), numbers(&values)]);
        let only = |rows: &[(String, u64)], name: &str| {
            let mut of = rows.iter().filter(|(other, _)| other == name);
            of.next().filter(|_| of.next().is_none()).map(|(_, value)| *value)
        };
        let expected = names.iter().map(|name| {
            let growth = only(&now, name)?.checked_sub(only(&before, name)?)?;
            Some(growth as f64)
        });
        let expected: Vec<Option<f64>> = expected.collect();
        assert_eq!(derived(&mut rates, &info, &batch).remove(0), expected, "round {round}");
        before = now;
    }
}

#[test]
fn a_share_is_the_part_s_growth_of_the_whole_s() {
    let mut user = column("user", Role::Counter, ValueType::F64);
    let share = Share { name: "user_percent".into(), of: "total".into(), otel: String::new() };
    user.share = Some(share);
    let info = info(vec![user, column("total", Role::Counter, ValueType::F64)]);
    let names: Vec<&str> = info.schema.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["user", "total", "user_percent"], "no rate beside the share");
    let floats = |value: f64| ColumnData { data: Data::F64(vec![value]), validity: Vec::new() };
    let mut rates = Rates::default();
    let mut round = |at, user, total| {
        let batch = raw(at, 1, vec![floats(user), floats(total)]);
        derived(&mut rates, &info, &batch).remove(0)[0]
    };
    assert_eq!(round(0, 10.0, 100.0), None);
    assert_eq!(round(1000, 11.0, 104.0), Some(25.0));
    assert_eq!(round(2000, 10.5, 108.0), Some(0.0), "a part that steps back is no time");
    assert_eq!(round(3000, 10.5, 108.0), None, "nothing grew");
}

#[test]
fn what_does_not_fit_its_declaration_is_refused_by_name() {
    let schemas = [schema(vec![
        column("name", Role::Key, ValueType::Text),
        column("bytes", Role::Counter, ValueType::U64),
    ])];
    let good = || raw(0, 2, vec![text(&["a", "ä"]), numbers(&[1, 2])]);
    assert_eq!(check(&schemas, &mut good()), Ok(()));
    let refused = |change: &dyn Fn(&mut RawBatch)| {
        let mut batch = good();
        change(&mut batch);
        check(&schemas, &mut batch).unwrap_err().to_string()
    };
    type Change<'a> = &'a dyn Fn(&mut RawBatch);
    let cases: [(&str, Change<'_>); 9] = [
        ("stream 7 was not declared; the plugin declares 1", &|b| b.stream = 7),
        ("100001 rows in one batch of `s`", &|b| b.rows = 100_001),
        ("1 columns in a batch of `s`, declared are 2", &|b| drop(b.columns.pop())),
        ("column `bytes` of `s`: the values have another length", &|b| {
            b.columns[1] = numbers(&[1]);
        }),
        ("column `bytes` of `s`: the values have another type", &|b| {
            b.columns[1] = text(&["1", "2"]);
        }),
        ("column `name` of `s`: a key is missing", &|b| b.columns[0].validity = vec![1, 0]),
        ("column `bytes` of `s`: the validity has another length", &|b| {
            b.columns[1].validity = vec![1];
        }),
        ("column `name` of `s`: text that is not UTF-8", &|b| {
            b.columns[0].data = Data::Text { ends: vec![1, 2], bytes: vec![b'a', 0xff] };
        }),
        ("column `name` of `s`: text offsets", &|b| {
            let bytes = "aä".as_bytes().to_vec();
            b.columns[0].data = Data::Text { ends: vec![2, 3], bytes };
        }),
    ];
    for (expected, change) in cases {
        let message = refused(change);
        assert!(message.starts_with(expected), "{message}");
    }
    for ends in [vec![3, 1], vec![1, 9], vec![1, 2]] {
        let bytes = "aä".as_bytes().to_vec();
        let message = refused(&|b| {
            b.columns[0].data = Data::Text { ends: ends.clone(), bytes: bytes.clone() }
        });
        assert!(message.contains("text offsets"), "{ends:?}: {message}");
    }
}

#[test]
fn a_float_that_is_no_number_becomes_a_missing_value() {
    let schemas = [schema(vec![column("load", Role::Gauge, ValueType::F64)])];
    let values = vec![1.0, f64::NAN, f64::INFINITY];
    let data = ColumnData { data: Data::F64(values), validity: Vec::new() };
    let mut batch = raw(0, 3, vec![data]);
    assert_eq!(check(&schemas, &mut batch), Ok(()));
    assert_eq!(batch.columns[0].validity, [1, 0, 0]);
}

#[test]
fn a_declaration_that_makes_no_sense_is_refused_by_name() {
    let good = schema(vec![column("a", Role::Gauge, ValueType::U64)]);
    assert_eq!(check_schemas(std::slice::from_ref(&good)), Ok(()));
    let refused = |schemas: &[StreamSchema]| check_schemas(schemas).unwrap_err().to_string();
    assert!(refused(&[good.clone(), good.clone()]).contains("declared twice"));
    let mut bad = good.clone();
    bad.name = "S p".into();
    assert!(refused(&[bad]).contains("a name has only"));
    let text_counter = column("a", Role::Counter, ValueType::Text);
    assert!(refused(&[schema(vec![text_counter])]).contains("`a` can't have its type"));
    assert!(refused(&[schema(Vec::new())]).contains("1 to 256 columns"));
    let derived = ["a", "a_per_sec"].map(|name| column(name, Role::Counter, ValueType::U64));
    assert!(refused(&[schema(derived.into())]).contains("derives a column `a_per_sec` too"));
    let mut share = column("a", Role::Counter, ValueType::U64);
    share.share = Some(Share { name: "a b".into(), of: "a".into(), otel: String::new() });
    assert!(refused(&[schema(vec![share])]).contains("the column name `a b` is not valid"));
    let counter = schema(vec![column("a", Role::Counter, ValueType::U64)]);
    let main = StreamSchema { name: String::new(), ..counter.clone() };
    let below = StreamSchema { name: "a_per_sec".into(), ..counter };
    assert!(refused(&[main, below]).contains("the main stream has a column of this name"));
}

#[test]
fn a_batch_is_encoded_once() {
    let info = Arc::new(info(vec![column("a", Role::Gauge, ValueType::U64)]));
    let now = Duration::from_secs(1);
    let read = Read {
        generation: 3,
        sequence: 9,
        wall: std::time::UNIX_EPOCH + now,
        monotonic: now,
        due: now,
    };
    let batch = Batch::new(info, read, 1, vec![numbers(&[5])]);
    assert_eq!(
        &*batch.json(),
        r#"{"topic":"metrics.c.s","timestamp":"1970-01-01T00:00:01.000Z","due":"1970-01-01T00:00:01.000Z","collector":"c","generation":3,"sequence":9,"records":[{"a":5}]}"#
    );
    assert!(Arc::ptr_eq(&batch.json(), &batch.json()));
}
