//! What the targets share: an allocator that tells how much was asked for, so that no length that input claims
//! is believed.

pub mod capi;
pub mod server;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Relaxed) + layout.size();
        MOST.fetch_max(held, Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// Runs `target`, which may hold `base` bytes of memory and `each` for each byte of input at a time, and no more.
pub fn bounded(data: &[u8], base: usize, each: usize, target: fn(&[u8])) {
    let before = HELD.load(Relaxed);
    MOST.store(before, Relaxed);
    target(data);
    let most = MOST.load(Relaxed).saturating_sub(before);
    let bound = base + each * data.len();
    assert!(most <= bound, "{} bytes of input made it hold {most} of memory, more than {bound}", data.len());
}
