//! `/proc/stat` (proc_stat(5)): what the processes' figures are measured by.

use crate::stat::number;

/// Each is missing where the file lacks it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Time of all CPUs since boot, idle time included, in ticks.
    pub(crate) cpu: Option<u64>,
    /// When it booted, in seconds of Unix time.
    pub(crate) booted: Option<u64>,
    /// Processes and threads created since boot.
    pub(crate) created: Option<u64>,
}

impl Machine {
    pub(crate) fn parse(text: &[u8]) -> Self {
        let mut machine = Self::default();
        for line in text.split(|byte| *byte == b'\n') {
            let mut words = line.split(|byte| *byte == b' ');
            match words.next() {
                Some(b"cpu") => machine.cpu = cpu(words),
                Some(b"btime") => machine.booted = words.next().and_then(number),
                Some(b"processes") => machine.created = words.next().and_then(number),
                _ => {}
            }
        }
        machine
    }
}

/// Guests' time, from the ninth field on, is within the first two.
fn cpu<'a>(fields: impl Iterator<Item = &'a [u8]>) -> Option<u64> {
    let states = fields.filter(|field| !field.is_empty()).take(8).map(number);
    states.reduce(|sum, state| sum?.checked_add(state?)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guests_are_not_counted_twice() {
        let text = b"cpu  1 2 3 4 5 6 7 8 100 100\ncpu0 9 9 9 9\nintr 5 5\nctxt 7\nbtime 1700000000\nprocesses 42\nprocs_running 3\n";
        let machine = Machine::parse(text);
        assert_eq!(machine.cpu, Some(36));
        assert_eq!((machine.booted, machine.created), (Some(1_700_000_000), Some(42)));
    }

    #[test]
    fn what_is_not_there_or_no_number_is_missing() {
        assert_eq!(Machine::parse(b""), Machine::default());
        let text = b"cpu  1 x 3\nbtime\nprocesses -1\n";
        assert_eq!(Machine::parse(text), Machine::default());
        assert_eq!(Machine::parse(b"cpu  5 1 1 93\n").cpu, Some(100), "as old kernels have it");
    }
}
