use std::sync::Arc;

use super::*;
use crate::fuzz::page::assert_well_formed;
use crate::sink::samples::tests::{Row, batch};

/// The page of these collectors, behind a family of the agent's own; without its last counts.
fn page(sources: &[(&str, &[Row<'_>])]) -> (String, u64) {
    let mut page = Page::default();
    page.add("own_total", "counter", "Own.", "{a=\"1\"}", 1.0);
    for part in ["_bucket", "_sum", "_count"] {
        let labels = if part == "_bucket" { "{le=\"+Inf\"}" } else { "" };
        page.sample("own_seconds", part, "histogram", "Own.", labels, 1.0);
    }
    let batches: Vec<Batch> = sources.iter().map(|(name, rows)| batch(name, 1, rows)).collect();
    let shape = |batch: &Batch| Shape::of(&batch.stream).unwrap();
    page.samples(batches.iter().map(|batch| (batch, shape(batch))));
    let unfit = page.unfit;
    let text = page.render();
    let own = ["dropsonde_", "# HELP dropsonde_", "# TYPE dropsonde_", "own_", "# HELP own_"];
    let lines = text.lines().filter(|line| !own.iter().any(|own| line.starts_with(own)));
    (lines.filter(|line| !line.starts_with("# TYPE own_")).collect::<Vec<_>>().join("\n"), unfit)
}

#[test]
fn samples_stand_under_their_own_names() {
    let (text, unfit) = page(&[(
        "backup",
        &[
            ("jobs_total", "queue=\"in\"", "counter", "Jobs.", "+3"),
            ("h_bucket", "le=\"1\"", "histogram", "How long.", "+1"),
            ("h_bucket", "le=\"+Inf\"", "histogram", "How long.", "+2"),
            ("h_sum", "", "histogram", "How long.", "+1.5"),
            ("h_count", "", "histogram", "How long.", "+2"),
            ("plain", "", "unknown", "", "-1"),
            ("no_value", "", "gauge", "", "none"),
        ],
    )]);
    assert_eq!(
        text,
        "# HELP h How long.\n# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_bucket{le=\"+Inf\"} 2\n\
         h_sum 1.5\nh_count 2\n# HELP jobs_total Jobs.\n# TYPE jobs_total counter\n\
         jobs_total{queue=\"in\"} 3\n# TYPE plain untyped\nplain -1"
    );
    assert_eq!(unfit, 0);
}

#[test]
fn a_metric_of_which_a_series_stands_twice_says_whose_it_is() {
    let (text, unfit) = page(&[
        ("one", &[("a", "x=\"1\"", "gauge", "", "1"), ("b", "", "gauge", "", "2")]),
        (
            "two",
            &[
                ("a", "x=\"1\"", "unknown", "A.", "3"),
                ("a", "collector=\"y\"", "unknown", "A.", "4"),
                ("c", "", "gauge", "", "5"),
                ("own_total", "a=\"1\"", "counter", "", "+6"),
                ("own_total", "a=\"2\"", "counter", "", "+7"),
                ("dropsonde_unfit_samples", "", "gauge", "", "8"),
            ],
        ),
    ]);
    assert_eq!(
        text,
        "# HELP a A.\n# TYPE a gauge\na{collector=\"one\",x=\"1\"} 1\n\
         a{collector=\"two\",x=\"1\"} 3\na{collector=\"two\",exported_collector=\"y\"} 4\n\
         # TYPE b gauge\nb 2\n# TYPE c gauge\nc 5"
    );
    assert_eq!(unfit, 0);
}

#[test]
fn the_agents_own_series_stay_as_they_are() {
    let mut page = Page::default();
    page.add("own_total", "counter", "Own.", "{a=\"1\"}", 1.0);
    let other = batch(
        "peer",
        1,
        &[
            ("own_total", "a=\"1\"", "counter", "Theirs.", "+6"),
            ("own_total", "a=\"2\"", "counter", "Theirs.", "+7"),
            ("dropsonde_unfit_samples", "", "gauge", "", "8"),
        ],
    );
    page.samples([(&other, Shape::of(&other.stream).unwrap())].into_iter());
    let text = page.render();
    let start = "# HELP own_total Own.\n# TYPE own_total counter\nown_total{a=\"1\"} 1\n\
                 own_total{a=\"1\",collector=\"peer\"} 6\nown_total{a=\"2\",collector=\"peer\"} 7\n";
    assert!(text.ends_with(start), "{text}");
    for line in ["dropsonde_unfit_samples 0", "dropsonde_unfit_samples{collector=\"peer\"} 8"] {
        assert!(text.lines().any(|other| other == line), "{line}: {text}");
    }
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
        ],
    )]);
    assert_eq!(text, "# TYPE x_sum gauge\nx_sum 1");
    assert_eq!(unfit, 6);
}

/// Names that clash in every way there is, and such that are none: no page is wrong for it.
#[test]
fn no_rows_make_the_page_wrong() {
    const NAMES: [&str; 12] = [
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
