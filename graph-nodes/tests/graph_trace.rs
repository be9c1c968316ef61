//! Following packets: one record for each node that a traced packet enters, in order, with the bytes that the node found.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use crossbeam_channel::Receiver;
use harness::{
    Router, Setup,
    datagram::{Datagram, leaving},
    town::{self, EAST, NARROW, WEST, town, town_with},
};
use weir_graph::trace::{SNAPSHOT, TraceOrder, TraceRecord};

/// All records so far: number of the packet, name of the node, bytes.
fn records(router: &Router, from: &Receiver<TraceRecord>) -> Vec<(u16, &'static str, TraceRecord)> {
    let name = |node: usize| router.shape.nodes()[node].name;
    from.try_iter().map(|record| (record.packet, name(record.node), record)).collect()
}

fn steps(records: &[(u16, &'static str, TraceRecord)]) -> Vec<(u16, &'static str)> {
    records.iter().map(|(packet, node, _)| (*packet, *node)).collect()
}

#[test]
fn a_packet_that_is_forwarded() {
    let mut router = town();
    let trace = router.trace(1, "ethernet-input");
    let padded = [Datagram::udp(town::FAR, 4).frame(WEST), vec![0xee; 14]].concat();
    let sent = router.forward(WEST, &padded);
    let records = records(&router, &trace);
    let nodes = ["ethernet-input", "ip4-input", "ip4-lookup", "ip4-rewrite", "tx"];
    assert_eq!(steps(&records), nodes.map(|node| (1, node)));
    let trimmed = &padded[..padded.len() - 14];
    for ((_, node, record), bytes) in
        records.iter().zip([&padded[..], &padded, trimmed, trimmed, &sent[0].frame])
    {
        assert_eq!(record.bytes, bytes, "{node}");
        assert_eq!(usize::from(record.len), bytes.len(), "{node}");
        assert_eq!(record.rx_port, WEST, "{node}");
    }
    assert_eq!(records[4].2.tx_port, EAST);
    assert_eq!(records[3].2.adjacency, records[4].2.adjacency);
    assert_eq!(router.tables.adjacencies.next_hop(records[3].2.adjacency), Some("10.0.1.2".parse().unwrap()));
    assert!(records.is_sorted_by_key(|(_, _, record)| record.ticks));
}

#[test]
fn a_packet_that_is_dropped_says_why() {
    let mut router = town();
    let trace = router.trace(1, "ethernet-input");
    router.forward(WEST, &Datagram::udp(town::BLACKHOLE, 4).frame(WEST));
    let records = records(&router, &trace);
    assert_eq!(steps(&records), ["ethernet-input", "ip4-input", "ip4-lookup", "drop"].map(|node| (1, node)));
    let reason = router.shape.reason_name(records[3].2.reason);
    assert_eq!(reason, Some(("ip4-lookup", "blackhole")));
}

#[test]
fn an_error_carries_the_number_of_the_packet_that_it_is_about() {
    let mut router = town();
    let trace = router.trace(1, "ethernet-input");
    let expired = Datagram::udp(town::FAR, 4).ttl(1).frame(WEST);
    let sent = router.forward(WEST, &expired);
    let records = records(&router, &trace);
    let nodes = ["ethernet-input", "ip4-input", "ip4-lookup", "ip4-rewrite", "ip4-icmp-error"];
    let answer = ["ip4-lookup", "ip4-rewrite", "tx", "drop"];
    assert_eq!(
        steps(&records),
        [&nodes[..], &answer[..]].concat().iter().map(|node| (1, *node)).collect::<Vec<_>>()
    );
    assert_eq!(records[4].2.bytes, expired, "the packet as it came");
    assert_eq!(records[7].2.bytes, sent[0].frame, "the error as it leaves");
    assert_eq!(records[8].2.bytes, expired);
}

#[test]
fn pieces_are_followed_too() {
    let mut router = town();
    let trace = router.trace(1, "ip4-fragment");
    let datagram = Datagram::udp(town::FAR_NARROW, 1472);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    let records = records(&router, &trace);
    assert_eq!(steps(&records), [(1, "ip4-fragment"), (1, "tx"), (1, "tx"), (1, "tx")]);
    let whole = leaving(NARROW, "10.0.2.2", &datagram.ttl(63).bytes());
    assert_eq!(records[0].2.bytes, whole[..SNAPSHOT], "as many bytes as a record keeps");
    assert_eq!(usize::from(records[0].2.len), whole.len());
    for (piece, (_, _, record)) in sent.iter().zip(&records[1..]) {
        assert_eq!((&record.bytes[..], record.len), (&piece.frame[..SNAPSHOT], piece.frame.len() as u16));
    }
}

#[test]
fn a_packet_that_is_held_is_followed_on() {
    let mut router = town();
    let trace = router.trace(1, "ip4-lookup");
    router.forward(WEST, &Datagram::udp("10.0.1.9", 4).frame(WEST));
    assert_eq!(steps(&records(&router, &trace)), [(1, "ip4-lookup"), (1, "ip4-rewrite"), (1, "glean")]);
    // A new trace while it is held does not take its number for another packet's.
    let trace = router.trace(1, "ip4-lookup");
    let neighbour = router.neighbour(EAST, "10.0.1.9", 1500);
    router.route("10.0.1.9/32", &[neighbour]);
    router.pass(1000);
    assert_eq!(steps(&records(&router, &trace)), [(1, "ip4-lookup"), (1, "ip4-rewrite"), (1, "tx")]);
    router.forward(WEST, &Datagram::udp(town::FAR, 4).frame(WEST));
    assert_eq!(steps(&records(&router, &trace)), [(2, "ip4-lookup"), (2, "ip4-rewrite"), (2, "tx")]);
}

#[test]
fn no_more_packets_than_asked_for() {
    let mut router = town();
    let trace = router.trace(2, "ip4-lookup");
    for number in 0..5 {
        router.feed(WEST, &Datagram::udp_ports(town::FAR, number, 53, 4).frame(WEST));
    }
    router.run();
    router.forward(WEST, &Datagram::udp(town::FAR, 4).frame(WEST));
    let records = records(&router, &trace);
    let expected = ["ip4-lookup", "ip4-rewrite", "tx"].map(|node| [(1, node), (2, node)]).concat();
    assert_eq!(steps(&records), expected);
    assert!(records.iter().all(|(packet, _, record)| record.bytes[35] == *packet as u8 - 1), "the first two");
}

#[test]
fn whoever_asked_and_does_not_read_holds_nothing_up() {
    let mut router = town();
    let frame = Datagram::udp(town::FAR, 4).frame(WEST);
    let node = router.shape.node("ethernet-input").unwrap();
    let (records_to, records) = crossbeam_channel::bounded(2);
    router.graph.trace(TraceOrder { count: 9, node }, records_to);
    assert_eq!(router.forward(WEST, &frame).len(), 1);
    assert_eq!(records.len(), 2, "what does not fit is not recorded");
    drop(records);
    for _ in 0..3 {
        assert_eq!(router.forward(WEST, &frame).len(), 1);
    }
    let trace = router.trace(0, "ethernet-input");
    assert_eq!(router.forward(WEST, &frame).len(), 1);
    assert!(trace.is_empty(), "no packet was asked for");
}

#[test]
fn a_packet_that_goes_to_another_worker_keeps_its_number() {
    let mut router = town_with(&Setup { workers: 2, ..Setup::default() });
    // The other one numbers its packets 2, 4, 6, …
    let trace = router.trace(8, "hand-off");
    for port in 0..8 {
        router.feed(WEST, &Datagram::udp_ports(town::FAR, 1024 + port, 53, 4).frame(WEST));
    }
    let sent = router.run().len();
    let seen = steps(&records(&router, &trace));
    let numbers = (0..8).map(|number| (2 * number + 1, "hand-off"));
    assert_eq!(seen[..8], numbers.collect::<Vec<_>>());
    assert_eq!(seen.len(), 8 + sent);
    assert!((1..8).contains(&sent), "some have gone to the other worker");
    // Back again (that they are not its own is the other's business): they are followed on, under their numbers.
    let (end, pool) = &mut router.others[0];
    let mut packets = Vec::new();
    end.take(&mut packets, pool);
    for packet in packets {
        end.give(0, packet, pool.frames()).map_err(|(_, refused)| refused).unwrap();
    }
    end.publish();
    assert!(router.graph.take_given());
    router.run();
    let mut numbers: Vec<u16> = seen[8..].iter().map(|(number, _)| *number).collect();
    numbers.extend(steps(&records(&router, &trace)).iter().map(|(number, node)| {
        assert_eq!(*node, "tx");
        *number
    }));
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 3, 5, 7, 9, 11, 13, 15]);
}
