//! Disks, what lies on them, and mounts.

use super::machine::{Machine, column, kind, parents, texts};
use serde_json::{Value, json};

fn server() -> Machine {
    Machine::with(include_str!("../../fixtures/storage.txt"))
}

#[test]
fn a_disk_says_what_it_is() {
    let round = server().round();
    let expected = json!({
        "disk": "sda",
        "node": "block:sda",
        "type": "disk",
        "number": "8:0",
        "model": "ST1000NM0055-1V4",
        "vendor": "ATA",
        "serial": null,
        "firmware": "TN02",
        "driver": "sd",
        "scheduler": "mq-deadline",
        "mapped_name": null,
        "backing_file": null,
        "rotational": true,
        "removable": false,
        "read_only": false,
        "lower": [],
        "size_bytes": 1_953_525_168_u64 * 512,
        "logical_block_bytes": 512,
        "physical_block_bytes": 4096,
    });
    assert_eq!(Value::Object(round.row("disks", "disk", "sda").clone()), expected);
    let nvme = round.row("disks", "disk", "nvme0n1");
    assert_eq!(
        (&nvme["serial"], &nvme["firmware"]),
        (&json!("S439NA0M900001"), &json!("EDA5402Q"))
    );
    assert_eq!((&nvme["scheduler"], &nvme["rotational"]), (&json!("none"), &json!(false)));
}

#[test]
fn a_partition_is_of_its_disk() {
    let round = server().round();
    let expected = json!({
        "partition": "sda1",
        "node": "block:sda1",
        "disk": "sda",
        "number": "8:1",
        "index": "1",
        "label": "EFI system",
        "read_only": false,
        "size_bytes": 1_048_576 * 512,
        "start_bytes": 2048 * 512,
    });
    assert_eq!(Value::Object(round.row("partitions", "partition", "sda1").clone()), expected);
    assert_eq!(parents(&round, "block:sda1"), ["block:sda"]);
    let names = ["cciss/c0d0p1", "nvme0n1p1", "sda1", "sda2", "sdb1"];
    assert_eq!(column(&round, "partitions", "partition"), names);
}

#[test]
fn volumes_lie_on_what_they_are_made_of() {
    let round = server().round();
    assert_eq!(parents(&round, "block:md0"), ["block:sda2", "block:sdb1"]);
    assert_eq!(parents(&round, "block:dm-0"), ["block:md0"]);
    assert_eq!(parents(&round, "block:dm-2"), ["block:dm-1"]);
    let shown = |disk: &str| {
        let row = round.row("disks", "disk", disk);
        (row["type"].as_str().unwrap(), kind(&round, &format!("block:{disk}")))
    };
    assert_eq!(shown("md0"), ("raid1", "volume"));
    assert_eq!(shown("dm-0"), ("lvm", "volume"));
    assert_eq!(shown("dm-2"), ("crypt", "volume"));
    assert_eq!(round.row("disks", "disk", "dm-0")["mapped_name"], "vg0-root");
    assert_eq!(shown("sda"), ("disk", "disk"));
}

#[test]
fn several_paths_lead_to_one_disk() {
    let round = server().round();
    assert_eq!(parents(&round, "block:nvme0n1"), ["block:nvme0c0n1", "block:nvme0c1n1"]);
    assert_eq!(parents(&round, "block:nvme0c1n1"), ["host"]);
    assert_eq!((kind(&round, "block:nvme0n1"), kind(&round, "block:nvme0c0n1")), ("disk", "path"));
    assert_eq!(round.row("disks", "disk", "nvme0c0n1")["driver"], "nvme");
    assert_eq!(parents(&round, "block:dm-3"), ["block:sdc", "block:sdd"]);
    assert_eq!(parents(&round, "block:dm-4"), ["block:dm-3"]);
    assert_eq!(round.row("disks", "disk", "dm-3")["type"], "mpath");
    assert_eq!(round.row("disks", "disk", "dm-4")["type"], "part");
}

#[test]
fn what_is_not_in_use_is_left_out() {
    let round = server().round();
    let names = [
        "cciss/c0d0",
        "dm-0",
        "dm-1",
        "dm-2",
        "dm-3",
        "dm-4",
        "loop0",
        "md0",
        "nvme0c0n1",
        "nvme0c1n1",
        "nvme0n1",
        "sda",
        "sdb",
        "sdc",
        "sdd",
        "sr0",
        "zram0",
    ];
    assert_eq!(column(&round, "disks", "disk"), names);
    assert_eq!(
        round.row("disks", "disk", "loop0")["backing_file"],
        "/var/lib/snapd/snaps/core.snap"
    );
    assert_eq!((kind(&round, "block:sr0"), kind(&round, "block:zram0")), ("disk", "volume"));
    assert_eq!(round.row("disks", "disk", "sr0")["type"], "rom");
}

#[test]
fn a_mount_lies_on_its_device_however_that_is_named() {
    let round = server().round();
    for (mount_point, device) in [
        ("/", "dm-0"),
        ("/boot/efi", "sda1"),
        ("/home", "nvme0n1p1"), // its number is no device's
        ("/secret", "dm-2"),    // nor is this one's, and it was named by its mapping
        ("/mnt/a b", "dm-4"),
        ("/snap/core", "loop0"),
        ("/old", "cciss/c0d0p1"),
    ] {
        let device_node = format!("block:{device}");
        assert_eq!(parents(&round, &format!("mount:{mount_point}")), [device_node]);
        assert_eq!(round.row("mounts", "mount_point", mount_point)["device"], device);
    }
    assert_eq!(round.rows("mounts").len(), 7, "no network, no memory");
    let expected = json!({
        "mount_point": "/home",
        "node": "mount:/home",
        "device": "nvme0n1p1",
        "source": "/dev/nvme0n1p1",
        "fs_type": "btrfs",
        "root": "/@home",
        "read_only": false,
    });
    assert_eq!(Value::Object(round.row("mounts", "mount_point", "/home").clone()), expected);
    assert_eq!(round.row("mounts", "mount_point", "/boot/efi")["read_only"], true);
}

#[test]
fn a_scsi_disk_s_serial_number_is_in_its_product_data() {
    let machine = server();
    let page = |length: u8, text: &[u8]| [&[0, 0x80, 0, length], text].concat();
    let serial = |machine: &Machine| {
        machine.round().row("disks", "disk", "sda")["serial"].as_str().map(str::to_owned)
    };
    machine.file("sys/block/sda/device/vpd_pg80", page(12, b"  ZA1B2C3D  trailing"));
    assert_eq!(serial(&machine).as_deref(), Some("ZA1B2C3D"));
    for broken in [&[][..], &[0, 0x80, 0], &page(20, b""), &page(0, b"ZA"), &page(4, b" \0\0 ")] {
        machine.file("sys/block/sda/device/vpd_pg80", broken);
        assert_eq!(serial(&machine), None, "{broken:?}");
    }
    machine.file("sys/block/sda/device/vpd_pg80", page(200, b"ZA1B"));
    assert_eq!(serial(&machine).as_deref(), Some("ZA1B"), "cut short");
}

#[test]
fn a_volume_on_something_left_out_hangs_on_the_host() {
    let machine = Machine::new();
    machine.write("sys/block/ram0/size = 8\nsys/block/md1/md/level = linear");
    machine.write("sys/block/md1/slaves/ram0 -> ../../ram0");
    let round = machine.round();
    assert_eq!(parents(&round, "block:md1"), ["host"]);
    assert_eq!(texts(&round.row("disks", "disk", "md1")["lower"]), ["ram0"]);
}
