use dropsonde_plugin_api::Record;
use dropsonde_plugin_api::testing::Harness;
use serde_json::{Value, json};

use crate::{Memory, MemoryCollector};

fn collector(fixture: &str) -> Harness<MemoryCollector> {
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
fn every_figure_is_in_bytes_and_exact() {
    let expected = json!({
        "total_bytes": 16_384_000_000_u64,
        "available_bytes": 12_288_000_000_u64,
        "used_bytes": 4_096_000_000_u64,
        "percent": 25.0,
        "free_bytes": 2_048_000_000_u64,
        "buffers_bytes": 102_400_000,
        "cached_bytes": 8_704_000_000_u64, // Cached and SReclaimable
        "shared_bytes": 307_200_000,
        "slab_bytes": 716_800_000,
        "swap_total_bytes": 4_096_000_000_u64,
        "swap_used_bytes": 1_024_000_000,
        "swap_free_bytes": 3_072_000_000_u64,
        "swap_percent": 25.0,
    });
    assert_eq!(record("desktop"), expected);
}

#[test]
fn what_an_old_kernel_does_not_tell_is_null() {
    let record = record("old_kernel");
    for column in ["available_bytes", "used_bytes", "percent", "shared_bytes"] {
        assert_eq!(record[column], Value::Null, "{column}");
    }
    assert_eq!(record["cached_bytes"], 8_192_000_000_u64);
}

#[test]
fn a_machine_without_swap_uses_zero_percent_of_it() {
    let record = record("old_kernel");
    assert_eq!(record["swap_total_bytes"], 0);
    assert_eq!(record["swap_used_bytes"], 0);
    assert_eq!(record["swap_percent"], 0.0);
}

#[test]
fn a_part_that_exceeds_its_whole_leaves_the_difference_unknown() {
    let record = record("container");
    assert_eq!(record["available_bytes"], 1_228_800_000);
    for column in ["used_bytes", "percent", "slab_bytes", "swap_total_bytes", "swap_percent"] {
        assert_eq!(record[column], Value::Null, "{column}");
    }
}

#[test]
fn a_malformed_line_is_an_error_that_shows_it() {
    let error = collector("malformed").collect().unwrap_err();
    assert!(error.message().contains("malformed/proc/meminfo"), "{error}");
    assert!(error.message().contains("`Cached:          8000000`"), "{error}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = collector("nowhere").collect().unwrap_err();
    assert!(error.message().contains("fixtures/nowhere/proc/meminfo"), "{error}");
}

#[test]
fn a_file_without_a_total_is_an_error() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("meminfo"), "MemFree: 1 kB\n").unwrap();
    let settings = json!({ "proc_root": directory.path() });
    let error = Harness::<MemoryCollector>::new(settings).unwrap().collect().unwrap_err();
    assert!(error.message().contains("MemTotal"), "{error}");
}

#[test]
fn a_stream_that_nobody_wants_is_not_read() {
    let round = collector("nowhere").collect_only(&[]).unwrap();
    assert_eq!(round.streams().count(), 0);
}

#[test]
fn the_file_stays_open_and_shows_new_content() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("meminfo");
    std::fs::write(&path, "MemTotal: 2 kB\nMemFree: 1 kB\n").unwrap();
    let settings = json!({ "proc_root": directory.path() });
    let mut memory = Harness::<MemoryCollector>::new(settings).unwrap();
    assert_eq!(memory.collect().unwrap().rows("")[0]["free_bytes"], 1024);
    std::fs::write(&path, "MemTotal: 2 kB\nMemFree: 2 kB\n").unwrap();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(memory.collect().unwrap().rows("")[0]["free_bytes"], 2048);
}

#[test]
fn no_two_columns_claim_the_same_metric_and_state() {
    let mut metrics: Vec<_> = Memory::schema()
        .columns
        .into_iter()
        .filter(|column| !column.otel.is_empty())
        .map(|column| (column.otel, column.attributes))
        .collect();
    let all = metrics.len();
    metrics.sort();
    metrics.dedup();
    assert_eq!(metrics.len(), all);
}

#[test]
fn the_live_system_has_memory() {
    let round = Harness::<MemoryCollector>::new(json!({})).unwrap().collect().unwrap();
    let record = &round.rows("")[0];
    let total = record["total_bytes"].as_u64().unwrap();
    assert!(total > 0);
    assert!(record["used_bytes"].as_u64().is_none_or(|used| used <= total));
}

dropsonde_plugin_api::contract_test!(collector = MemoryCollector, streams = "streams.txt");
