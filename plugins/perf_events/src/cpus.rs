//! Which CPUs are online.

use std::path::Path;

use dropsonde_plugin_api::{Error, KeptFile, Result};

/// Above any number that Linux can be built for (CONFIG_NR_CPUS).
const MAX_CPU: usize = 65_535;

/// `/sys/devices/system/cpu/online` (Documentation/admin-guide/cputopology.rst).
#[derive(Debug)]
pub(crate) struct OnlineCpus {
    file: KeptFile,
}

impl OnlineCpus {
    pub(crate) fn new(sys_root: &Path) -> Self {
        Self { file: KeptFile::new(sys_root.join("devices/system/cpu/online")) }
    }

    /// The numbers, ascending. An error names the file.
    pub(crate) fn read(&mut self) -> Result<Vec<usize>> {
        let parsed = parse(self.file.read_text()?);
        let malformed = || Error::msg("malformed list of CPUs").context(self.file.path().display());
        parsed.ok_or_else(malformed)
    }
}

/// A list such as `0-3,8`; `None` if it is malformed, empty or not ascending.
fn parse(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim_end().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        let is_ascending = cpus.last().is_none_or(|before| *before < first);
        if !is_ascending || first > last || last > MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_and_single_cpus_are_listed() {
        assert_eq!(parse("0\n"), Some(vec![0]));
        assert_eq!(parse("0-2,5,7-8\n"), Some(vec![0, 1, 2, 5, 7, 8]));
    }

    #[test]
    fn what_is_no_ascending_list_is_refused() {
        for text in ["", "\n", "a", "0-", "3-1", "1,0", "0-2,2", "0-99999999999", "-1"] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }
}
