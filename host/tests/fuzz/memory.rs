//! The heap that a thread asks for: what an input claims must not be allocated.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    /// Bytes in use, less those of before the count; and the most that there were.
    static IN_USE: Cell<(isize, isize)> = const { Cell::new((0, 0)) };
}

/// What `work` gives, and the most bytes that it had in use at once on this thread.
pub(crate) fn peak<T>(work: impl FnOnce() -> T) -> (T, usize) {
    IN_USE.set((0, 0));
    let given = work();
    (given, IN_USE.get().1.unsigned_abs())
}

/// The system's allocator, with a count of each thread's bytes.
struct Counting;

fn count(bytes: isize) {
    // Gone at the very end of a thread.
    let _ = IN_USE.try_with(|cell| {
        let (now, most) = cell.get();
        cell.set((now + bytes, most.max(now + bytes)));
    });
}

#[allow(unsafe_code)] // an allocator is unsafe to implement; this one passes everything on
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
