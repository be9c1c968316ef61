//! The measuring core over any packets: parsing, options, flows, stamps.
//!
//! An input is a list of datagrams, each behind three bytes: flags, milliseconds since the one before, length. The first form gives the bytes of the
//! datagram; the second only what stands behind a TCP header's ports, of one flow in either direction, so that packets meet.
//! Whatever they say: no panic, never more samples than stamped packets that left, never more flows than there is room for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_graph::clock::Clock;
use weir_graph::rtt::{TableHash, Observed, Sample, Settings, Sink, Tracker};

/// Microseconds.
const HZ: u64 = 1_000_000;

const ONE_FLOW: u8 = 1 << 0;
const BACK: u8 = 1 << 1;
const STAYS_INSIDE: u8 = 1 << 2;
/// The time is seconds.
const LONG: u8 = 1 << 3;

#[derive(Default)]
struct Count {
    samples: u64,
}

impl Sink for Count {
    fn sample(&mut self, sample: Sample) {
        assert!(sample.least <= sample.rtt && sample.rtt <= 10 * HZ);
        self.samples += 1;
    }

    fn retransmission(&mut self) {}

    fn reordered(&mut self) {}
}

/// An IPv4 header of the flow, and its ports, before `rest`.
fn of_the_flow(rest: &[u8], back: bool) -> Vec<u8> {
    let mut ends = [([10, 0, 0, 1], [0, 80]), ([10, 0, 0, 2], [4, 0])];
    if back {
        ends.reverse();
    }
    let [(source, from), (destination, to)] = ends;
    let length = (24 + rest.len()) as u16;
    let mut datagram = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0];
    datagram[2..4].copy_from_slice(&length.to_be_bytes());
    for part in [&source[..], &destination, &from, &to, rest] {
        datagram.extend(part);
    }
    datagram
}

fuzz_target!(|input: &[u8]| {
    let mut settings = Settings::new(Clock::with_hz(HZ), 8);
    (settings.interval, settings.settling, settings.settling_sequence) = (0, 0, 0);
    settings.handshakes = true;
    let mut tracker = Tracker::new(settings, TableHash::with_seed(1));
    let (mut count, mut now, mut stamped) = (Count::default(), 0, 0);
    let mut rest = input;
    while let [flags, time, length, behind @ ..] = rest {
        let (bytes, next) = behind.split_at(usize::from(*length).min(behind.len()));
        rest = next;
        now += u64::from(*time) * if flags & LONG != 0 { HZ } else { HZ / 1000 };
        let datagram = if flags & ONE_FLOW != 0 { of_the_flow(bytes, flags & BACK != 0) } else { bytes.to_vec() };
        tracker.age(now);
        let Some(observed) = Observed::ip4(&datagram) else { continue };
        let hash = tracker.hash(&observed);
        tracker.prefetch(hash);
        tracker.prefetch_flow(hash);
        let ticket = tracker.arrive(&observed, hash, now, &mut count);
        if flags & STAYS_INSIDE == 0 {
            stamped += u64::from(ticket.wants_stamp());
            tracker.depart(ticket, &observed, now);
        }
        assert!(count.samples <= stamped);
        assert!(tracker.counters().active() <= 8);
    }
});
