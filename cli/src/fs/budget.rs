//! The memory that open files hold: each has a limit, and so have all of them together.

use std::io::{self, ErrorKind, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest file, in bytes: some 500,000 lines of a table. Higher: fewer such files can be open at once.
pub const LONGEST: usize = 32 << 20;

/// What all open files may hold, in bytes: one of the longest and as much again. With names for 100,000 objects the
/// process stays below 100 MiB.
const ALL: usize = 48 << 20;

/// How a file grows, in bytes: little enough that what is not used does not matter.
const STEP: usize = 1 << 20;

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
    bytes: Vec<u8>,
    budget: Budget,
    claimed: usize,
}

impl Text {
    pub fn new(budget: &Budget) -> Text {
        Text { bytes: Vec::new(), budget: budget.clone(), claimed: 0 }
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Gives back what was claimed and not used.
    pub fn finish(mut self) -> io::Result<Text> {
        self.bytes.shrink_to_fit();
        let needed = self.bytes.capacity() + LEAST;
        if needed > self.claimed && !self.budget.claim(needed - self.claimed) {
            return Err(ErrorKind::OutOfMemory.into());
        }
        self.budget.free(self.claimed.saturating_sub(needed));
        self.claimed = needed;
        Ok(self)
    }

    /// At most so many bytes from an offset on.
    pub fn part(&self, offset: u64, length: u32) -> &[u8] {
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(self.bytes.len());
        let end = start.saturating_add(length as usize).min(self.bytes.len());
        &self.bytes[start..end]
    }
}

impl Write for Text {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = self.bytes.len() + bytes.len();
        if length > LONGEST {
            return Err(ErrorKind::FileTooLarge.into());
        }
        if length > self.bytes.capacity() {
            // Doubled while it is small, as most files are.
            let more = bytes.len().max(self.bytes.capacity().min(STEP)).max(LEAST);
            if !self.budget.claim(more) {
                return Err(ErrorKind::OutOfMemory.into());
            }
            self.claimed += more;
            self.bytes.reserve_exact(more);
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
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
        assert_eq!((text.part(0, 4096), text.part(4, 4096)), (&b"12345\n"[..], &b"5\n"[..]));
        assert_eq!(
            (text.part(1, 2), text.part(6, 1), text.part(u64::MAX, u32::MAX)),
            (&b"23"[..], &b""[..], &b""[..])
        );
    }
}
