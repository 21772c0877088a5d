use dropsonde_plugin_api::Record;

/// One block device that is no partition: a disk, one of several paths to it, or a volume that
/// lies on others. RAM disks, and loop devices that are not in use, are left out.
#[derive(Debug, Record)]
#[record(stream = "disks")]
pub(crate) struct Disk {
    /// The kernel's name.
    #[key]
    pub(crate) disk: String,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// As lsblk(8) has it: `disk`, `rom`, `loop`, `lvm`, `crypt`, `mpath`, `dm`, `raid1`, `md`;
    /// and `zram`, and `path` for a path to a disk.
    #[attribute]
    pub(crate) r#type: String,
    /// Device number: `8:0`.
    #[attribute]
    pub(crate) number: Option<String>,
    /// Model.
    #[attribute]
    pub(crate) model: Option<String>,
    /// Who made it, or the code of the vendor.
    #[attribute]
    pub(crate) vendor: Option<String>,
    /// Serial number.
    #[attribute]
    pub(crate) serial: Option<String>,
    /// Version of its firmware.
    #[attribute]
    pub(crate) firmware: Option<String>,
    /// Driver of the device.
    #[attribute]
    pub(crate) driver: Option<String>,
    /// The I/O scheduler in use.
    #[attribute]
    pub(crate) scheduler: Option<String>,
    /// The name that device mapper knows it by: `vg0-root`.
    #[attribute]
    pub(crate) mapped_name: Option<String>,
    /// The file that a loop device shows.
    #[attribute]
    pub(crate) backing_file: Option<String>,
    /// Whether it turns; virtual machines often say so of disks that don't.
    #[attribute]
    pub(crate) rotational: Option<bool>,
    /// Whether the medium can be removed.
    #[attribute]
    pub(crate) removable: Option<bool>,
    /// Whether it can't be written.
    #[attribute]
    pub(crate) read_only: Option<bool>,
    /// The devices that it lies on.
    #[attribute]
    pub(crate) lower: Vec<String>,
    /// Size.
    #[gauge(unit = "By")]
    pub(crate) size_bytes: Option<u64>,
    /// Size of the blocks that it can be addressed by.
    #[gauge(unit = "By")]
    pub(crate) logical_block_bytes: Option<u64>,
    /// Size of the blocks that it can write without reading first.
    #[gauge(unit = "By")]
    pub(crate) physical_block_bytes: Option<u64>,
}

/// One partition.
#[derive(Debug, Record)]
#[record(stream = "partitions")]
pub(crate) struct Partition {
    /// The kernel's name.
    #[key]
    pub(crate) partition: String,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// The disk that it is on.
    #[attribute]
    pub(crate) disk: String,
    /// Device number: `8:1`.
    #[attribute]
    pub(crate) number: Option<String>,
    /// Its place in the partition table.
    #[attribute]
    pub(crate) index: Option<String>,
    /// The name that the partition table gives it.
    #[attribute]
    pub(crate) label: Option<String>,
    /// Whether it can't be written.
    #[attribute]
    pub(crate) read_only: Option<bool>,
    /// Size.
    #[gauge(unit = "By")]
    pub(crate) size_bytes: Option<u64>,
    /// Where on the disk it begins.
    #[gauge(unit = "By")]
    pub(crate) start_bytes: Option<u64>,
}

/// One file system on a block device, at a place where it is mounted.
#[derive(Debug, Record)]
#[record(stream = "mounts")]
pub(crate) struct Mount {
    /// Where it is mounted.
    #[key]
    pub(crate) mount_point: String,
    /// Its node in the graph.
    #[attribute]
    pub(crate) node: String,
    /// The kernel's name of the device.
    #[attribute]
    pub(crate) device: String,
    /// What was named as the device when it was mounted.
    #[attribute]
    pub(crate) source: String,
    /// Type of the file system.
    #[attribute]
    pub(crate) fs_type: String,
    /// Which directory of the file system shows here: `/` unless it is a bind mount or a
    /// subvolume.
    #[attribute]
    pub(crate) root: String,
    /// Whether it can't be written here.
    #[attribute]
    pub(crate) read_only: bool,
}
