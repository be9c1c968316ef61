//! The holes of a sparse file. A load from a hole of a mapped memory file makes the kernel put a page of zeros there, for
//! good: whoever reads a sparse segment word by word would fill it. So readers ask first.

use std::collections::BTreeMap;
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use rustix::fs::{SeekFrom, fstat, seek};
use rustix::io::Errno;

/// A file that may have holes. What was found to be written stays so: nobody makes holes in a segment.
///
/// The file's position, which asking moves, may be shared with other readers; nobody reads or writes by it.
#[derive(Debug)]
pub(crate) struct Holes {
    file: OwnedFd,
    /// Begin and end of what is known to be written, in bytes; parts that touch are one. Without it each question would
    /// make the kernel go through all that is written behind the place that it is about.
    written: Mutex<BTreeMap<u64, u64>>,
}

impl Holes {
    /// The holes of this file.
    pub(crate) fn of(file: OwnedFd) -> Holes {
        Holes { file, written: Mutex::default() }
    }

    /// Bytes that are really there; `None` if the system does not say.
    pub(crate) fn allocated(&self) -> Option<u64> {
        allocated(&self.file)
    }

    /// The first part of these bytes that is no hole; empty, at their end, if all of them are one.
    pub(crate) fn first_written(&self, bytes: Range<u64>) -> Range<u64> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |written: &BTreeMap<u64, u64>, at: u64| {
            written.range(..=at).next_back().map(|(_, end)| *end).filter(|end| *end > at)
        };
        if let Some(end) = known(&written, bytes.start) {
            return bytes.start..end.min(bytes.end);
        }
        let first = match seek(&self.file, SeekFrom::Data(bytes.start)) {
            Ok(first) if first < bytes.end => first.max(bytes.start),
            Ok(_) | Err(Errno::NXIO) => return bytes.end..bytes.end,
            // Not every file system knows of holes.
            Err(_) => return bytes,
        };
        if let Some(end) = known(&written, first) {
            return first..end.min(bytes.end);
        }
        let Ok(end) = seek(&self.file, SeekFrom::Hole(first)) else { return first..bytes.end };
        join(&mut written, first, end);
        first..end.min(bytes.end)
    }
}

/// Bytes of a file that are really there; `None` if the system does not say.
pub(crate) fn allocated(file: &OwnedFd) -> Option<u64> {
    // st_blocks is in units of 512 bytes, whatever the file system.
    Some(u64::try_from(fstat(file).ok()?.st_blocks).ok()?.saturating_mul(512))
}

/// Adds a part, as one with those that it touches.
fn join(written: &mut BTreeMap<u64, u64>, first: u64, end: u64) {
    let before = written.range(..=first).next_back().filter(|(_, end)| **end >= first);
    let (first, mut end) = (before.map_or(first, |(first, _)| *first), end);
    while let Some((&next, &its_end)) = written.range(first..=end).next() {
        written.remove(&next);
        end = end.max(its_end);
    }
    written.insert(first, end);
}

#[cfg(test)]
mod tests {
    use rustix::fs::{MemfdFlags, ftruncate, memfd_create};

    use super::*;

    const PAGE: u64 = 65_536; // of any machine, so that a page is never larger

    #[test]
    #[cfg_attr(miri, ignore = "asks the system")]
    fn what_was_written_is_found_and_nothing_else() {
        let file = memfd_create("holes", MemfdFlags::CLOEXEC).unwrap();
        ftruncate(&file, 10 * PAGE).unwrap();
        let write = |page: u64| rustix::io::pwrite(&file, &[1; PAGE as usize], page * PAGE).unwrap();
        write(2);
        write(3);
        write(7);
        let holes = Holes::of(file.try_clone().unwrap());
        let found = |from: u64, to: u64| {
            let Range { start, end } = holes.first_written(from * PAGE..to * PAGE);
            (start / PAGE, end / PAGE)
        };
        for _ in 0..2 {
            assert_eq!((found(0, 10), found(3, 10), found(2, 3)), ((2, 4), (3, 4), (2, 3)));
            assert_eq!((found(4, 10), found(4, 7), found(8, 10)), ((7, 8), (7, 7), (10, 10)));
        }
        write(4);
        assert_eq!(
            (found(0, 10), found(4, 10)),
            ((2, 4), (4, 5)),
            "what is new is found when it is asked for"
        );
        assert_eq!(found(0, 10), (2, 5), "and is then one with what it touches");
        assert_eq!(holes.allocated(), Some(4 * PAGE));
    }

    #[test]
    fn parts_that_touch_are_one() {
        let mut written = BTreeMap::new();
        for (first, end) in [(10, 20), (40, 50), (60, 70), (20, 30), (5, 10), (45, 61)] {
            join(&mut written, first, end);
        }
        assert_eq!(written.into_iter().collect::<Vec<_>>(), [(5, 30), (40, 70)]);
    }
}
