//! The machine that runs the tests.

use super::*;

#[test]
fn the_root_of_this_machine_has_the_room_that_statvfs_says() {
    let mut disk = Harness::<DiskCollector>::new(json!({ "timeout_ms": 60_000 })).unwrap();
    let round = disk.collect().unwrap();
    let root = round.row("partitions", "mount_point", "/");
    let stat = rustix::fs::statvfs("/").unwrap();
    assert_eq!(root["total_bytes"], stat.f_blocks * stat.f_frsize);
    let percent = root["percent"].as_f64().unwrap();
    assert!((0.0..=100.0).contains(&percent), "{percent}");
}

#[test]
fn the_devices_of_this_machine_are_those_of_diskstats() {
    let mut disk = Harness::<DiskCollector>::new(json!({})).unwrap();
    let text = std::fs::read_to_string("/proc/diskstats").unwrap();
    let round = disk.collect_only(&["", "devices"]).unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(round.rows("devices").len(), text.lines().count());
    for row in round.rows("devices") {
        assert!(text.contains(&format!(" {} ", row["device"].as_str().unwrap())));
    }
}

#[test]
fn every_mount_of_this_machine_can_be_shown() {
    let settings = json!({ "all": true, "timeout_ms": 60_000 });
    let mut disk = Harness::<DiskCollector>::new(settings).unwrap();
    let round = disk.collect_only(&["partitions"]).unwrap();
    let proc = round.row("partitions", "mount_point", "/proc");
    assert_eq!((&proc["fs_type"], &proc["total_bytes"]), (&json!("proc"), &json!(0)));
    assert_eq!(proc["percent"], Value::Null);
}

dropsonde_plugin_api::contract_test!(
    collector = DiskCollector,
    settings = { "timeout_ms": 60_000 },
    streams = "streams.txt",
);
