//! The measuring core against worlds whose truth is known, an independent tool, floods and lies.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod exactness;
mod flows;
mod hostile;
mod oracle;
mod packet;
mod play;
mod rules;
mod segment;
mod tshark;
mod world;

use std::alloc::{GlobalAlloc, Layout, System};

/// Counts each thread's allocations.
struct Counting;

// SAFETY: everything is the system allocator's; counting touches a thread-local number that needs no allocation.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that is ending has no counter any more, and nothing to count.
        let _ = hostile::ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
        // SAFETY: the caller's contract is the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;
