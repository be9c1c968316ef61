//! Random histories of the kernel's control plane against a naive reading of its state, and the cases that have a name.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;
use std::sync::Arc;

use proptest::prelude::*;
use weir_graph::adjacency::{Adjacencies, AdjacencyKind};
use weir_graph::fib::{Fib, FibLimits, Prefix};
use weir_graph::ports::Ports;
use weir_graph::quiescence::Quiescence;

use super::hops::Header;
use super::*;
use crate::kernel::{Address, Change, Family, Neighbour, NextHop, Standing, Target, Unsupported};

/// What the observer was told, as it stands.
#[derive(Debug, Default)]
struct Names {
    routes: BTreeMap<(u8, u32), String>,
    adjacencies: BTreeMap<u32, String>,
    own: BTreeSet<IpAddr>,
}

impl Observer for Names {
    fn route_named(&mut self, version: u8, index: RouteIndex, name: &str) {
        assert_eq!(self.routes.insert((version, index.as_u32()), name.to_owned()), None, "named twice");
    }
    fn route_gone(&mut self, version: u8, index: RouteIndex) {
        assert!(self.routes.remove(&(version, index.as_u32())).is_some());
    }
    fn adjacency_named(&mut self, index: AdjacencyIndex, name: &str) {
        assert_eq!(self.adjacencies.insert(index.as_u32(), name.to_owned()), None, "named twice");
    }
    fn adjacency_gone(&mut self, index: AdjacencyIndex) {
        assert!(self.adjacencies.remove(&index.as_u32()).is_some());
    }
    fn own_address(&mut self, address: IpAddr) {
        assert!(self.own.insert(address));
    }
    fn own_address_gone(&mut self, address: IpAddr) {
        assert!(self.own.remove(&address));
    }
}

/// Forwarding with the readers' sides of its tables.
struct Bench {
    forwarding: Forwarding,
    fib: Fib,
    fib6: Fib<u128>,
    adjacencies: Adjacencies,
    ports: Ports,
    names: Names,
}

/// What becomes of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    Unreachable,
    NoPort,
    Blackhole,
    Prohibited,
    Local,
    Glean { port: u16, mtu: u16 },
    Incomplete { port: u16, next_hop: Option<IpAddr>, mtu: u16 },
    Rewrite { port: u16, header: Header, mtu: u16 },
    Nonsense,
}

impl Bench {
    fn new(capacity: usize) -> Self {
        let quiescence = Quiescence::new(0);
        let limits = FibLimits { routes: 1000, extension_blocks: 64, groups: 64 };
        let (fib, fib_writer) = Fib::new(limits, quiescence.clone()).unwrap();
        let (fib6, fib6_writer) = Fib::new(limits, quiescence.clone()).unwrap();
        let (adjacencies, writer) = Adjacencies::new(capacity, quiescence);
        let ports = Ports::new(2);
        let mut names = Names::default();
        let devices = ["p0".to_owned(), "p1".to_owned()];
        let forwarding =
            Forwarding::new(fib_writer, fib6_writer, writer, ports.clone(), &devices, &mut names).unwrap();
        Self { forwarding, fib, fib6, adjacencies, ports, names }
    }

    fn apply(&mut self, event: Event) {
        self.forwarding.apply(event, &mut self.names);
    }

    fn fates(&self, destination: IpAddr) -> BTreeSet<Fate> {
        fn of<A: Version>(bench: &Bench, fib: &Fib<A>, destination: A) -> BTreeSet<Fate> {
            let leaf = fib.lookup(destination);
            (0..256).map(|hash| bench.fate(fib.resolve(leaf, hash))).collect()
        }
        match destination {
            IpAddr::V4(destination) => of(self, &self.fib, destination.to_bits()),
            IpAddr::V6(destination) => of(self, &self.fib6, destination.to_bits()),
        }
    }

    fn fate(&self, index: AdjacencyIndex) -> Fate {
        if index == AdjacencyIndex::NO_PORT {
            return Fate::NoPort;
        }
        let adjacency = self.adjacencies.load(index);
        let (port, mtu) = (adjacency.port(), adjacency.mtu());
        match adjacency.kind() {
            AdjacencyKind::Unreachable => Fate::Unreachable,
            AdjacencyKind::Drop => Fate::Blackhole,
            AdjacencyKind::Prohibited => Fate::Prohibited,
            AdjacencyKind::Local => Fate::Local,
            AdjacencyKind::Glean => Fate::Glean { port, mtu },
            AdjacencyKind::Incomplete => {
                let next_hop = self.adjacencies.next_hop(index);
                Fate::Incomplete { port, next_hop, mtu }
            }
            AdjacencyKind::Rewrite => Fate::Rewrite { port, header: adjacency.header(), mtu },
            AdjacencyKind::Free => Fate::Nonsense,
        }
    }
}

/// The kernel's state, and forwarding by it as a reader of its manual pages would do it: nothing kept, nothing indexed.
#[derive(Debug)]
struct Model<A> {
    links: BTreeMap<u32, Link>,
    routes: BTreeMap<Prefix<A>, Target>,
    local: BTreeSet<Prefix<A>>,
    neighbours: BTreeMap<(u32, IpAddr), Neighbour>,
}

impl<A: Version> Model<A> {
    fn new() -> Self {
        let (routes, local) = (BTreeMap::new(), BTreeSet::new());
        Self { links: BTreeMap::new(), routes, local, neighbours: BTreeMap::new() }
    }

    fn port(&self, index: u32) -> Option<u16> {
        match self.links.get(&index)?.name.as_str() {
            "p0" => Some(0),
            "p1" => Some(1),
            _ => None,
        }
    }

    fn mtu(&self, index: u32) -> u16 {
        u16::try_from(self.links[&index].mtu).unwrap()
    }

    fn rewrite(&self, index: u32, address: IpAddr) -> Option<Fate> {
        let neighbour = self.neighbours.get(&(index, address))?;
        let mac = neighbour.mac.filter(|_| neighbour.reachability.valid())?;
        let source = self.links[&index].mac?;
        let header = [&mac[..], &source[..], &A::ETHER_TYPE].concat().try_into().unwrap();
        Some(Fate::Rewrite { port: self.port(index)?, header, mtu: self.mtu(index) })
    }

    fn next(&self, index: u32, address: IpAddr) -> Fate {
        let port = self.port(index).unwrap();
        self.rewrite(index, address).unwrap_or(Fate::Incomplete {
            port,
            next_hop: Some(address),
            mtu: self.mtu(index),
        })
    }

    fn fates(&self, destination: IpAddr) -> BTreeSet<Fate> {
        let number = A::of_ip(destination).unwrap();
        let covers = |prefix: &&Prefix<A>| prefix.contains(number);
        let best =
            self.local.iter().chain(self.routes.keys()).filter(covers).max_by_key(|prefix| prefix.length());
        let Some(best) = best else { return [Fate::Unreachable].into() };
        if self.local.contains(best) {
            return [Fate::Local].into();
        }
        let hops = match &self.routes[best] {
            Target::Blackhole => return [Fate::Blackhole].into(),
            Target::Prohibit => return [Fate::Prohibited].into(),
            Target::Unreachable | Target::Unsupported(_) => return [Fate::Unreachable].into(),
            Target::Forward(hops) => hops,
        };
        if !hops.is_empty() && hops.iter().all(|hop| self.port(hop.index).is_none()) {
            return [Fate::NoPort].into();
        }
        let usable: Vec<&NextHop> = hops
            .iter()
            .filter(|hop| self.port(hop.index).is_some() && self.links[&hop.index].usable())
            .collect();
        let known = usable
            .iter()
            .filter(|hop| hop.gateway.is_none())
            .find_map(|hop| self.rewrite(hop.index, destination));
        if let Some(known) = known.filter(|_| best.length() < A::BITS) {
            return [known].into();
        }
        let fates: BTreeSet<Fate> = usable
            .iter()
            .map(|hop| match hop.gateway {
                Some(gateway) => self.next(hop.index, gateway),
                None if best.length() == A::BITS => self.next(hop.index, destination),
                None => Fate::Glean { port: self.port(hop.index).unwrap(), mtu: self.mtu(hop.index) },
            })
            .collect();
        if fates.is_empty() { [Fate::Unreachable].into() } else { fates }
    }

    /// The change that makes the kernel's state that of `step`, if it is one.
    fn step(&mut self, step: Step<A>) -> Vec<Event> {
        match step {
            Step::Link(link) => {
                let mut events = Vec::new();
                if self.links.get(&link.index) != Some(&link) {
                    // Two devices never have one name.
                    let other = self.links.values().find(|known| known.name == link.name);
                    if let Some(other) = other.filter(|other| other.index != link.index) {
                        events.extend(self.step(Step::LinkGone(other.index)));
                    }
                    self.links.insert(link.index, link.clone());
                    events.push(Event::Link(link));
                }
                events
            }
            Step::LinkGone(index) => {
                if self.links.remove(&index).is_none() {
                    return Vec::new();
                }
                let of: Vec<_> = self.neighbours.keys().filter(|(link, _)| *link == index).copied().collect();
                let mut events: Vec<Event> = of
                    .iter()
                    .map(|(index, address)| Event::NeighbourGone { index: *index, address: *address })
                    .collect();
                self.neighbours.retain(|(link, _), _| *link != index);
                events.push(Event::LinkGone(index));
                // The kernel takes the routes with it; this order is the harder one.
                let dead = |target: &Target| matches!(target, Target::Forward(hops) if hops.iter().any(|hop| hop.index == index));
                let gone: Vec<Prefix<A>> = self
                    .routes
                    .iter()
                    .filter(|(_, target)| dead(target))
                    .map(|(prefix, _)| *prefix)
                    .collect();
                self.routes.retain(|_, target| !dead(target));
                events.extend(gone.into_iter().map(|prefix| A::event(Change::RouteGone(prefix))));
                events
            }
            Step::Route(prefix, target) => {
                let known = |index: u32| self.links.contains_key(&index);
                if let Target::Forward(hops) = &target
                    && !hops.iter().all(|hop| known(hop.index))
                {
                    return Vec::new();
                }
                if self.routes.insert(prefix, target.clone()).as_ref() == Some(&target) {
                    return Vec::new();
                }
                vec![A::event(Change::Route { prefix, metric: 0, target: Arc::new(target) })]
            }
            Step::RouteGone(prefix) => {
                self.routes.remove(&prefix).map(|_| A::event(Change::RouteGone(prefix))).into_iter().collect()
            }
            Step::Local(prefix) => {
                self.local.insert(prefix).then_some(A::event(Change::Local(prefix))).into_iter().collect()
            }
            Step::LocalGone(prefix) => self
                .local
                .remove(&prefix)
                .then_some(A::event(Change::LocalGone(prefix)))
                .into_iter()
                .collect(),
            Step::Neighbour(neighbour) => {
                let key = (neighbour.index, neighbour.address);
                if !self.links.contains_key(&neighbour.index)
                    || self.neighbours.insert(key, neighbour) == Some(neighbour)
                {
                    return Vec::new();
                }
                vec![Event::Neighbour(neighbour)]
            }
            Step::NeighbourGone(index, address) => {
                let gone = self.neighbours.remove(&(index, address));
                gone.map(|_| Event::NeighbourGone { index, address }).into_iter().collect()
            }
        }
    }
}

#[derive(Debug, Clone)]
enum Step<A> {
    Link(Link),
    LinkGone(u32),
    Route(Prefix<A>, Target),
    RouteGone(Prefix<A>),
    Local(Prefix<A>),
    LocalGone(Prefix<A>),
    Neighbour(Neighbour),
    NeighbourGone(u32, IpAddr),
}

/// A version of IP with few enough addresses and prefixes that everything meets everything.
trait Version: Family {
    const ADDRESSES: [&'static str; 7];
    const PREFIXES: [&'static str; 8];
    /// Of no destination: a gateway alone.
    const GATEWAY: &'static str;
}

impl Version for u32 {
    const ADDRESSES: [&'static str; 7] =
        ["10.0.0.1", "10.0.0.2", "10.0.0.130", "10.0.1.2", "10.0.0.255", "192.0.2.1", "8.8.8.8"];
    const PREFIXES: [&'static str; 8] = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/24",
        "10.0.0.128/25",
        "10.0.0.2/32",
        "10.0.0.1/32",
        "10.0.1.0/24",
        "10.0.0.130/32",
    ];
    const GATEWAY: &'static str = "fe80::9";
}

impl Version for u128 {
    const ADDRESSES: [&'static str; 7] = [
        "2001:db8::1",
        "2001:db8::2",
        "2001:db8::8000:0:0:2",
        "2001:db8:1::2",
        "2001:db8:0:1::ff",
        "2001:db9::1",
        "2a00::8",
    ];
    const PREFIXES: [&'static str; 8] = [
        "::/0",
        "2001:db8::/32",
        "2001:db8::/64",
        "2001:db8:0:0:8000::/65",
        "2001:db8::2/128",
        "2001:db8::1/128",
        "2001:db8:1::/64",
        "2001:db8::8000:0:0:2/128",
    ];
    const GATEWAY: &'static str = "fe80::9";
}

fn addresses<A: Version>() -> [IpAddr; 7] {
    A::ADDRESSES.map(|text| text.parse().unwrap())
}

fn address<A: Version>() -> impl Strategy<Value = IpAddr> {
    let all: Vec<IpAddr> = addresses::<A>().into_iter().chain([A::GATEWAY.parse().unwrap()]).collect();
    prop::sample::select(all)
}

fn prefix<A: Version>() -> impl Strategy<Value = Prefix<A>> {
    prop::sample::select(&A::PREFIXES[..]).prop_map(|text| text.parse().unwrap())
}

fn link() -> impl Strategy<Value = Link> {
    let name = prop::sample::select(&["p0", "p1", "other"][..]);
    (1u32..5, name, 1u8..3, prop::bool::weighted(0.8), prop::bool::weighted(0.8), 0u32..2).prop_map(
        |(index, name, mac, up, running, mtu)| Link {
            index,
            name: name.to_owned(),
            mac: Some([2, 0, 0, 0, 1, mac]),
            mtu: 1400 + mtu,
            up,
            running,
            rx_queues: 1,
            master: None,
            bridge: false,
            vlan: None,
        },
    )
}

fn target<A: Version>() -> impl Strategy<Value = Target> {
    let hop = (1u32..5, prop::option::weighted(0.7, address::<A>()), 1u32..4)
        .prop_map(|(index, gateway, weight)| NextHop { index, gateway, weight, onlink: false });
    prop_oneof![
        8 => prop::collection::vec(hop, 1..4).prop_map(Target::Forward),
        1 => Just(Target::Forward(Vec::new())),
        1 => Just(Target::Blackhole),
        1 => Just(Target::Prohibit),
        1 => Just(Target::Unreachable),
        1 => Just(Target::Unsupported(Unsupported::Encapsulation)),
    ]
}

fn neighbour<A: Version>() -> impl Strategy<Value = Neighbour> {
    use Reachability::{Failed, Incomplete, Permanent, Reachable, Stale};
    let state = prop::sample::select(&[Reachable, Stale, Failed, Incomplete, Permanent][..]);
    (1u32..5, address::<A>(), state, 1u8..4).prop_map(|(index, address, reachability, mac)| Neighbour {
        index,
        address,
        reachability,
        // The kernel keeps the MAC address of a neighbour that failed.
        mac: (reachability != Incomplete).then_some([2, 0, 0, 0, 0, mac]),
    })
}

fn step<A: Version>() -> impl Strategy<Value = Step<A>> {
    prop_oneof![
        4 => link().prop_map(Step::Link),
        1 => (1u32..5).prop_map(Step::LinkGone),
        6 => (prefix(), target::<A>()).prop_map(|(prefix, target)| Step::Route(prefix, target)),
        2 => prefix().prop_map(Step::RouteGone),
        1 => prefix().prop_map(Step::Local),
        1 => prefix().prop_map(Step::LocalGone),
        6 => neighbour::<A>().prop_map(Step::Neighbour),
        2 => (1u32..5, address::<A>()).prop_map(|(index, address)| Step::NeighbourGone(index, address)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn forwarding_follows_the_kernel(steps in prop::collection::vec(step::<u32>(), 1..60)) {
        follows_the_kernel(steps, |bench| bench.forwarding.ip4.fib.prefixes().map(|it| it.to_string()).collect())?;
    }

    #[test]
    fn forwarding_follows_the_kernel_of_ip6(steps in prop::collection::vec(step::<u128>(), 1..60)) {
        follows_the_kernel(steps, |bench| bench.forwarding.ip6.fib.prefixes().map(|it| it.to_string()).collect())?;
    }
}

/// After every event every destination fares as the naive model says; names follow the tables; at the end nothing is left over.
fn follows_the_kernel<A: Version>(
    steps: Vec<Step<A>>,
    present: impl Fn(&Bench) -> BTreeSet<String>,
) -> Result<(), TestCaseError> {
    let mut bench = Bench::new(1000);
    let mut model = Model::new();
    let clear = (1..5)
        .map(Step::LinkGone)
        .chain(A::PREFIXES.map(|text| Step::RouteGone(text.parse().unwrap())))
        .chain(A::PREFIXES.map(|text| Step::LocalGone(text.parse().unwrap())));
    let count = steps.len();
    for (number, step) in steps.into_iter().chain(clear).enumerate() {
        for event in model.step(step) {
            bench.apply(event);
        }
        bench.forwarding.reclaim();
        for destination in addresses::<A>() {
            let (is, should) = (bench.fates(destination), model.fates(destination));
            prop_assert_eq!(is, should, "{} after step {} of {}", destination, number, count);
        }
        let named: BTreeSet<String> = bench.names.routes.values().cloned().collect();
        prop_assert_eq!(named, present(&bench));
        prop_assert!(bench.names.own.iter().all(|own| bench.fates(*own).contains(&Fate::Local)));
    }
    let left: Vec<&str> = bench.names.adjacencies.values().map(String::as_str).collect();
    prop_assert_eq!(left, ["glean dev p0", "glean dev p1"]);
    prop_assert!(bench.forwarding.ip4.is_empty() && bench.forwarding.ip6.is_empty());
    Ok(())
}

fn up(index: u32, name: &str) -> Event {
    Event::Link(Link {
        index,
        name: name.to_owned(),
        mac: Some([2, 0, 0, 0, 1, 1]),
        mtu: 1500,
        up: true,
        running: true,
        rx_queues: 1,
        master: None,
        bridge: false,
        vlan: None,
    })
}

fn known(index: u32, address: &str, reachability: Reachability) -> Event {
    let mac = Some([2, 0, 0, 0, 0, address.as_bytes()[address.len() - 1] - b'0']);
    Event::Neighbour(Neighbour { index, address: address.parse().unwrap(), reachability, mac })
}

/// Of either version, by the prefix.
fn route(prefix: &str, hops: &[(u32, Option<&str>)]) -> Event {
    let hop = |(index, gateway): &(u32, Option<&str>)| NextHop {
        index: *index,
        gateway: gateway.map(|text| text.parse().unwrap()),
        weight: 1,
        onlink: false,
    };
    let target = Arc::new(Target::Forward(hops.iter().map(hop).collect()));
    match prefix.parse() {
        Ok(prefix) => Event::Ip4(Change::Route { prefix, metric: 0, target }),
        Err(_) => Event::Ip6(Change::Route { prefix: prefix.parse().unwrap(), metric: 0, target }),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn names_say_what_a_user_would_type() {
    let mut bench = Bench::new(100);
    bench.apply(up(5, "p0"));
    bench.apply(route("10.0.0.0/24", &[(5, None)]));
    bench.apply(route("10.1.0.0/16", &[(5, Some("10.0.0.2"))]));
    bench.apply(route("10.2.0.0/16", &[(5, Some("fe80::2"))]));
    bench.apply(route("2001:db8::/48", &[(5, Some("fe80::2"))]));
    let names = |version: u8| {
        let of_version = bench.names.routes.iter().filter(move |((of, _), _)| *of == version);
        of_version.map(|(_, name)| name.as_str()).collect::<Vec<_>>()
    };
    assert_eq!(names(4), ["10.0.0.0/24", "10.1.0.0/16", "10.2.0.0/16"]);
    assert_eq!(names(6), ["2001:db8::/48"]);
    for name in ["10.0.0.2 dev p0", "fe80::2 dev p0", "inet6 fe80::2 dev p0"] {
        assert!(bench.names.adjacencies.values().any(|it| it == name), "{name}");
    }
}

#[test]
fn stale_neighbours_are_confirmed_only_while_they_are_used() {
    let mut bench = Bench::new(100);
    bench.apply(up(5, "p0"));
    bench.apply(route("10.0.0.0/24", &[(5, None)]));
    bench.apply(known(5, "10.0.0.2", Reachability::Stale));
    bench.apply(known(5, "10.0.0.3", Reachability::Stale));
    bench.apply(known(5, "10.0.0.4", Reachability::Reachable));
    let busy: Vec<AdjacencyIndex> = [2, 4]
        .map(|host| bench.fib.resolve(bench.fib.lookup(u32::from_be_bytes([10, 0, 0, host])), 0))
        .into();
    let start = Instant::now();
    let mut probed = Vec::new();
    for (second, packets) in [(0, 7), (1, 7), (2, 8), (3, 9)] {
        let now = start + Duration::from_secs(second);
        bench.forwarding.tick(
            now,
            &|adjacency| if busy.contains(&adjacency) { packets } else { 0 },
            &mut |index, address| probed.push((second, index, address)),
        );
    }
    // Second 0 only learns the count, second 1 sees no packet.
    let busy = ip("10.0.0.2");
    assert_eq!(probed, [(2, 5, busy), (3, 5, busy)]);
    // Confirmed, it is left alone.
    bench.apply(known(5, "10.0.0.2", Reachability::Reachable));
    bench.forwarding.tick(start + Duration::from_secs(9), &|_| 99, &mut |_, address| {
        assert_ne!(address, busy);
    });
}

#[test]
fn an_unknown_neighbour_is_asked_for_once_a_second() {
    let mut bench = Bench::new(100);
    bench.apply(up(5, "p0"));
    let mut asked = Vec::new();
    let start = Instant::now();
    let mut ask = |bench: &mut Bench, port, host, milliseconds| {
        let before = asked.len();
        bench.forwarding.resolve(
            port,
            [10, 0, 0, host].into(),
            start + Duration::from_millis(milliseconds),
            &mut |index, address| asked.push((index, address)),
        );
        asked.len() > before
    };
    assert!(ask(&mut bench, 0, 2, 0));
    assert!(!ask(&mut bench, 0, 2, 999));
    assert!(ask(&mut bench, 0, 3, 999), "another one");
    assert!(ask(&mut bench, 0, 2, 1000));
    assert!(!ask(&mut bench, 1, 2, 1000), "no device behind port 1");
    assert!(!ask(&mut bench, 9, 2, 1000), "no such port");
    bench.apply(known(5, "10.0.0.4", Reachability::Reachable));
    assert!(!ask(&mut bench, 0, 4, 2000), "known already");
}

#[test]
fn a_port_speaks_from_its_first_primary_address_or_borrows_one() {
    let mut bench = Bench::new(100);
    let at = |index, host, secondary| Address {
        index,
        address: [10, 0, 0, host].into(),
        length: 24,
        standing: if secondary { Standing::Secondary } else { Standing::Primary },
    };
    assert_eq!(bench.ports.address(0), None);
    bench.apply(up(5, "p0"));
    bench.apply(up(6, "p1"));
    bench.apply(Event::Address(at(5, 9, true)));
    bench.apply(Event::Address(at(5, 1, false)));
    bench.apply(Event::Address(at(5, 2, false)));
    assert_eq!(bench.ports.address(0), Some(Ipv4Addr::new(10, 0, 0, 1)));
    assert_eq!(bench.ports.address(1), Some(Ipv4Addr::new(10, 0, 0, 1)), "borrowed");
    bench.apply(Event::Address(at(6, 7, false)));
    assert_eq!(bench.ports.address(1), Some(Ipv4Addr::new(10, 0, 0, 7)));
    bench.apply(Event::AddressGone(at(5, 1, false)));
    assert_eq!(bench.ports.address(0), Some(Ipv4Addr::new(10, 0, 0, 2)));
    assert_eq!((bench.ports.mtu(0), bench.ports.mac(0)), (1500, 0x0200_0000_0101));
}

#[test]
fn a_port_speaks_ip6_from_where_it_can_be_answered() {
    let mut bench = Bench::new(100);
    let at = |index, text: &str, standing| Address { index, address: ip(text), length: 64, standing };
    let is = |bench: &Bench, port, text: &str| {
        assert_eq!(bench.ports.address6(port).map(IpAddr::from), text.parse().ok(), "{text}");
    };
    bench.apply(up(5, "p0"));
    bench.apply(up(6, "p1"));
    bench.apply(Event::Address(at(5, "fe80::1", Standing::Tentative)));
    is(&bench, 0, "none yet");
    bench.apply(Event::Address(at(5, "fe80::1", Standing::Primary)));
    is(&bench, 0, "fe80::1");
    is(&bench, 1, "nobody else's on the link");
    bench.apply(Event::Address(at(6, "2001:db8:1::1", Standing::Primary)));
    is(&bench, 0, "2001:db8:1::1");
    is(&bench, 1, "2001:db8:1::1");
    bench.apply(Event::Address(at(5, "2001:db8::7", Standing::Secondary)));
    is(&bench, 0, "2001:db8::7");
    bench.apply(Event::Address(at(5, "2001:db8::1", Standing::Primary)));
    is(&bench, 0, "2001:db8::1");
    assert_eq!(bench.ports.address(0), None, "IPv4 has none of these");
    bench.apply(Event::AddressGone(at(5, "2001:db8::1", Standing::Primary)));
    bench.apply(Event::AddressGone(at(5, "2001:db8::7", Standing::Secondary)));
    bench.apply(Event::LinkGone(6));
    is(&bench, 0, "fe80::1");
}

#[test]
fn a_router_of_ip6_serves_routes_of_both_versions() {
    let mut bench = Bench::new(100);
    bench.apply(up(5, "p0"));
    bench.apply(route("10.1.0.0/16", &[(5, Some("fe80::2"))]));
    bench.apply(route("2001:db8::/48", &[(5, Some("fe80::2"))]));
    let ether_types = |bench: &Bench| {
        [ip("10.1.0.1"), ip("2001:db8::1")].map(|to| match bench.fates(to).first() {
            Some(Fate::Rewrite { header, .. }) => Some([header[12], header[13]]),
            _ => None,
        })
    };
    assert_eq!(ether_types(&bench), [None, None]);
    bench.apply(known(5, "fe80::2", Reachability::Reachable));
    assert_eq!(ether_types(&bench), [Some([0x08, 0x00]), Some([0x86, 0xdd])]);
    bench.apply(known(5, "fe80::2", Reachability::Failed));
    assert_eq!(ether_types(&bench), [None, None]);
    // Known on the link, it is still no destination of its own.
    bench.apply(known(5, "fe80::2", Reachability::Reachable));
    assert_eq!(bench.fates(ip("fe80::2")), BTreeSet::from([Fate::Unreachable]));
}

#[test]
fn a_name_that_moved_between_two_messages_belongs_to_the_later_device() {
    let mut bench = Bench::new(100);
    let here = ip("10.0.0.2");
    bench.apply(up(5, "p0"));
    bench.apply(route("10.0.0.0/24", &[(5, None)]));
    assert!(matches!(bench.fates(here).first(), Some(Fate::Glean { .. })));
    // The message that device 5 has another name now comes later, or its deletion does.
    bench.apply(up(6, "p0"));
    assert_eq!(bench.fates(here), BTreeSet::from([Fate::NoPort]));
    bench.apply(route("10.0.0.0/24", &[(6, None)]));
    bench.apply(Event::LinkGone(5));
    assert!(matches!(bench.fates(here).first(), Some(Fate::Glean { .. })));
    assert_eq!(bench.forwarding.link(0).map(|link| link.index), Some(6));
}

#[test]
fn a_full_adjacency_table_costs_the_route_not_the_process() {
    // Five well-known, two gleans, one left.
    let mut bench = Bench::new(8);
    bench.apply(up(5, "p0"));
    bench.apply(route("10.1.0.0/16", &[(5, Some("10.0.0.2"))]));
    bench.apply(route("10.2.0.0/16", &[(5, Some("10.0.0.3"))]));
    let unreachable = BTreeSet::from([Fate::Unreachable]);
    assert_ne!(bench.fates(ip("10.1.0.1")), unreachable);
    assert_eq!(bench.fates(ip("10.2.0.1")), unreachable);
    bench.apply(Event::Ip4(Change::RouteGone("10.2.0.0/16".parse().unwrap())));
    bench.apply(Event::Ip4(Change::RouteGone("10.1.0.0/16".parse().unwrap())));
    bench.apply(route("10.2.0.0/16", &[(5, Some("10.0.0.3"))]));
    assert_ne!(bench.fates(ip("10.2.0.1")), unreachable, "room again");
}
