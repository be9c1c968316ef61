//! Large arrays: in huge pages (packets of random leaves would miss the TLB at each step otherwise), and of zeros, which cost nothing until they are touched.
//!
//! The only unsafe code of the shaper but eight comparisons at once: advice about memory that nothing has been written to yet, and [`Zeroed`]: whoever
//! implements it promises that a value may be all zeros.

use rustix::mm::{Advice, madvise};

/// The x86-64 huge page.
const HUGE_PAGE: usize = 2 << 20;

/// What may be all zeros.
///
/// # Safety
/// Bytes that are all 0 are a value of this type.
pub(super) unsafe trait Zeroed {}

/// `value` of each number below `number`.
pub(super) fn filled<T>(number: usize, value: impl FnMut(u32) -> T) -> Vec<T> {
    let mut memory: Vec<T> = Vec::with_capacity(number);
    let room = memory.spare_capacity_mut();
    advise(room.as_mut_ptr().cast::<u8>(), size_of_val(room));
    memory.extend((0..number as u32).map(value));
    memory
}

/// So many zeros; a page of them is the kernel's until it is written to.
pub(super) fn zeroed<T: Zeroed>(number: usize) -> Box<[T]> {
    let mut memory = Box::<[T]>::new_zeroed_slice(number);
    advise(memory.as_mut_ptr().cast::<u8>(), size_of_val(&*memory));
    // SAFETY: `Zeroed`.
    unsafe { memory.assume_init() }
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
