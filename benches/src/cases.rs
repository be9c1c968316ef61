//! What routers in memory are measured with, whatever is measured: time, instructions.

use weir_graph::node::VECTOR;

use crate::memory::Setup;
use crate::packets::Kind;

/// A router, and how many packets it gets at once.
#[derive(Clone, Copy)]
pub struct Case {
    /// What it is called, everywhere.
    pub name: &'static str,
    /// The router.
    pub setup: Setup,
    /// Packets in a vector.
    pub size: usize,
}

/// All of them.
pub fn cases() -> Vec<Case> {
    let plain = Setup::PLAIN;
    let of = |kind| Setup { kind, ..plain };
    let ip6 = |routes| Setup { routes, ..of(Kind::Ip6) };
    let routes = |routes| Setup { routes, ..plain };
    let tcp = |flows, measured| Setup { flows, measured, ..plain };
    let two = Setup { workers: 2, ..tcp(1_000, true) };
    let shaped = |shaped| Setup { shaped, ..plain };
    [
        ("1 route", plain, VECTOR),
        ("1 route, quarter vectors", plain, VECTOR / 4),
        ("1,000 routes, random destinations", routes(1_000), VECTOR),
        ("500,000 /24 routes, random destinations", routes(500_000), VECTOR),
        ("1,000,000 /24 routes, random destinations", routes(1_000_000), VECTOR),
        ("1 route, from one VLAN into another", of(Kind::Vlan4), VECTOR),
        ("IPv6, 1 route", of(Kind::Ip6), VECTOR),
        ("IPv6, 1 route, from one VLAN into another", of(Kind::Vlan6), VECTOR),
        ("IPv6, 1,000 routes, random destinations", ip6(1_000), VECTOR),
        ("IPv6, 200,000 routes, random destinations", ip6(200_000), VECTOR),
        ("TCP, 1,000 flows", tcp(1_000, false), VECTOR),
        ("TCP, 1,000 flows, measured, 63 customers", tcp(1_000, true), VECTOR),
        ("TCP, 1,000 flows, measured, quarter vectors", tcp(1_000, true), VECTOR / 4),
        ("TCP, 1,000 flows, measured, two workers in turn, half of the packets handed over", two, VECTOR),
        ("TCP, 1,000 flows, measured, two workers in turn, quarter vectors", two, VECTOR / 4),
        ("TCP, 10,000 flows, measured, 625 customers", tcp(10_000, true), VECTOR),
        ("TCP, 100,000 flows, measured, 6,250 customers", tcp(100_000, true), VECTOR),
        ("TCP, 1,000,000 flows", tcp(1_000_000, false), VECTOR),
        ("TCP, 1,000,000 flows, measured, 62,500 customers", tcp(1_000_000, true), VECTOR),
        ("1,000 customers shaped", shaped(1_000), VECTOR),
        ("1,000 customers shaped, quarter vectors", shaped(1_000), VECTOR / 4),
        ("10,000 customers shaped", shaped(10_000), VECTOR),
        ("100,000 customers shaped", shaped(100_000), VECTOR),
        ("1,000,000 customers shaped", shaped(1_000_000), VECTOR),
    ]
    .into_iter()
    .map(|(name, setup, size)| Case { name, setup, size })
    .collect()
}

/// Two workers that run at once, each on a core of its own.
pub fn teams() -> Vec<Case> {
    let routes = Setup { routes: 1_000, workers: 2, ..Setup::PLAIN };
    let measured = Setup { flows: 1_000, measured: true, workers: 2, ..Setup::PLAIN };
    [("two workers, 1,000 routes", routes), ("two workers, TCP, 1,000 flows, measured", measured)]
        .into_iter()
        .map(|(name, setup)| Case { name, setup, size: VECTOR })
        .collect()
}
