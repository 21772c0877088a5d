use crate::Format;

fn good(text: &str) -> Vec<String> {
    super::good(Format::Json, text)
}

fn faults(text: &str) -> String {
    Format::Json.read(text.as_bytes()).faults().unwrap()
}

#[test]
fn samples_say_what_they_are() {
    let text = r#"[
        {"metric": "jobs_total", "labels": {"queue": "in", "n": 1}, "type": "counter",
         "help": "Jobs.", "unit": "jobs", "value": 3},
        {"metric": "up", "value": true},
        {"metric": "unknown_yet", "value": null}
    ]"#;
    assert_eq!(
        good(text),
        [
            r#"jobs_total{n="1",queue="in"} counter +3"#,
            "up unknown 1",
            "unknown_yet unknown nothing"
        ]
    );
    let reading = Format::Json.read(text.as_bytes());
    let (help, unit) = (&reading.samples[0].help, &reading.samples[0].unit);
    assert_eq!((help.as_deref(), unit.as_deref()), (Some("Jobs."), Some("jobs")));
    assert_eq!(good(r#"{"metric": "a", "value": 1}"#), ["a unknown 1"]);
}

#[test]
fn each_number_of_any_other_document_is_a_sample() {
    let text = r#"{"name": "x", "pool": {"size": 4, "in use": true, "idle-for": [1.5, null, -2]},
                   "1st": 9}"#;
    assert_eq!(
        good(text),
        [
            "pool_size unknown 4",
            "pool_in_use unknown 1",
            "pool_idle_for_0 unknown 1.5",
            "pool_idle_for_2 unknown -2",
            "_1st unknown 9",
        ]
    );
    assert_eq!(good(""), [""; 0]);
    assert_eq!(good("{}"), [""; 0]);
}

#[test]
fn each_line_may_be_a_document() {
    assert_eq!(good("{\"a\":1}\n\n{\"b\":2}\n"), ["a unknown 1", "b unknown 2"]);
    let reading = Format::Json.read(b"{\"a\":1}\n{\"b\"\n{\"c\":3}\n");
    assert_eq!(super::shown(&reading), ["a unknown 1", "c unknown 3"]);
    let faults = reading.faults().unwrap();
    assert!(faults.starts_with("line 2: it is not JSON: EOF"), "{faults}");
}

#[test]
fn an_item_that_is_no_sample_renames_no_other() {
    let up = r#"{"metric": "up", "value": 1}"#;
    for item in [r#"{"metric": "temp"}"#, r#"{"value": 1}"#, "5", "null"] {
        for (text, place) in [(format!("[{up}, {item}]"), 2), (format!("[{item}, {up}]"), 1)] {
            let reading = Format::Json.read(text.as_bytes());
            assert_eq!((super::shown(&reading), reading.refused), (vec!["up unknown 1".into()], 1));
            let faults = reading.faults().unwrap();
            assert!(faults.starts_with(&format!("item {place}: it is no sample")), "{faults}");
        }
    }
}

#[test]
fn keys_that_become_one_name_are_not_taken_for_each_other() {
    let twice = "a series stands twice; the first one counts";
    for (text, first, place) in [
        (r#"{"a-b": 1, "a_b": 2}"#, "a_b unknown 1", "a number"),
        (r#"{"a": {"b": 1}, "a_b": 2}"#, "a_b unknown 1", "a number"),
        (r#"[{"metric":"a","value":1}, {"metric":"a","value":2}]"#, "a unknown 1", "item 2"),
    ] {
        let reading = Format::Json.read(text.as_bytes());
        assert_eq!((super::shown(&reading), reading.refused), (vec![first.to_owned()], 1));
        assert_eq!(reading.faults().unwrap(), format!("{place}: {twice}"));
    }
    // A later line says it anew.
    assert_eq!(good("{\"a-b\":1}\n{\"a_b\":2}\n{\"a_b\":3}\n"), ["a_b unknown 3"]);
    let reading = Format::Json.read(b"{\"a\":1}\n{\"a-\":2,\"a_\":3,\"a\":4}\n");
    assert_eq!(super::shown(&reading), ["a unknown 4", "a_ unknown 2"]);
    assert_eq!(reading.faults().unwrap(), format!("line 2, a number: {twice}"));
}

#[test]
fn what_is_wrong_is_refused_for_itself_with_the_reason() {
    for (sample, reason) in [
        (r#"{"metric": "a b", "value": 1}"#, "no name of a metric"),
        (r#"{"metric": "a", "value": "1"}"#, "the value is no number"),
        (r#"{"metric": "a", "value": 1, "type": "x"}"#, "no type of a metric"),
        (r#"{"metric": "a", "value": 1, "tags": {}}"#, "it is no sample"),
        (r#"{"metric": "a", "value": 1, "labels": {"x": []}}"#, "labels are written"),
        (r#"{"metric": "a", "value": -1, "type": "counter"}"#, "never below 0"),
    ] {
        let good = r#"{"metric": "good", "value": 1}"#;
        let text = format!("[{good}, {sample}]");
        let fault = faults(&text);
        assert!(fault.starts_with("item 2: ") && fault.contains(reason), "{sample}: {fault}");
        assert_eq!(Format::Json.read(text.as_bytes()).samples.len(), 1);
    }
    assert!(faults("{\n\"a\": 1,\n").contains("line 3"), "it says where");
    assert!(faults("\u{1}").contains("not JSON"));
    let deep = format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000));
    assert!(faults(&deep).contains("recursion limit"), "{}", faults(&deep));
    let long = format!("{{\"{}\": 1}}", "k".repeat(300));
    assert!(faults(&long).contains("a name of more than 256 bytes"), "{}", faults(&long));
}

/// What leads to a number is not put together for each of them, as long as it is: that would be
/// 100 GB here.
#[test]
fn a_long_name_of_many_numbers_is_cut_off_on_the_way() {
    let numbers = vec!["1"; 200_000].join(",");
    let text = format!("{{\"{}\":[{numbers}]}}", "k".repeat(500_000));
    let start = std::time::Instant::now();
    let reading = Format::Json.read(text.as_bytes());
    assert_eq!((reading.samples.len(), reading.refused), (0, 200_000));
    assert!(start.elapsed() < std::time::Duration::from_secs(10), "{:?}", start.elapsed());
    // Characters that become one byte count as one.
    assert_eq!(good(&format!("{{\"{}\": 1}}", "ä".repeat(256))).len(), 1);
}
