//! The table of functions of a plugin in C. No layout can be compared as it is for Rust: instead
//! its version and the size of every struct are, before anything else of it is read.

use dropsonde_plugin_api::abi::API_VERSION;
use dropsonde_plugin_api::abi::c::{C_ABI, CPlugin, CTableHead, SIZES};
use thiserror::Error;

/// Most streams: each has a bit in what is asked of a round.
const MAX_STREAMS: u64 = 64;

/// Why a table can't be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum TableError {
    /// Another version of the interface, or no table.
    #[error(
        "is of version {0} of the C interface, this host knows {C_ABI}; compile it against this host's dropsonde.h, and begin the table with DROPSONDE_TABLE"
    )]
    Version(u32),
    /// A struct of another size.
    #[error(
        "takes {what} to have {there} bytes, here it has {here}; compile it for this machine against dropsonde.h {}.{}, and pack no structs", API_VERSION.0, API_VERSION.1
    )]
    Size { what: &'static str, there: u32, here: usize },
    /// A pointer that nothing can be done without.
    #[error("has no {0}")]
    Missing(&'static str),
    /// More streams than there may be.
    #[error("has {0} streams, allowed are {MAX_STREAMS}")]
    Streams(u64),
}

/// A table that fits. What it points to is in the library that it came from.
pub(crate) struct Table(CPlugin);

// SAFETY: what it points to is constant data and code of the library.
unsafe impl Send for Table {}
// SAFETY: the same.
unsafe impl Sync for Table {}

impl Table {
    /// Reads a table, as far as it fits.
    pub(super) fn read(table: *const CTableHead) -> Result<Self, TableError> {
        if table.is_null() || !table.cast::<CPlugin>().is_aligned() {
            return Err(TableError::Version(0));
        }
        // SAFETY: the symbol's address, aligned; every version of the interface begins so.
        let head = unsafe { table.read() };
        if head.abi != C_ABI {
            return Err(TableError::Version(head.abi));
        }
        for ((what, here), there) in SIZES.into_iter().zip(head.sizes) {
            if usize::try_from(there) != Ok(here) {
                return Err(TableError::Size { what, there, here });
            }
        }
        // SAFETY: it says that it is a table of this version and size.
        let plugin = unsafe { table.cast::<CPlugin>().read() };
        if plugin.create.is_none() {
            return Err(TableError::Missing("create()"));
        }
        if plugin.collect.is_none() && plugin.run.is_none() {
            return Err(TableError::Missing("collect() and no run()"));
        }
        if plugin.streams.is_null() || plugin.stream_count == 0 {
            return Err(TableError::Missing("streams"));
        }
        if plugin.stream_count > MAX_STREAMS {
            return Err(TableError::Streams(plugin.stream_count));
        }
        Ok(Self(plugin))
    }

    /// The table as the plugin has it.
    pub(crate) fn plugin(&self) -> &CPlugin {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::c_void;
    use std::ptr;

    use dropsonde_plugin_api::abi::c::{CError, CHost, CSettings, CSink, CStream};

    use super::*;

    unsafe extern "C" fn create(
        _: *const CSettings,
        _: *const CHost,
        _: *mut CError,
        _: *mut *mut c_void,
    ) -> i32 {
        0
    }

    unsafe extern "C" fn run(_: *mut c_void, _: *const CSink, _: *mut CError) -> i32 {
        0
    }

    fn good() -> CPlugin {
        CPlugin {
            head: CTableHead { abi: C_ABI, sizes: SIZES.map(|(_, size)| size as u32) },
            interval_ms: 0,
            streams: ptr::dangling::<CStream>(),
            stream_count: 1,
            check_settings: None,
            create: Some(create),
            collect: None,
            run: Some(run),
            destroy: None,
        }
    }

    fn refusal(change: impl FnOnce(&mut CPlugin)) -> TableError {
        let mut plugin = good();
        change(&mut plugin);
        Table::read(ptr::from_ref(&plugin).cast()).map(drop).unwrap_err()
    }

    #[test]
    fn a_table_is_read_only_if_its_version_and_every_size_fit() {
        assert!(Table::read(ptr::from_ref(&good()).cast()).is_ok());
        assert_eq!(refusal(|plugin| plugin.head.abi = 2), TableError::Version(2));
        for (index, (what, here)) in SIZES.into_iter().enumerate() {
            let there = here as u32 + 8;
            let error = refusal(|plugin| plugin.head.sizes[index] = there);
            assert_eq!(error, TableError::Size { what, there, here });
        }
        assert_eq!(Table::read(ptr::null()).map(drop), Err(TableError::Version(0)));
    }

    #[test]
    fn a_table_that_lacks_what_is_needed_is_refused() {
        assert_eq!(refusal(|plugin| plugin.create = None), TableError::Missing("create()"));
        let error = refusal(|plugin| plugin.run = None);
        assert_eq!(error.to_string(), "has no collect() and no run()");
        let error = refusal(|plugin| plugin.streams = ptr::null());
        assert_eq!(error, TableError::Missing("streams"));
        assert_eq!(refusal(|plugin| plugin.stream_count = 65), TableError::Streams(65));
    }
}
