use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use dropsonde_plugin_api::schema::{ColumnSchema, Role, StreamKind, StreamSchema, ValueType};

use super::*;
use crate::model::{ColumnData, Data, Read};

/// A row: metric, labels, type, description, number; of what counts up, if it begins with `+`.
pub(in crate::sink) type Row<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);

fn schema() -> StreamSchema {
    let column = ColumnSchema::new;
    let text = |name, role| column(name, role, ValueType::Text);
    StreamSchema {
        name: "samples".into(),
        kind: StreamKind::Snapshot,
        description: String::new(),
        columns: vec![
            text("metric", Role::Key),
            text("labels", Role::Key),
            text("type", Role::Attribute),
            text("help", Role::Attribute),
            column("total", Role::Counter, ValueType::F64),
            column("value", Role::Gauge, ValueType::F64),
        ],
    }
}

/// A batch of samples of a collector, whose plugin is `exec`.
pub(in crate::sink) fn batch(collector: &str, second: u64, rows: &[Row<'_>]) -> Batch {
    let info = Arc::new(StreamInfo::new(&collector.into(), &"exec".into(), schema()));
    let texts = |of: fn(&Row<'_>) -> String| {
        let rows: Vec<String> = rows.iter().map(of).collect();
        let ends = rows.iter().scan(0, |end, row| {
            *end += row.len() as u32;
            Some(*end)
        });
        let (ends, bytes) = (ends.collect(), rows.concat().into_bytes());
        ColumnData { data: Data::Text { ends, bytes }, validity: Vec::new() }
    };
    let number = |row: &Row<'_>, counts| {
        (row.4.starts_with('+') == counts).then(|| row.4.parse().ok()).flatten()
    };
    let numbers = |counts| ColumnData::floats(rows.iter().map(|row| number(row, counts)).collect());
    let columns = vec![
        texts(|row| row.0.into()),
        texts(|row| row.1.into()),
        texts(|row| row.2.into()),
        texts(|row| row.3.into()),
        numbers(true),
        numbers(false),
        ColumnData::floats(vec![None; rows.len()]), // the rate that the host derives
    ];
    let at = Duration::from_secs(second);
    let wall = UNIX_EPOCH + at;
    let read = Read { generation: 1, sequence: second, wall, monotonic: at, due: at };
    Batch::new(info, read, rows.len(), columns)
}

#[test]
fn a_stream_of_samples_is_known_by_its_shape() {
    let is_one = |change: fn(&mut StreamSchema)| {
        let mut schema = schema();
        change(&mut schema);
        Shape::of(&StreamInfo::new(&"a".into(), &"b".into(), schema)).is_some()
    };
    assert!(is_one(|_| {}));
    assert!(is_one(|schema| schema.columns.retain(|column| column.name != "help")));
    assert!(!is_one(|schema| schema.kind = StreamKind::Event));
    assert!(!is_one(|schema| schema.columns[2].role = Role::Key));
    assert!(!is_one(|schema| schema.columns[1].role = Role::Attribute));
    assert!(!is_one(|schema| schema.columns[5].role = Role::Counter));
    for missing in ["metric", "labels", "total", "value"] {
        let mut schema = schema();
        schema.columns.retain(|column| column.name != missing);
        assert!(Shape::of(&StreamInfo::new(&"a".into(), &"b".into(), schema)).is_none());
    }
}

#[test]
fn labels_stand_in_their_one_form_or_are_none() {
    let parsed = |text| Labels::parse(text).map(|labels| labels.pairs);
    assert_eq!(parsed(""), Some(vec![]));
    let both = "a=\"x,y=\\\"1\\\"\\n\\\\\",b=\"}\"";
    assert_eq!(parsed(both), Some(vec![("a", "x,y=\\\"1\\\"\\n\\\\"), ("b", "}")]));
    assert_eq!(unescaped("x,y=\\\"1\\\"\\n\\\\"), "x,y=\"1\"\n\\");
    for wrong in [
        "a",
        "a=",
        "a=\"",
        "a=\"1",
        "a=\"1\",",
        "a=\"1\"b=\"2\"",
        "b=\"1\",a=\"2\"",
        "a=\"1\",a=\"2\"",
        "1=\"1\"",
        "=\"1\"",
        "a:b=\"1\"",
        "a=\"\\t\"",
        "a=\"1\\\"",
        "a=\"1\n2\"",
        ",a=\"1\"",
        "a=\"\"", // as if it were not there
    ] {
        assert_eq!(parsed(wrong), None, "{wrong}");
    }
}

#[test]
fn a_row_that_is_no_sample_is_none() {
    let rows = [
        ("a b", "", "", "", "1"),
        ("", "", "", "", "1"),
        ("a\nb", "", "", "", "1"),
        ("a", "x", "", "", "1"),
        ("h", "", "histogram", "", "+1"),
        ("h_bucket", "", "histogram", "", "+1"),
        ("s", "", "summary", "", "1"),
        ("a", "__name__=\"b\"", "", "", "1"),
    ];
    let batch = batch("exec", 1, &rows);
    let shape = Shape::of(&batch.stream).unwrap();
    for (index, row) in rows.iter().enumerate() {
        assert!(shape.sample(&batch, index).is_err(), "{row:?}");
    }
    assert!(shape.sample(&batch, rows.len()).is_err());
}

#[test]
fn bounds_and_quantiles_are_numbers_since_the_page_is_refused_for_one_that_is_none() {
    let why = |name, label: &str, value: &str, kind| {
        let labels = format!("{label}=\"{value}\"");
        let batch = batch("exec", 1, &[(name, &labels, kind, "", "+1")]);
        Shape::of(&batch.stream).unwrap().sample(&batch, 0).err()
    };
    for value in ["1", "0.5", "1e-3", "-2", "+Inf", "Inf", "-Inf"] {
        assert_eq!(why("h_bucket", "le", value, "histogram"), None, "{value}");
        assert_eq!(why("s", "quantile", value, "summary"), None, "{value}");
    }
    for value in ["1s", "abc", " 1", "1_0", "NaN", "1e999", "0x1p2"] {
        for name in ["h_bucket", "h_sum"] {
            let why = why(name, "le", value, "histogram");
            assert_eq!(why, Some(Unfit::Bound("le")), "{name} {value}");
        }
        for name in ["s", "s_count"] {
            let why = why(name, "quantile", value, "summary");
            assert_eq!(why, Some(Unfit::Bound("quantile")), "{name} {value}");
        }
    }
    // No bound of a histogram: a label as any other.
    assert_eq!(why("g", "le", "abc", "gauge"), None);
    assert_eq!(why("h_sum", "quantile", "abc", "histogram"), None);
}

#[test]
fn a_sample_knows_its_family() {
    let rows = [
        ("h_bucket", "le=\"1\"", "histogram", "", "+1"),
        ("h_count", "", "histogram", "", "+1"),
        ("s", "quantile=\"0.5\"", "summary", "", "1"),
        ("s_sum", "", "summary", "", "+1"),
        ("a_count", "", "counter", "", "+1"),
    ];
    let batch = batch("exec", 1, &rows);
    let shape = Shape::of(&batch.stream).unwrap();
    let family = |index| shape.sample(&batch, index).unwrap().family();
    let families: Vec<_> = (0..rows.len()).map(family).collect();
    assert_eq!(
        families,
        [("h", "_bucket"), ("h", "_count"), ("s", ""), ("s", "_sum"), ("a_count", "")]
    );
}
