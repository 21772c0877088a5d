//! The streams that the plugin declares. OpenTelemetry names are those of the disk and filesystem
//! scrapers of the Collector's host metrics receiver.

use dropsonde_plugin_api::Record;

// Only the devices carry the OpenTelemetry names; with the totals', sums would count twice.
/// I/O of all disks together.
///
/// Partitions, devices that are stacked on others (device mapper, RAID), loop devices and RAM
/// disks are left out: their I/O is that of a disk which is counted already, or of none.
#[derive(Debug, Record)]
pub(crate) struct Disks {
    /// Bytes read since boot.
    #[counter(unit = "By")]
    pub(crate) read_bytes: Option<u64>,
    /// Bytes written since boot.
    #[counter(unit = "By")]
    pub(crate) write_bytes: Option<u64>,
    /// Reads completed since boot.
    #[counter(unit = "{operation}")]
    pub(crate) read_count: Option<u64>,
    /// Writes completed since boot.
    #[counter(unit = "{operation}")]
    pub(crate) write_count: Option<u64>,
}

/// Space of one mounted file system.
#[derive(Debug, Record)]
#[record(stream = "partitions")]
pub(crate) struct Partition<'a> {
    /// Where it is mounted.
    #[key(otel = "mountpoint")]
    pub(crate) mount_point: &'a str,
    /// What is mounted: a device, or whatever name the mount was given.
    #[attribute(otel = "device")]
    pub(crate) device: &'a str,
    /// Type of the file system.
    #[attribute(otel = "type")]
    pub(crate) fs_type: &'a str,
    /// Size.
    #[gauge(unit = "By")]
    pub(crate) total_bytes: Option<u64>,
    /// Space in use: all that is not free, as df shows it.
    #[gauge(unit = "By", otel = "system.filesystem.usage", attributes(state = "used"))]
    pub(crate) used_bytes: Option<u64>,
    /// Space that unprivileged users may still take; what is reserved for root is neither in here
    /// nor in `used_bytes`.
    #[gauge(unit = "By", otel = "system.filesystem.usage", attributes(state = "free"))]
    pub(crate) free_bytes: Option<u64>,
    /// Share in use of what unprivileged users can have: used / (used + free), as df shows it.
    #[gauge(unit = "%")]
    pub(crate) percent: Option<f64>,
}

/// I/O of one block device: a whole disk, a partition of one, or a device stacked on others.
#[derive(Debug, Record)]
#[record(stream = "devices")]
pub(crate) struct Device<'a> {
    /// Name of the device.
    #[key(otel = "device")]
    pub(crate) device: &'a str,
    /// Bytes read since boot.
    #[counter(unit = "By", otel = "system.disk.io", attributes(direction = "read"))]
    pub(crate) read_bytes: Option<u64>,
    /// Bytes written since boot.
    #[counter(unit = "By", otel = "system.disk.io", attributes(direction = "write"))]
    pub(crate) write_bytes: Option<u64>,
    /// Reads completed since boot.
    #[counter(
        unit = "{operation}",
        otel = "system.disk.operations",
        attributes(direction = "read")
    )]
    pub(crate) read_count: u64,
    /// Writes completed since boot.
    #[counter(
        unit = "{operation}",
        otel = "system.disk.operations",
        attributes(direction = "write")
    )]
    pub(crate) write_count: u64,
    /// Sum of the times that reads took; those in parallel each count.
    #[counter(unit = "s", otel = "system.disk.operation_time", attributes(direction = "read"))]
    pub(crate) read_time_seconds: f64,
    /// Sum of the times that writes took; those in parallel each count.
    #[counter(unit = "s", otel = "system.disk.operation_time", attributes(direction = "write"))]
    pub(crate) write_time_seconds: f64,
    /// Time during which the device had at least one operation under way.
    #[counter(unit = "s", otel = "system.disk.io_time")]
    pub(crate) io_time_seconds: f64,
}
