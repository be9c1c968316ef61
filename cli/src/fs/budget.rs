//! The memory that open files hold: each has a limit, and so have all of them together.

use std::borrow::Cow;
use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest file, in bytes: some 500,000 lines of a table. Higher: fewer such files can be open at once.
pub const LONGEST: usize = 32 << 20;

/// What all open files may hold, in bytes: one of the longest and as much again. With names for 100,000 objects the
/// process stays below 100 MiB.
const ALL: usize = 48 << 20;

/// Longer files are in blocks of so many bytes, so that none is copied because it grows: a copy would take as much memory
/// again for a moment. Larger: more is claimed that is not used. Smaller: more reads are of two blocks.
const BLOCK: usize = 1 << 20;

/// What a file that holds nearly nothing takes: its place among the open ones.
const LEAST: usize = 256;

/// What is left for open files.
#[derive(Clone, Debug)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    pub fn new() -> Budget {
        Budget(Arc::new(AtomicUsize::new(ALL)))
    }

    fn claim(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }

    fn free(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// What an open file holds: made once, and never changed after that.
#[derive(Debug)]
pub struct Text {
    /// All but the last one are full.
    blocks: Vec<Vec<u8>>,
    length: usize,
    budget: Budget,
    claimed: usize,
}

impl Text {
    pub fn new(budget: &Budget) -> Text {
        Text { blocks: Vec::new(), length: 0, budget: budget.clone(), claimed: 0 }
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        *self = Text::new(&self.budget);
    }

    /// Gives back what was claimed and not used.
    pub fn finish(mut self) -> io::Result<Text> {
        if let Some(last) = self.blocks.last_mut() {
            last.shrink_to_fit();
        }
        let needed = self.blocks.iter().map(Vec::capacity).sum::<usize>() + LEAST;
        if needed > self.claimed && !self.budget.claim(needed - self.claimed) {
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.budget.free(self.claimed.saturating_sub(needed));
        self.claimed = needed;
        Ok(self)
    }

    /// At most so many bytes from an offset on.
    pub fn part(&self, offset: u64, length: u32) -> Cow<'_, [u8]> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.length);
        let end = start.saturating_add(length as usize).min(self.length);
        let from = |block: usize, start: usize, end: usize| {
            let bytes = self.blocks.get(block).map_or(&[][..], Vec::as_slice);
            bytes.get(start.min(bytes.len())..end.min(bytes.len())).unwrap_or_default()
        };
        let (first, last) = (start / BLOCK, end.saturating_sub(1) / BLOCK);
        if first >= last {
            return Cow::Borrowed(from(first, start % BLOCK, start % BLOCK + (end - start)));
        }
        let mut part = from(first, start % BLOCK, BLOCK).to_vec();
        for block in first + 1..=last {
            part.extend_from_slice(from(block, 0, end - block * BLOCK));
        }
        Cow::Owned(part)
    }

    /// Makes room in the last block, or a new one, for some more bytes, and says how many.
    fn room(&mut self, wanted: usize) -> io::Result<usize> {
        if self.blocks.last().is_none_or(|last| last.len() == BLOCK) {
            self.blocks.push(Vec::new());
        }
        let first = self.blocks.len() == 1;
        let Some(last) = self.blocks.last_mut() else { return Ok(0) };
        let wanted = wanted.min(BLOCK - last.len());
        let free = last.capacity() - last.len();
        if wanted > free {
            // The first one is doubled while it is small, as most files are.
            let more = if first { wanted.max(last.capacity()).max(LEAST) } else { BLOCK };
            let more = more.min(BLOCK - last.capacity());
            if !self.budget.claim(more) {
                return Err(ErrorKind::OutOfMemory.into());
            }
            self.claimed += more;
            last.reserve_exact(free + more);
        }
        Ok(wanted)
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.length + bytes.len() > LONGEST {
            return Err(ErrorKind::FileTooLarge.into());
        }
        let written = self.room(bytes.len())?;
        if let Some(last) = self.blocks.last_mut() {
            last.extend_from_slice(&bytes[..written]);
        }
        self.length += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.budget.free(self.claimed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_bounded_and_given_back() {
        let budget = Budget::new();
        let mut open = Vec::new();
        let block = vec![b'x'; 1 << 20];
        let error = loop {
            let mut text = Text::new(&budget);
            match (0..20).try_for_each(|_| text.write_all(&block)) {
                Ok(()) => open.push(text.finish().unwrap()),
                Err(error) => break error,
            }
        };
        assert_eq!((open.len(), error.kind()), (2, ErrorKind::OutOfMemory));
        drop(open);
        let mut long = Text::new(&budget);
        let error = (0..40).try_for_each(|_| long.write_all(&block)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::FileTooLarge);
        drop(long);
        assert_eq!(budget.0.load(Ordering::Relaxed), ALL);
    }

    #[test]
    fn parts_end_with_the_text() {
        let mut text = Text::new(&Budget::new());
        text.write_all(b"12345\n").unwrap();
        let text = text.finish().unwrap();
        for (offset, length, part) in
            [(0, 4096, "12345\n"), (4, 4096, "5\n"), (1, 2, "23"), (6, 1, ""), (u64::MAX, u32::MAX, "")]
        {
            assert_eq!(*text.part(offset, length), *part.as_bytes());
        }
    }

    #[test]
    fn blocks_are_one_text() {
        let numbers: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut text = Text::new(&Budget::new());
        for piece in numbers.chunks(999) {
            text.write_all(piece).unwrap();
        }
        let text = text.finish().unwrap();
        assert_eq!(text.blocks.len(), 3);
        let mut read = Vec::new();
        for offset in (0..numbers.len() as u64 + 1).step_by(131_072) {
            read.extend_from_slice(&text.part(offset, 131_072));
        }
        assert_eq!(read, numbers);
        assert_eq!(*text.part(1, u32::MAX), numbers[1..]);
        let block = BLOCK as u64;
        assert_eq!(*text.part(block - 2, 4), numbers[BLOCK - 2..BLOCK + 2]);
        assert_eq!(*text.part(block, 4), numbers[BLOCK..BLOCK + 4]);
        assert_eq!(*text.part(0, BLOCK as u32), numbers[..BLOCK]);
    }
}
