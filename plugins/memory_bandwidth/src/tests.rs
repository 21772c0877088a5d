use dropsonde_plugin_api::testing::Harness;
use serde_json::{Value, json};

use crate::PagingCollector;

fn collector(fixture: &str) -> Harness<PagingCollector> {
    let root = format!("{}/fixtures/{fixture}/proc", env!("CARGO_MANIFEST_DIR"));
    Harness::new(json!({ "proc_root": root })).unwrap()
}

fn record(fixture: &str) -> Value {
    let round = collector(fixture).collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(round.rows("").len(), 1);
    Value::Object(round.rows("")[0].clone())
}

#[test]
fn every_counter_is_the_kernels_number() {
    let expected = json!({
        "pgpgin": 1_712_837,
        "pgpgout": 1_264_516,
        "pswpin": 12,
        "pswpout": 34,
        "pgfault": 4_502_494,
        "pgmajfault": 991,
    });
    assert_eq!(record("desktop"), expected);
}

#[test]
fn a_kernel_without_swap_has_null_for_swapping() {
    let record = record("no_swap");
    assert_eq!(record["pswpin"], Value::Null);
    assert_eq!(record["pswpout"], Value::Null);
    assert_eq!(record["pgpgin"], 1_712_837);
}

#[test]
fn a_malformed_line_is_an_error_that_shows_it() {
    let error = collector("malformed").collect().unwrap_err();
    assert!(error.message().contains("malformed/proc/vmstat"), "{error}");
    assert!(error.message().contains("`pgfault many`"), "{error}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = collector("nowhere").collect().unwrap_err();
    assert!(error.message().contains("fixtures/nowhere/proc/vmstat"), "{error}");
}

#[test]
fn a_file_without_any_of_the_counters_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("vmstat"), "nr_free_pages 1\n").unwrap();
    let settings = json!({ "proc_root": directory.path() });
    let error = Harness::<PagingCollector>::new(settings).unwrap().collect().unwrap_err();
    assert!(error.message().contains("no counter"), "{error}");
}

#[test]
fn a_stream_that_nobody_wants_is_not_read() {
    let round = collector("nowhere").collect_only(&[]).unwrap();
    assert_eq!(round.streams().count(), 0);
}

#[test]
fn the_file_stays_open_and_shows_new_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vmstat");
    std::fs::write(&path, "pgfault 1\n").unwrap();
    let settings = json!({ "proc_root": directory.path() });
    let mut paging = Harness::<PagingCollector>::new(settings).unwrap();
    assert_eq!(paging.collect().unwrap().rows("")[0]["pgfault"], 1);
    std::fs::write(&path, "pgfault 22\n").unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(paging.collect().unwrap().rows("")[0]["pgfault"], 22);
}

#[test]
fn the_live_system_counts_faults() {
    let mut paging = Harness::<PagingCollector>::new(json!({})).unwrap();
    let mut faults = || paging.collect().unwrap().rows("")[0]["pgfault"].as_u64().unwrap();
    let before = faults();
    assert!(before > 0);
    assert!(faults() >= before);
}

dropsonde_plugin_api::contract_test!(collector = PagingCollector, streams = "streams.txt");
