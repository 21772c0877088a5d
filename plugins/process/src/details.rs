//! What costs another file for each process: `/proc/PID/io` (proc_pid_io(5)) and
//! `/proc/PID/statm` (proc_pid_statm(5)).

use crate::stat::number;

/// What one process read and wrote.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Io {
    pub(crate) read_calls: Option<u64>,
    pub(crate) write_calls: Option<u64>,
    pub(crate) read_bytes: Option<u64>,
    pub(crate) write_bytes: Option<u64>,
}

/// A process's memory, in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    pub(crate) shared: u64,
}

impl Io {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut io = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let mut words = line.split(|byte| *byte == b' ');
            let field = match words.next() {
                Some(b"syscr:") => &mut io.read_calls,
                Some(b"syscw:") => &mut io.write_calls,
                Some(b"read_bytes:") => &mut io.read_bytes,
                Some(b"write_bytes:") => &mut io.write_bytes,
                _ => continue,
            };
            *field = words.next().and_then(number);
        }
        io
    }

    /// Bytes of both directions.
    pub(crate) fn bytes(&self) -> u64 {
        self.read_bytes.unwrap_or(0).saturating_add(self.write_bytes.unwrap_or(0))
    }
}

impl Memory {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let mut fields = text.split(|byte| *byte == b' ').skip(1);
        Some(Self { resident: number(fields.next()?)?, shared: number(fields.next()?)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storage_is_counted_not_what_caches_answered() {
        let text = b"rchar: 1\nwchar: 2\nsyscr: 3\nsyscw: 4\nread_bytes: 5\nwrite_bytes: 6\ncancelled_write_bytes: 7\n";
        let io = Io::parse(text);
        assert_eq!((io.read_calls, io.write_calls), (Some(3), Some(4)));
        assert_eq!((io.read_bytes, io.write_bytes, io.bytes()), (Some(5), Some(6), 11));
    }

    #[test]
    fn a_line_that_is_not_there_or_no_number_is_missing_and_the_others_are_not() {
        let io = Io::parse(b"read_bytes: 5\nwrite_bytes: x\nsyscr:\n");
        assert_eq!(io, Io { read_bytes: Some(5), ..Io::default() });
    }

    #[test]
    fn the_second_and_the_third_number_are_resident_and_shared() {
        let memory = Memory::parse(b"2000 500 300 10 0 200 0\n");
        assert_eq!(memory, Some(Memory { resident: 500, shared: 300 }));
        assert_eq!(Memory::parse(b"2000 500"), None);
        assert_eq!(Memory::parse(b""), None);
    }
}
