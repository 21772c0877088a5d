use std::sync::Arc;

use crate::{Format, MAX_HELP, MAX_LABELS, MAX_LINE, MAX_NAME, MAX_SAMPLES, Reading};

fn good(text: &str) -> Vec<String> {
    super::good(Format::Prometheus, text)
}

fn refused(line: &str) -> String {
    super::refused(Format::Prometheus, line, "before 1", "after 1").0
}

/// The example of the format's own documentation.
const DOCUMENTED: &str = r#"
# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero"} +Inf -3982045

# A histogram, which has a pretty complex representation in the text format:
# HELP http_request_duration_seconds A histogram of the request duration.
# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320

# Finally a summary, which has a complex representation, too:
# HELP rpc_duration_seconds A summary of the RPC duration in seconds.
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{quantile="0.01"} 3102
rpc_duration_seconds{quantile="0.99"} NaN
rpc_duration_seconds_sum 1.7560473e+07
rpc_duration_seconds_count 2693
"#;

#[test]
fn the_documented_example_is_read_whole() {
    assert_eq!(
        good(DOCUMENTED),
        [
            r#"http_requests_total{code="200",method="post"} counter +1027"#,
            r#"http_requests_total{code="400",method="post"} counter +3"#,
            r#"msdos_file_access_time_seconds{error="Cannot find file:\n\"FILE.TXT\"",path="C:\\DIR\\FILE.TXT"} unknown 1458255915"#,
            "metric_without_timestamp_and_labels unknown 12.47",
            r#"something_weird{problem="division by zero"} unknown nothing"#,
            r#"http_request_duration_seconds_bucket{le="0.05"} histogram +24054"#,
            r#"http_request_duration_seconds_bucket{le="+Inf"} histogram +144320"#,
            "http_request_duration_seconds_sum histogram +53423",
            "http_request_duration_seconds_count histogram +144320",
            r#"rpc_duration_seconds{quantile="0.01"} summary 3102"#,
            r#"rpc_duration_seconds{quantile="0.99"} summary nothing"#,
            "rpc_duration_seconds_sum summary +17560473",
            "rpc_duration_seconds_count summary +2693",
        ]
    );
    let reading = Format::Prometheus.read(DOCUMENTED.as_bytes());
    let help = |metric: &str| {
        let sample = reading.samples.iter().find(|sample| sample.metric == metric).unwrap();
        sample.help.clone()
    };
    let histogram = "A histogram of the request duration.";
    assert_eq!(help("http_request_duration_seconds_bucket").as_deref(), Some(histogram));
    assert_eq!(help("something_weird"), None);
}

#[test]
fn openmetrics_is_read_as_far_as_it_is_the_same() {
    let text = "# TYPE jobs counter\n# UNIT jobs jobs\n# HELP jobs Jobs \\\"done\\\".\n\
                jobs_total{queue=\"a\"} 17.0 1520879607.789 # {trace_id=\"x\"} 1 1520879607\n\
                jobs_created{queue=\"a\"} 1520872607.123\n\
                # TYPE build info\nbuild_info{version=\"1\"} 1\n\
                # TYPE sizes gaugehistogram\nsizes_bucket{le=\"+Inf\"} 3\nsizes_gcount 3\n\
                # EOF\nnothing follows\n";
    assert_eq!(
        good(text),
        [
            r#"jobs_total{queue="a"} counter +17"#,
            r#"jobs_created{queue="a"} gauge 1520872607.123"#,
            r#"build_info{version="1"} gauge 1"#,
            r#"sizes_bucket{le="+Inf"} unknown 3"#,
            "sizes_gcount unknown 3",
        ]
    );
    let first = &Format::Prometheus.read(text.as_bytes()).samples[0];
    assert_eq!(first.help.as_deref(), Some("Jobs \\\"done\\\"."));
    assert_eq!(first.unit.as_deref(), Some("jobs"));
}

#[test]
fn odd_but_right_lines_are_taken() {
    assert_eq!(good(""), [""; 0]);
    assert_eq!(good("a 1\r\nb 2\r\n"), ["a unknown 1", "b unknown 2"]);
    assert_eq!(good("\t a:b \t{ x = \"1\" , } \t -1e3 \t 5 \n"), [r#"a:b{x="1"} unknown -1000"#]);
    assert_eq!(good("a{} 3\n#\n# any\n#TYPE a b\n"), ["a unknown 3"]);
}

#[test]
fn empty_labels_are_as_if_they_were_not_there() {
    let reading = Format::Prometheus.read(b"a{x=\"\"} 1\na 2\n");
    assert_eq!(reading.faults().unwrap(), "line 2: a series stands twice; the first one counts");
}

#[test]
fn a_wrong_line_is_refused_for_itself_with_the_reason() {
    let long = |length| "x".repeat(length);
    for (line, reason) in [
        ("1a 1", "no name of a metric"),
        ("a-b 1", "no name of a metric"),
        ("{x=\"1\"} 1", "no name of a metric"),
        ("a", "a value is missing"),
        ("a{x=\"1\"}", "a value is missing"),
        ("a one", "the value is no number"),
        ("a 1 soon", "the time is no number"),
        ("a 1 2 3", "something stands behind the sample"),
        ("a{x=\"1\" 1", "labels are written"),
        ("a{x=1} 1", "labels are written"),
        ("a{x=\"1\",x=\"2\"} 1", "a label stands twice"),
        ("a{1=\"1\"} 1", "labels are written"),
        ("a{__name__=\"b\"} 1", "no name of a label"),
        ("a{x=\"1} 1", "a quote is not closed"),
        ("a{x=\"1\\\"} 1", "a quote is not closed"),
        ("a{x=\"\\t\"} 1", "no escape"),
        ("# TYPE a thing", "no type of a metric"),
        ("# TYPE before gauge", "must be told before the samples"),
        ("# HELP 1 x", "no name of a metric"),
        (&format!("a{{x=\"{}\"}} 1", long(MAX_LABELS)), "labels of more than"),
        (&format!("{} 1", long(MAX_NAME + 1)), "a name of more than 256 bytes"),
        (&format!("a 1 {}", long(MAX_LINE)), "it has 65540 bytes"),
    ] {
        let fault = refused(line);
        assert!(fault.contains(reason), "{line}: {fault}");
        assert!(fault.len() < 200, "{fault}");
    }
    let reading = Format::Prometheus.read(b"before 1\na \xff\nafter 1\n");
    assert_eq!(reading.faults().unwrap(), "line 2: it is not UTF-8");
    assert_eq!(reading.samples.len(), 2);
}

#[test]
fn what_a_family_can_not_have_is_refused() {
    let head = "# TYPE h histogram\n# TYPE s summary\n# TYPE c counter\n";
    for (line, reason) in [
        ("h 1", "a histogram has no such sample"),
        ("h_bucket 1", "`_bucket` with the label `le`"),
        ("s 1", "itself with the label `quantile`"),
        ("c -1", "a counter is never below 0"),
        ("# TYPE c counter", "TYPE of this metric was told before"),
    ] {
        let reading = Format::Prometheus.read(format!("{head}{line}\nok 1\n").as_bytes());
        let fault = reading.faults().unwrap_or_default();
        assert!(fault.starts_with("line 4: ") && fault.contains(reason), "{line}: {fault}");
        assert_eq!(reading.samples.len(), 1);
    }
    // A metric that has a type of its own is no part of another.
    let own = "# TYPE h histogram\n# TYPE h_count gauge\nh_count 5\n";
    assert_eq!(good(own), ["h_count gauge 5"]);
}

#[test]
fn a_sum_that_is_below_0_is_no_counter() {
    let text = "# TYPE h histogram\nh_sum -2\nh_count 1\n";
    assert_eq!(good(text), ["h_sum histogram -2", "h_count histogram +1"]);
}

/// 100,000 series of one metric would have 100 MB of the same text.
#[test]
fn what_a_metric_is_stands_in_memory_once_however_many_series_it_has() {
    let text = b"# HELP a What.\n# UNIT a s\na{x=\"1\"} 1\na{x=\"2\"} 2\n";
    let reading = Format::Prometheus.read(text);
    let mut merged = Reading::default();
    merged.merge(&reading, "a file");
    let shared = |one: &Option<Arc<str>>, other: &Option<Arc<str>>| {
        Arc::ptr_eq(one.as_ref().unwrap(), other.as_ref().unwrap())
    };
    let first = &reading.samples[0];
    for other in [&reading.samples[1], &merged.samples[0], &merged.samples[1]] {
        assert!(shared(&first.help, &other.help) && shared(&first.unit, &other.unit));
    }
}

#[test]
fn what_is_kept_is_bounded() {
    let text: String = (0..MAX_SAMPLES + 3).map(|index| format!("a{index} 1\n")).collect();
    let reading = Format::Prometheus.read(text.as_bytes());
    assert_eq!((reading.samples.len(), reading.refused), (MAX_SAMPLES, 3));
    let help = format!("# HELP a {}\na 1\n", "ä".repeat(MAX_HELP));
    let reading = Format::Prometheus.read(help.as_bytes());
    assert_eq!(reading.samples[0].help.as_ref().unwrap().len(), MAX_HELP);
}
