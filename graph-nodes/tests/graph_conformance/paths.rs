//! Several next hops for one route.

use crate::harness::{
    Router, Setup,
    datagram::Datagram,
    town::{self, EAST, NARROW, WEST, town, town_with},
};

/// The port by which each flow leaves.
fn paths(router: &mut Router, flows: impl Iterator<Item = Datagram>) -> Vec<u16> {
    flows
        .map(|datagram| {
            let sent = router.forward(WEST, &datagram.frame(WEST));
            assert!(sent.iter().all(|piece| piece.port == sent[0].port), "all pieces by one path");
            sent[0].port
        })
        .collect()
}

fn is_even(what: &str, paths: &[u16]) {
    let east = paths.iter().filter(|port| **port == EAST).count();
    assert!(paths.iter().all(|port| [EAST, NARROW].contains(port)));
    // Binomial: of 4000 flows four standard deviations are 126.
    assert!((1870..=2130).contains(&east), "{what}: {east} of {} flows by one of two paths", paths.len());
}

pub fn flows_spread_and_stay() -> Router {
    let mut router = town();
    let by_source_port =
        || (0..4000).map(|port| Datagram::udp_ports(town::FAR_MULTIPATH, 1024 + port, 53, 8));
    let first = paths(&mut router, by_source_port());
    is_even("source ports", &first);
    assert_eq!(first, paths(&mut router, by_source_port()), "a flow keeps its path");
    let by_destination_port = (0..4000).map(|port| Datagram::udp_ports(town::FAR_MULTIPATH, 53, port, 8));
    is_even("destination ports", &paths(&mut router, by_destination_port));
    let by_source = |protocol: u8| {
        (0..4000u32).map(move |host| {
            let source = std::net::Ipv4Addr::from(0x0b00_0000 + host).to_string();
            Datagram::of(protocol.into(), town::FAR_MULTIPATH, vec![0; 8]).from(&source)
        })
    };
    is_even("sources, TCP", &paths(&mut router, by_source(6)));
    is_even("sources, ESP", &paths(&mut router, by_source(50)));
    let by_destination = (0..4000).map(|host| {
        Datagram::udp(&format!("198.51.100.{}", host % 256), 8).from(&format!("11.0.0.{}", host / 256 + 1))
    });
    is_even("destinations", &paths(&mut router, by_destination));
    // What is no part of the flow does not move it.
    let other = by_source_port().map(|mut datagram| {
        datagram.header.identification ^= 0x5555;
        datagram.header.time_to_live = 9;
        datagram.payload[8..].fill(1);
        datagram
    });
    assert_eq!(first, paths(&mut router, other));
    // Another router, or the same after a restart, spreads them otherwise: nobody can aim at one path.
    let mut seeded = town_with(&Setup { seed: 99, ..Setup::default() });
    let second = paths(&mut seeded, by_source_port());
    is_even("another seed", &second);
    let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    assert!((1870..=2130).contains(&same), "{same} of 4000 flows take the same path with another seed");
    router
}

pub fn pieces_of_a_datagram_take_one() -> Router {
    let mut router = town();
    for number in 0..200u16 {
        // The first has the ports, the others have payload in their place.
        let whole = Datagram::udp_ports(town::FAR_MULTIPATH, 1024 + number, number.wrapping_mul(7919), 1400);
        let pieces = [(0, 0..464, true), (58, 464..928, true), (116, 928..1408, false)];
        let pieces = pieces.map(|(offset, bytes, more)| {
            let mut piece = whole.clone().from(&format!("11.0.{number}.1")).fragment(offset, more);
            piece.payload = whole.payload[bytes].to_vec();
            piece
        });
        let ports = paths(&mut router, pieces.into_iter());
        assert_eq!(ports, [ports[0]; 3], "the three pieces of datagram {number}");
    }
    router
}
