//! Several workers: what this one gives to the others, and what it takes from them.

use std::collections::BTreeSet;

use etherparse::IpNumber;
use weir_graph::packet::Packet;

use crate::harness::{
    Router, Setup, Tally,
    datagram::{Datagram, leaving},
    town::{self, EAST, WEST, town_with},
};

fn workers(workers: usize, frames: u32) -> Router {
    town_with(&Setup { workers, frames, ..Setup::default() })
}

/// What the others have been given, by worker from 1.
fn given(router: &mut Router) -> Vec<(usize, Packet)> {
    let mut all = Vec::new();
    for (worker, (end, pool)) in (1..).zip(&mut router.others) {
        let mut packets = Vec::new();
        end.take(&mut packets, pool);
        all.extend(packets.into_iter().map(|packet| (worker, packet)));
    }
    all
}

/// Which worker a datagram that comes in at the west ends up at.
fn owner(router: &mut Router, datagram: &Datagram) -> usize {
    let sent = router.forward(WEST, &datagram.frame(WEST));
    let given = given(router);
    assert_eq!(sent.len() + given.len(), 1);
    let worker = given.first().map_or(0, |(worker, _)| *worker);
    for (worker, packet) in given {
        router.others[worker - 1].1.recycle(packet);
    }
    worker
}

fn from_to(from: u16, to: u16) -> Datagram {
    Datagram::udp_ports(town::FAR, from, to, 8)
}

pub fn are_what_other_workers_own() -> Router {
    let mut router = workers(3, 1024);
    // Ready for the link, as if this worker had sent it.
    let flow = (0..).map(|port| from_to(1024 + port, 53)).find(|flow| owner(&mut router, flow) == 2).unwrap();
    router.feed(WEST, &flow.frame(WEST));
    assert_eq!(router.run(), []);
    let (_, packet) = given(&mut router).pop().unwrap();
    let frames = router.graph.pool().frames().clone();
    assert_eq!(packet.tx_port, EAST);
    let mut expected = flow;
    expected.header.time_to_live -= 1;
    let frame = leaving(EAST, "10.0.1.2", &expected.bytes());
    assert_eq!(frames.bytes(&packet), frame);

    // Given back, it leaves by the port that it was made ready for.
    let (end, _) = &mut router.others[1];
    end.give(0, packet, &frames).map_err(|(_, refused)| refused).unwrap();
    end.publish();
    assert!(router.graph.take_given());
    assert!(!router.graph.take_given());
    let sent = router.run();
    assert_eq!((sent.len(), &sent[0].frame), (1, &frame));
    router
}

pub fn keep_both_directions_and_their_pieces_together() -> Router {
    let mut router = workers(4, 1024);
    let mut used = BTreeSet::new();
    for port in 1024..1056 {
        let (there, mut back) = (from_to(port, 443), from_to(443, port));
        back.header.destination = there.header.source;
        back.header.source = there.header.destination;
        // The other direction comes in elsewhere, to the host in the west.
        let owner_there = owner(&mut router, &there);
        let sent = router.forward(EAST, &back.frame(EAST));
        let given = given(&mut router);
        assert_eq!(sent.len() + given.len(), 1, "{sent:?}");
        assert_eq!(given.first().map_or(0, |(worker, _)| *worker), owner_there);
        for (worker, packet) in given {
            router.others[worker - 1].1.recycle(packet);
        }
        used.insert(owner_there);
        // A first fragment has ports and goes with its flow.
        assert_eq!(owner(&mut router, &from_to(port, 443).fragment(0, true)), owner_there);
    }
    assert_eq!(used.len(), 4, "all workers");
    // Without ports it is the addresses, whatever the protocol.
    let owners: BTreeSet<usize> = [1, 47, 50, 89, 132]
        .map(|protocol| owner(&mut router, &Datagram::of(IpNumber(protocol), town::FAR, vec![0; 8])))
        .into_iter()
        .chain((0..8).map(|port| owner(&mut router, &from_to(port, 443).fragment(1, false))))
        .collect();
    assert_eq!(owners.len(), 1);
    router
}

pub fn that_have_no_room_are_dropped() -> Router {
    let mut router = workers(2, 8192);
    for port in 0..5000 {
        router.feed(WEST, &from_to(port, 53).frame(WEST));
    }
    router.run();
    let drops = router.drops();
    let lost = drops[&("hand-off", "ring-full")];
    assert!(drops.len() == 1 && (300..700).contains(&lost), "half of 5000, less 2048: {drops:?}");
    for (_, packet) in given(&mut router) {
        router.others[0].1.recycle(packet);
    }
    // The other one returns the frames, and there is room again.
    let mut packets = Vec::new();
    let (end, pool) = &mut router.others[0];
    assert_eq!(end.take(&mut packets, pool), 0);
    router.graph.take_given();
    router.feed(WEST, &from_to(0, 53).frame(WEST));
    router.run();
    assert_eq!(router.drops(), Tally::new());

    // A worker that leaves keeps to itself.
    router.graph.exchange().close();
    for port in 0..100 {
        router.feed(WEST, &from_to(port, 53).frame(WEST));
    }
    let sent = router.run();
    let drops = router.drops();
    assert_eq!(sent.len() as u64 + drops[&("hand-off", "leaving")], 100, "{drops:?}");
    router
}
