mod influx;
mod json;
mod mutations;
mod prometheus;

use crate::{Format, Labels, Reading};

/// Each sample as `series type number`, a counter's with a `+`.
fn shown(reading: &Reading) -> Vec<String> {
    let number = |sample: &crate::Sample| match (sample.total, sample.value) {
        (Some(total), None) => format!("+{total}"),
        (None, Some(value)) => value.to_string(),
        (None, None) => "nothing".into(),
        both => panic!("{both:?}"),
    };
    let line =
        |sample| format!("{} {} {}", crate::Sample::series(sample), sample.r#type, number(sample));
    reading.samples.iter().map(line).collect()
}

/// What is made of a text of which nothing is refused.
#[track_caller]
fn good(format: Format, text: &str) -> Vec<String> {
    let reading = format.read(text.as_bytes());
    assert_eq!(reading.faults(), None, "{text}");
    shown(&reading)
}

/// Why a line is refused; those around it are not.
#[track_caller]
fn refused(format: Format, line: &str, before: &str, after: &str) -> String {
    let reading = format.read(format!("{before}\n{line}\n{after}\n").as_bytes());
    assert_eq!((reading.samples.len(), reading.refused), (2, 1), "{line}: {reading:?}");
    let fault = reading.faults().unwrap();
    fault.strip_prefix("line 2: ").unwrap_or_else(|| panic!("{fault}")).to_owned()
}

#[test]
fn labels_have_one_form() {
    let mut labels = Labels::default();
    for (name, value) in [("b", "x\"y\\z\nw"), ("a", "ä"), ("none", "")] {
        labels.add(name, value).unwrap();
    }
    let text = labels.clone().into_text();
    assert_eq!(text, r#"a="ä",b="x\"y\\z\nw""#);
    assert_eq!(Labels::from_text(&text).unwrap().into_text(), text);
    for name in ["", "1a", "a-b", "__name__", "a:b"] {
        assert!(labels.add(name, "x").is_err(), "{name}");
    }
}

#[test]
fn own_labels_rename_or_give_way() {
    let with = |honored| {
        let mut labels = Labels::default();
        labels.add("job", "theirs").unwrap();
        labels.add("exported_job", "older").unwrap();
        labels.add_own("job", "ours", honored).unwrap();
        labels.into_text()
    };
    assert_eq!(with(false), r#"exported_exported_job="theirs",exported_job="older",job="ours""#);
    assert_eq!(with(true), r#"exported_job="older",job="theirs""#);
}

#[test]
fn a_reading_names_some_faults_and_counts_all() {
    let text: String = (0..9).map(|_| "?\n").collect();
    let reading = Format::Prometheus.read(text.as_bytes());
    assert_eq!(reading.refused, 9);
    let faults = reading.faults().unwrap();
    assert!(faults.starts_with("line 1: ") && faults.ends_with("; and 4 more"), "{faults}");
}
