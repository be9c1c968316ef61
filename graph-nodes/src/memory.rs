//! Large arrays: in huge pages (packets of random leaves would miss the TLB at each step otherwise), and of zeros, which cost nothing until they are touched.
//!
//! The queues, the flow tables and frames in ordinary memory are made here; the FIB's tables, which are atomic and grow, have a module of their own.
//! Its unsafe code: advice about memory that nothing has been written to yet, [`Zeros`], which owns memory that it has allocated itself, and [`Zeroed`]:
//! whoever implements it promises that a value may be all zeros.

use std::{
    alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error},
    ops::{Deref, DerefMut},
    ptr::NonNull,
    slice,
};

use rustix::mm::{Advice, madvise};

/// The x86-64 huge page.
const HUGE_PAGE: usize = 2 << 20;

/// What may be all zeros.
///
/// # Safety
/// Bytes that are all 0 are a value of this type.
pub(crate) unsafe trait Zeroed {}

/// `value` of each number below `number`.
pub(crate) fn filled<T>(number: usize, value: impl FnMut(u32) -> T) -> Vec<T> {
    let mut memory: Vec<T> = Vec::with_capacity(number);
    let room = memory.spare_capacity_mut();
    advise(room.as_mut_ptr().cast::<u8>(), size_of_val(room));
    memory.extend((0..number as u32).map(value));
    memory
}

/// An array that began as zeros; a page of it is the kernel's until it is written to.
///
/// Not `alloc_zeroed` for the type's own alignment: the system's allocator only has untouched pages for what needs no more than 16, and would write
/// zeros to all others.
pub(crate) struct Zeros<T> {
    /// What was allocated, and where in it values begin.
    memory: NonNull<u8>,
    layout: Layout,
    first: NonNull<T>,
    number: usize,
}

// SAFETY: it owns its values as a `Box<[T]>` does.
unsafe impl<T: Send> Send for Zeros<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Zeros<T> {}

/// So many zeros.
///
/// # Panics
/// If that is more than there can be.
pub(crate) fn zeroed<T: Zeroed>(number: usize) -> Zeros<T> {
    const { assert!(!std::mem::needs_drop::<T>(), "`Zeros` drops no values") };
    let room = size_of::<T>().checked_mul(number).and_then(|bytes| bytes.checked_add(align_of::<T>()));
    let layout = room.and_then(|room| Layout::from_size_align(room, 16).ok());
    let Some(layout) = layout else { panic!("{number} × {} bytes are too much", size_of::<T>()) };
    // SAFETY: the layout is not empty: an alignment is at least 1.
    let start = unsafe { alloc_zeroed(layout) };
    let Some(memory) = NonNull::new(start) else { handle_alloc_error(layout) };
    // SAFETY: there is room for an alignment on top of the values.
    let first = unsafe { memory.add(memory.align_offset(align_of::<T>())) }.cast();
    advise(memory.as_ptr(), layout.size());
    Zeros { memory, layout, first, number }
}

impl<T> Zeros<T> {
    /// The first value, for whoever keeps the array and reaches its values by pointers alone.
    pub(crate) fn start(&self) -> NonNull<T> {
        self.first
    }
}

impl<T: Zeroed> Default for Zeros<T> {
    fn default() -> Zeros<T> {
        zeroed(0)
    }
}

impl<T> Deref for Zeros<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: so many values are there, aligned and allocated, which zeros are (`Zeroed`); the borrow is of all of them.
        unsafe { slice::from_raw_parts(self.first.as_ptr(), self.number) }
    }
}

impl<T> DerefMut for Zeros<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the borrow is exclusive.
        unsafe { slice::from_raw_parts_mut(self.first.as_ptr(), self.number) }
    }
}

impl<T> Drop for Zeros<T> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `zeroed`, which has seen to it that values need no drop.
        unsafe { dealloc(self.memory.as_ptr(), self.layout) }
    }
}

/// Asks for huge pages.
fn advise(start: *mut u8, bytes: usize) {
    let offset = start.align_offset(HUGE_PAGE);
    if let Some(length) = bytes.checked_sub(offset).map(|length| length & !(HUGE_PAGE - 1))
        && length > 0
        && cfg!(not(miri))
    {
        // SAFETY: the range lies inside an allocation of ours, whole pages of it. The advice changes how the kernel backs them, not what
        // they hold. For speed alone: a kernel that does not know it still gives the memory.
        let _ = unsafe { madvise(start.add(offset).cast(), length, Advice::LinuxHugepage) };
    }
}
