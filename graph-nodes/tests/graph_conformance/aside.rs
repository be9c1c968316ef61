//! What a packet meets only when the control thread changes something between two nodes, or a port cannot take it: packets are put in the
//! middle of the graph by a node of the test's own, `aside`, which takes the place of `ip4-input` behind `ethernet-input`.

use std::sync::LazyLock;

use weir_graph::{
    adjacency::AdjacencyIndex,
    node::{Context, Next, Node, Registration, Workbench},
    nodes::ROUTE,
    packet::Packet,
    wire::{
        icmp4,
        vlan::{TAG, Tags},
    },
};
use weir_stats::Error;

use crate::harness::{
    Router, Setup, Tally,
    datagram::Datagram,
    town::{self, EAST, WEST, town, town_with},
};

/// Where a frame's sender says in his MAC address what to do: number of the next node, low bytes of the adjacency, and bytes to keep.
const INSTRUCTION: usize = 6;
const NODES: [&str; 6] =
    ["ip4-rewrite", "glean", "ip4-options", "ip4-fragment", "ip4-icmp-error", "ip6-rewrite"];
const ICMP_ERROR: u8 = 4;

static WITH_ASIDE: LazyLock<Vec<Registration>> = LazyLock::new(|| {
    let aside = Registration {
        name: "aside",
        next: &NODES,
        reasons: &["asked-for"],
        events: &[],
        create: |_: &mut Workbench<'_>| Ok::<Box<dyn Node>, Error>(Box::new(Aside)),
    };
    let mut nodes = ROUTE.to_vec();
    nodes[0].next = &["aside"];
    nodes.insert(1, aside);
    nodes
});

struct Aside;

impl Node for Aside {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        for (packet, next) in packets.iter_mut().zip(next) {
            let frame = cx.frames.bytes_mut(packet);
            let [arc, high, low, keep] = frame[INSTRUCTION..INSTRUCTION + 4].try_into().unwrap();
            if arc == ICMP_ERROR {
                frame[..6].fill(0xff); // as if it had come as a broadcast
                *next = cx.icmp_error(packet, 0u16, icmp4::NET_UNREACHABLE, Next::arc(arc));
                continue;
            }
            packet.adjacency = AdjacencyIndex::new(u32::from_be_bytes([0, 0, high, low])).unwrap();
            packet.destination = 0x0a00_0109;
            if keep == WITHOUT_HEADROOM {
                let headroom = packet.start();
                assert!(packet.move_start(-i16::try_from(headroom).unwrap()));
                cx.frames.bytes_mut(packet).copy_within(usize::from(headroom).., 0);
                cx.pool.truncate(packet, packet.len() - headroom);
            } else {
                cx.pool.truncate(packet, u16::from(keep));
            }
            *next = Next::arc(arc);
        }
    }
}

fn aside() -> Router {
    town_with(&Setup { nodes: &WITH_ASIDE, ..Setup::default() })
}

/// Puts a datagram before `node`, with this next hop and so many bytes left of its frame; how it ended.
fn put(router: &mut Router, node: &str, next_hop: AdjacencyIndex, keep: u8) -> Tally {
    let arc = NODES.iter().position(|name| *name == node).unwrap() as u8;
    let [_, _, high, low] = next_hop.as_u32().to_be_bytes();
    let mut frame = Datagram::udp(town::FAR, 18).frame(WEST);
    frame[14 + 7] = 64; // where IPv6 has its hop limit
    frame[INSTRUCTION..INSTRUCTION + 4].copy_from_slice(&[arc, high, low, keep]);
    assert_eq!(router.forward(WEST, &frame), []);
    router.drops()
}

/// All of the frame.
const WHOLE: u8 = u8::MAX;
/// All of the packet, at its frame's very beginning.
const WITHOUT_HEADROOM: u8 = u8::MAX - 1;

pub fn next_hops_that_go_away_between_two_nodes() -> Router {
    let mut router = aside();
    let nobody = AdjacencyIndex::new(4000).unwrap();
    let special = [AdjacencyIndex::UNREACHABLE, AdjacencyIndex::BLACKHOLE, AdjacencyIndex::PROHIBITED];
    for next_hop in [nobody].into_iter().chain(special) {
        for node in ["ip4-rewrite", "ip6-rewrite", "glean"] {
            let drops = put(&mut router, node, next_hop, WHOLE);
            assert_eq!(drops, Tally::from([((node, "next-hop-gone"), 1)]), "{next_hop:?}");
        }
        let drops = put(&mut router, "ip4-fragment", next_hop, WHOLE);
        assert_eq!(drops, Tally::from([(("ip4-fragment", "mtu-too-small"), 1)]));
    }
    // Resolved before `glean` has looked: back to the lookup, and out.
    let neighbour = router.neighbour(EAST, "10.0.1.9", 1500);
    router.route("10.0.1.9/32", &[neighbour]);
    let mut frame = Datagram::udp("10.0.1.9", 8).frame(WEST);
    let [_, _, high, low] = neighbour.as_u32().to_be_bytes();
    frame[INSTRUCTION..INSTRUCTION + 4].copy_from_slice(&[1, high, low, WHOLE]);
    let sent = router.forward(WEST, &frame);
    assert_eq!((sent.len(), sent[0].port, router.graph.held()), (1, EAST, 0));
    // The MTU has grown before `ip4-fragment` has looked: out in one piece.
    frame[INSTRUCTION] = 3;
    let sent = router.forward(WEST, &frame);
    assert_eq!(sent.len(), 1);
    assert_eq!(router.drops(), Tally::new());
    router
}

pub fn no_error_about_a_group_frame() -> Router {
    let mut router = aside();
    let drops = put(&mut router, "ip4-icmp-error", AdjacencyIndex::UNREACHABLE, WHOLE);
    assert_eq!(drops, Tally::from([(("aside", "asked-for"), 1)]));
    assert_eq!(router.events(), Tally::from([(("ip4-icmp-error", "not-allowed"), 1)]));
    router
}

pub fn headers_that_are_cut_off() -> Router {
    let mut router = aside();
    let neighbour = router.neighbour(EAST, "10.0.1.9", 1500);
    for keep in [0, 13, 14, 33] {
        let drops = put(&mut router, "ip4-rewrite", neighbour, keep);
        assert_eq!(drops, Tally::from([(("ip4-rewrite", "too-short"), 1)]), "{keep} bytes");
        let drops = put(&mut router, "ip6-rewrite", neighbour, keep);
        assert_eq!(drops, Tally::from([(("ip6-rewrite", "too-short"), 1)]), "{keep} bytes");
        let drops = put(&mut router, "ip4-fragment", neighbour, keep);
        assert_eq!(drops, Tally::from([(("ip4-fragment", "mtu-too-small"), 1)]), "{keep} bytes");
    }
    router
}

pub fn tags_that_have_no_room() -> Router {
    let mut router = town_with(&Setup { nodes: &WITH_ASIDE, ports: 5, ..Setup::default() });
    router.sub_interface(WEST, Tags::one(TAG, 100), 4);
    let neighbour = router.neighbour(4, "10.0.4.2", 1500);
    for node in ["ip4-rewrite", "ip6-rewrite"] {
        let drops = put(&mut router, node, neighbour, WITHOUT_HEADROOM);
        assert_eq!(drops, Tally::from([((node, "no-headroom"), 1)]));
    }
    router
}

pub fn rings_and_ports_that_take_nothing() -> Router {
    let mut router = town();
    for (reason, count) in [("ring-full", 3), ("port-down", 5)] {
        for _ in 0..count {
            router.feed(WEST, &Datagram::udp(town::FAR, 8).frame(WEST));
        }
        router.graph.run(router.now);
        router.graph.publish();
        assert_eq!(router.graph.held(), count);
        let index = router.reason("tx", reason);
        router.graph.discard_transmit(usize::from(EAST), index);
        assert_eq!(router.run(), []);
        assert_eq!(router.drops(), Tally::from([(("tx", reason), count as u64)]));
    }
    router
}
