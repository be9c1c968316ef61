//! A stream of bytes seen through a window that moves forward, and is as wide as the record in it needs.

use std::io::{self, Read};

/// Bytes that are asked for at once: large enough that a system call costs nothing beside the packets that it brings.
const STEP: usize = 1 << 20;

/// The window: what has been read and not yet consumed.
pub(super) struct Window {
    reader: Box<dyn Read>,
    bytes: Vec<u8>,
    start: usize,
    end: usize,
    /// Where in the stream the window begins.
    offset: u64,
}

impl Window {
    pub(super) fn new(reader: Box<dyn Read>) -> Window {
        Window { reader, bytes: Vec::new(), start: 0, end: 0, offset: 0 }
    }

    /// The stream again, from where the window begins.
    pub(super) fn into_reader(self) -> impl Read {
        let mut seen = io::Cursor::new(self.bytes);
        seen.set_position(self.start as u64);
        seen.take((self.end - self.start) as u64).chain(self.reader)
    }

    /// What is in the window.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// Where in the stream the window begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether the window holds `need` bytes, after having read as many as that takes. `false`: the stream ends before.
    #[inline]
    pub(super) fn holds(&mut self, need: usize) -> io::Result<bool> {
        if self.end - self.start >= need {
            return Ok(true);
        }
        self.widen(need)
    }

    #[cold]
    fn widen(&mut self, need: usize) -> io::Result<bool> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.bytes.len() < need.max(STEP) {
            self.bytes.resize(need.max(STEP), 0);
        }
        while self.end < need {
            match self.reader.read(&mut self.bytes[self.end..]) {
                Ok(0) => return Ok(false),
                Ok(count) => self.end += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }

    /// Moves the window `count` bytes on, at most to its end.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        let count = count.min(self.end - self.start);
        self.start += count;
        self.offset += count as u64;
    }
}
