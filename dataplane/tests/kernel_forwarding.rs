//! Real commands in a namespace, followed into forwarding tables: what a packet would meet, and neighbours kept alive by use.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as outside them")]

mod kernel_namespace;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use kernel_namespace::{Namespace, PATIENCE};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir::forwarding::{Forwarding, Observer};
use weir::kernel::Kernel;
use weir_graph::adjacency::{Adjacencies, AdjacencyIndex, AdjacencyKind};
use weir_graph::fib::{Fib, FibLimits, RouteIndex};
use weir_graph::ports::Ports;
use weir_graph::quiescence::Quiescence;

#[derive(Default)]
struct Own(BTreeSet<Ipv4Addr>);

impl Observer for Own {
    fn route_named(&mut self, _: RouteIndex, _: &str) {}
    fn route_gone(&mut self, _: RouteIndex) {}
    fn adjacency_named(&mut self, _: AdjacencyIndex, _: &str) {}
    fn adjacency_gone(&mut self, _: AdjacencyIndex) {}
    fn own_address(&mut self, address: Ipv4Addr) {
        self.0.insert(address);
    }
    fn own_address_gone(&mut self, address: Ipv4Addr) {
        self.0.remove(&address);
    }
}

/// The control plane of a weir with ports `v0` and `v1`.
struct Control {
    kernel: Kernel,
    forwarding: Forwarding,
    fib: Fib,
    adjacencies: Adjacencies,
    ports: Ports,
    own: Own,
}

impl Control {
    fn new(namespace: &Namespace) -> Self {
        let quiescence = Quiescence::new(0);
        let (fib, fib_writer) = Fib::new(FibLimits::default(), quiescence.clone()).unwrap();
        let (adjacencies, writer) = Adjacencies::new(4096, quiescence);
        let ports = Ports::new(2);
        let mut own = Own::default();
        let devices = ["v0".to_owned(), "v1".to_owned()];
        let forwarding = Forwarding::new(fib_writer, writer, ports.clone(), &devices, &mut own).unwrap();
        let kernel = namespace.inside(|| Kernel::open().unwrap());
        let mut control = Self { kernel, forwarding, fib, adjacencies, ports, own };
        let Self { kernel, forwarding, own, .. } = &mut control;
        kernel.sync(PATIENCE, &mut |event| forwarding.apply(event, own)).unwrap();
        control
    }

    fn step(&mut self) {
        let timeout = Timespec::try_from(Duration::from_millis(20)).unwrap();
        poll(&mut [PollFd::new(&self.kernel, PollFlags::IN)], Some(&timeout)).unwrap();
        let Self { kernel, forwarding, own, .. } = self;
        kernel.drain(&mut |event| forwarding.apply(event, own)).unwrap();
        forwarding.reclaim();
    }

    /// Every adjacency that flows to `destination` can get.
    fn indices(&self, destination: &str) -> BTreeSet<AdjacencyIndex> {
        let destination: Ipv4Addr = destination.parse().unwrap();
        let leaf = self.fib.lookup(destination.to_bits());
        (0..256).map(|hash| self.fib.resolve(leaf, hash)).collect()
    }

    /// What happens to packets for `destination`, as text such as `rewrite 0 10.0.0.2` (port, next hop).
    fn fate(&self, destination: &str) -> String {
        let one = |index| {
            let adjacency = self.adjacencies.load(index);
            let next_hop = Ipv4Addr::from_bits(adjacency.next_hop());
            match adjacency.kind() {
                _ if index == AdjacencyIndex::NO_PORT => "no port".to_owned(),
                AdjacencyKind::Glean => format!("glean {}", adjacency.port()),
                AdjacencyKind::Incomplete => format!("incomplete {} {next_hop}", adjacency.port()),
                AdjacencyKind::Rewrite => format!("rewrite {} {next_hop}", adjacency.port()),
                kind => format!("{kind:?}").to_lowercase(),
            }
        };
        self.indices(destination)
            .into_iter()
            .map(one)
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
            .join(", ")
    }

    #[track_caller]
    fn until(&mut self, destination: &str, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.fate(destination) != wanted {
            let is = self.fate(destination);
            assert!(Instant::now() < deadline, "waited in vain for {destination} {wanted}; it is {is}");
            self.step();
        }
    }

    fn resolve(&mut self, port: u16, address: &str) {
        let Self { kernel, forwarding, .. } = self;
        let address = address.parse().unwrap();
        forwarding.resolve(port, address, Instant::now(), &mut |index, address| kernel.probe(index, address));
    }

    /// Follows until the table is `wanted` long.
    #[track_caller]
    fn until_routes(&mut self, wanted: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.forwarding.routes() != wanted {
            assert!(Instant::now() < deadline, "{} routes, not {wanted}", self.forwarding.routes());
            self.step();
        }
    }
}

/// A router with ports `v0` (10.0.0.1/24) and `v1` (10.0.1.1/24), and a host on each with address .2.
struct Network {
    router: Namespace,
    hosts: [Namespace; 2],
}

fn network(test: &str) -> Option<Network> {
    let router = Namespace::new(test)?;
    let hosts = [Namespace::new(test)?, Namespace::new(test)?];
    for (number, host) in hosts.iter().enumerate() {
        router.ip(&format!("link add v{number} type veth peer name eth0 netns {}", host.name));
        router.ip(&format!("addr add 10.0.{number}.1/24 dev v{number}"));
        router.ip(&format!("link set v{number} up"));
        host.ip(&format!("addr add 10.0.{number}.2/24 dev eth0"));
        host.ip("link set eth0 up");
    }
    Some(Network { router, hosts })
}

#[test]
fn a_neighbour_is_resolved_on_demand_and_forgotten() {
    let Some(Network { router, hosts }) = network("a_neighbour_is_resolved") else { return };
    let mut control = Control::new(&router);
    control.until("10.0.0.2", "glean 0");
    router.ip("route add 10.9.0.0/16 via 10.0.1.2");
    control.until("10.9.1.1", "incomplete 1 10.0.1.2");
    assert_eq!(control.fate("10.0.0.1"), "local");
    assert_eq!(control.fate("10.0.0.255"), "local");
    assert!(control.own.0.contains(&Ipv4Addr::new(10, 0, 1, 255)));
    assert_eq!(control.ports.address(1), Some(Ipv4Addr::new(10, 0, 1, 1)));

    control.resolve(0, "10.0.0.2");
    control.until("10.0.0.2", "rewrite 0 10.0.0.2");
    control.resolve(1, "10.0.1.2");
    control.until("10.9.1.1", "rewrite 1 10.0.1.2");
    assert_eq!(control.fate("10.0.1.2"), "rewrite 1 10.0.1.2");
    // The header is what the two devices' addresses say.
    let mac = |text: String| {
        text.trim().split(':').map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect::<Vec<u8>>()
    };
    let destination = mac(hosts[0].exec("cat", &["/sys/class/net/eth0/address"]));
    let source = mac(router.exec("cat", &["/sys/class/net/v0/address"]));
    let header = |control: &Control| {
        let index = *control.indices("10.0.0.2").first().unwrap();
        control.adjacencies.load(index).header()
    };
    assert_eq!(header(&control).to_vec(), [destination.clone(), source, vec![8, 0]].concat());

    router.ip("link set v0 address 02:00:00:00:00:aa");
    let deadline = Instant::now() + PATIENCE;
    while header(&control)[6..12] != [2, 0, 0, 0, 0, 0xaa] || header(&control)[..6] != destination[..] {
        assert!(Instant::now() < deadline, "{:02x?}", header(&control));
        control.step();
        // Linux forgets a device's neighbours when its address changes.
        control.resolve(0, "10.0.0.2");
        control.step();
    }
    router.ip("neigh del 10.0.0.2 dev v0");
    control.until("10.0.0.2", "glean 0");
    router.ip("neigh flush all");
    control.until("10.9.1.1", "incomplete 1 10.0.1.2");
}

#[test]
fn next_hops_leave_with_their_link_and_come_back() {
    let Some(Network { router, hosts }) = network("next_hops_leave") else { return };
    router.ip("route add 10.9.0.0/16 nexthop via 10.0.0.2 nexthop via 10.0.1.2 weight 2");
    router.ip("link add other type veth peer name other-peer");
    router.ip("addr add 10.0.7.1/24 dev other");
    router.ip("link set other up");
    router.ip("link set other-peer up");
    router.ip("route add 10.7.0.0/16 via 10.0.7.2");
    let mut control = Control::new(&router);
    let both = "incomplete 0 10.0.0.2, incomplete 1 10.0.1.2";
    control.until("10.9.1.1", both);
    control.until("10.7.0.1", "no port");
    assert_eq!(control.fate("203.0.113.1"), "unreachable");

    hosts[0].ip("link set eth0 down");
    control.until("10.9.1.1", "incomplete 1 10.0.1.2");
    control.until("10.0.0.2", "unreachable");
    hosts[0].ip("link set eth0 up");
    control.until("10.9.1.1", both);
    router.ip("link set v1 down");
    control.until("10.9.1.1", "incomplete 0 10.0.0.2");
    router.ip("link set v1 up");
    control.until("10.9.1.1", both);
    // A device gets the name of a port: it is the port.
    router.ip("link del v1");
    control.until("10.9.1.1", "unreachable");
    router.ip("link set other down");
    router.ip("link set other name v1");
    router.ip("link set v1 up");
    control.until("10.0.7.2", "glean 1");
    router.ip("route add 10.7.0.0/16 via 10.0.7.2");
    control.until("10.7.0.1", "incomplete 1 10.0.7.2");
    router.ip("link set v1 mtu 1280");
    let deadline = Instant::now() + PATIENCE;
    while control.indices("10.7.0.1").iter().any(|index| control.adjacencies.load(*index).mtu() != 1280) {
        assert!(Instant::now() < deadline);
        control.step();
    }
    assert_eq!(control.ports.mtu(1), 1280);
    for (kind, wanted) in [("blackhole", "drop"), ("prohibit", "prohibited"), ("unreachable", "unreachable")]
    {
        router.ip(&format!("route replace {kind} 10.7.0.0/16"));
        control.until("10.7.0.1", wanted);
    }
}

#[test]
fn a_neighbour_in_use_is_kept_fresh_and_one_that_is_not_goes_stale() {
    let Some(Network { router, hosts: _hosts }) = network("a_neighbour_in_use") else { return };
    for setting in ["base_reachable_time_ms=2000", "delay_first_probe_time=1", "retrans_time_ms=100"] {
        router.exec("sysctl", &["-qw", &format!("net.ipv4.neigh.v0.{setting}")]);
        router.exec("sysctl", &["-qw", &format!("net.ipv4.neigh.v1.{setting}")]);
    }
    let mut control = Control::new(&router);
    control.until("10.0.0.2", "glean 0");
    control.until("10.0.1.2", "glean 1");
    control.resolve(0, "10.0.0.2");
    control.resolve(1, "10.0.1.2");
    control.until("10.0.0.2", "rewrite 0 10.0.0.2");
    control.until("10.0.1.2", "rewrite 1 10.0.1.2");
    let busy = *control.indices("10.0.0.2").first().unwrap();

    // Eight seconds of traffic to one of the two, which the kernel does not see.
    let state = |address: &str| router.exec("ip", &["neigh", "show", address]);
    let probes = RefCell::new(Vec::new());
    let mut idle_stayed_stale = 0;
    for second in 1..=8u64 {
        let until = Instant::now() + Duration::from_secs(1);
        while Instant::now() < until {
            control.step();
        }
        let Control { kernel, forwarding, .. } = &mut control;
        forwarding.tick(
            Instant::now(),
            &|adjacency| if adjacency == busy { second } else { 0 },
            &mut |index, address| {
                probes.borrow_mut().push(address);
                kernel.probe(index, address);
            },
        );
        idle_stayed_stale = if state("10.0.1.2").contains("STALE") { idle_stayed_stale + 1 } else { 0 };
    }
    let probes = probes.into_inner();
    assert!(
        !probes.is_empty() && probes.iter().all(|address| *address == Ipv4Addr::new(10, 0, 0, 2)),
        "{probes:?}"
    );
    assert!(idle_stayed_stale >= 3, "nothing touched the idle one");
    // Used again, it was confirmed each time: it never failed, and the adjacency never went.
    assert_eq!(control.fate("10.0.0.2"), "rewrite 0 10.0.0.2");
    let busy_state = state("10.0.0.2");
    assert!(
        ["REACHABLE", "DELAY", "PROBE", "STALE"].iter().any(|state| busy_state.contains(state)),
        "{busy_state}"
    );
}

#[test]
fn a_hundred_thousand_routes_reach_the_fib() {
    let Some(Network { router, hosts: _hosts }) = network("a_hundred_thousand_routes_reach") else { return };
    let mut batch = String::new();
    for i in 0..100_000 {
        writeln!(
            batch,
            "route add {}.{}.{}.0/24 via 10.0.{}.2",
            20 + i / 65536,
            i / 256 % 256,
            i % 256,
            i % 2
        )
        .unwrap();
    }
    let mut control = Control::new(&router);
    let empty = control.forwarding.routes();
    router.ip_batch(&batch);
    let started = Instant::now();
    control.until_routes(empty + 100_000);
    eprintln!("100,000 routes that waited in the socket were in the FIB after {:?}", started.elapsed());
    assert_eq!(control.fate("20.0.1.1"), "incomplete 1 10.0.1.2");
    let started = Instant::now();
    let newcomer = Control::new(&router);
    eprintln!("100,000 routes read at the start and in the FIB after {:?}", started.elapsed());
    assert_eq!(newcomer.forwarding.routes(), empty + 100_000);

    router.ip("link set v0 down");
    let started = Instant::now();
    control.until("20.0.0.1", "unreachable");
    eprintln!("50,000 routes out of the FIB with their device after at most {:?}", started.elapsed());
    // With the device go its connected network and broadcast address.
    control.until_routes(empty + 50_000 - 2);
    assert_eq!(control.fate("20.0.1.1"), "incomplete 1 10.0.1.2");
}
