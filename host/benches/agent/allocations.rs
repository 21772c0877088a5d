//! Counts heap allocations: a figure that no load disturbs.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Effort;
use crate::publish::{OnBus, Way};
use crate::table::{Figure, Row};

static COUNTING: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The system's allocator, with a counter that is off unless asked for.
pub(crate) struct Counting;

#[allow(unsafe_code)] // an allocator is unsafe to implement; this one passes everything on
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as the caller promised.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

fn count() {
    if COUNTING.load(Ordering::Relaxed) {
        COUNT.fetch_add(1, Ordering::Relaxed);
    }
}

/// Allocations of all threads meanwhile.
fn during(work: impl FnOnce()) -> u64 {
    COUNT.store(0, Ordering::Relaxed);
    COUNTING.store(true, Ordering::SeqCst);
    work();
    COUNTING.store(false, Ordering::SeqCst);
    COUNT.load(Ordering::Relaxed)
}

pub(crate) fn rows(_: Effort) -> Vec<Row> {
    [1, 1000].map(per_publish).into()
}

fn per_publish(subscribers: usize) -> Row {
    const PUBLISHED: usize = 1024;
    let mut bench = OnBus::new(Way::Task, subscribers);
    bench.run(PUBLISHED); // the queues grow to what they need
    let counted = during(|| bench.run(PUBLISHED));
    let work = format!("heap allocations per publish to {subscribers} tasks");
    Row::alone(work, Figure::Number(counted as f64 / PUBLISHED as f64))
}
