//! `/proc/diskstats` (Documentation/admin-guide/iostats.rst).
//!
//! Parsed by `procfs-core` line by line: one unreadable line must not cost the others.

use procfs_core::DiskStat;

use crate::records::{Device, Disks};

/// A sector is 512 bytes here, whatever the device's own block size is.
const SECTOR_BYTES: u64 = 512;

/// One line.
#[derive(Debug, Clone)]
pub(crate) struct Line(DiskStat);

impl Line {
    /// `None` if a field is missing or is no number.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        DiskStat::from_line(line).ok().map(Self)
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether the device has done any I/O since boot.
    pub(crate) fn has_counted(&self) -> bool {
        self.0.reads > 0 || self.0.writes > 0
    }

    pub(crate) fn device(&self) -> Device<'_> {
        let stat = &self.0;
        Device {
            device: &stat.name,
            read_bytes: stat.sectors_read.checked_mul(SECTOR_BYTES),
            write_bytes: stat.sectors_written.checked_mul(SECTOR_BYTES),
            read_count: stat.reads,
            write_count: stat.writes,
            read_time_seconds: seconds(stat.time_reading),
            write_time_seconds: seconds(stat.time_writing),
            io_time_seconds: seconds(stat.time_in_progress),
        }
    }
}

/// Sum over the given devices; all values are missing if there are none.
pub(crate) fn total(lines: &[&Line]) -> Disks {
    let sum = |value: fn(&DiskStat) -> Option<u64>| {
        let values = lines.iter().map(|line| value(&line.0));
        values.reduce(|sum, value| sum?.checked_add(value?)).flatten()
    };
    Disks {
        read_bytes: sum(|stat| stat.sectors_read.checked_mul(SECTOR_BYTES)),
        write_bytes: sum(|stat| stat.sectors_written.checked_mul(SECTOR_BYTES)),
        read_count: sum(|stat| Some(stat.reads)),
        write_count: sum(|stat| Some(stat.writes)),
    }
}

fn seconds(milliseconds: u64) -> f64 {
    milliseconds as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = "8 0 sda 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27";

    #[test]
    fn each_field_comes_from_its_place() {
        let line = Line::parse(LINE).unwrap();
        let device = line.device();
        assert_eq!(device.device, "sda");
        assert_eq!((device.read_count, device.write_count), (11, 15));
        assert_eq!((device.read_bytes, device.write_bytes), (Some(13 * 512), Some(17 * 512)));
        let times = (device.read_time_seconds, device.write_time_seconds, device.io_time_seconds);
        assert_eq!(times, (0.014, 0.018, 0.02));
    }

    #[test]
    fn a_line_cut_short_or_with_a_word_for_a_number_is_refused() {
        assert!(Line::parse("8 0 sda 11 12 13 14 15 16 17 18 19").is_none());
        assert!(Line::parse("8 0 sda 11 12 x 14 15 16 17 18 19 20 21").is_none());
        assert!(Line::parse("8 0").is_none());
    }

    #[test]
    fn the_fields_of_kernels_before_4_18_are_enough() {
        assert!(Line::parse("8 0 sda 11 12 13 14 15 16 17 18 19 20 21").is_some());
    }

    #[test]
    fn a_total_over_no_disk_is_missing_not_zero() {
        let total = total(&[]);
        assert_eq!((total.read_bytes, total.write_count), (None, None));
    }

    #[test]
    fn a_total_that_overflows_is_missing() {
        let mut line = Line::parse(LINE).unwrap();
        line.0.reads = u64::MAX;
        assert_eq!(total(&[&line, &line]).read_count, None);
        assert_eq!(total(&[&line, &line]).write_count, Some(30));
    }
}
