use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

use crate::bus::Filter;
use crate::model::{Batch, StreamInfo, Value};
use crate::model::{ColumnData, Data, Read};

/// `device` eth0, lo and one that is missing; `bytes`; `speed`; `up`; `tags`.
fn interfaces() -> Arc<Batch> {
    interfaces_with(["eth0", "lo", ""])
}

fn interfaces_with(devices: [&str; 3]) -> Arc<Batch> {
    let texts = |items: [&str; 3]| {
        let mut ends = Vec::new();
        let mut bytes = Vec::new();
        for item in items {
            bytes.extend_from_slice(item.as_bytes());
            ends.push(bytes.len() as u32);
        }
        Data::Text { ends, bytes }
    };
    let columns = [
        ("device", ValueType::Text, texts(devices), vec![1, 1, 0]),
        ("bytes", ValueType::U64, Data::U64(vec![u64::MAX, u64::MAX - 1, 0]), Vec::new()),
        ("speed", ValueType::F64, Data::F64(vec![1e9, 0.5, 0.0]), vec![1, 1, 0]),
        ("change", ValueType::I64, Data::I64(vec![-3, 0, 3]), Vec::new()),
        ("up", ValueType::Bool, Data::Bool(vec![1, 0, 1]), vec![1, 1, 0]),
        ("tags", ValueType::TextList, texts(["a\0b\0", "b\0", ""]), Vec::new()),
        ("not", ValueType::U64, Data::U64(vec![1, 2, 3]), Vec::new()),
    ];
    let of = |(name, value, ..): &(&str, ValueType, _, _)| {
        ColumnSchema::new(*name, Role::Attribute, *value)
    };
    let schemas = columns.iter().map(of);
    let schema = StreamSchema {
        name: String::new(),
        kind: StreamKind::Event,
        description: String::new(),
        columns: schemas.collect(),
    };
    let name: Arc<str> = "test".into();
    let info = Arc::new(StreamInfo::new(&name, &name, schema));
    let (due, wall) = (Duration::ZERO, UNIX_EPOCH);
    let read = Read { generation: 1, sequence: 1, wall, monotonic: due, due };
    let columns = columns.map(|(_, _, data, validity)| ColumnData { data, validity });
    Arc::new(Batch::new(info, read, 3, columns.into()))
}

/// Which rows pass.
fn passing(predicate: &str) -> Vec<usize> {
    let batch = interfaces();
    let filter: Filter = predicate.parse().unwrap();
    let bound = filter.bind(&batch.stream).unwrap();
    let selected = bound.select(&batch).into_iter();
    let rows =
        selected.flat_map(|some| (0..some.rows()).map(|row| index(&some, row)).collect::<Vec<_>>());
    rows.collect()
}

/// Which row of `interfaces` this was: its `not` less one.
fn index(batch: &Batch, row: usize) -> usize {
    match batch.get(row, "not") {
        Value::U64(number) => number as usize - 1,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_predicate_is_true_where_sql_says_so() {
    for (predicate, rows) in [
        ("device = 'eth0'", &[0][..]),
        ("DEVICE = 'x' OR device <> 'eth0'", &[]), // no column DEVICE: see below
        ("device != 'eth0'", &[1]),
        ("not device = 'eth0'", &[1]), // missing is neither
        ("device is null", &[2]),
        ("device is not null", &[0, 1]),
        ("device in ('lo', 'wlan0', 'eth0')", &[0, 1]),
        ("device not in ('lo')", &[0]),
        ("device like 'e%0' and up", &[0]),
        ("device not like '%o'", &[0]),
        ("bytes = 18446744073709551615", &[0]), // exact, beyond what a float holds
        ("bytes > 18446744073709551614", &[0]),
        ("bytes >= 1e3", &[0, 1]),
        ("speed < 1", &[1]),
        ("speed <= 0.5 or speed >= 1.0e+9", &[0, 1]),
        ("change < -1", &[0]),
        ("change > -1 and change < +3", &[1]),
        ("up", &[0]),
        ("not up", &[1]),
        ("up = false or up is null", &[1, 2]),
        ("tags = 'a'", &[0]),
        ("tags like 'b'", &[0, 1]),
        ("tags not in ('a')", &[1, 2]),
        ("\"not\" = 2", &[1]),
        ("change = 0 or change = 3 and up is null", &[1, 2]), // `and` binds closer
        ("(change = 0 or change = 3) and up is null", &[2]),
        ("speed = 'fast'", &[]), // text and number: neither true nor false
        ("not speed = 'fast'", &[]),
        ("device = 'eth0' or speed = 'fast'", &[0]),
        ("device = 'o''clock'", &[]),
    ] {
        if predicate.contains("DEVICE") {
            let filter: Filter = predicate.parse().unwrap();
            assert!(filter.bind(&interfaces().stream).is_none(), "columns have case");
            continue;
        }
        assert_eq!(passing(predicate), rows, "{predicate}");
    }
}

#[test]
fn a_text_that_is_no_predicate_says_where_and_why() {
    for (text, error) in [
        ("", "the end where a column was expected at character 1 of ``"),
        ("device", ""),
        ("device =", "the end where a value was expected at character 9"),
        (
            "device = eth0",
            "`eth0` where a value was expected: text stands in single quotes, as 'eth0' at character 10",
        ),
        ("device = 'eth0", "' without an end at character 10"),
        (
            "device = null",
            "a comparison with null, which is never true: write `is null` at character 10",
        ),
        ("device 'eth0'", "the text 'eth0' where a comparison was expected at character 8"),
        (
            "device = 'a' device = 'b'",
            "`device` where `and`, `or` or the end was expected at character 14",
        ),
        ("(device = 'a'", "the end where `)` was expected at character 14"),
        ("device in 'a'", "the text 'a' where `(` was expected at character 11"),
        ("device in ('a' 'b')", "the text 'b' where `,` or `)` was expected at character 16"),
        ("device not = 'a'", "a comparison where `in` or `like` was expected at character 12"),
        ("device is 'a'", "the text 'a' where `null` was expected at character 11"),
        ("a ! b", "`!` without `=` at character 3"),
        ("a = 1x", "`1x` is no number at character 5"),
        ("a = 1e999", "`1e999` is no number at character 5"),
        ("a; drop", "the character `;` at character 2"),
        ("and = 1", "`and` where a column was expected at character 1"),
    ] {
        match text.parse::<Filter>() {
            Ok(_) => assert!(error.is_empty(), "{text} was taken"),
            Err(found) => {
                let found = found.to_string();
                assert!(!error.is_empty() && found.starts_with(error), "{text}: {found}");
            }
        }
    }
    let deep = "(".repeat(1_000);
    assert!(deep.parse::<Filter>().unwrap_err().to_string().starts_with("parentheses too deep"));
    let nots = "not ".repeat(250);
    assert!(nots.parse::<Filter>().unwrap_err().to_string().starts_with("parentheses too deep"));
    let long = "a = 1 or ".repeat(500);
    let error = long.parse::<Filter>().unwrap_err().to_string();
    assert!(error.starts_with("a predicate has 1024 bytes at most, this one 4500"), "{error}");
}

#[test]
fn any_text_is_a_predicate_or_an_error() {
    let words =
        ["a", "=", "'", "\"", "(", ")", "and", "not", "1", "in", ",", "like", "is", " ", "é", "-"];
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..50_000 {
        let length = random.usize(0..12);
        let text: Vec<&str> = (0..length).map(|_| words[random.usize(..words.len())]).collect();
        if let Ok(filter) = text.join(["", " "][random.usize(..2)]).parse::<Filter>() {
            filter.columns();
        }
    }
}

#[test]
fn like_is_sql_s() {
    for (pattern, text, expected) in [
        ("eth%", "eth0", true),
        ("eth%", "eth", true),
        ("%", "", true),
        ("", "", true),
        ("", "a", false),
        ("_", "ä", true),
        ("_", "", false),
        ("%a%b", "xaxbxb", true),
        ("%a%b", "xaxbx", false),
        ("/srv/%/x", "/srv/a/b/x", true),
        ("ETH%", "eth0", false),
    ] {
        assert_eq!(like(pattern, text), expected, "{pattern} on {text}");
    }
    // The worst case stays within the product of the lengths.
    assert!(!like(&"%a".repeat(400), &"a".repeat(399)));
}

/// By the first interface's device, which is called `text` here.
fn like(pattern: &str, text: &str) -> bool {
    let batch = interfaces_with([text, "lo", ""]);
    let filter: Filter = format!("device like '{pattern}' and \"not\" = 1").parse().unwrap();
    filter.bind(&batch.stream).unwrap().select(&batch).is_some()
}
