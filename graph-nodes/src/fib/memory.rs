//! Large zeroed tables of atomics whose address space is reserved at once and whose memory comes page by page, on first use.
//!
//! The only module of the FIB with unsafe code. Its invariant: `base` points at `len` values of `T`, aligned, zeroed at creation, inside
//! an allocation that `Zeroed` owns and that is released only when it is dropped; and `T` is an atomic integer, so every bit pattern is a
//! value and shared access from any thread is allowed.

use std::io;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, AtomicU64};

/// Which pages to ask for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Pages {
    /// Huge pages (2 MiB on x86-64) where the kernel has them: a lookup then misses the TLB far less often. Every page is mapped at once,
    /// to the kernel's shared page of zeros as long as nobody has written to it: a reader takes no page fault, and no memory is spent.
    Huge,
    /// Huge pages that come as they are written to, for a table of which readers read only what has been written.
    HugeOnUse,
    /// The kernel's choice.
    Ordinary,
}

/// An atomic integer.
///
/// # Safety
/// All-zero bytes are a value of the type, it has no padding, no destructor, and is `Sync`.
pub(super) unsafe trait Atomic: Sync {}
// SAFETY: an atomic integer has the layout of the integer.
unsafe impl Atomic for AtomicU32 {}
// SAFETY: as above.
unsafe impl Atomic for AtomicU64 {}

/// A zeroed table of fixed length and address.
pub(super) struct Zeroed<T> {
    base: NonNull<T>,
    len: usize,
    _owner: owner::Owner<T>,
}

// SAFETY: a `Zeroed` is a shared slice of atomics with an owner; both may move between and be used from several threads.
unsafe impl<T: Atomic> Send for Zeroed<T> {}
// SAFETY: as above.
unsafe impl<T: Atomic> Sync for Zeroed<T> {}

// One element or a short range at a time, not a slice of the whole: Miri would look at 16 million elements for every access.
impl<T> Zeroed<T> {
    /// How many elements there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The element with this number.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        if index >= self.len {
            return None;
        }
        // SAFETY: the module's invariant; `index` is below `len`. Nobody makes a `&mut T`.
        Some(unsafe { &*self.base.as_ptr().add(index) })
    }

    /// The elements from number `first` to number `last`; none if there are not that many.
    #[inline]
    pub(super) fn range(&self, first: usize, last: usize) -> &[T] {
        if first > last || last >= self.len {
            return &[];
        }
        // SAFETY: as in `get`, for all numbers from `first` to `last`; `last` - `first` + 1 is at most `len`.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr().add(first), last - first + 1) }
    }
}

#[cfg(not(miri))]
mod owner {
    use super::{Atomic, NonNull, Pages, Zeroed, io};
    use memmap2::{Advice, MmapOptions, MmapRaw};
    use std::marker::PhantomData;

    /// The x86-64 huge page, which the start is aligned to so that the first page can be one.
    const HUGE_PAGE: usize = 2 << 20;

    pub(in super::super) struct Owner<T>(
        #[expect(dead_code, reason = "unmaps on drop")] MmapRaw,
        PhantomData<T>,
    );

    impl<T: Atomic> Zeroed<T> {
        /// A table of `len` zeros.
        pub(in super::super) fn new(len: usize, pages: Pages) -> io::Result<Self> {
            let bytes = len.checked_mul(size_of::<T>()).ok_or(io::ErrorKind::OutOfMemory)?;
            let reserved = bytes.checked_add(HUGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
            let mapping = MmapRaw::from(MmapOptions::new().len(reserved).no_reserve_swap().map_anon()?);
            let offset = mapping.as_ptr().align_offset(HUGE_PAGE);
            // Both are for speed alone; a kernel that knows neither still has a right table.
            if pages != Pages::Ordinary {
                let _ = mapping.advise_range(Advice::HugePage, offset, bytes);
            }
            if pages == Pages::Huge {
                let _ = mapping.advise_range(Advice::PopulateRead, offset, bytes);
            }
            // SAFETY: `offset` < HUGE_PAGE, so `bytes` bytes from there on lie inside the mapping, which is not null, is zeroed, and
            // lives as long as the owner; a multiple of HUGE_PAGE is aligned for `T`.
            let base = unsafe { NonNull::new_unchecked(mapping.as_mut_ptr().add(offset).cast::<T>()) };
            Ok(Self { base, len, _owner: Owner(mapping, PhantomData) })
        }
    }
}

/// Miri has no `madvise`: the same table from its allocator.
#[cfg(miri)]
mod owner {
    use super::{Atomic, NonNull, Pages, Zeroed, io};
    use std::alloc::{Layout, alloc_zeroed, dealloc};

    pub(in super::super) struct Owner<T>(NonNull<T>, Layout);

    impl<T: Atomic> Zeroed<T> {
        /// A table of `len` zeros.
        pub(in super::super) fn new(len: usize, _: Pages) -> io::Result<Self> {
            let layout = Layout::array::<T>(len).map_err(|_| io::ErrorKind::OutOfMemory)?;
            assert!(layout.size() > 0, "tests ask for something");
            // SAFETY: the layout's size is not zero.
            let base = NonNull::new(unsafe { alloc_zeroed(layout) }.cast::<T>());
            let base = base.ok_or(io::ErrorKind::OutOfMemory)?;
            Ok(Self { base, len, _owner: Owner(base, layout) })
        }
    }

    impl<T> Drop for Owner<T> {
        fn drop(&mut self) {
            // SAFETY: allocated above with this layout, and dropped with the table.
            unsafe { dealloc(self.0.as_ptr().cast(), self.1) }
        }
    }
}

/// Asks the processor to bring the cache line of `value` into its first-level cache. A hint: it never faults, and does nothing where
/// there is no such instruction.
#[inline]
pub(crate) fn prefetch<T>(value: &T) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: a prefetch has no effect on memory or registers, whatever the address; SSE is part of x86-64.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(value).cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: as above.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) value, options(nostack, readonly, preserves_flags));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = value;
}
