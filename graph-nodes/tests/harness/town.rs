//! The network around the router that most tests use.
//!
//! ```text
//!   port 0 "west"    10.0.0.1/24, MTU 1500      10.0.p.2: a neighbour that is known
//!   port 1 "east"    10.0.1.1/24, MTU 1500      10.0.p.3: a next hop that is not resolved
//!   port 2 "narrow"  10.0.2.1/24, MTU 576       the rest of 10.0.p.0/24: gleaned
//!   port 3 "bare"    no address,  MTU 1500
//! ```

use weir_graph::adjacency::AdjacencyIndex;

use super::{Router, Setup};

pub const WEST: u16 = 0;
pub const EAST: u16 = 1;
pub const NARROW: u16 = 2;
pub const BARE: u16 = 3;
/// By port.
pub const MTU: [u16; 4] = [1500, 1500, 576, 1500];

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

/// The town, around a router made of `setup`, which needs four ports.
pub fn town_with(setup: &Setup) -> Router {
    let mut router = Router::new(&Setup { ports: 4, ..setup.clone() });
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
    router
}

/// The town as most tests use it.
pub fn town() -> Router {
    town_with(&Setup::default())
}
