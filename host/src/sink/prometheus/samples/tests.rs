use std::sync::Arc;

use super::super::Made;
use super::*;
use crate::fuzz::page::assert_well_formed;
use crate::sink::samples::tests::{Row, batch};

/// When the agent started.
const STARTED: f64 = 1_795_000_000.25;

/// The page of these collectors, behind families of the agent's own.
fn made(sources: &[(&str, &[Row<'_>])]) -> Made {
    let mut page = Page::default();
    page.add("own_total", "counter", "Own.", "{a=\"1\"}", 1.0);
    page.add("own_now", "gauge", "Own.", "", 1.0);
    for part in ["_bucket", "_sum", "_count"] {
        let labels = if part == "_bucket" { "{le=\"+Inf\"}" } else { "" };
        page.sample("own_seconds", part, "histogram", "Own.", labels, 1.0);
    }
    let batches: Vec<Batch> = sources.iter().map(|(name, rows)| batch(name, 1, rows)).collect();
    let shape = |batch: &Batch| Shape::of(&batch.stream).unwrap();
    page.samples(batches.iter().map(|batch| (batch, shape(batch))), Some(STARTED));
    let left_out = std::mem::take(&mut page.left_out);
    Made { text: page.render(), left_out }
}

/// What of a page is not the agent's own, and how many samples of the collector `one` are unfit.
fn page(sources: &[(&str, &[Row<'_>])]) -> (String, u64) {
    let made = made(sources);
    let own = ["dropsonde_", "own_"];
    let is_own = |line: &&str| {
        let name = line.trim_start_matches("# HELP ").trim_start_matches("# TYPE ");
        own.iter().any(|own| name.starts_with(own))
    };
    let lines: Vec<&str> = made.text.lines().filter(|line| !is_own(line)).collect();
    (lines.join("\n"), made.left_out["one"].unfit)
}

#[track_caller]
fn has(made: &Made, lines: &[&str]) {
    for line in lines {
        assert!(made.text.lines().any(|other| other == *line), "{line}: {}", made.text);
    }
}

#[test]
fn samples_stand_under_their_own_names_and_say_whose_they_are() {
    let (text, unfit) = page(&[(
        "one",
        &[
            ("jobs_total", "queue=\"in\"", "counter", "Jobs.", "+3"),
            ("h_bucket", "le=\"1\"", "histogram", "How long.", "+1"),
            ("h_bucket", "le=\"+Inf\"", "histogram", "How long.", "+2"),
            ("h_sum", "", "histogram", "How long.", "+1.5"),
            ("h_count", "", "histogram", "How long.", "+2"),
            ("plain", "collector=\"y\"", "unknown", "", "-1"),
            ("no_value", "", "gauge", "", "none"),
        ],
    )]);
    assert_eq!(
        text,
        "# HELP h How long.\n# TYPE h histogram\nh_bucket{collector=\"one\",le=\"1\"} 1\n\
         h_bucket{collector=\"one\",le=\"+Inf\"} 2\nh_sum{collector=\"one\"} 1.5\n\
         h_count{collector=\"one\"} 2\n# HELP jobs_total Jobs.\n# TYPE jobs_total counter\n\
         jobs_total{collector=\"one\",queue=\"in\"} 3\n# TYPE plain untyped\n\
         plain{collector=\"one\",exported_collector=\"y\"} -1"
    );
    assert_eq!(unfit, 0);
}

#[test]
fn a_series_is_called_the_same_whoever_else_is_there() {
    let both: [(&str, &[Row<'_>]); 2] = [
        ("one", &[("a_total", "x=\"1\"", "counter", "A.", "+1")]),
        ("two", &[("a_total", "x=\"1\"", "counter", "A.", "+3")]),
    ];
    let head = "# HELP a_total A.\n# TYPE a_total counter\n";
    let one = "a_total{collector=\"one\",x=\"1\"} 1";
    assert_eq!(page(&both).0, format!("{head}{one}\na_total{{collector=\"two\",x=\"1\"}} 3"));
    assert_eq!(page(&both[..1]).0, format!("{head}{one}"));
}

#[test]
fn a_metric_that_has_unlike_types_has_none() {
    let (text, unfit) = page(&[
        ("one", &[("c", "", "counter", "", "+1"), ("d", "", "counter", "", "+1")]),
        ("two", &[("c", "", "gauge", "", "-5"), ("d", "", "unknown", "", "-5")]),
        ("three", &[("c", "", "counter", "", "+2"), ("d", "", "gauge", "", "none")]),
    ]);
    assert_eq!(
        text,
        "# TYPE c untyped\nc{collector=\"one\"} 1\nc{collector=\"two\"} -5\n\
         c{collector=\"three\"} 2\n# TYPE d untyped\nd{collector=\"one\"} 1\n\
         d{collector=\"two\"} -5"
    );
    assert_eq!(unfit, 0);
}

#[test]
fn the_agents_own_series_stay_as_they_are() {
    let made = made(&[(
        "peer",
        &[
            ("own_total", "a=\"1\"", "counter", "Theirs.", "+6"),
            ("own_total", "a=\"2\"", "gauge", "Theirs.", "-7"),
            ("own_total", "a=\"3\"", "unknown", "Theirs.", "7"),
            ("own_now", "", "unknown", "Theirs.", "8"),
        ],
    )]);
    let start = "# HELP own_total Own.\n# TYPE own_total counter\nown_total{a=\"1\"} 1\n\
                 own_total{a=\"1\",collector=\"peer\"} 6\n";
    assert!(made.text.ends_with(start), "{}", made.text);
    has(&made, &["# TYPE own_now gauge", "own_now{collector=\"peer\"} 8"]);
    let left_out = &made.left_out["peer"];
    assert_eq!((left_out.unfit, left_out.duplicates), (2, 0));
    assert_eq!(left_out.first, Some(("own_total".into(), Unfit::Type)));
}

#[test]
fn nobody_takes_the_place_of_the_counts_of_what_is_left_out() {
    let made = made(&[
        (
            "one",
            &[
                ("dropsonde_duplicate_samples", "", "counter", "Theirs.", "+9"),
                ("dropsonde_unfit_samples_count", "", "histogram", "Theirs.", "+9"),
                ("dropsonde_unfit_samples", "", "gauge", "Theirs.", "9"),
            ],
        ),
        // As another agent has it.
        ("two", &[("dropsonde_unfit_samples", "collector=\"x\"", "gauge", "Theirs.", "8")]),
    ]);
    has(
        &made,
        &[
            "# TYPE dropsonde_duplicate_samples gauge",
            "# TYPE dropsonde_unfit_samples gauge",
            "dropsonde_duplicate_samples{collector=\"one\"} 1",
            "dropsonde_unfit_samples{collector=\"one\"} 2",
            "dropsonde_duplicate_samples{collector=\"two\"} 0",
            "dropsonde_unfit_samples{collector=\"two\"} 0",
            "dropsonde_unfit_samples{collector=\"two\",exported_collector=\"x\"} 8",
        ],
    );
    let counts = made.text.lines().filter(|line| line.starts_with("dropsonde_"));
    assert_eq!(counts.count(), 5, "{}", made.text);
}

#[test]
fn what_would_make_the_page_wrong_is_left_out_and_counted() {
    let (text, unfit) = page(&[(
        "one",
        &[
            ("own_seconds_count", "", "counter", "", "+1"),
            ("own_seconds", "", "gauge", "", "1"),
            ("own_total_sum", "", "summary", "", "+1"),
            ("x_sum", "", "gauge", "", "1"),
            ("x_count", "", "histogram", "", "+1"),
            ("bad name", "", "gauge", "", "1"),
            ("a", "x=\"1\n\"", "gauge", "", "1"),
            ("h_bucket", "le=\"1s\"", "histogram", "", "+1"),
        ],
    )]);
    assert_eq!(text, "# TYPE x_sum gauge\nx_sum{collector=\"one\"} 1");
    assert_eq!(unfit, 7);
    let made = made(&[("one", &[("b\n\u{1b}", "", "gauge", "", "1")])]);
    assert_eq!(made.left_out["one"].first, Some(("b\\n\\u{1b}".into(), Unfit::Name)));
}

#[test]
fn the_agents_own_page_does_not_come_back() {
    let start = STARTED.to_string();
    let later = (STARTED + 0.01).to_string();
    let names = ["self", "x"].map(|name| format!("collector=\"{name}\""));
    let seen = |start: &str, of: &str, labels: &str| {
        let made = made(&[(
            "self",
            &[
                ("process_start_time_seconds", of, "gauge", "", start),
                ("dropsonde_collector_generation", labels, "gauge", "", "1"),
                ("a", "", "gauge", "", "1"),
            ],
        )]);
        let left_out = &made.left_out["self"];
        (left_out.unfit, left_out.first.clone().map(|(_, why)| why))
    };
    let [own, other] = &names;
    assert_eq!(seen(&start, "", own), (3, Some(Unfit::OwnPage)));
    // Another agent, one that started when this did, and one that shows this one's samples.
    assert_eq!(seen(&later, "", own), (0, None));
    assert_eq!(seen(&start, "", other), (0, None));
    assert_eq!(seen(&start, other, own), (0, None));
}

#[test]
fn two_agents_that_read_each_other_come_to_an_end() {
    let twice = "collector=\"x\",exported_collector=\"y\"";
    let (text, unfit) = page(&[("one", &[("a", twice, "gauge", "", "1")])]);
    let labels = text.strip_prefix("# TYPE a gauge\na{").unwrap().strip_suffix("} 1").unwrap();
    assert_eq!(
        (labels, unfit),
        ("collector=\"one\",exported_collector=\"y\",exported_exported_collector=\"x\"", 0)
    );
    assert_eq!(page(&[("one", &[("a", labels, "gauge", "", "1")])]), (String::new(), 1));
}

/// Names that clash in every way there is, and such that are none: no page is wrong for it.
#[test]
fn no_rows_make_the_page_wrong() {
    const NAMES: [&str; 14] = [
        "a",
        "a_sum",
        "a_count",
        "a_bucket",
        "a_sum_sum",
        "a_total",
        "",
        "1a",
        "a b",
        "a:b",
        "process_open_fds",
        "dropsonde_reads_total",
        "dropsonde_unfit_samples",
        "dropsonde_duplicate_samples_sum",
    ];
    const LABELS: [&str; 9] = [
        "",
        "le=\"1\"",
        "quantile=\"1\"",
        "collector=\"x\"",
        "le=\"\\n\",quantile=\"\\\\\"",
        "collector=\"x\",exported_collector=\"y\"",
        "x",
        "x=\"\n\"",
        "b=\"1\",a=\"2\"",
    ];
    const KINDS: [&str; 6] = ["counter", "gauge", "histogram", "summary", "unknown", "other"];
    const HELPS: [&str; 3] = ["", "What it is.", "Two\nlines \\ more."];
    const NUMBERS: [&str; 4] = ["+1", "-1.5", "1e300", "none"];
    let mut random = fastrand::Rng::with_seed(20_261_121);
    for _ in 0..3_000 {
        let mut batches = Vec::new();
        for collector in ["exec", "other", "third"] {
            let mut one = |of: &[&'static str]| random.choice(of.iter().copied()).unwrap();
            let rows: Vec<Row<'_>> = (0..8)
                .map(|_| (one(&NAMES), one(&LABELS), one(&KINDS), one(&HELPS), one(&NUMBERS)))
                .collect();
            batches.push(Arc::new(batch(collector, 1, &rows)));
        }
        assert_well_formed(&batches);
    }
}
