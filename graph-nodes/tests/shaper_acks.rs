//! The ACK filter against a sender: whatever it removes, the sender knows the same at the end, and the rest comes in order.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use weir_graph::shaper::{
    Arrival, Cause, Discipline, Isolation, Lead, Leaf, PureAck, Queues, Settings, Tins,
};

const LEAF: Leaf = Leaf(0);

fn queues(ack_filter: bool) -> Queues {
    let settings = Settings {
        hz: 1_000_000_000,
        nodes: 2,
        leaves: 1,
        tins: 4,
        flows: 64,
        packets: 4096,
        frame: 2048,
        mtu: 1514,
    };
    let discipline = Discipline {
        tins: Tins::BestEffort,
        isolation: Isolation::Flows,
        target: 5_000_000,
        interval: 100_000_000,
        ack_filter,
    };
    let mut queues = Queues::new(settings, &[discipline]);
    queues.set_up(LEAF, 0, 1_000_000_000);
    queues
}

/// What a packet says to the sender.
#[derive(Clone, Debug)]
struct Segment {
    connection: u8,
    acknowledgement: u32,
    /// CWR and ECE, where they stand in the header.
    ecn: u8,
    clock: Option<u32>,
    blocks: Vec<[u32; 2]>,
    /// Bytes behind the header.
    data: usize,
}

impl Segment {
    fn header(&self) -> Vec<u8> {
        let mut options = Vec::new();
        if let Some(clock) = self.clock {
            options.extend([1, 1, 8, 10]);
            options.extend(clock.to_be_bytes());
            options.extend([0; 4]);
        }
        if !self.blocks.is_empty() {
            options.extend([1, 1, 5, 2 + 8 * self.blocks.len() as u8]);
            options.extend(self.blocks.iter().flatten().flat_map(|word| word.to_be_bytes()));
        }
        let mut header = vec![0, 80, 100, self.connection, 0, 0, 0, 9];
        header.extend(self.acknowledgement.to_be_bytes());
        header.extend([(((20 + options.len()) / 4) << 4) as u8, self.ecn | 1 << 4, 1, 1, 0, 0, 0, 0]);
        header.extend(options);
        header
    }
}

/// What a sender has learnt from the acknowledgements of one connection.
#[derive(Default, PartialEq, Eq, Debug)]
struct Sender {
    acknowledged: u32,
    /// With which ECN bits each byte was first acknowledged: what DCTCP counts.
    marks: BTreeMap<u32, u8>,
    sacked: BTreeSet<u32>,
    /// Bytes that the other side has had twice.
    twice: BTreeSet<u32>,
    clock: Option<u32>,
    /// ACKs of the highest number, the first included, where there are no SACKs: fast retransmit.
    same: u32,
    data: usize,
}

impl Sender {
    fn hears(&mut self, segment: &Segment) {
        for byte in self.acknowledged..segment.acknowledgement {
            self.marks.insert(byte, segment.ecn);
        }
        if segment.acknowledgement > self.acknowledged {
            (self.acknowledged, self.same) = (segment.acknowledgement, 0);
        }
        self.same += u32::from(segment.acknowledgement == self.acknowledged && segment.data == 0);
        for &[from, to] in &segment.blocks {
            let bytes = from..to;
            if from < segment.acknowledgement { self.twice.extend(bytes) } else { self.sacked.extend(bytes) }
        }
        let acknowledged = self.acknowledged;
        self.sacked.retain(|&byte| byte >= acknowledged);
        self.clock = self.clock.max(segment.clock);
        self.data += segment.data;
    }
}

fn segment() -> impl Strategy<Value = Segment> {
    let block = (0..40u32, 1..8u32).prop_map(|(from, length)| [from, from + length]);
    (
        0..3u8,
        prop_oneof![2 => 0..40u32, 3 => 38..40u32],
        prop_oneof![6 => Just(0u8), 1 => Just(1 << 6), 1 => Just(1 << 7)],
        prop::option::weighted(0.9, prop_oneof![3 => Just(20u32), 1 => 0..50u32]),
        prop::collection::vec(block, 0..3),
        prop_oneof![8 => Just(0usize), 1 => 1..1000usize],
    )
        .prop_map(|(connection, acknowledgement, ecn, clock, blocks, data)| Segment {
            connection,
            acknowledgement,
            ecn,
            // One has timestamps, one has SACKs, the third has neither or both, as they come.
            clock: if connection == 1 { None } else { clock },
            blocks: if connection == 0 { Vec::new() } else { blocks },
            data,
        })
}

/// The handles that come out, after `waits[n]` more have been asked for before segment n is queued; and how many the filter took.
fn run(segments: &[(Segment, u8)], ack_filter: bool) -> (Vec<usize>, u64) {
    let mut queues = queues(ack_filter);
    let mut out = Vec::new();
    for (number, (segment, waits)) in segments.iter().enumerate() {
        for _ in 0..*waits {
            out.extend(queues.dequeue(LEAF, 1, &mut |_| unreachable!()).map(|gone| gone.packet as usize));
        }
        let header = segment.header();
        let length = header.len() + segment.data;
        let arrival = Arrival {
            packet: number as u32,
            length: length as u32 + 34,
            // Two connections in one queue, the third alone.
            flow: u32::from(segment.connection / 2),
            source: 1,
            destination: 2,
            dscp: 0,
            ecn_capable: false,
        };
        queues.enqueue(LEAF, &arrival, Lead::default(), 1, &mut |_| unreachable!());
        if queues.filters_acks(LEAF)
            && let Some(ack) = PureAck::of(&header, length)
        {
            queues.filter_acks(LEAF, &arrival, Lead::default(), &ack, &mut |gone| {
                assert_eq!((gone.cause, gone.leaf), (Cause::AckFilter, LEAF));
                assert!((gone.packet as usize) < number, "the newest stays");
            });
        }
        queues.audit().unwrap();
    }
    while let Some(gone) = queues.dequeue(LEAF, 1, &mut |_| unreachable!()) {
        out.push(gone.packet as usize);
    }
    queues.audit().unwrap();
    let counters = queues.leaf(LEAF).counters;
    assert_eq!(queues.totals().dropped[Cause::AckFilter as usize], counters.ack_drops);
    (out, counters.ack_drops)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn a_sender_learns_the_same_from_what_is_left(
        segments in prop::collection::vec((segment(), 0..2u8), 1..80)
    ) {
        let (all, none) = run(&segments, false);
        prop_assert_eq!((all.len(), none), (segments.len(), 0));
        let (left, dropped) = run(&segments, true);
        prop_assert_eq!(left.len() as u64 + dropped, segments.len() as u64);
        for connection in 0..3 {
            let of = |out: &[usize]| -> Vec<usize> {
                out.iter().copied().filter(|&number| segments[number].0.connection == connection).collect()
            };
            let left = of(&left);
            prop_assert!(left.is_sorted(), "{left:?}");
            let (mut with, mut without) = (Sender::default(), Sender::default());
            left.iter().for_each(|&number| with.hears(&segments[number].0));
            of(&all).iter().for_each(|&number| without.hears(&segments[number].0));
            if connection != 0 {
                // With SACK it is what is SACKed that counts (RFC 6675 §4), not how often.
                (with.same, without.same) = (0, 0);
            }
            prop_assert_eq!(with, without);
        }
    }
}

#[test]
fn of_a_hundred_acknowledgements_that_wait_two_are_left_and_duplicates_stay() {
    let plain = |acknowledgement| Segment {
        connection: 0,
        acknowledgement,
        ecn: 0,
        clock: Some(acknowledgement),
        blocks: Vec::new(),
        data: 0,
    };
    let hundred: Vec<_> = (1..=100).map(|number| (plain(number), 0)).collect();
    assert_eq!(run(&hundred, true), (vec![98, 99], 98));
    let duplicates: Vec<_> = [1, 2, 3, 3, 3, 3].map(|number| (plain(number), 0)).into();
    assert_eq!(run(&duplicates, true), (vec![1, 2, 3, 4, 5], 1));
    // ECE begins and ends: DCTCP counts the bytes between.
    let marks: Vec<_> = (1..=9)
        .map(|number| (Segment { ecn: u8::from((4..=6).contains(&number)) << 6, ..plain(number) }, 0))
        .collect();
    assert_eq!(run(&marks, true), (vec![1, 2, 4, 5, 7, 8], 3));
}
