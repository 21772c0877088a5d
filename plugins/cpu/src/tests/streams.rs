use dropsonde_plugin_api::Record;
use dropsonde_plugin_api::schema::Role;
use dropsonde_plugin_api::testing::Harness;
use serde_json::{Value, json};

use super::{collector, collector_at};
use crate::CpuCollector;
use crate::records::{Core, Cpu};

#[test]
fn the_total_is_exact_and_guest_time_is_not_counted_twice() {
    let round = collector("laptop").collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    let expected = json!({
        "user_seconds": 60.04,
        "nice_seconds": 0.1,
        "system_seconds": 27.12,
        "idle_seconds": 3022.63,
        "iowait_seconds": 2.68,
        "irq_seconds": 0.05,
        "softirq_seconds": 0.49,
        "steal_seconds": 0.13,
        "busy_seconds": 87.93,
        "total_seconds": 3113.24,
        "frequency_mhz": 2000.0,
        "temperature_celsius": 62.5,
        "load_avg_1m": 0.15,
        "load_avg_5m": 1.05,
        "load_avg_15m": 12.34,
        "logical_count": 3,
    });
    assert_eq!(round.rows("").len(), 1);
    assert_eq!(Value::Object(round.rows("")[0].clone()), expected);
}

#[test]
fn a_core_keeps_its_number_when_one_before_it_is_offline() {
    let round = collector("laptop").collect().unwrap();
    let names: Vec<_> = round.rows("cores").iter().map(|row| row["core"].clone()).collect();
    assert_eq!(names, ["cpu0", "cpu1", "cpu3"]);
    let expected = json!({
        "core": "cpu3",
        "user_seconds": 7.98,
        "nice_seconds": 0.01,
        "system_seconds": 2.57,
        "idle_seconds": 498.78,
        "iowait_seconds": 0.43,
        "irq_seconds": 0.01,
        "softirq_seconds": 0.03,
        "steal_seconds": 0.01,
        "busy_seconds": 10.61,
        "total_seconds": 509.82,
    });
    assert_eq!(Value::Object(round.row("cores", "core", "cpu3").clone()), expected);
}

#[test]
fn states_that_the_kernel_does_not_count_are_null() {
    let round = collector("old_kernel").collect().unwrap();
    for row in [&round.rows("")[0], &round.rows("cores")[0]] {
        for state in ["iowait_seconds", "irq_seconds", "softirq_seconds", "steal_seconds"] {
            assert_eq!(row[state], Value::Null, "{state}");
        }
        assert_eq!(row["busy_seconds"], 6.0);
        assert_eq!(row["total_seconds"], 10.0);
    }
}

#[test]
fn a_missing_load_average_is_null_and_makes_the_batch_partial() {
    let round = collector("old_kernel").collect().unwrap();
    for column in ["load_avg_1m", "load_avg_5m", "load_avg_15m"] {
        assert_eq!(round.rows("")[0][column], Value::Null, "{column}");
    }
    assert_eq!(round.partial.len(), 1);
    assert!(round.partial[0].contains("old_kernel/proc/loadavg"), "{:?}", round.partial);
}

#[test]
fn a_malformed_line_is_reported_and_not_filled_with_zeros() {
    let round = collector("malformed").collect().unwrap();
    assert_eq!(round.rows("cores").len(), 1);
    assert_eq!(round.rows("")[0]["user_seconds"], 60.04);
    assert_eq!(round.rows("")[0]["load_avg_1m"], Value::Null);
    assert_eq!(round.partial.len(), 2);
    assert!(round.partial[0].contains("cpu1 3000 5 some"), "{:?}", round.partial);
    assert!(round.partial[1].contains("0.15 high 12.34"), "{:?}", round.partial);
}

#[test]
fn a_malformed_total_is_reported_and_the_cores_go_on() {
    let mut cpu = collector("malformed_total");
    let round = cpu.collect().unwrap();
    assert!(round.rows("").is_empty());
    assert_eq!(round.rows("cores").len(), 1);
    assert_eq!(round.partial.len(), 1);
    assert!(round.partial[0].contains("malformed_total/proc/stat"), "{:?}", round.partial);
    assert!(cpu.collect_only(&["cores"]).unwrap().partial.is_empty());
}

#[test]
fn a_file_without_times_is_an_error_that_names_it() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("proc")).unwrap();
    std::fs::write(directory.path().join("proc/stat"), "intr 1\n").unwrap();
    let error = collector_at(directory.path().to_str().unwrap()).collect().unwrap_err();
    assert!(error.message().contains("/proc/stat: there is no line `cpu`"), "{error}");
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let error = collector("nowhere").collect().unwrap_err();
    assert!(error.message().contains("fixtures/nowhere/proc/stat"), "{error}");
}

#[test]
fn a_file_that_only_an_unwanted_stream_needs_is_not_read() {
    // The fixture has no loadavg, and reading it would make the batch partial.
    let round = collector("old_kernel").collect_only(&["cores"]).unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(round.streams().collect::<Vec<_>>(), ["cores"]);
    let round = collector("laptop").collect_only(&[""]).unwrap();
    assert_eq!(round.streams().collect::<Vec<_>>(), [""]);
    let round = collector("nowhere").collect_only(&[]).unwrap();
    assert_eq!(round.streams().count(), 0);
}

#[test]
fn the_files_stay_open_and_show_new_content() {
    let directory = tempfile::tempdir().unwrap();
    let proc = directory.path().join("proc");
    std::fs::create_dir(&proc).unwrap();
    let write = |stat: &str, load: &str| {
        std::fs::write(proc.join("stat"), stat).unwrap();
        std::fs::write(proc.join("loadavg"), load).unwrap();
        std::fs::write(proc.join("cpuinfo"), "cpu MHz : 1000\n").unwrap();
    };
    write("cpu  100 0 0 100\ncpu0 100 0 0 100\n", "0.10 0.20 0.30 1/1 1\n");
    let mut cpu = collector_at(directory.path().to_str().unwrap());
    assert_eq!(cpu.collect().unwrap().rows("")[0]["user_seconds"], 1.0);
    write("cpu  300 0 0 100\ncpu0 300 0 0 100\n", "1.10 0.20 0.30 1/1 1\n");
    std::fs::remove_dir_all(&proc).unwrap();
    let round = cpu.collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(round.rows("")[0]["user_seconds"], 3.0);
    assert_eq!(round.rows("")[0]["load_avg_1m"], 1.1);
    assert_eq!(round.rows("cores")[0]["user_seconds"], 3.0);
}

#[test]
fn only_the_cores_carry_the_metric_names_of_time() {
    for column in Cpu::schema().columns.iter().filter(|column| column.role == Role::Counter) {
        assert_eq!(column.otel, "", "{}", column.name);
        assert!(column.share.iter().all(|share| share.otel.is_empty()), "{}", column.name);
    }
    let columns = Core::schema().columns;
    let states = columns.iter().filter(|column| column.otel == "system.cpu.time");
    let states: Vec<_> = states.map(|column| column.attributes[0].1.as_str()).collect();
    let receiver = ["user", "nice", "system", "idle", "wait", "interrupt", "softirq", "steal"];
    assert_eq!(states, receiver);
}

#[test]
fn every_time_but_the_total_has_its_percentage() {
    for schema in [Cpu::schema(), Core::schema()] {
        for column in schema.columns.iter().filter(|column| column.role == Role::Counter) {
            let name = column.share.as_ref().map(|share| share.name.clone());
            let expected = match column.name.as_str() {
                "total_seconds" => None,
                "busy_seconds" => Some("usage_percent".to_owned()),
                name => Some(name.replace("_seconds", "_percent")),
            };
            assert_eq!(name, expected);
        }
    }
}

#[test]
fn the_live_system_has_a_core_that_has_worked() {
    let mut cpu = Harness::<CpuCollector>::new(json!({})).unwrap();
    let first = cpu.collect().unwrap();
    let second = cpu.collect().unwrap();
    let busy = |round: &dropsonde_plugin_api::testing::Round| {
        round.rows("")[0]["busy_seconds"].as_f64().unwrap()
    };
    assert!(busy(&first) > 0.0);
    assert!(busy(&second) >= busy(&first));
    assert_eq!(first.rows("")[0]["logical_count"], first.rows("cores").len());
}

// On a fixture: the kernel's time of waiting for I/O may fall (proc_stat(5)).
dropsonde_plugin_api::contract_test!(collector = CpuCollector, settings = {
    "proc_root": concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/laptop/proc"),
    "sys_root": concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/laptop/sys"),
}, streams = "streams.txt");
