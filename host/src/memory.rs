//! What the allocator keeps of memory that was freed. With the GNU C library it keeps much: a
//! plugin file is read whole, and its buffer would stay with the host for good.

/// Has large blocks come from the kernel and go back to it when they are freed. By itself the
/// allocator raises the size from which it does so with each block that it gets back
/// (mallopt(3)). For a process that is the host alone; to be called once, at its start.
pub(crate) fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: changes a setting of the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 256 << 10);
    }
}

/// Returns what is free to the kernel: an instance that is gone may have had much.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time from any thread (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Gives back what is free where much of it has come since the last time: clients that have left
/// may have had much waiting. To be called now and then.
#[derive(Debug, Default)]
pub(crate) struct Housekeeping {
    /// What was free after the last time, in bytes.
    free: usize,
}

/// So much more makes it worth while.
const MUCH: usize = 8 << 20;

impl Housekeeping {
    pub(crate) fn keep(&mut self) {
        let free = free();
        self.free = self.free.min(free);
        if free >= self.free + MUCH {
            give_back();
            self.free = self::free();
        }
    }
}

/// Bytes that the allocator has and nobody uses, pages that it gave back included.
fn free() -> usize {
    #[cfg(target_env = "gnu")]
    // SAFETY: may be called at any time from any thread (mallinfo(3)). Not mallinfo2, which older
    // systems lack: what is beyond 2 GiB comes as a negative number, which is much too.
    return unsafe { libc::mallinfo() }.fordblks as u32 as usize;
    #[cfg(not(target_env = "gnu"))]
    return 0;
}
