//! Shared memory as a slice of atomic words: the one module that touches raw memory.
//!
//! Invariant: from an [`Area`]'s creation to its drop, `start` points to `length` initialised, aligned words that
//! nothing in this process accesses but as `AtomicU64`, and that stay mapped; or the area is a file, and `start` to none.
//! Other processes only map the same memory to read it (the descriptor is sealed), or are the one writer of a mapping that
//! this process only reads.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};

use memmap2::{MmapRaw, UncheckedAdvice};

use crate::holes::{Holes, allocated};
use crate::layout::{LINE, WORD};
use crate::protocol::Memory;

/// A whole segment in this process's memory.
#[derive(Debug)]
pub(crate) struct Area {
    start: NonNull<AtomicU64>,
    length: usize,
    writable: bool,
    backing: Backing,
}

#[derive(Debug)]
enum Backing {
    /// The writer's mapping.
    Mapping(#[expect(dead_code, reason = "held for its drop, which unmaps")] MmapRaw),
    /// A reader's mapping.
    ReadOnly {
        mapping: MmapRaw,
        holes: Holes,
        /// Bytes that were asked for since the pages were last given back.
        touched: AtomicUsize,
    },
    Heap(NonNull<[AtomicU64]>),
    /// Not mapped: whoever has the file may cut it, and words that are gone would kill this process (SIGBUS).
    File(OwnedFd),
}

/// Bytes after which a reader gives back the pages that it touched: they count as its memory, and a segment may have more
/// than the machine. With less, readers of small segments would fault the same pages in again at each reading.
const KEPT: usize = 16 << 20;

/// The words of one answer: so much less than [`KEPT`] that it is kept to.
const STEP: usize = (1 << 20) / WORD;

/// The least that one question counts for: a fault brings the pages around along (Linux: fault_around_bytes).
const AROUND: usize = 4096;

// SAFETY: the words are atomics, and the backing is only touched on drop.
unsafe impl Send for Area {}
// SAFETY: as above; a shared reference gives access to atomics only.
unsafe impl Sync for Area {}

impl Area {
    /// Takes over a mapping that may be written to.
    pub(crate) fn mapped(mapping: MmapRaw) -> Option<Area> {
        // A mapping starts on a page boundary, so it is aligned for any word.
        let start = NonNull::new(mapping.as_mut_ptr().cast::<AtomicU64>())?;
        let length = mapping.len() / WORD;
        Some(Area { start, length, writable: true, backing: Backing::Mapping(mapping) })
    }

    /// Takes over a shared mapping of a file that may only be read: storing to it would fault.
    pub(crate) fn read_only(mapping: MmapRaw, file: OwnedFd) -> Option<Area> {
        let start = NonNull::new(mapping.as_mut_ptr().cast::<AtomicU64>())?;
        let length = mapping.len() / WORD;
        let backing = Backing::ReadOnly { mapping, holes: Holes::of(file), touched: AtomicUsize::new(0) };
        Some(Area { start, length, writable: false, backing })
    }

    /// Bytes of the file behind it that are really there; `None` if there is none.
    pub(crate) fn allocated(&self) -> Option<u64> {
        match &self.backing {
            Backing::ReadOnly { holes, .. } => holes.allocated(),
            Backing::File(file) => allocated(file),
            Backing::Mapping(_) | Backing::Heap(_) => None,
        }
    }

    /// Zeroed ordinary memory of this many words, its start aligned like a mapping's lines.
    pub(crate) fn heap(length: usize) -> Area {
        let words = Box::<[AtomicU64]>::new_zeroed_slice(length + LINE);
        // SAFETY: an all-zero `AtomicU64` is a valid one.
        let words = NonNull::from(Box::leak(unsafe { words.assume_init() }));
        let first = words.cast::<AtomicU64>();
        let skip = first.as_ptr().align_offset(LINE * WORD).min(LINE);
        // SAFETY: `skip` ≤ LINE words, and the allocation has LINE words more than `length`.
        let start = unsafe { first.add(skip) };
        Area { start, length, writable: true, backing: Backing::Heap(words) }
    }

    /// A file that is read word by word, a system call each.
    pub(crate) fn file(file: OwnedFd, length: usize) -> Area {
        Area { start: NonNull::dangling(), length, writable: false, backing: Backing::File(file) }
    }

    #[inline]
    fn word(&self, word: usize) -> Option<&AtomicU64> {
        // SAFETY: the module's invariant; the word is inside, and `load` has turned files aside, `store` what is not writable.
        (word < self.length).then(|| unsafe { self.start.add(word).as_ref() })
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if let Backing::Heap(words) = self.backing {
            // SAFETY: it came from `Box::leak` in `heap`, and every borrower holds the area alive.
            drop(unsafe { Box::from_raw(words.as_ptr()) });
        }
    }
}

impl Memory for Area {
    fn words(&self) -> usize {
        self.length
    }

    fn load(&self, word: usize) -> Option<u64> {
        if let Backing::File(file) = &self.backing {
            if word >= self.length {
                return None;
            }
            let mut octets = [0; WORD];
            let read = rustix::io::pread(file, &mut octets[..], (word * WORD) as u64).ok()?;
            return (read == WORD).then(|| u64::from_le_bytes(octets));
        }
        // Relaxed: the only ordering that Rust promises for loads from read-only memory; fences do the rest.
        self.word(word).map(|word| word.load(Ordering::Relaxed))
    }

    fn first_written(&self, words: Range<usize>) -> Range<usize> {
        let Backing::ReadOnly { mapping, holes, touched } = &self.backing else { return words };
        let words = words.start.min(self.length)..words.end.min(self.length);
        let Range { start, end } =
            holes.first_written((words.start * WORD) as u64..(words.end * WORD) as u64);
        // Inside of `words`, so inside of the address space.
        let (start, end) = (start as usize / WORD, end as usize / WORD);
        let found = start..end.min(start + STEP);
        let bytes = (found.len() * WORD).max(AROUND);
        if !found.is_empty() && touched.fetch_add(bytes, Ordering::Relaxed) + bytes > KEPT {
            touched.store(bytes, Ordering::Relaxed);
            // SAFETY: the mapping is shared and this process cannot write to it: the file has all that it shows, and the next
            // load of a word faults its page in again.
            // Should the system refuse, the memory stays in use; nothing else changes.
            let _ = unsafe { mapping.unchecked_advise(UncheckedAdvice::DontNeed) };
        }
        found
    }

    fn store(&self, word: usize, value: u64) {
        debug_assert!(self.writable && word < self.length, "a store to word {word} of {}", self.length);
        if self.writable
            && let Some(word) = self.word(word)
        {
            word.store(value, Ordering::Relaxed);
        }
    }

    fn fence(&self, order: Ordering) {
        fence(order);
    }
}

/// Some words of an area, which it keeps alive: a row's memory, ready for the packet path.
#[derive(Debug)]
pub(crate) struct Words {
    start: NonNull<AtomicU64>,
    length: usize,
    _area: Arc<Area>,
}

// SAFETY: the words are atomics of an area that is itself `Send` and `Sync`.
unsafe impl Send for Words {}
// SAFETY: as above.
unsafe impl Sync for Words {}

impl Words {
    /// The words from `start` on, or `None` if they are not all inside a writable area.
    pub(crate) fn new(area: &Arc<Area>, start: usize, length: usize) -> Option<Words> {
        let inside = start.checked_add(length).is_some_and(|end| end <= area.length);
        if !inside || !area.writable {
            return None;
        }
        // SAFETY: the module's invariant; the words are inside.
        let start = unsafe { area.start.add(start) };
        Some(Words { start, length, _area: Arc::clone(area) })
    }

    /// The words themselves.
    #[inline(always)]
    pub(crate) fn all(&self) -> &[AtomicU64] {
        // SAFETY: `new` cut them out of the area, which `_area` keeps alive.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    /// Asks for the line with this word to be brought near; does nothing outside the words.
    #[inline(always)]
    pub(crate) fn prefetch(&self, word: usize) {
        if let Some(word) = self.all().get(word) {
            #[cfg(all(target_arch = "x86_64", not(miri)))]
            // SAFETY: SSE is part of every x86-64 machine, and a prefetch never faults.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(word).cast());
            }
            #[cfg(not(all(target_arch = "x86_64", not(miri))))]
            let _ = word;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heap_area_is_zero_aligned_and_bounded() {
        let area = Area::heap(100);
        assert_eq!(area.start.as_ptr() as usize % (LINE * WORD), 0);
        assert!((0..100).all(|word| area.load(word) == Some(0)));
        assert_eq!(area.load(100), None);
        assert_eq!(area.load(usize::MAX), None);
    }

    #[test]
    fn words_outlive_the_last_other_owner_of_the_area() {
        let area = Arc::new(Area::heap(64));
        let words = Words::new(&area, 16, 16).unwrap();
        assert!(Words::new(&area, 60, 5).is_none());
        assert!(Words::new(&area, usize::MAX, 2).is_none());
        area.store(17, 5);
        drop(area);
        assert_eq!(words.all()[1].load(Ordering::Relaxed), 5);
    }
}
