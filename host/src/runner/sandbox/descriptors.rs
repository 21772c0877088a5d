//! Closes what the process inherited: whoever started the host may have left something open.
#![allow(unsafe_code)] // closes descriptors by number; no safe function does

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Closes every descriptor but the standard three and `kept`. To be called before anything is
/// opened. Fails where the kernel lacks close_range(2), before Linux 5.9.
pub(crate) fn close_inherited(kept: BorrowedFd<'_>) -> io::Result<()> {
    let kept = kept.as_raw_fd().unsigned_abs();
    for (first, last) in [(3, kept.saturating_sub(1)), (kept.saturating_add(1), u32::MAX)] {
        if first > last {
            continue;
        }
        // SAFETY: nothing in this process owns a descriptor beyond the standard ones and `kept`
        // yet, so none is closed under its owner. By number, since glibc has it only from 2.34.
        let done = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}
