use std::path::Path;

use dropsonde_plugin_api::testing::Harness;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::PressureCollector;

/// A procfs with these files of pressure.
fn procfs(files: &[(&str, &str)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("pressure");
    std::fs::create_dir(&directory).unwrap();
    for (name, text) in files {
        std::fs::write(directory.join(name), text).unwrap();
    }
    root
}

fn collector(root: &Path) -> Harness<PressureCollector> {
    Harness::new(json!({ "proc_root": root })).unwrap()
}

const CPU: &str = "some avg10=93.24 avg60=83.16 avg300=45.07 total=5033979901\n\
                   full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";

#[test]
fn every_resource_is_a_record_of_the_kernels_numbers() {
    let root =
        procfs(&[("cpu", CPU), ("irq", "full avg10=1.5 avg60=1 avg300=0.5 total=2500000\n")]);
    let round = collector(root.path()).collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    let [cpu, irq] = round.rows("") else { panic!("{:?}", round.rows("")) };
    let cpu = Value::Object(cpu.clone());
    assert_eq!(
        cpu,
        json!({
            "resource": "cpu",
            "some_avg10_percent": 93.24, "some_avg60_percent": 83.16, "some_avg300_percent": 45.07,
            "some_seconds": 5033.979901,
            "full_avg10_percent": 0.0, "full_avg60_percent": 0.0, "full_avg300_percent": 0.0,
            "full_seconds": 0.0,
        })
    );
    assert_eq!((&irq["resource"], &irq["some_seconds"]), (&json!("irq"), &Value::Null));
    assert_eq!((&irq["full_avg10_percent"], &irq["full_seconds"]), (&json!(1.5), &json!(2.5)));
}

#[test]
fn a_file_that_makes_no_sense_is_named_and_the_others_are_read() {
    for text in ["", "some avg10=many avg60=0 avg300=0 total=0\n", "some\n", "some total=1\n"] {
        let root = procfs(&[("cpu", CPU), ("io", text)]);
        let round = collector(root.path()).collect().unwrap();
        assert_eq!(round.rows("").len(), 1);
        assert_eq!(round.partial.len(), 1, "{text}");
        assert!(round.partial[0].contains("pressure/io: "), "{:?}", round.partial);
    }
}

#[test]
fn a_kernel_that_does_not_tell_has_no_records_and_the_reason_is_said() {
    let root = tempfile::tempdir().unwrap();
    let round = collector(root.path()).collect().unwrap();
    assert_eq!(round.rows("").len(), 0);
    assert!(round.partial[0].contains("CONFIG_PSI"), "{:?}", round.partial);
}

#[test]
fn the_live_system_counts_up() {
    if !Path::new("/proc/pressure/cpu").exists() {
        eprintln!("skipped: this kernel has no /proc/pressure");
        return;
    }
    let mut pressure = Harness::<PressureCollector>::new(json!({})).unwrap();
    let mut waited = || pressure.collect().unwrap().rows("")[0]["some_seconds"].as_f64().unwrap();
    let before = waited();
    assert!(waited() >= before);
}

dropsonde_plugin_api::contract_test!(collector = PressureCollector, streams = "streams.txt");
