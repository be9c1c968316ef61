//! Several captures as one, in the order of time, as `mergecap` merges them.
//!
//! Packets of one capture stay in its order, also where its times go back; between captures the earlier packet comes first, and at
//! the same time that of the capture that was named first.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::capture::{Capture, Fault, Record};

/// Captures that are read together.
pub struct Merge {
    captures: Vec<Capture>,
    /// The next packet's time, and whose it is, of all captures but the current one.
    waiting: BinaryHeap<Reverse<(u64, usize)>>,
    current: Option<usize>,
    /// Where each capture's clock stands: packets without a time come as soon as the one before them.
    clocks: Vec<u64>,
    faults: Vec<Fault>,
}

impl Merge {
    /// Puts captures together.
    pub fn new(captures: Vec<Capture>) -> Merge {
        let clocks = vec![0; captures.len()];
        let mut it =
            Merge { captures, waiting: BinaryHeap::new(), current: None, clocks, faults: Vec::new() };
        for capture in 0..it.captures.len() {
            it.wait(capture);
        }
        it
    }

    /// Reads on in a capture, and lets it wait for its turn.
    fn wait(&mut self, number: usize) {
        let capture = &mut self.captures[number];
        match capture.advance() {
            Ok(true) => {
                let time = capture.record().and_then(|record| record.time);
                let clock = time.unwrap_or(self.clocks[number]);
                self.clocks[number] = clock;
                self.waiting.push(Reverse((clock, number)));
            }
            Ok(false) => {}
            Err(fault) => self.faults.push(fault),
        }
    }

    /// The next packet of all captures.
    pub fn next(&mut self) -> Option<Record<'_>> {
        if let Some(capture) = self.current.take() {
            self.wait(capture);
        }
        let Reverse((_, number)) = self.waiting.pop()?;
        self.current = Some(number);
        self.captures[number].record()
    }

    /// What has ended captures before their end.
    pub fn into_faults(self) -> Vec<Fault> {
        self.faults
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::captures::{Pcap, Pcapng},
        *,
    };

    fn capture(times: &[u64]) -> Vec<u8> {
        let mut capture = Pcap::new(1, false, true);
        for time in times {
            capture.packet(*time, format!("{time}").as_bytes(), 1);
        }
        capture.bytes
    }

    fn merged(captures: Vec<Vec<u8>>) -> (Vec<String>, usize) {
        let open = |bytes| Capture::new("it".into(), std::io::Cursor::new(bytes)).unwrap();
        let mut merge = Merge::new(captures.into_iter().map(open).collect());
        let mut all = Vec::new();
        while let Some(record) = merge.next() {
            all.push(String::from_utf8(record.bytes.to_vec()).unwrap());
        }
        (all, merge.into_faults().len())
    }

    #[test]
    fn captures_are_merged_by_time() {
        let three = vec![capture(&[10, 30, 20, 40]), capture(&[5, 30, 31]), capture(&[])];
        assert_eq!(merged(three), (["5", "10", "30", "20", "30", "31", "40"].map(String::from).to_vec(), 0));
    }

    #[test]
    fn a_damaged_capture_does_not_end_the_others() {
        let mut damaged = capture(&[10, 30, 50]);
        damaged.truncate(damaged.len() - 1);
        let all = merged(vec![damaged, capture(&[20, 40, 60])]);
        assert_eq!(all, (["10", "20", "30", "40", "60"].map(String::from).to_vec(), 1));
    }

    #[test]
    fn packets_without_a_time_follow_the_one_before() {
        let mut untimed = Pcapng::default();
        untimed.section(false);
        untimed.interface(1, Some(9), None);
        untimed.packet(0, 10, b"a", 1);
        untimed.simple_packet(b"b", 1);
        untimed.packet(0, 30, b"c", 1);
        let all = merged(vec![capture(&[20]), untimed.bytes]);
        assert_eq!(all.0, ["a", "b", "20", "c"]);
    }
}
