use std::fs;
use std::time::{Duration, Instant};

use dropsonde_plugin_api::testing::{Harness, Round};
use dropsonde_samples::Format;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::blocks::Blocks;
use crate::{Exec, Settings};

fn shell(script: &str, more: Value) -> Harness<Exec> {
    let mut settings = json!({ "command": ["sh", "-c", script] });
    settings.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    Harness::new(settings).unwrap()
}

#[track_caller]
fn fault(round: &Round) -> &str {
    assert_eq!(round.partial.len(), 1, "{round:?}");
    assert_eq!(round.rows("samples").len(), 0, "{round:?}");
    assert_eq!(round.rows("")[0]["up"], false, "{round:?}");
    &round.partial[0]
}

/// Waits until a process has ended: what was killed has a moment to do so. One that nobody has
/// waited for yet has.
#[track_caller]
fn ends(pid: &str) {
    let start = Instant::now();
    let is_running = || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
        stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap().trim_start().starts_with('Z'))
    };
    while is_running() {
        assert!(start.elapsed() < Duration::from_secs(20), "{pid} runs on");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_run_gives_samples_and_what_it_took() {
    let mut exec = shell("echo 'a 1'; echo 'b{x=\"y\"} 2'; echo '?'", json!({ "prefix": "p_" }));
    let round = exec.collect().unwrap();
    assert_eq!(round.row("samples", "metric", "p_b")["labels"], "x=\"y\"");
    assert_eq!(round.row("samples", "metric", "p_a")["value"], 1.0);
    let health = &round.rows("")[0];
    assert_eq!((&health["up"], &health["exit_code"]), (&json!(true), &json!(0)));
    assert_eq!((&health["sample_count"], &health["refused"]), (&json!(2), &json!(1)));
    assert!(health["duration_seconds"].as_f64() > Some(0.0));
    assert!(round.partial[0].starts_with("`sh`: line 3: no name"), "{round:?}");
    assert_eq!(exec.collect().unwrap().rows("")[0]["refused"], 2);
}

#[test]
fn a_command_of_which_all_is_refused_is_not_up() {
    for (script, format, place) in [
        ("printf 'a 123'", "prometheus", "line 1: it does not end"),
        ("printf 'a value=123'", "influx", "line 1: it does not end"),
        ("echo '<html>'", "prometheus", "line 1: no name of a metric"),
        ("echo '{'", "json", "the document: it is not JSON"),
    ] {
        let round = shell(script, json!({ "format": format })).collect().unwrap();
        assert!(fault(&round).contains(place), "{round:?}");
        assert_eq!(round.rows("")[0]["age_seconds"], Value::Null);
    }
    let round = shell("true", json!({})).collect().unwrap();
    assert_eq!(round.rows("")[0]["up"], true);
}

#[test]
fn it_runs_where_and_with_what_the_settings_say() {
    let directory = TempDir::new().unwrap();
    let script = "test \"$A\" = 'b c' && test -z \"$HOME\" && test -d \"$STATE_DIRECTORY\" && \
                  test \"$PWD\" = \"$B\" && read -r line; echo \"read $?\"";
    let path = directory.path().canonicalize().unwrap();
    let more = json!({ "environment": { "A": "b c", "B": path }, "directory": path });
    let round = shell(script, more).collect().unwrap();
    assert_eq!(round.row("samples", "metric", "read")["value"], 1.0, "it reads nothing: {round:?}");
}

#[test]
fn a_failure_is_named_and_what_it_wrote_is_for_the_log() {
    let round = shell("echo 'a 1'; echo one >&2; printf two >&2; exit 3", json!({})).collect();
    let round = round.unwrap();
    assert_eq!(
        fault(&round),
        "`sh` ended with exit status: 3; the log has what it wrote to its standard error"
    );
    assert_eq!(round.rows("")[0]["exit_code"], 3);
    let round = shell("kill -9 $$", json!({})).collect().unwrap();
    assert_eq!(fault(&round), "`sh` ended with signal: 9 (SIGKILL)");
    assert_eq!(round.rows("")[0]["exit_code"], Value::Null);
    let round = Harness::<Exec>::new(json!({ "command": ["/nowhere/x"] })).unwrap().collect();
    assert!(fault(&round.unwrap()).starts_with("`/nowhere/x` can't be started: No such file"));
}

#[test]
fn what_takes_too_long_is_killed_with_all_that_it_started() {
    let directory = TempDir::new().unwrap();
    let script = "sleep 300 & echo $! > pid; echo 'a 1'; wait";
    let more = json!({ "timeout": "300ms", "directory": directory.path() });
    let start = Instant::now();
    let round = shell(script, more).collect().unwrap();
    assert!(fault(&round).starts_with("`sh` took longer than 300ms, and was killed"));
    assert!(start.elapsed() < Duration::from_secs(30));
    let pid = fs::read_to_string(directory.path().join("pid")).unwrap();
    ends(&pid);
}

#[test]
fn what_a_command_leaves_running_neither_holds_up_the_round_nor_outlives_it() {
    let directory = TempDir::new().unwrap();
    let script = "sleep 300 & echo $! > pid; echo 'a 1'";
    let start = Instant::now();
    let round = shell(script, json!({ "directory": directory.path() })).collect().unwrap();
    assert_eq!(round.rows("samples").len(), 1);
    assert!(start.elapsed() < Duration::from_secs(4), "it did not wait for its time limit");
    let pid = fs::read_to_string(directory.path().join("pid")).unwrap();
    ends(&pid);
}

#[test]
fn the_longest_timeout_that_can_be_set_is_waited_for() {
    let round = shell("echo 'a 1'", json!({ "timeout": "36500days" })).collect().unwrap();
    assert_eq!(round.row("samples", "metric", "a")["value"], 1.0);
}

#[test]
fn a_flood_is_cut_off() {
    let round = shell("yes 'a 1'", json!({ "max_output": "64KiB" })).collect().unwrap();
    assert!(fault(&round).starts_with("`sh` wrote more than 64 KiB, and was killed"));
    // What goes to standard error is nobody's sample, and as little unbounded.
    let round = shell("yes >&2", json!({ "timeout": "200ms" })).collect().unwrap();
    assert!(fault(&round).starts_with("`sh` took longer than 200ms"));
}

#[test]
fn of_a_stream_the_last_complete_block_is_shown() {
    let script = "printf 'a 1\\n\\na 2\\nb 2\\n\\na 3\\n'; sleep 300";
    let mut exec = shell(script, json!({ "mode": "stream" }));
    for _ in 0..2 {
        let round = exec.collect().unwrap();
        assert_eq!(round.partial, [""; 0]);
        assert_eq!(round.row("samples", "metric", "a")["value"], 2.0);
        assert_eq!(round.rows("samples").len(), 2);
        assert_eq!(round.rows("")[0]["restarts"], 0);
    }
}

#[test]
fn what_is_refused_in_a_block_counts_once_however_often_it_is_shown() {
    let directory = TempDir::new().unwrap();
    let script = "printf 'a 1\\n?\\n\\n'; while test ! -e go; do sleep 0.01; done; \
                  printf 'a 2\\n?\\n!\\n\\n'; sleep 300";
    let mut exec = shell(script, json!({ "mode": "stream", "directory": directory.path() }));
    for _ in 0..3 {
        let round = exec.collect().unwrap();
        assert_eq!((&round.rows("")[0]["refused"], round.partial.len()), (&json!(1), 1));
        assert!(round.partial[0].starts_with("`sh`: line 2: no name"), "{round:?}");
    }
    fs::write(directory.path().join("go"), "").unwrap();
    let start = Instant::now();
    let refused = loop {
        let round = exec.collect().unwrap();
        if round.row("samples", "metric", "a")["value"] == 2.0 {
            break round.rows("")[0]["refused"].clone();
        }
        assert!(start.elapsed() < Duration::from_secs(30));
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_eq!((refused, &exec.collect().unwrap().rows("")[0]["refused"]), (json!(3), &json!(3)));
}

#[test]
fn a_stream_that_ends_is_started_again_after_a_pause() {
    let script = "printf '{\"a\": 1}\\n'; echo why >&2; exit 4";
    let mut exec = shell(script, json!({ "mode": "stream", "format": "json" }));
    let text = "`sh` ended with exit status: 4; the log has what it wrote to its standard error; it is \
                started again in";
    let mut ended = |pause: &str| {
        let start = Instant::now();
        loop {
            let round = exec.collect().unwrap();
            if round.partial.is_empty() {
                continue; // the block was seen before the end was
            }
            let fault = fault(&round).to_owned();
            if fault == format!("{text} {pause}") {
                return round.rows("")[0].clone();
            }
            assert!(fault.starts_with(text), "it says why it is not there: {fault}");
            assert!(start.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    assert_eq!(ended("1s")["restarts"], 0);
    let second = ended("2s");
    assert_eq!((&second["restarts"], &second["exit_code"]), (&json!(1), &json!(4)));
}

#[test]
fn a_stream_that_says_nothing_or_no_end_is_ended() {
    let settings = json!({ "mode": "stream", "timeout": "100ms" });
    let mut silent = shell("sleep 300", settings);
    let mut rounds = (0..1000).map(|_| {
        std::thread::sleep(Duration::from_millis(10));
        silent.collect().unwrap()
    });
    let ended = rounds.find(|round| !round.partial.is_empty()).unwrap();
    assert!(fault(&ended).contains("has written nothing complete for 100ms, and was killed"));
    let settings = json!({ "mode": "stream", "max_output": "64KiB" });
    let mut exec = shell("yes 'a 1'", settings);
    assert!(fault(&exec.collect().unwrap()).contains("wrote more than 64 KiB"));
}

#[test]
fn blocks_end_where_their_format_ends_them() {
    let last = |format, parts: &[&str]| {
        let mut blocks = Blocks::new(format);
        parts.iter().for_each(|part| assert!(blocks.take(part.as_bytes(), 100)));
        blocks.complete().map(|block| String::from_utf8(block).unwrap())
    };
    let prometheus = Format::Prometheus;
    assert_eq!(last(prometheus, &["a 1\n", "\r\nb", " 2\n"]).as_deref(), Some("a 1\n\r\n"));
    assert_eq!(last(prometheus, &["a 1\n# EO", "F\n"]).as_deref(), Some("a 1\n# EOF\n"));
    assert_eq!(last(prometheus, &["\n\n\n"]), None);
    assert_eq!(last(Format::Influx, &["a b=1\n# EOF\n"]), None);
    assert_eq!(last(Format::Json, &["{}\n{", "\"a\":1}\n{"]).as_deref(), Some("{\"a\":1}\n"));
    assert!(!Blocks::new(Format::Json).take(&[b' '; 101], 100));
}

#[test]
fn settings_that_can_not_be_are_refused() {
    for (settings, reason) in [
        (json!({}), "missing field `command`"),
        (json!({ "command": [] }), "expected a program and its arguments"),
        (json!({ "command": "df -h" }), "expected a program and its arguments: [\"df\","),
        (json!({ "command": ["a"], "timeout": 5 }), "expected a duration such as \"500ms\""),
        (json!({ "command": [""] }), "expected a program and its arguments"),
        (json!({ "command": ["a"], "timeout": "0s" }), "above 0"),
        (json!({ "command": ["a"], "timeout": "400000000000years" }), "100 years at most"),
        (json!({ "command": ["a"], "max_output": "1GiB" }), "expected a size"),
        (json!({ "command": ["a"], "prefix": "a b" }), "no name of a metric"),
        (json!({ "command": ["a"], "format": "xml" }), "unknown variant `xml`"),
    ] {
        let error = serde_json::from_value::<Settings>(settings.clone()).unwrap_err().to_string();
        assert!(error.contains(reason), "{settings}: {error}");
    }
}

dropsonde_plugin_api::contract_test!(
    collector = Exec,
    settings = { "command": ["echo", "a{x=\"y\"} 1"] },
    streams = "streams.txt",
);
