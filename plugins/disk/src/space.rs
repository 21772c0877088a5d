//! How much room a file system has.

use std::io;
use std::path::Path;

/// Sizes as statvfs(3) gives them: in fragments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) fragment_bytes: u64,
    pub(crate) blocks: u64,
    /// For root.
    pub(crate) blocks_free: u64,
    /// For everyone else.
    pub(crate) blocks_available: u64,
}

/// Asks the kernel. Blocks for as long as the file system, or one on the way to it, does.
pub(crate) fn statvfs(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    Ok(Space {
        fragment_bytes: stat.f_frsize,
        blocks: stat.f_blocks,
        blocks_free: stat.f_bfree,
        blocks_available: stat.f_bavail,
    })
}

impl Space {
    pub(crate) fn total_bytes(&self) -> Option<u64> {
        self.blocks.checked_mul(self.fragment_bytes)
    }

    pub(crate) fn used_bytes(&self) -> Option<u64> {
        self.blocks.checked_sub(self.blocks_free)?.checked_mul(self.fragment_bytes)
    }

    pub(crate) fn free_bytes(&self) -> Option<u64> {
        self.blocks_available.checked_mul(self.fragment_bytes)
    }

    /// `None` for a file system without any room, such as procfs.
    pub(crate) fn percent(&self) -> Option<f64> {
        let used = self.used_bytes()? as f64;
        let usable = used + self.free_bytes()? as f64;
        (usable > 0.0).then(|| used / usable * 100.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_df() {
        let space =
            Space { fragment_bytes: 4096, blocks: 1000, blocks_free: 300, blocks_available: 200 };
        assert_eq!(space.total_bytes(), Some(4_096_000));
        assert_eq!(space.used_bytes(), Some(2_867_200));
        assert_eq!(space.free_bytes(), Some(819_200));
        assert_eq!(space.percent(), Some(700.0 / 900.0 * 100.0));
    }

    #[test]
    fn a_file_system_without_room_has_no_percentage() {
        let space = Space { fragment_bytes: 4096, blocks: 0, blocks_free: 0, blocks_available: 0 };
        assert_eq!((space.total_bytes(), space.percent()), (Some(0), None));
    }

    #[test]
    fn impossible_sizes_are_missing() {
        let space =
            Space { fragment_bytes: 4096, blocks: 1, blocks_free: 2, blocks_available: u64::MAX };
        assert_eq!((space.used_bytes(), space.free_bytes(), space.percent()), (None, None, None));
    }
}
