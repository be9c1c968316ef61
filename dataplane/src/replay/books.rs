//! What has passed of each flow, for the forms of lines that say so.
//!
//! The measuring core keeps a flow in 128 bytes and forgets it when it ends. These books are kept beside it, only when a line says what has passed,
//! and grow with the flows of the captures.

use rustc_hash::FxHashMap;

use super::lines::Passed;

/// A direction of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Direction {
    /// Where its packets come from: address and port.
    pub source: (u128, u16),
    /// Where they go.
    pub destination: (u128, u16),
    /// ICMP echoes, whose ports are none.
    pub echo: bool,
}

impl Direction {
    /// The other direction of the flow.
    pub fn reversed(self) -> Direction {
        Direction { source: self.destination, destination: self.source, ..self }
    }
}

/// The books of all flows.
#[derive(Debug, Default)]
pub struct Books(FxHashMap<Direction, Book>);

#[derive(Debug, Default)]
struct Book {
    packets: u64,
    /// Frames' bytes.
    bytes: u64,
    /// Payload's bytes.
    payload: u64,
    /// `bytes` at the last line.
    told: u64,
    /// `bytes` of the other direction that replies have been seen for.
    echoed: u64,
    /// The newest stamped packet; the core keeps no more of them.
    stamp: Stamp,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stamp {
    time: u64,
    bytes: u64,
    echoed: u64,
}

impl Books {
    /// A packet passes: `frame` bytes on the wire, `payload` bytes of them beyond the transport's header.
    pub fn pass(&mut self, direction: Direction, frame: u32, payload: u16) {
        let book = self.0.entry(direction).or_default();
        book.packets += 1;
        book.bytes += u64::from(frame);
        book.payload += u64::from(payload);
    }

    /// The packet that has just [passed](Books::pass) is stamped, at `time`.
    pub fn stamp(&mut self, direction: Direction, time: u64) {
        let book = self.0.entry(direction).or_default();
        book.stamp = Stamp { time, bytes: book.bytes, echoed: book.echoed };
    }

    /// What has passed when a reply in `direction`, which has [passed](Books::pass) by now, matches what was stamped at `stamped`. To be asked
    /// once for each sample.
    pub fn passed(&mut self, direction: Direction, stamped: u64) -> Passed {
        let mut passed = Passed::default();
        if let Some(book) = self.0.get_mut(&direction) {
            passed.since = book.bytes - book.told;
            book.told = book.bytes;
            (passed.received_packets, passed.received_bytes) = (book.packets, book.payload);
        }
        if let Some(book) = self.0.get_mut(&direction.reversed()) {
            (passed.sent_packets, passed.sent_bytes) = (book.packets, book.payload);
            let Stamp { time, bytes, echoed } = book.stamp;
            if time == stamped {
                (passed.stamped, passed.echoed) = (bytes, echoed);
                book.echoed = bytes;
            }
        }
        passed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn books_say_what_nichols_and_epping_say() {
        let there = Direction { source: (1, 10), destination: (2, 20), echo: false };
        let back = there.reversed();
        let mut books = Books::default();
        books.pass(there, 1066, 1000);
        books.stamp(there, 100);
        books.pass(there, 566, 500);
        books.pass(back, 66, 0);
        let first = Passed {
            stamped: 1066,
            echoed: 0,
            since: 66,
            sent_packets: 2,
            sent_bytes: 1500,
            received_packets: 1,
            received_bytes: 0,
        };
        assert_eq!(books.passed(back, 100), first);
        books.pass(there, 166, 100);
        books.stamp(there, 300);
        books.pass(back, 66, 0);
        books.pass(back, 76, 10);
        let second = Passed {
            stamped: 1798,
            echoed: 1066,
            since: 142,
            sent_packets: 3,
            sent_bytes: 1600,
            received_packets: 3,
            received_bytes: 10,
        };
        assert_eq!(books.passed(back, 300), second);
    }
}
