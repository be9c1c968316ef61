//! Anything may arrive: no panic, no sample without a stamp, no growth.

use std::cell::Cell;

use proptest::prelude::*;
use weir_graph::rtt::{FLOW_BYTES, Observed, Ticket};
use weir_graph::wire::tcp::{self, TcpOption};

use super::play::{self, arrive, depart, pass};
use super::segment::{B, Segment};
use super::world::{Moment, Recipe, Rng, World};

thread_local! {
    /// Allocations of this thread; counted by the allocator of this test program.
    pub static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

    #[test]
    fn any_options(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let found: Vec<_> = tcp::options(&bytes).collect();
        prop_assert!(found.len() * 10 <= bytes.len(), "each found option has ten bytes at least");
        let mut again = tcp::options(&bytes);
        while again.next().is_some() {}
        prop_assert_eq!(again.next(), None, "the end stays the end");
        for option in found {
            if let TcpOption::Sack(sack) = option {
                prop_assert!((1..=4).contains(&sack.blocks().count()));
            }
        }
    }

    #[test]
    fn options_as_etherparse_reads_them(bytes in options()) {
        // What etherparse reads without an error, we read the same.
        let mut timestamps = None;
        for element in etherparse::TcpOptionsIterator::from_slice(&bytes) {
            match element {
                Ok(etherparse::TcpOptionElement::Timestamp(value, echo)) => timestamps = Some((value, echo)),
                Ok(_) => {}
                Err(_) => return Ok(()),
            }
        }
        let ours = tcp::options(&bytes).filter_map(|option| match option {
            TcpOption::Timestamps { value, echo } => Some((value, echo)),
            TcpOption::Sack(_) => None,
        });
        prop_assert_eq!(ours.last(), timestamps);
    }

    #[test]
    fn any_bytes_are_a_datagram_or_not(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
        if let Some(observed) = Observed::ip4(&bytes) {
            prop_assert!(bytes.len() >= 28);
            prop_assert!(usize::from(observed.payload) + 40 <= usize::from(observed.length).max(40));
        }
    }

    /// Real segments with random lies in them, from few hosts, in any order, and departures with tickets of any packet.
    #[test]
    fn lies_about_known_flows(seed: u64) {
        let mut rng = Rng(seed);
        let mut settings = play::settings(16);
        (settings.interval, settings.handshakes) = (0, true);
        (settings.settling, settings.settling_sequence) = (0, 0);
        let mut tracker = play::tracker(settings);
        let mut now = 0;
        let mut inside: Vec<(Ticket, Vec<u8>)> = Vec::new();
        // Stamps that may be outstanding: at most one for each packet that left.
        let (mut departed, mut samples) = (0, 0);
        for _ in 0..400 {
            now += rng.below(20_000);
            let mut bytes = any_segment(&mut rng).bytes();
            if rng.chance(30) {
                for _ in 0..1 + rng.below(3) {
                    let at = rng.below(bytes.len() as u64) as usize;
                    bytes[at] = rng.next() as u8;
                }
            }
            let (ticket, brought) = arrive(&mut tracker, &bytes, now);
            samples += usize::from(brought.sample.is_some());
            if let Some(sample) = brought.sample {
                prop_assert!(sample.rtt <= 10_000_000 && sample.least <= sample.rtt);
            }
            prop_assert!(samples <= departed);
            let ticket = if rng.chance(5) { Ticket::from_word(rng.next() as u32) } else { ticket };
            inside.push((ticket, bytes));
            if rng.chance(70) {
                let (ticket, bytes) = inside.swap_remove(rng.below(inside.len() as u64) as usize);
                departed += usize::from(ticket.wants_stamp());
                depart(&mut tracker, ticket, &bytes, now);
            }
            prop_assert!(tracker.counters().active() <= tracker.capacity() as u64);
        }
    }
}

/// Options that are mostly right.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let option = prop_oneof![
        Just(vec![1]),
        Just(vec![2, 4, 5, 180]),
        Just(vec![3, 3, 7]),
        Just(vec![4, 2]),
        any::<[u8; 8]>().prop_map(|body| [&[8, 10], &body[..]].concat()),
        any::<[u8; 16]>().prop_map(|body| [&[5, 18], &body[..]].concat()),
        Just(vec![0]),
    ];
    prop::collection::vec(option, 0..6).prop_map(|options| {
        let mut bytes = options.concat();
        bytes.truncate(40);
        bytes
    })
}

/// A segment of one of four flows, whose numbers lie close together so that they meet.
fn any_segment(rng: &mut Rng) -> Segment {
    let host = ([10, 0, 0, 1 + rng.below(4) as u8], 4000);
    let (from, to) = if rng.chance(50) { (host, B) } else { (B, host) };
    let number = |rng: &mut Rng| {
        if rng.chance(5) { rng.next() as u32 } else { (rng.below(3000) as u32).wrapping_sub(1500) }
    };
    let mut segment = Segment::new(from, to, number(rng), number(rng)).data(rng.below(200) as usize);
    if rng.chance(60) {
        segment = segment.timestamps(number(rng), number(rng));
    }
    if rng.chance(20) {
        segment = segment.sack(number(rng), number(rng));
    }
    if rng.chance(30) {
        segment = segment.data(0);
    }
    segment.syn = rng.chance(8);
    segment.fin = rng.chance(5);
    segment.rst = rng.chance(2);
    if rng.chance(10) {
        segment.acknowledgement = None;
    }
    if rng.chance(5) {
        segment = segment.window(0);
    }
    segment
}

/// Whatever acknowledgements and echoes claim: where nothing was stamped, there is no sample.
#[test]
fn no_sample_without_a_stamp() {
    let mut rng = Rng(1);
    let mut tracker = play::tracker(play::settings(64));
    for step in 0..100_000 {
        let segment = Segment { length: 0, fin: false, syn: false, ..any_segment(&mut rng) };
        assert_eq!(pass(&mut tracker, &segment.bytes(), step * 100).sample, None);
    }
}

#[test]
fn nothing_is_allocated_whatever_comes() {
    let mut rng = Rng(2);
    let mut packets: Vec<(u64, Vec<u8>)> = Vec::new();
    for seed in 0..8 {
        let world = World::run(&Recipe::any(seed));
        let begin = seed * 10_000_000;
        for &(now, moment) in &world.moments {
            if let Moment::Arrives(number) = moment {
                packets.push((begin + now, world.packets[number].datagram.clone()));
            }
            if rng.chance(30) {
                let mut bytes = any_segment(&mut rng).bytes();
                let at = rng.below(bytes.len() as u64) as usize;
                bytes[at] = rng.next() as u8;
                packets.push((begin + now, bytes));
            }
        }
    }
    let before = ALLOCATIONS.get();
    let mut tracker = play::tracker(play::settings(64));
    assert!(ALLOCATIONS.get() > before, "the counter counts");
    let before = ALLOCATIONS.get();
    let mut samples = 0;
    for (now, packet) in &packets {
        samples += u64::from(pass(&mut tracker, packet, *now).sample.is_some());
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    assert!(samples > 100, "{samples}");
    assert!(tracker.capacity() * FLOW_BYTES <= 64 * 128);
}
