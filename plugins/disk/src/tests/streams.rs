//! What the streams hold, from fixtures.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dropsonde_plugin_api::testing::Round;

use super::*;

fn copy_of_fixture() -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    copy(Path::new(&fixture()), directory.path());
    let root = directory.path().to_str().unwrap().to_owned();
    (directory, root)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn column(round: &Round, stream: &str, column: &str) -> Vec<Value> {
    round.rows(stream).iter().map(|row| row[column].clone()).collect()
}

#[test]
fn every_device_has_its_io_in_bytes_and_seconds() {
    let mut disk = collector_with(settings(&fixture()), LONG, room);
    let round = disk.collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    let names = ["loop0", "sda", "sda1", "nvme0n1", "dm-0"];
    assert_eq!(column(&round, "devices", "device"), names);
    let expected = json!({
        "device": "sda",
        "read_bytes": 40_960_000,
        "write_bytes": 81_920_000,
        "read_count": 1000,
        "write_count": 2000,
        "read_time_seconds": 1.5,
        "write_time_seconds": 2.5,
        "io_time_seconds": 3.0,
    });
    assert_eq!(Value::from(round.row("devices", "device", "sda").clone()), expected);
}

#[test]
fn the_total_counts_each_disk_once() {
    let mut disk = collector_with(settings(&fixture()), LONG, room);
    let round = disk.collect().unwrap();
    let expected = json!([{
        "read_bytes": 80_016 * 512,
        "write_bytes": 160_032 * 512,
        "read_count": 1010,
        "write_count": 2020,
    }]);
    assert_eq!(
        Value::from(round.rows("").iter().cloned().map(Value::from).collect::<Vec<_>>()),
        expected
    );
}

#[test]
fn file_systems_on_devices_show_their_room() {
    let mut disk = collector_with(settings(&fixture()), LONG, room);
    let round = disk.collect().unwrap();
    let points = column(&round, "partitions", "mount_point");
    assert_eq!(points, ["/", r"/media/My Disk\x", "/home"]);
    let expected = json!({
        "mount_point": "/",
        "device": "/dev/sda1",
        "fs_type": "ext4",
        "total_bytes": 1_024_000,
        "used_bytes": 614_400,
        "free_bytes": 204_800,
        "percent": 75.0,
    });
    assert_eq!(Value::from(round.row("partitions", "mount_point", "/").clone()), expected);
}

#[test]
fn the_decoded_path_is_the_one_that_is_asked() {
    let mut settings = settings(&fixture());
    settings["include_mounts"] = json!(["/media/*"]);
    let mut disk = collector_with(settings, LONG, |path| {
        assert_eq!(path, Path::new(r"/media/My Disk\x"));
        room(path)
    });
    let round = disk.collect().unwrap();
    assert_eq!(column(&round, "partitions", "total_bytes"), [1_024_000]);
}

#[test]
fn the_settings_choose_the_mounts() {
    let mut settings = settings(&fixture());
    settings["all"] = json!(true);
    settings["exclude_fs"] = json!(["proc", "tmp*"]);
    settings["exclude_mounts"] = json!(["/home"]);
    let mut disk = collector_with(settings, LONG, room);
    let round = disk.collect_only(&["partitions"]).unwrap();
    let points = column(&round, "partitions", "mount_point");
    assert_eq!(points, ["/", r"/media/My Disk\x", "/mnt/nfs"]);
}

#[test]
fn a_device_one_mount_of_which_is_excluded_is_shown_by_another() {
    let (_directory, root) = copy_of_fixture();
    let path = format!("{root}/proc/self/mounts");
    let text = fs::read_to_string(&path).unwrap()
        + "/dev/sdz /var/lib/docker xfs rw 0 0\n/dev/sdz /docker xfs rw 0 0\n";
    fs::write(&path, text).unwrap();
    let shown = |excluded: Value| {
        let mut settings = settings(&root);
        settings["exclude_mounts"] = excluded;
        let round = collector_with(settings, LONG, room).collect().unwrap();
        let of_device = |row: &&serde_json::Map<String, Value>| row["device"] == "/dev/sdz";
        let rows = round.rows("partitions").iter().filter(of_device);
        rows.map(|row| row["mount_point"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(shown(json!([])), ["/docker"]);
    assert_eq!(shown(json!(["/docker"])), ["/var/lib/docker"]);
}

#[test]
fn a_mount_that_can_not_be_asked_is_null_and_named() {
    let mut disk = collector_with(settings(&fixture()), LONG, |path| match path.to_str() {
        Some("/home") => Err(io::Error::from(io::ErrorKind::PermissionDenied)),
        _ => room(path),
    });
    let round = disk.collect().unwrap();
    assert_eq!(round.row("partitions", "mount_point", "/home")["total_bytes"], Value::Null);
    assert_eq!(round.row("partitions", "mount_point", "/home")["percent"], Value::Null);
    assert_eq!(round.row("partitions", "mount_point", "/")["percent"], 75.0);
    assert_eq!(round.partial, ["/home: statvfs: permission denied"]);
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let (_directory, root) = copy_of_fixture();
    fs::remove_file(format!("{root}/proc/diskstats")).unwrap();
    fs::remove_file(format!("{root}/proc/self/mounts")).unwrap();
    let mut disk = collector_with(settings(&root), LONG, room);
    let mut failure = |stream: &str| disk.collect_only(&[stream]).unwrap_err().to_string();
    assert!(failure("").starts_with(&format!("{root}/proc/diskstats: ")));
    assert!(failure("devices").starts_with(&format!("{root}/proc/diskstats: ")));
    assert!(failure("partitions").starts_with(&format!("{root}/proc/self/mounts: ")));
    assert!(disk.collect().is_err());
}

#[test]
fn what_can_be_read_is_shown_without_what_can_not() {
    let (_directory, root) = copy_of_fixture();
    fs::remove_file(format!("{root}/proc/self/mounts")).unwrap();
    let round = collector_with(settings(&root), LONG, room).collect().unwrap();
    assert_eq!(round.rows("devices").len(), 5);
    assert!(round.partial[0].contains("/proc/self/mounts: "), "{:?}", round.partial);

    let (_directory, root) = copy_of_fixture();
    fs::remove_file(format!("{root}/proc/filesystems")).unwrap();
    fs::remove_dir_all(format!("{root}/sys/block")).unwrap();
    let round = collector_with(settings(&root), LONG, room).collect().unwrap();
    assert_eq!(column(&round, "partitions", "mount_point"), ["/"]);
    assert_eq!(column(&round, "", "read_bytes"), [Value::Null]);
    assert_eq!(round.partial.len(), 2, "{:?}", round.partial);
    assert!(round.partial[0].starts_with(&format!("{root}/sys/block: ")));
    assert!(round.partial[1].starts_with(&format!("{root}/proc/filesystems: ")));
}

#[test]
fn mounts_are_found_where_there_is_no_self() {
    let (_directory, root) = copy_of_fixture();
    fs::rename(format!("{root}/proc/self/mounts"), format!("{root}/proc/mounts")).unwrap();
    let round = collector_with(settings(&root), LONG, room).collect().unwrap();
    assert_eq!(round.rows("partitions").len(), 3);
}

#[test]
fn a_malformed_line_costs_its_device_and_the_total_only() {
    let (_directory, root) = copy_of_fixture();
    let path = format!("{root}/proc/diskstats");
    let text = fs::read_to_string(&path).unwrap().replace(" sda 1000 ", " sda -1000 ");
    fs::write(&path, text).unwrap();
    let round = collector_with(settings(&root), LONG, room).collect().unwrap();
    assert_eq!(column(&round, "devices", "device"), ["loop0", "sda1", "nvme0n1", "dm-0"]);
    assert_eq!(column(&round, "", "read_bytes"), [Value::Null]);
    assert_eq!(round.partial, [format!("{path}: line 2: malformed")]);
}

#[test]
fn a_malformed_mount_costs_only_itself_in_every_round() {
    let (_directory, root) = copy_of_fixture();
    let path = format!("{root}/proc/self/mounts");
    let text = format!("garbage\n{}", fs::read_to_string(&path).unwrap());
    fs::write(&path, text).unwrap();
    let mut disk = collector_with(settings(&root), LONG, room);
    for _ in 0..2 {
        let round = disk.collect().unwrap();
        assert_eq!(round.rows("partitions").len(), 3);
        assert_eq!(round.partial, [format!("{path}: line 1: malformed")]);
    }
}

#[test]
fn files_stay_open_and_show_what_is_new() {
    let (_directory, root) = copy_of_fixture();
    let mut disk = collector_with(settings(&root), LONG, room);
    disk.collect().unwrap();
    let diskstats = format!("{root}/proc/diskstats");
    let mounts = format!("{root}/proc/self/mounts");
    let text = fs::read_to_string(&diskstats).unwrap().replace("nvme0n1 10 ", "nvme0n1 11 ");
    fs::write(&diskstats, text).unwrap();
    let text = fs::read_to_string(&mounts).unwrap() + "/dev/sdz /new xfs rw 0 0\n";
    fs::write(&mounts, text).unwrap();
    // Whoever opened them again would fail.
    fs::remove_file(&diskstats).unwrap();
    fs::remove_file(&mounts).unwrap();
    let round = disk.collect().unwrap();
    assert!(round.partial.is_empty(), "{:?}", round.partial);
    assert_eq!(column(&round, "", "read_count"), [1011]);
    assert_eq!(round.row("devices", "device", "nvme0n1")["read_count"], 11);
    assert_eq!(round.row("partitions", "mount_point", "/new")["device"], "/dev/sdz");
}

#[test]
fn streams_that_nobody_wants_are_not_read() {
    let (_directory, root) = copy_of_fixture();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&calls);
    let mut disk = collector_with(settings(&root), LONG, move |path| {
        counter.fetch_add(1, Ordering::SeqCst);
        room(path)
    });
    assert_eq!(disk.collect_only(&["devices"]).unwrap().streams().collect::<Vec<_>>(), ["devices"]);
    assert_eq!(disk.collect_only(&[""]).unwrap().streams().collect::<Vec<_>>(), [""]);
    assert_eq!(calls.load(Ordering::SeqCst), 0);

    fs::remove_file(format!("{root}/proc/diskstats")).unwrap();
    let mut disk = collector_with(settings(&root), LONG, room);
    let round = disk.collect_only(&["partitions"]).unwrap();
    assert_eq!(round.streams().collect::<Vec<_>>(), ["partitions"]);
    assert!(round.partial.is_empty(), "{:?}", round.partial);
}

#[test]
fn a_setting_that_is_unknown_or_out_of_range_is_an_error() {
    let error = |settings| Harness::<DiskCollector>::new(settings).err().unwrap();
    let unknown = error(json!({ "exclude_mount": ["/x"] }));
    assert_eq!(unknown.path(), "exclude_mount");
    assert!(unknown.message().contains("exclude_mounts"), "{unknown}");
    assert_eq!(error(json!({ "timeout_ms": 0 })).path(), "timeout_ms");
    assert_eq!(error(json!({ "timeout_ms": u64::MAX })).path(), "timeout_ms");
}
