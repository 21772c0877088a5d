use std::fs;
use std::path::Path;

use serde_json::Value;

use super::{collector, collector_at};

fn gauge(fixture: &str, column: &str) -> Value {
    collector(fixture).collect().unwrap().rows("")[0][column].clone()
}

fn write(path: impl AsRef<Path>, text: &str) {
    let path = path.as_ref();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A tree of two cores at 1 GHz and a sensor at 40 °C.
fn small_tree() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(root.join("proc/stat"), "cpu  1 1 1 1\ncpu0 1 1 1 1\ncpu1 1 1 1 1\n");
    write(root.join("proc/loadavg"), "0 0 0 1/1 1\n");
    for core in ["cpu0", "cpu1"] {
        write(cur_freq(root, core), "1000000\n");
    }
    write(root.join("sys/class/hwmon/hwmon0/name"), "coretemp\n");
    write(root.join("sys/class/hwmon/hwmon0/temp1_input"), "40000\n");
    directory
}

fn cur_freq(root: &Path, core: &str) -> std::path::PathBuf {
    root.join("sys/devices/system/cpu").join(core).join("cpufreq/scaling_cur_freq")
}

#[test]
fn the_hottest_sensor_of_the_cpu_counts_and_no_other_device() {
    assert_eq!(gauge("laptop", "temperature_celsius"), 62.5);
}

#[test]
fn the_control_temperature_of_amd_is_not_taken_for_a_real_one() {
    assert_eq!(gauge("amd", "temperature_celsius"), 58.25);
}

#[test]
fn a_thermal_zone_of_the_cpu_serves_where_no_driver_does() {
    assert_eq!(gauge("board", "temperature_celsius"), 47.236);
}

#[test]
fn the_frequency_comes_from_cpuinfo_where_no_driver_scales_it() {
    assert_eq!(gauge("amd", "frequency_mhz"), 2798.0625);
}

#[test]
fn a_machine_without_sensors_has_null_and_no_complaint() {
    let mut board = collector("board");
    for _ in 0..2 {
        let round = board.collect().unwrap();
        assert!(round.partial.is_empty(), "{:?}", round.partial);
        assert_eq!(round.rows("")[0]["frequency_mhz"], Value::Null);
    }
    assert_eq!(gauge("old_kernel", "temperature_celsius"), Value::Null);
}

#[test]
fn sensors_are_read_anew_each_round() {
    let tree = small_tree();
    let mut cpu = collector_at(tree.path().to_str().unwrap());
    assert_eq!(cpu.collect().unwrap().rows("")[0]["temperature_celsius"], 40.0);
    write(tree.path().join("sys/class/hwmon/hwmon0/temp1_input"), "50000\n");
    write(cur_freq(tree.path(), "cpu1"), "2000000\n");
    let round = cpu.collect().unwrap();
    assert_eq!(round.rows("")[0]["temperature_celsius"], 50.0);
    assert_eq!(round.rows("")[0]["frequency_mhz"], 1500.0);
}

#[test]
fn a_sensor_that_fails_is_left_out_and_the_others_go_on() {
    let tree = small_tree();
    let second = tree.path().join("sys/class/hwmon/hwmon0/temp2_input");
    write(&second, "70000\n");
    let mut cpu = collector_at(tree.path().to_str().unwrap());
    assert_eq!(cpu.collect().unwrap().rows("")[0]["temperature_celsius"], 70.0);
    write(&second, "");
    write(cur_freq(tree.path(), "cpu1"), "<unknown>\n");
    for _ in 0..2 {
        let round = cpu.collect().unwrap();
        assert_eq!(round.rows("")[0]["temperature_celsius"], 40.0);
        assert_eq!(round.rows("")[0]["frequency_mhz"], 1000.0);
    }
}

#[test]
fn the_sensors_of_a_core_that_comes_online_are_found() {
    let tree = small_tree();
    let mut cpu = collector_at(tree.path().to_str().unwrap());
    assert_eq!(cpu.collect().unwrap().rows("")[0]["frequency_mhz"], 1000.0);
    write(
        tree.path().join("proc/stat"),
        "cpu  1 1 1 1\ncpu0 1 1 1 1\ncpu1 1 1 1 1\ncpu2 1 1 1 1\n",
    );
    write(cur_freq(tree.path(), "cpu2"), "4000000\n");
    write(tree.path().join("sys/class/hwmon/hwmon0/temp3_input"), "90000\n");
    let round = cpu.collect().unwrap();
    assert_eq!(round.rows("")[0]["frequency_mhz"], 2000.0);
    assert_eq!(round.rows("")[0]["temperature_celsius"], 90.0);
}
