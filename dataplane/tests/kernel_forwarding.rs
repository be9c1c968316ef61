//! Real commands in a namespace, followed into forwarding tables: what a packet would meet, and neighbours kept alive by use.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as outside them")]

mod kernel_namespace;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use kernel_namespace::{Namespace, PATIENCE, VERSIONS, of};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use weir::forwarding::{Forwarding, Observer};
use weir::kernel::Kernel;
use weir_graph::adjacency::{Adjacencies, AdjacencyIndex, AdjacencyKind};
use weir_graph::fib::{Address, Fib, FibLimits, RouteIndex};
use weir_graph::ports::Ports;
use weir_graph::quiescence::Quiescence;

#[derive(Default)]
struct Own(BTreeSet<IpAddr>);

impl Observer for Own {
    fn route_named(&mut self, _: u8, _: RouteIndex, _: &str) {}
    fn route_gone(&mut self, _: u8, _: RouteIndex) {}
    fn adjacency_named(&mut self, _: AdjacencyIndex, _: &str) {}
    fn adjacency_gone(&mut self, _: AdjacencyIndex) {}
    fn own_address(&mut self, address: IpAddr) {
        self.0.insert(address);
    }
    fn own_address_gone(&mut self, address: IpAddr) {
        self.0.remove(&address);
    }
}

/// The control plane of a weir with ports `v0` and `v1`.
struct Control {
    kernel: Kernel,
    forwarding: Forwarding,
    fib: Fib,
    fib6: Fib<u128>,
    /// What destinations in the tests are [`of`].
    version: u8,
    adjacencies: Adjacencies,
    ports: Ports,
    own: Own,
}

impl Control {
    fn new(namespace: &Namespace) -> Self {
        let quiescence = Quiescence::new(0);
        let (fib, fib_writer) = Fib::new(FibLimits::default(), quiescence.clone()).unwrap();
        let limits = FibLimits { extension_blocks: 1 << 18, ..FibLimits::default() };
        let (fib6, fib6_writer) = Fib::new(limits, quiescence.clone()).unwrap();
        let (adjacencies, writer) = Adjacencies::new(4096, quiescence);
        let ports = Ports::new(2);
        let mut own = Own::default();
        let devices = ["v0".to_owned(), "v1".to_owned()];
        let forwarding =
            Forwarding::new(fib_writer, fib6_writer, writer, ports.clone(), &devices, &mut own).unwrap();
        let kernel = namespace.inside(|| Kernel::open().unwrap());
        let version = namespace.version;
        let mut control = Self { kernel, forwarding, fib, fib6, version, adjacencies, ports, own };
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
        match of(self.version, destination).parse().unwrap() {
            IpAddr::V4(destination) => resolved(&self.fib, destination.to_bits()),
            IpAddr::V6(destination) => resolved(&self.fib6, destination.to_bits()),
        }
    }

    /// What happens to packets for `destination`, as text such as `rewrite 0 10.0.0.2` (port, next hop).
    fn fate(&self, destination: &str) -> String {
        let one = |index| {
            let adjacency = self.adjacencies.load(index);
            let next_hop = self.adjacencies.next_hop(index).map_or("0.0.0.0".into(), |hop| hop.to_string());
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

    /// Has the kernel asked, as often as a worker that has packets does, until the neighbour is there.
    #[track_caller]
    fn until_resolved(&mut self, port: u16, address: &str, destination: &str) {
        let wanted = of(self.version, &format!("rewrite {port} {address}"));
        let deadline = Instant::now() + PATIENCE;
        while self.fate(destination) != wanted {
            assert!(Instant::now() < deadline, "{address} does not answer: {}", self.fate(destination));
            self.resolve(port, address);
            self.step();
        }
    }

    #[track_caller]
    fn until(&mut self, destination: &str, wanted: &str) {
        let wanted = of(self.version, wanted);
        let deadline = Instant::now() + PATIENCE;
        while self.fate(destination) != wanted {
            let is = self.fate(destination);
            assert!(Instant::now() < deadline, "waited in vain for {destination} {wanted}; it is {is}");
            self.step();
        }
    }

    fn resolve(&mut self, port: u16, address: &str) {
        let Self { kernel, forwarding, .. } = self;
        let address = of(self.version, address).parse().unwrap();
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

fn resolved<A: Address>(fib: &Fib<A>, destination: A) -> BTreeSet<AdjacencyIndex> {
    let leaf = fib.lookup(destination);
    (0..256).map(|hash| fib.resolve(leaf, hash)).collect()
}

/// A router with ports `v0` (10.0.0.1/24) and `v1` (10.0.1.1/24), and a host on each with address .2, or what these are of IPv6.
struct Network {
    router: Namespace,
    hosts: [Namespace; 2],
}

fn network(test: &str, version: u8) -> Option<Network> {
    let router = Namespace::new(test, version)?;
    let hosts = [Namespace::new(test, version)?, Namespace::new(test, version)?];
    // As IPv4 keeps them.
    router.exec("sysctl", &["-qw", "net.ipv6.conf.all.keep_addr_on_down=1"]);
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
    VERSIONS.into_iter().for_each(a_neighbour_is_resolved);
}

fn a_neighbour_is_resolved(version: u8) {
    let Some(Network { router, hosts }) = network("a_neighbour_is_resolved", version) else { return };
    let mut control = Control::new(&router);
    control.until("10.0.0.2", "glean 0");
    router.ip("route add 10.9.0.0/16 via 10.0.1.2");
    control.until("10.9.1.1", "incomplete 1 10.0.1.2");
    assert_eq!(control.fate("10.0.0.1"), "local");
    // The broadcast address, and the anycast address of a network's routers.
    let (everybody, ether_type) =
        if version == 4 { ("10.0.1.255", [0x08, 0x00]) } else { ("10.0.1.0", [0x86, 0xdd]) };
    assert_eq!(control.fate(everybody), "local");
    assert!(control.own.0.contains(&of(version, everybody).parse().unwrap()));
    let ports = &control.ports;
    let source =
        if version == 4 { ports.address(1).map(Into::into) } else { ports.address6(1).map(Into::into) };
    assert_eq!(source, of(version, "10.0.1.1").parse::<IpAddr>().ok());

    control.until_resolved(0, "10.0.0.2", "10.0.0.2");
    control.until_resolved(1, "10.0.1.2", "10.9.1.1");
    assert_eq!(control.fate("10.0.1.2"), of(version, "rewrite 1 10.0.1.2"));
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
    assert_eq!(header(&control).to_vec(), [destination.clone(), source, ether_type.to_vec()].concat());

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
    VERSIONS.into_iter().for_each(next_hops_leave);
}

fn next_hops_leave(version: u8) {
    let Some(Network { router, hosts }) = network("next_hops_leave", version) else { return };
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
    // Of IPv6 each next hop is a route.
    control.until("10.9.1.1", if version == 4 { "unreachable" } else { "incomplete 0 10.0.0.2" });
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
    VERSIONS.into_iter().for_each(a_neighbour_in_use);
}

fn a_neighbour_in_use(version: u8) {
    let Some(Network { router, hosts: _hosts }) = network("a_neighbour_in_use", version) else { return };
    for setting in ["base_reachable_time_ms=2000", "delay_first_probe_time=1", "retrans_time_ms=100"] {
        router.exec("sysctl", &["-qw", &format!("net.ipv{version}.neigh.v0.{setting}")]);
        router.exec("sysctl", &["-qw", &format!("net.ipv{version}.neigh.v1.{setting}")]);
    }
    let mut control = Control::new(&router);
    control.until("10.0.0.2", "glean 0");
    control.until("10.0.1.2", "glean 1");
    control.until_resolved(0, "10.0.0.2", "10.0.0.2");
    control.until_resolved(1, "10.0.1.2", "10.0.1.2");
    let busy = *control.indices("10.0.0.2").first().unwrap();

    // Eight seconds of traffic to one of the two, which the kernel does not see.
    let state = |address: &str| router.exec("ip", &["neigh", "show", &of(version, address)]);
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
        !probes.is_empty() && probes.iter().all(|address| address.to_string() == of(version, "10.0.0.2")),
        "{probes:?}"
    );
    assert!(idle_stayed_stale >= 3, "nothing touched the idle one");
    // Used again, it was confirmed each time: it never failed, and the adjacency never went.
    assert_eq!(control.fate("10.0.0.2"), of(version, "rewrite 0 10.0.0.2"));
    let busy_state = state("10.0.0.2");
    assert!(
        ["REACHABLE", "DELAY", "PROBE", "STALE"].iter().any(|state| busy_state.contains(state)),
        "{busy_state}"
    );
}

/// A table's prefixes, those of half of the providers by the one port: of IPv4 100,000 /24; of IPv6 200,000 of ten lengths a provider,
/// about as in the internet's table.
fn table(version: u8) -> Vec<(String, u32)> {
    if version == 4 {
        let prefix = |i: u32| format!("{}.{}.{}.0/24", 20 + i / 65536, i / 256 % 256, i % 256);
        return (0..100_000).map(|i| (prefix(i), i % 2)).collect();
    }
    const LENGTHS: [u8; 10] = [48, 48, 48, 48, 48, 32, 44, 40, 36, 29];
    let providers =
        (0..20_000u32).map(|provider| (provider, 0x2a00 << 112 | u128::from(provider) << (128 - 29)));
    let prefixes = providers.flat_map(|(provider, first)| {
        (0u128..).zip(LENGTHS).map(move |(number, length)| {
            let within = if length == 29 { 0 } else { number << (128 - length) };
            (format!("{}/{length}", Ipv6Addr::from_bits(first | within)), provider % 2)
        })
    });
    prefixes.collect()
}

#[test]
fn a_large_table_reaches_the_fib() {
    VERSIONS.into_iter().for_each(a_large_table);
}

fn a_large_table(version: u8) {
    let Some(Network { router, hosts: _hosts }) = network("a_large_table", version) else { return };
    let table = table(version);
    let count = table.len();
    let mut batch = String::new();
    for (prefix, port) in &table {
        writeln!(batch, "route add {prefix} via {}", of(version, &format!("10.0.{port}.2"))).unwrap();
    }
    let inside = if version == 4 { ["20.0.0.1", "20.0.1.1"] } else { ["2a00::1", "2a00:8::1"] };
    let mut control = Control::new(&router);
    let empty = control.forwarding.routes();
    let started = Instant::now();
    router.ip_batch(&batch);
    let loaded = started.elapsed();
    control.until_routes(empty + count);
    eprintln!(
        "{count} routes of IPv{version}: `ip -batch` took {loaded:?}, all in the FIB {:?} later",
        started.elapsed() - loaded
    );
    assert_eq!(control.fate(inside[1]), of(version, "incomplete 1 10.0.1.2"));
    let started = Instant::now();
    let newcomer = Control::new(&router);
    eprintln!(
        "{count} routes of IPv{version} read at the start and in the FIB after {:?}",
        started.elapsed()
    );
    assert_eq!(newcomer.forwarding.routes(), empty + count);

    router.ip("link set v0 down");
    let started = Instant::now();
    // The last of one port's, and with it all.
    let (last, _) = table.iter().rfind(|(_, port)| *port == 0).unwrap();
    control.until(inside[0], "unreachable");
    control.until(last.split('/').next().unwrap(), "unreachable");
    while control.forwarding.routes() > empty + count / 2 {
        control.step();
    }
    eprintln!("half of them out of the FIB with their device after at most {:?}", started.elapsed());
    assert_eq!(control.fate(inside[1]), of(version, "incomplete 1 10.0.1.2"));
}
