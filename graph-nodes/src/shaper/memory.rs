//! Large arrays in huge pages: packets of random leaves would miss the TLB at each step otherwise.
//!
//! The only unsafe code of the shaper but eight comparisons at once: advice about memory that nothing has been written to yet.

use rustix::mm::{Advice, madvise};

/// The x86-64 huge page.
const HUGE_PAGE: usize = 2 << 20;

/// `value` of each number below `number`.
pub(super) fn filled<T>(number: usize, value: impl FnMut(u32) -> T) -> Vec<T> {
    let mut memory: Vec<T> = Vec::with_capacity(number);
    let room = memory.spare_capacity_mut();
    let bytes = size_of_val(room);
    let start = room.as_mut_ptr().cast::<u8>();
    let offset = start.align_offset(HUGE_PAGE);
    if let Some(length) = bytes.checked_sub(offset).map(|length| length & !(HUGE_PAGE - 1))
        && length > 0
        && cfg!(not(miri))
    {
        // SAFETY: the range lies inside the vector's allocation, whole pages of it. The advice changes how the kernel backs them, not what
        // they hold. For speed alone: a kernel that does not know it still gives the memory.
        let _ = unsafe { madvise(start.add(offset).cast(), length, Advice::LinuxHugepage) };
    }
    memory.extend((0..number as u32).map(value));
    memory
}
