//! Random operations on the customers' queues: no packet is lost, doubled or overtaken by a later one of its flow, whatever the order of calls.

#![allow(clippy::expect_used, reason = "a test")]

use std::collections::{HashMap, VecDeque};

use proptest::prelude::*;
use weir_graph::shaper::{
    Arrival, Cause, Discipline, Dropped, Isolation, Lead, Leaf, Queues, Settings, Tins,
};

const MS: u64 = 1_000_000;

fn discipline(tins: Tins, isolation: Isolation) -> Discipline {
    Discipline { tins, isolation, target: 5 * MS, interval: 100 * MS, ack_filter: false }
}

fn disciplines() -> [Discipline; 4] {
    [
        discipline(Tins::Diffserv4, Isolation::Both),
        discipline(Tins::BestEffort, Isolation::Destinations),
        discipline(Tins::Diffserv8, Isolation::Flows),
        discipline(Tins::Diffserv3, Isolation::Sources),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Enqueue { leaf: u32, flow: u32, length: u32, dscp: u8, ecn_capable: bool, burst: u8 },
    Dequeue { leaf: u32, packets: u8 },
    Wait { time: u64 },
    Rate { leaf: u32, rate: u64 },
    Discipline { leaf: u32, discipline: u8 },
    Remove { leaf: u32 },
}

fn step(leaves: u32, flows: u32) -> impl Strategy<Value = Step> {
    let leaf = 0..leaves;
    prop_oneof![
        8 => (leaf.clone(), 0..flows, 40..1515u32, 0..64u8, any::<bool>(), 1..20u8).prop_map(
            |(leaf, flow, length, dscp, ecn_capable, burst)| Step::Enqueue { leaf, flow, length, dscp, ecn_capable, burst }
        ),
        8 => (leaf.clone(), 1..20u8).prop_map(|(leaf, packets)| Step::Dequeue { leaf, packets }),
        4 => (0..300 * MS).prop_map(|time| Step::Wait { time }),
        1 => (leaf.clone(), 64_000..100_000_000_000u64).prop_map(|(leaf, rate)| Step::Rate { leaf, rate }),
        1 => (leaf.clone(), 0..4u8).prop_map(|(leaf, discipline)| Step::Discipline { leaf, discipline }),
        1 => leaf.prop_map(|leaf| Step::Remove { leaf }),
    ]
}

/// What must be in the queues: the packets of each leaf and flow of one DSCP, in order.
#[derive(Default)]
struct Model {
    queued: HashMap<u32, (u32, (u32, u8))>,
    orders: HashMap<(u32, u32, u8), VecDeque<u32>>,
    refused: u64,
}

impl Model {
    fn arrives(&mut self, packet: u32, leaf: u32, flow: u32, dscp: u8) {
        assert!(self.queued.insert(packet, (leaf, (flow, dscp))).is_none());
        self.orders.entry((leaf, flow, dscp)).or_default().push_back(packet);
    }

    /// `in_order`: it must be the oldest of its flow.
    fn leaves(&mut self, packet: u32, leaf: u32, in_order: bool) {
        let (of, (flow, dscp)) = self.queued.remove(&packet).expect("a packet that is not queued");
        assert_eq!(of, leaf, "a packet of another leaf");
        let order = self.orders.get_mut(&(leaf, flow, dscp)).expect("a flow that has packets");
        let place = order.iter().position(|&queued| queued == packet).expect("a packet of the flow");
        assert!(!in_order || place == 0, "packet {packet} overtook {place} of its flow");
        order.remove(place);
    }

    fn dropped(&mut self, dropped: Dropped, in_order: bool) {
        self.refused += u64::from(dropped.cause == Cause::Refused);
        self.leaves(dropped.packet, dropped.leaf.0, in_order && dropped.cause != Cause::Refused);
    }
}

/// `in_order`: pools are large enough that no flow has to share a queue, and each flow stays in its tin.
fn run(settings: Settings, steps: &[Step], in_order: bool) {
    let mut queues = Queues::new(settings, &disciplines());
    for leaf in 0..settings.leaves as u32 {
        queues.set_up(Leaf(leaf), 0, 1_000_000_000);
    }
    let mut model = Model::default();
    let (mut now, mut next) = (1u64, 0u32);
    for step in steps {
        match *step {
            Step::Enqueue { leaf, flow, length, dscp, ecn_capable, burst } => {
                for _ in 0..burst {
                    next += 1;
                    // One DSCP a flow where order is looked at: tins overtake one another, that is what they are for.
                    model.arrives(next, leaf, flow, dscp);
                    let arrival = Arrival {
                        packet: next,
                        length,
                        flow: flow.wrapping_mul(0x9e37_79b1) ^ u32::from(dscp),
                        source: flow % 5,
                        destination: flow % 3,
                        dscp,
                        ecn_capable,
                    };
                    let before = queues.is_backlogged(Leaf(leaf));
                    let lead = if burst & 1 == 0 {
                        queues.prefetch_queue(Leaf(leaf), &arrival)
                    } else {
                        Lead::default()
                    };
                    let begins = queues.enqueue(Leaf(leaf), &arrival, lead, now, &mut |dropped| {
                        model.dropped(dropped, in_order);
                    });
                    assert_eq!(begins, !before && queues.is_backlogged(Leaf(leaf)));
                }
            }
            Step::Dequeue { leaf, packets } => {
                for _ in 0..packets {
                    let before = queues.is_backlogged(Leaf(leaf));
                    let departure = queues.dequeue(Leaf(leaf), now, &mut |dropped| {
                        assert!(matches!(dropped.cause, Cause::Codel | Cause::Blue));
                        model.dropped(dropped, in_order);
                    });
                    assert_eq!(departure.is_some(), before, "a leaf that has packets sends one");
                    if let Some(departure) = departure {
                        model.leaves(departure.packet, leaf, in_order);
                    }
                }
            }
            Step::Wait { time } => now += time,
            Step::Rate { leaf, rate } => queues.rate(Leaf(leaf), rate),
            Step::Discipline { leaf, discipline } => {
                if !in_order {
                    queues.discipline(Leaf(leaf), discipline);
                }
            }
            Step::Remove { leaf } => {
                let view = queues.leaf(Leaf(leaf));
                let mut removed = 0;
                let counters = queues.remove(Leaf(leaf), now, &mut |dropped| {
                    assert_eq!(dropped.cause, Cause::Removed);
                    removed += 1;
                    model.dropped(dropped, in_order);
                });
                assert_eq!((removed, counters), (view.packets, view.counters));
                queues.set_up(Leaf(leaf), 0, 1_000_000_000);
            }
        }
        assert_eq!(queues.backlog(), model.queued.len());
    }
    queues.audit().expect("the books are right");
    for leaf in 0..settings.leaves as u32 {
        while let Some(departure) =
            queues.dequeue(Leaf(leaf), now, &mut |dropped| model.dropped(dropped, in_order))
        {
            model.leaves(departure.packet, leaf, in_order);
        }
    }
    assert!(model.queued.is_empty(), "{} packets never came out", model.queued.len());
    assert_eq!(queues.totals().dropped[Cause::Refused as usize], model.refused);
    queues.audit().expect("the books are right when all is empty");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn packets_are_neither_lost_nor_doubled_and_flows_keep_their_order(
        steps in prop::collection::vec(step(4, 12), 1..400)
    ) {
        let settings =
            Settings { hz: 1_000_000_000, nodes: 0, leaves: 4, tins: 16, flows: 8192, packets: 600, frame: 2048, mtu: 1514 };
        run(settings, &steps, true);
    }

    #[test]
    fn nothing_is_lost_when_every_pool_runs_out(steps in prop::collection::vec(step(8, 200), 1..400)) {
        let settings =
            Settings { hz: 1_000_000_000, nodes: 0, leaves: 8, tins: 5, flows: 11, packets: 40, frame: 2048, mtu: 1514 };
        run(settings, &steps, false);
    }
}
