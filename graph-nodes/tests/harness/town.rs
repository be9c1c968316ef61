//! The network around the router that most tests use.
//!
//! ```text
//!   port 0 "west"    10.0.0.1/24, MTU 1500      10.0.p.2: a neighbour that is known
//!   port 1 "east"    10.0.1.1/24, MTU 1500      10.0.p.3: a next hop that is not resolved
//!   port 2 "narrow"  10.0.2.1/24, MTU 576       the rest of 10.0.p.0/24: gleaned
//!   port 3 "bare"    no address,  MTU 1500
//! ```
//! and the same of IPv6: 2001:db8:0:p::1/64, its neighbours ::2 and ::3. Its suburb has two sub-interfaces more:
//!
//! ```text
//!   port 4 "one"     VLAN 100 of the west port                             172.20.p.0/24, 2001:db8:20:p::/64: behind
//!   port 5 "two"     VLAN 5 in the provider's VLAN 7 of the east port      the neighbours 10.0.p.2, 2001:db8:0:p::2
//! ```

use weir_graph::{
    adjacency::AdjacencyIndex,
    wire::vlan::{SERVICE_TAG, TAG, Tags},
};

use super::{Router, Setup};

pub const WEST: u16 = 0;
pub const EAST: u16 = 1;
pub const NARROW: u16 = 2;
pub const BARE: u16 = 3;
/// In the suburb alone.
pub const ONE: u16 = 4;
/// In the suburb alone.
pub const TWO: u16 = 5;
/// By port.
pub const MTU: [u16; 6] = [1500, 1500, 576, 1500, 1500, 1500];

/// The sender of most packets, behind the west port.
pub const HOST: &str = "10.0.0.2";
/// Via the neighbour on the east port.
pub const FAR: &str = "192.0.2.7";
/// Via the neighbour on the narrow port.
pub const FAR_NARROW: &str = "203.0.113.7";
/// Over the east and the narrow port.
pub const FAR_MULTIPATH: &str = "198.51.100.7";
pub const NO_ROUTE: &str = "100.64.0.1";
pub const UNREACHABLE: &str = "172.16.0.1";
pub const PROHIBITED: &str = "172.16.1.1";
pub const BLACKHOLE: &str = "172.16.2.1";
pub const NO_PORT: &str = "172.16.3.1";
/// A route whose next hop does not exist.
pub const GONE: &str = "172.16.4.1";
/// A route by a port that the router does not have.
pub const MISSING_PORT: &str = "172.16.5.1";
/// A route by a link that carries 68 bytes, the least that RFC 791 allows.
pub const TIGHT: &str = "172.16.6.1";
/// A route by a link that carries 27 bytes: less than a header and a fragment.
pub const IMPOSSIBLE: &str = "172.16.7.1";

/// The sender of most packets of IPv6, behind the west port.
pub const HOST6: &str = "2001:db8::2";
/// Via the neighbour on the east port.
pub const FAR6: &str = "2001:db8:f::7";
/// Via the neighbour on the narrow port, whose MTU no link of IPv6 should have.
pub const FAR6_NARROW: &str = "2001:db8:e::7";
/// Over the east and the narrow port.
pub const FAR6_MULTIPATH: &str = "2001:db8:d::7";
pub const NO_ROUTE6: &str = "2001:db9::1";
pub const UNREACHABLE6: &str = "2001:db8:a:0::1";
pub const PROHIBITED6: &str = "2001:db8:a:1::1";
pub const BLACKHOLE6: &str = "2001:db8:a:2::1";
pub const NO_PORT6: &str = "2001:db8:a:3::1";
/// A route whose next hop does not exist.
pub const GONE6: &str = "2001:db8:a:4::1";
/// A route by a link that carries 1280 bytes, the least that RFC 8200 allows.
pub const FAR6_TIGHT: &str = "2001:db8:a:6::1";

/// The router's own address on a port.
pub fn address6(port: u16) -> String {
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, port, 0, 0, 0, 1).to_string()
}

/// The neighbour on a port that is known.
pub fn neighbour6(port: u16) -> String {
    std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, port, 0, 0, 0, 2).to_string()
}

/// The town, around a router made of `setup`, which needs four ports.
pub fn town_with(setup: &Setup) -> Router {
    let mut router = Router::new(&Setup { ports: setup.ports.max(4), ..setup.clone() });
    let mut known = Vec::new();
    for port in [WEST, EAST, NARROW, BARE] {
        let mtu = MTU[usize::from(port)];
        router.tables.ports.set_mtu(port, mtu);
        let glean = router.glean(port, mtu);
        router.route(&format!("10.0.{port}.0/24"), &[glean]);
        if port != BARE {
            router.address(port, &format!("10.0.{port}.1"));
            router.route(&format!("10.0.{port}.1/32"), &[AdjacencyIndex::LOCAL]);
        }
        let address = format!("10.0.{port}.2");
        known.push(router.neighbour(port, &address, mtu));
        router.route(&format!("{address}/32"), &known[usize::from(port)..]);
        let address = format!("10.0.{port}.3");
        let unknown = router.incomplete(port, &address, mtu);
        router.route(&format!("{address}/32"), &[unknown]);
    }
    let missing_port = router.neighbour(99, "10.0.99.2", 1500);
    let tight = router.neighbour(NARROW, "10.0.2.4", 68);
    let impossible = router.neighbour(NARROW, "10.0.2.5", 27);
    let nobody = AdjacencyIndex::new(4000).unwrap();
    for (prefix, next_hops) in [
        ("192.0.2.0/24", &known[1..2]),
        ("203.0.113.0/24", &known[2..3]),
        ("198.51.100.0/24", &known[1..3]),
        ("172.16.0.0/24", &[AdjacencyIndex::UNREACHABLE]),
        ("172.16.1.0/24", &[AdjacencyIndex::PROHIBITED]),
        ("172.16.2.0/24", &[AdjacencyIndex::BLACKHOLE]),
        ("172.16.3.0/24", &[AdjacencyIndex::NO_PORT]),
        ("172.16.4.0/24", &[nobody]),
        ("172.16.5.0/24", &[missing_port]),
        ("172.16.6.0/24", &[tight]),
        ("172.16.7.0/24", &[impossible]),
    ] {
        router.route(prefix, next_hops);
    }
    town6(&mut router);
    router
}

/// The IPv6 of the same town.
fn town6(router: &mut Router) {
    let mut known = Vec::new();
    for port in [WEST, EAST, NARROW, BARE] {
        let mtu = MTU[usize::from(port)];
        let glean = router.glean(port, mtu);
        router.route(&format!("2001:db8:0:{port}::/64"), &[glean]);
        if port != BARE {
            router.address(port, &address6(port));
            router.route(&format!("{}/128", address6(port)), &[AdjacencyIndex::LOCAL]);
        }
        let address = neighbour6(port);
        known.push(router.neighbour(port, &address, mtu));
        router.route(&format!("{address}/128"), &known[usize::from(port)..]);
        let address = format!("2001:db8:0:{port}::3");
        let unknown = router.incomplete(port, &address, mtu);
        router.route(&format!("{address}/128"), &[unknown]);
    }
    let tight = router.neighbour(EAST, &neighbour6(EAST), 1280);
    let nobody = AdjacencyIndex::new(4000).unwrap();
    for (prefix, next_hops) in [
        ("2001:db8:f::/48", &known[1..2]),
        ("2001:db8:e::/48", &known[2..3]),
        ("2001:db8:d::/48", &known[1..3]),
        ("2001:db8:a:0::/64", &[AdjacencyIndex::UNREACHABLE]),
        ("2001:db8:a:1::/64", &[AdjacencyIndex::PROHIBITED]),
        ("2001:db8:a:2::/64", &[AdjacencyIndex::BLACKHOLE]),
        ("2001:db8:a:3::/64", &[AdjacencyIndex::NO_PORT]),
        ("2001:db8:a:4::/64", &[nobody]),
        ("2001:db8:a:6::/64", &[tight]),
    ] {
        router.route(prefix, next_hops);
    }
}

/// The town as most tests use it.
pub fn town() -> Router {
    town_with(&Setup::default())
}

/// The tags of a port's frames.
pub fn tags(port: u16) -> Tags {
    match port {
        ONE => Tags::one(TAG, 100),
        TWO => Tags::one(SERVICE_TAG, 7).with_inner(TAG, 5),
        _ => Tags::NONE,
    }
}

/// The port whose rings a port's frames go through.
pub fn carrier(port: u16) -> u16 {
    match port {
        ONE => WEST,
        TWO => EAST,
        port => port,
    }
}

/// The frame as it comes by the carrier of a port: with the port's tags, if it has any.
pub fn tagged(port: u16, frame: &[u8]) -> Vec<u8> {
    let tags = tags(port);
    [&frame[..12], &tags.bytes()[..tags.length()], &frame[12..]].concat()
}

/// The town and its suburb, around a router made of `setup`.
pub fn suburb_with(setup: &Setup) -> Router {
    let mut router = town_with(&Setup { ports: 6, ..setup.clone() });
    for port in [ONE, TWO] {
        let mtu = MTU[usize::from(port)];
        router.sub_interface(carrier(port), tags(port), port);
        router.tables.ports.set_mtu(port, mtu);
        let glean = router.glean(port, mtu);
        for (own, neighbour, length, behind, connected) in [
            (
                format!("10.0.{port}.1"),
                format!("10.0.{port}.2"),
                32,
                format!("172.20.{port}.0/24"),
                format!("10.0.{port}.0/24"),
            ),
            (
                address6(port),
                neighbour6(port),
                128,
                format!("2001:db8:20:{port}::/64"),
                format!("2001:db8:0:{port}::/64"),
            ),
        ] {
            router.address(port, &own);
            router.route(&connected, &[glean]);
            router.route(&format!("{own}/{length}"), &[AdjacencyIndex::LOCAL]);
            let known = router.neighbour(port, &neighbour, mtu);
            router.route(&format!("{neighbour}/{length}"), &[known]);
            router.route(&behind, &[known]);
        }
    }
    router
}

/// The suburb as most tests use it.
pub fn suburb() -> Router {
    suburb_with(&Setup::default())
}
