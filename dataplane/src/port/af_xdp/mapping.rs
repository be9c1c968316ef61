//! Memory that the kernel has mapped for this process.
//!
//! **Invariant.** A [`Mapping`] owns its pages: nobody else unmaps them, and they stay until it is dropped. What is in them is reached through a pointer by
//! those who keep it alive.

use std::{ffi::c_void, io, os::fd::BorrowedFd, ptr::NonNull};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap, mmap_anonymous, munmap};

/// The x86-64 huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Pages, unmapped when dropped.
pub(super) struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is the only owner of its pages, which are no thread's own.
unsafe impl Send for Mapping {}
// SAFETY: a shared reference gives away the address alone.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// At least `length` bytes of zeros, there from the start: in huge pages where the kernel has them, so that the headers of packets do not miss the
    /// TLB. Since Linux 6.7 it aligns a mapping of whole huge pages to them.
    pub(super) fn anonymous(length: usize) -> io::Result<Mapping> {
        let length = length.checked_next_multiple_of(HUGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
        // SAFETY: the kernel chooses where, so nothing that is there is replaced.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )
        }?;
        let mapping = Mapping::at(start, length)?;
        for advice in [Advice::LinuxHugepage, Advice::LinuxPopulateWrite] {
            // For speed alone: a kernel that knows neither has the pages when they are registered, which says if there is no memory.
            // SAFETY: the mapping is ours, so long, and nobody uses it yet.
            let _ = unsafe { madvise(start, length, advice) };
        }
        Ok(mapping)
    }

    /// `length` bytes of a file, from `offset` on, shared with whoever else has it.
    pub(super) fn of(file: BorrowedFd<'_>, length: usize, offset: u64) -> io::Result<Mapping> {
        let flags = MapFlags::SHARED | MapFlags::POPULATE;
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: as above.
        let start = unsafe { mmap(std::ptr::null_mut(), length, protection, flags, file, offset) };
        Mapping::at(start?, length)
    }

    fn at(start: *mut c_void, length: usize) -> io::Result<Mapping> {
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Mapping { start, length })
    }

    /// The first byte, at the beginning of a page.
    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// Bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped here, so long, and not unmapped before.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}
