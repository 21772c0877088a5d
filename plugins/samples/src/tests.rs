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

/// Why a line is refused, and what the log has of it; those around it are not.
#[track_caller]
fn refused(format: Format, line: &str, before: &str, after: &str) -> (String, Option<String>) {
    let reading = format.read(format!("{before}\n{line}\n{after}\n").as_bytes());
    assert_eq!((reading.samples.len(), reading.refused), (2, 1), "{line}: {reading:?}");
    let fault = reading.faults().unwrap();
    let fault = fault.strip_prefix("line 2: ").unwrap_or_else(|| panic!("{fault}")).to_owned();
    let text = reading.texts().map(|text| text.strip_prefix("line 2: ").unwrap().to_owned());
    (fault, text)
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
fn a_label_that_is_renamed_counts_once() {
    let mut labels = Labels::default();
    labels.add("job", &"x".repeat(5000)).unwrap();
    labels.add_own("job", "ours", false).unwrap();
    assert!(labels.get("exported_job").is_some_and(|theirs| theirs.len() == 5000));
    assert!(labels.add("more", &"x".repeat(5000)).is_err(), "it counts");
}

#[test]
fn what_stands_in_a_refused_line_is_for_the_log_alone() {
    const SECRET: &str = "hunter2";
    let item = |sample: &str| format!(r#"[{{"metric": "a", {sample}}}]"#);
    for (format, text) in [
        (Format::Prometheus, "hunter2=abc\n".to_owned()),
        (Format::Prometheus, "a hunter2\n".to_owned()),
        (Format::Prometheus, "a 1 hunter2\n".to_owned()),
        (Format::Prometheus, "a 1 2 hunter2\n".to_owned()),
        (Format::Prometheus, "a{hunter2} 1\n".to_owned()),
        (Format::Prometheus, "a{hunter2=\"\",hunter2=\"\"} 1\na{x=\"\",x=\"\"} 1\n".to_owned()),
        (Format::Prometheus, "hunter2 1\nhunter2 2\n".to_owned()),
        (Format::Prometheus, "# TYPE a hunter2\n".to_owned()),
        (Format::Prometheus, "# HELP hunter2 a\n# HELP hunter2 a\n".to_owned()),
        (Format::Prometheus, "hunter2 1\n# TYPE hunter2 gauge\n".to_owned()),
        (Format::Prometheus, "# TYPE hunter2 histogram\nhunter2 1\n".to_owned()),
        (Format::Influx, "a hunter2\n".to_owned()),
        (Format::Influx, "a,hunter2 b=1\n".to_owned()),
        (Format::Influx, "a b=hunter2\n".to_owned()),
        (Format::Json, item(r#""value": "hunter2""#)),
        (Format::Json, item(r#""value": 1, "hunter2": 1"#)),
        (Format::Json, item(r#""value": 1, "labels": {"x": ["hunter2"]}"#)),
        (Format::Json, format!(r#"{{"hunter2{}": 1}}"#, "x".repeat(300))),
    ] {
        let reading = format.read(text.as_bytes());
        let (fault, logged) = (reading.faults().unwrap(), reading.texts().unwrap());
        assert!(!fault.contains(SECRET), "{text}: {fault}");
        assert!(logged.contains(SECRET), "{text}: {logged}");
    }
    let long = Format::Prometheus.read(format!("{}\n", "é?".repeat(1000)).as_bytes());
    assert!(long.texts().unwrap().len() < 200);
}

#[test]
fn a_last_line_that_does_not_end_is_refused() {
    let cut = "it does not end: the text was cut";
    for (format, whole, part) in
        [(Format::Prometheus, "a 1\n", "b 123"), (Format::Influx, "a value=1\n", "b value=123")]
    {
        let reading = format.read(format!("{whole}{part}").as_bytes());
        assert_eq!((shown(&reading), reading.refused), (vec!["a unknown 1".to_owned()], 1));
        assert_eq!(reading.faults().unwrap(), format!("line 2: {cut}"));
        assert!(format.read(part.as_bytes()).is_garbage());
        assert_eq!(good(format, &format!("{whole}{part}\n")).len(), 2);
        assert_eq!(good(format, &format!("{whole} \t")).len(), 1);
    }
    assert_eq!(good(Format::Prometheus, "a 1\n# EOF"), ["a unknown 1"]);
    assert_eq!(good(Format::Json, "{\"a\": 123}"), ["a unknown 123"]);
}

#[test]
fn garbage_is_what_has_something_and_nothing_that_can_be_taken() {
    for (text, is_garbage) in
        [("", false), ("# nothing\n", false), ("<html>\n", true), ("<html>\na 1\n", false)]
    {
        assert_eq!(Format::Prometheus.read(text.as_bytes()).is_garbage(), is_garbage, "{text}");
    }
}

#[test]
fn a_reading_names_some_faults_and_counts_all() {
    let text: String = (0..9).map(|_| "?\n").collect();
    let reading = Format::Prometheus.read(text.as_bytes());
    assert_eq!(reading.refused, 9);
    let faults = reading.faults().unwrap();
    assert!(faults.starts_with("line 1: ") && faults.ends_with("; and 4 more"), "{faults}");
}

#[test]
fn what_is_refused_again_is_no_news_and_what_differs_is() {
    let mut told = None;
    let mut is_news = |text: &str| Format::Prometheus.read(text.as_bytes()).is_news(&mut told);
    assert!(is_news("a b\n"));
    assert!(!is_news("a b\n"), "it was told");
    assert!(is_news("a c\n"));
    assert!(!is_news("a 1\n"), "nothing is refused");
    assert!(is_news("a c\n"), "it is back");
}
