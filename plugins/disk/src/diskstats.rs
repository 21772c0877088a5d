//! `/proc/diskstats` (Documentation/admin-guide/iostats.rst).
//!
//! Parsed here rather than by `procfs-core`: one unreadable line must not cost the others, and
//! borrowed names save an allocation per device and round.

use crate::records::{Device, Disks};

/// A sector is 512 bytes here, whatever the device's own block size is.
const SECTOR_BYTES: u64 = 512;

/// One line, as far as it is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    pub(crate) name: &'a str,
    reads: u64,
    sectors_read: u64,
    read_milliseconds: u64,
    writes: u64,
    sectors_written: u64,
    write_milliseconds: u64,
    busy_milliseconds: u64,
}

impl<'a> Line<'a> {
    /// `None` if a field is missing or is no number.
    pub(crate) fn parse(line: &'a str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace().skip(2); // the device's numbers
        let name = words.next()?;
        // Fields 1 to 10; what newer kernels append (discards, flushes) is not published.
        let mut fields = [0; 10];
        for field in &mut fields {
            *field = words.next()?.parse().ok()?;
        }
        let [reads, _, sectors_read, read_milliseconds, writes, rest @ ..] = fields;
        let [_, sectors_written, write_milliseconds, _, busy_milliseconds] = rest;
        Some(Self {
            name,
            reads,
            sectors_read,
            read_milliseconds,
            writes,
            sectors_written,
            write_milliseconds,
            busy_milliseconds,
        })
    }

    /// Whether the device has done any I/O since boot.
    pub(crate) fn has_counted(&self) -> bool {
        self.reads > 0 || self.writes > 0
    }

    pub(crate) fn device(&self) -> Device<'a> {
        Device {
            device: self.name,
            read_bytes: self.sectors_read.checked_mul(SECTOR_BYTES),
            write_bytes: self.sectors_written.checked_mul(SECTOR_BYTES),
            read_count: self.reads,
            write_count: self.writes,
            read_time_seconds: seconds(self.read_milliseconds),
            write_time_seconds: seconds(self.write_milliseconds),
            io_time_seconds: seconds(self.busy_milliseconds),
        }
    }
}

/// Sum over the given devices; all values are missing if there are none.
pub(crate) fn total(lines: &[&Line<'_>]) -> Disks {
    let sum = |value: fn(&Line<'_>) -> Option<u64>| {
        let values = lines.iter().map(|line| value(line));
        values.reduce(|sum, value| sum?.checked_add(value?)).flatten()
    };
    Disks {
        read_bytes: sum(|line| line.sectors_read.checked_mul(SECTOR_BYTES)),
        write_bytes: sum(|line| line.sectors_written.checked_mul(SECTOR_BYTES)),
        read_count: sum(|line| Some(line.reads)),
        write_count: sum(|line| Some(line.writes)),
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
        let line = Line {
            name: "sda",
            reads: 11,
            sectors_read: 13,
            read_milliseconds: 14,
            writes: 15,
            sectors_written: 17,
            write_milliseconds: 18,
            busy_milliseconds: 20,
        };
        assert_eq!(Line::parse(LINE), Some(line));
    }

    #[test]
    fn a_line_cut_short_or_with_a_word_for_a_number_is_refused() {
        assert_eq!(Line::parse("8 0 sda 11 12 13 14 15 16 17 18 19"), None);
        assert_eq!(Line::parse("8 0 sda 11 12 x 14 15 16 17 18 19 20 21"), None);
        assert_eq!(Line::parse("8 0"), None);
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
        line.reads = u64::MAX;
        assert_eq!(total(&[&line, &line]).read_count, None);
        assert_eq!(total(&[&line, &line]).write_count, Some(30));
    }
}
