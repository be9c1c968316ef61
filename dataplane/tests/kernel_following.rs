//! The kernel's control plane, changed by real commands in a namespace of the test's own, as weir follows it.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as outside them")]

mod kernel_namespace;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::{Duration, Instant};

use kernel_namespace::{Follower, Namespace, PATIENCE, Picture, VERSIONS, of};
use weir::kernel::{Kernel, Reachability, Standing, Target};

/// Two veth pairs, `v0`–`p0` with 10.0.0.1/24 and `v1`–`p1` with 10.0.1.1/24, or what these are of IPv6.
fn two_links(test: &str, version: u8) -> Option<Namespace> {
    let namespace = Namespace::new(test, version)?;
    namespace.veth("v0", "p0");
    namespace.veth("v1", "p1");
    namespace.ip("addr add 10.0.0.1/24 dev v0");
    namespace.ip("addr add 10.0.1.1/24 dev v1");
    Some(namespace)
}

#[test]
fn links_are_followed_through_rename_mtu_mac_carrier_and_deletion() {
    let Some(namespace) = two_links("links_are_followed", 4) else { return };
    let mut follower = Follower::new(&namespace);
    let v0 = follower.picture.index("v0");
    assert!(follower.picture.links[&v0].usable());
    assert_eq!(follower.picture.links[&v0].mtu, 1500);

    namespace.ip("link set v0 mtu 9000");
    follower.until("mtu", |picture| picture.links[&v0].mtu == 9000);
    namespace.ip("link set v0 address 02:00:00:00:00:07");
    follower.until("mac", |picture| picture.links[&v0].mac == Some([2, 0, 0, 0, 0, 7]));
    namespace.ip("link set p0 down");
    follower.until("no carrier", |picture| !picture.links[&v0].running && picture.links[&v0].up);
    namespace.ip("link set p0 up");
    follower.until("carrier", |picture| picture.links[&v0].usable());
    namespace.ip("link set v0 down");
    namespace.ip("link set v0 name wan");
    namespace.ip("link set wan up");
    follower
        .until("renamed and up", |picture| picture.links[&v0].name == "wan" && picture.links[&v0].usable());
    follower.agrees_with_a_newcomer(&namespace);
    namespace.ip("link del wan");
    follower.until("gone", |picture| !picture.links.contains_key(&v0));
    assert!(!follower.picture.addresses.keys().any(|&(index, ..)| index == v0));
    follower.agrees_with_a_newcomer(&namespace);
}

#[test]
fn a_port_of_a_bridge_is_not_gone_when_it_leaves_the_bridge() {
    let Some(namespace) = two_links("a_port_of_a_bridge", 4) else { return };
    let mut follower = Follower::new(&namespace);
    if let Err(error) = namespace.try_ip("link add br0 type bridge") {
        eprintln!("SKIP a_port_of_a_bridge: the kernel makes no bridge: {}", error.trim());
        return;
    }
    namespace.ip("link set v0 master br0");
    follower.until("a port", |picture| {
        let bridge =
            picture.links.values().find(|link| link.name == "br0").map(|link| (link.bridge, link.index));
        let port = &picture.links[&picture.index("v0")];
        !port.bridge && bridge == port.master.map(|master| (true, master))
    });
    namespace.ip("link set v0 nomaster");
    follower.until("none", |picture| picture.links[&picture.index("v0")].master.is_none());
    namespace.ip("link set v0 mtu 1400");
    follower.until("later change", |picture| picture.links.values().any(|link| link.mtu == 1400));
    follower.agrees_with_a_newcomer(&namespace);
}

#[test]
fn addresses_and_local_destinations_are_followed() {
    let Some(namespace) = two_links("addresses_are_followed", 4) else { return };
    let mut follower = Follower::new(&namespace);
    assert!(follower.picture.has_local("10.0.0.1/32") && follower.picture.has_local("10.0.0.255/32"));
    assert!(follower.picture.has_local("127.0.0.0/8"));

    namespace.ip("addr add 10.0.0.5/24 dev v0");
    follower.until("secondary", |picture| {
        picture
            .addresses
            .values()
            .any(|it| it.standing == Standing::Secondary && it.address.to_string() == "10.0.0.5")
    });
    // The same address on two devices is local until both are gone.
    namespace.ip("addr add 10.0.0.5/32 dev v1");
    follower.until("on both", |picture| {
        picture.addresses.keys().filter(|(_, address, _)| address.to_string() == "10.0.0.5").count() == 2
    });
    namespace.ip("addr del 10.0.0.5/24 dev v0");
    follower.until("on one", |picture| {
        picture.addresses.keys().filter(|(_, address, _)| address.to_string() == "10.0.0.5").count() == 1
    });
    follower.agrees_with_a_newcomer(&namespace);
    assert!(follower.picture.has_local("10.0.0.5/32"));
    namespace.ip("addr del 10.0.0.5/32 dev v1");
    follower.until("not local", |picture| !picture.has_local("10.0.0.5/32"));

    namespace.ip("route add local 10.99.0.0/16 dev lo");
    follower.until("local route", |picture| picture.has_local("10.99.0.0/16"));
    // A device that goes down takes its broadcast destination with it, silently, and keeps its address.
    namespace.ip("link set v0 down");
    follower.until("no broadcast", |picture| !picture.has_local("10.0.0.255/32"));
    assert!(follower.picture.has_local("10.0.0.1/32"));
    follower.agrees_with_a_newcomer(&namespace);
    namespace.ip("link set v0 up");
    follower.until("broadcast again", |picture| picture.has_local("10.0.0.255/32"));
    follower.agrees_with_a_newcomer(&namespace);
}

#[test]
fn routes_are_elected_by_metric_and_replaced() {
    VERSIONS.into_iter().for_each(routes_are_elected);
}

fn routes_are_elected(version: u8) {
    let Some(namespace) = two_links("routes_are_elected", version) else { return };
    let mut follower = Follower::new(&namespace);
    assert_eq!(follower.route("10.0.0.0/24"), "v0 link");

    namespace.ip("route add 10.1.0.0/16 via 10.0.0.2 metric 100");
    follower.until_route("10.1.0.0/16", "v0 10.0.0.2");
    namespace.ip("route add 10.1.0.0/16 via 10.0.1.2 metric 50");
    follower.until_route("10.1.0.0/16", "v1 10.0.1.2");
    namespace.ip("route add 10.1.0.0/16 via 10.0.1.9 metric 70");
    namespace.ip("route del 10.1.0.0/16 metric 50");
    follower.until_route("10.1.0.0/16", "v1 10.0.1.9");
    namespace.ip("route replace 10.1.0.0/16 via 10.0.0.8 metric 70");
    follower.until_route("10.1.0.0/16", "v0 10.0.0.8");
    // A route for one type of service is not for all packets.
    if version == 4 {
        namespace.ip("route add 10.1.0.0/16 via 10.0.1.7 metric 70 tos 0x10");
    }
    namespace.ip("route append 10.1.0.0/16 via 10.0.1.6 metric 70");
    namespace.ip("route del 10.1.0.0/16 via 10.0.0.8 metric 70");
    follower.until_route("10.1.0.0/16", "v1 10.0.1.6");
    namespace.ip("route del 10.1.0.0/16 via 10.0.1.6 metric 70");
    follower.until_route("10.1.0.0/16", "v0 10.0.0.2");
    follower.agrees_with_a_newcomer(&namespace);

    for (kind, wanted) in [
        ("blackhole", "Blackhole"),
        ("unreachable", "Unreachable"),
        ("prohibit", "Prohibit"),
        ("throw", "Unreachable"),
    ] {
        namespace.ip(&format!("route add {kind} 10.2.0.0/16"));
        follower.until_route("10.2.0.0/16", wanted);
        namespace.ip(&format!("route del {kind} 10.2.0.0/16"));
        follower.until_route("10.2.0.0/16", "none");
    }
    namespace.ip("route add 10.3.0.0/16 nexthop via 10.0.0.2 weight 3 nexthop via 10.0.1.2 weight 256");
    follower.until_route("10.3.0.0/16", "v0 10.0.0.2*3, v1 10.0.1.2*256");
    namespace.ip("route add 10.4.0.0/16 via 192.0.2.1 dev v0 onlink");
    follower.until_route("10.4.0.0/16", "v0 192.0.2.1 onlink");
    namespace.ip("route add 10.5.0.0/16 via inet6 fe80::1 dev v0");
    follower.until_route("10.5.0.0/16", "v0 fe80::1");
    // Other tables are not weir's; the default table counts where main has nothing.
    namespace.ip("route add 10.6.0.0/16 via 10.0.0.2 table 77");
    namespace.ip("route add 10.7.0.0/16 via 10.0.0.2 table 253");
    namespace.ip("route add 10.7.0.0/16 via 10.0.1.2 metric 4000000000");
    namespace.ip("route add default via 10.0.0.254");
    follower.until_route("0.0.0.0/0", "v0 10.0.0.254");
    assert_eq!(follower.route("10.7.0.0/16"), of(version, "v1 10.0.1.2"));
    assert_eq!(follower.route("10.6.0.0/16"), "none");
    follower.agrees_with_a_newcomer(&namespace);
}

#[test]
fn routes_that_go_silently_with_their_device_are_missed_at_once() {
    let Some(namespace) = two_links("routes_that_go_silently", 4) else { return };
    namespace.ip("route add 10.1.0.0/16 via 10.0.0.2");
    namespace.ip("route add 10.1.0.0/16 via 10.0.1.2 metric 10");
    namespace.ip("route add 10.2.0.0/16 nexthop via 10.0.0.2 nexthop via 10.0.1.2");
    let mut follower = Follower::new(&namespace);
    assert_eq!(follower.picture.route("10.1.0.0/16"), "v0 10.0.0.2");

    namespace.ip("link set v0 down");
    follower.until_route("10.1.0.0/16", "v1 10.0.1.2");
    assert_eq!(follower.picture.route("10.0.0.0/24"), "none");
    assert_eq!(follower.picture.route("10.2.0.0/16"), "v0 10.0.0.2, v1 10.0.1.2", "the other next hop lives");
    follower.agrees_with_a_newcomer(&namespace);
    namespace.ip("link set v1 down");
    follower.until_route("10.2.0.0/16", "none");
    follower.agrees_with_a_newcomer(&namespace);
    namespace.ip("link set v0 up");
    follower.until_route("10.0.0.0/24", "v0 link");
    namespace.ip("link set v1 up");
    follower.until_route("10.0.1.0/24", "v1 link");
    namespace.ip("route add 10.2.0.0/16 nexthop via 10.0.0.2 nexthop via 10.0.1.2");
    follower.until_route("10.2.0.0/16", "v0 10.0.0.2, v1 10.0.1.2");
    namespace.ip("link del v1");
    follower.until_route("10.2.0.0/16", "none");
    follower.agrees_with_a_newcomer(&namespace);
    // A device that loses its last address loses its routes, silently.
    namespace.ip("route add 10.6.0.0/16 dev v0");
    follower.until_route("10.6.0.0/16", "v0 link");
    namespace.ip("addr del 10.0.0.1/24 dev v0");
    follower.until_route("10.6.0.0/16", "none");
    follower.agrees_with_a_newcomer(&namespace);
    namespace.ip("addr add 10.0.0.1/24 dev v0");
    // A route that prefers an address as its source goes with the address.
    namespace.ip("addr add 10.0.9.1/24 dev v0");
    namespace.ip("route add 10.8.0.0/16 via 10.0.0.2 src 10.0.9.1");
    follower.until_route("10.8.0.0/16", "v0 10.0.0.2");
    namespace.ip("addr del 10.0.9.1/24 dev v0");
    follower.until_route("10.8.0.0/16", "none");
    follower.agrees_with_a_newcomer(&namespace);
}

#[test]
fn next_hop_objects_decide_over_their_routes() {
    for (version, compatible) in [(4, "1"), (4, "0"), (6, "1"), (6, "0")] {
        let Some(namespace) = two_links("next_hop_objects", version) else { return };
        if let Err(error) = namespace.try_ip("nexthop add id 1 via 10.0.0.2 dev v0") {
            eprintln!("SKIP next_hop_objects: the kernel has no next-hop objects: {}", error.trim());
            return;
        }
        // 0: the kernel names only the object in a route and does not repeat the routes when the object changes.
        let setting = format!("net.ipv4.nexthop_compat_mode={compatible}");
        namespace.exec("sysctl", &["-qw", &setting]);
        namespace.ip("nexthop add id 2 via 10.0.1.2 dev v1");
        namespace.ip(&format!("-{version} nexthop add id 3 blackhole"));
        namespace.ip("nexthop add id 10 group 1,2/2,5");
        namespace.ip("route add 10.1.0.0/16 nhid 1");
        let mut follower = Follower::new(&namespace);
        assert_eq!(follower.route("10.1.0.0/16"), of(version, "v0 10.0.0.2"));

        namespace.ip("route add 10.2.0.0/16 nhid 10");
        follower.until_route("10.2.0.0/16", "v0 10.0.0.2*2, v1 10.0.1.2*5");
        namespace.ip("route add 10.3.0.0/16 nhid 3");
        follower.until_route("10.3.0.0/16", "Blackhole");
        namespace.ip("nexthop replace id 1 via 10.0.0.3 dev v0");
        follower.until_route("10.1.0.0/16", "v0 10.0.0.3");
        follower.until_route("10.2.0.0/16", "v0 10.0.0.3*2, v1 10.0.1.2*5");
        follower.agrees_with_a_newcomer(&namespace);
        // Deleted: its route goes without a word, the group goes on without it.
        namespace.ip("nexthop del id 1");
        follower.until_route("10.1.0.0/16", "none");
        follower.until_route("10.2.0.0/16", "v1 10.0.1.2*5");
        follower.agrees_with_a_newcomer(&namespace);
        // Without carrier the kernel drops the objects of a device, and with the last member the group and its routes.
        namespace.ip("link set p1 down");
        follower.until_route("10.2.0.0/16", "none");
        follower.agrees_with_a_newcomer(&namespace);
        namespace.ip("nexthop add id 4 via 10.0.0.4 dev v0");
        namespace.ip("route add 10.4.0.0/16 nhid 4");
        follower.until_route("10.4.0.0/16", "v0 10.0.0.4");
        namespace.ip("link set v0 down");
        follower.until_route("10.4.0.0/16", "none");
        follower.agrees_with_a_newcomer(&namespace);
    }
}

#[test]
fn neighbours_of_both_versions_are_followed() {
    VERSIONS.into_iter().for_each(neighbours_are_followed);
}

fn neighbours_are_followed(version: u8) {
    let Some(namespace) = two_links("neighbours_are_followed", version) else { return };
    let mut follower = Follower::new(&namespace);
    let v0 = follower.picture.index("v0");
    let key = (v0, of(version, "10.0.0.2").parse().unwrap());
    namespace.ip("neigh add 10.0.0.2 dev v0 lladdr 02:00:00:00:00:02 nud permanent");
    follower.until("permanent", |picture| {
        picture.neighbours.get(&key).is_some_and(|neighbour| {
            neighbour.reachability == Reachability::Permanent && neighbour.mac == Some([2, 0, 0, 0, 0, 2])
        })
    });
    namespace.ip("neigh change 10.0.0.2 dev v0 lladdr 02:00:00:00:00:03 nud stale");
    follower.until("stale", |picture| {
        picture.neighbours.get(&key).is_some_and(|neighbour| {
            neighbour.reachability == Reachability::Stale && neighbour.mac == Some([2, 0, 0, 0, 0, 3])
        })
    });
    follower.agrees_with_a_newcomer(&namespace);
    namespace.ip("neigh del 10.0.0.2 dev v0");
    follower.until("gone", |picture| !picture.neighbours.contains_key(&key));
    namespace.ip("neigh add 10.0.0.2 dev v0 lladdr 02:00:00:00:00:02 nud reachable");
    follower.until("reachable", |picture| picture.neighbours.contains_key(&key));
    namespace.ip("link set v0 down");
    follower.until("gone with the link", |picture| !picture.neighbours.contains_key(&key));
    follower.agrees_with_a_newcomer(&namespace);
}

#[test]
fn a_probe_asks_on_the_wire_and_resolves() {
    VERSIONS.into_iter().for_each(a_probe_asks);
}

fn a_probe_asks(version: u8) {
    let Some(host) = Namespace::new("a_probe_asks", version) else { return };
    let Some(namespace) = Namespace::new("a_probe_asks", version) else { return };
    namespace.ip(&format!("link add v0 type veth peer name eth0 netns {}", host.name));
    namespace.ip("addr add 10.0.0.1/24 dev v0");
    namespace.ip("link set v0 up");
    host.ip("addr add 10.0.0.2/24 dev eth0");
    host.ip("link set eth0 up");
    // Stale after 1.2 to 3.8 seconds without use, probed one second after it is used again: the kernel's own values are ten times that.
    for setting in ["base_reachable_time_ms=2500", "delay_first_probe_time=1", "retrans_time_ms=100"] {
        namespace.exec("sysctl", &["-qw", &format!("net.ipv{version}.neigh.v0.{setting}")]);
    }
    let mut follower = Follower::new(&namespace);
    follower
        .until("carrier", |picture| picture.links.values().any(|link| link.name == "v0" && link.usable()));
    let v0 = follower.picture.index("v0");
    let state = |picture: &Picture, address: &str| {
        let key = (v0, of(version, address).parse().unwrap());
        picture.neighbours.get(&key).map(|neighbour| neighbour.reachability)
    };
    // A host that is asked notes who asked (RFC 826, RFC 4861 §7.2.3): its entry is the witness that a request was on the wire.
    let asked = || host.exec("ip", &["neigh", "show", "dev", "eth0"]).contains("lladdr");
    // Once a second, as weir does: IPv6 takes a moment after its link is up.
    let probe = |follower: &mut Follower, address: &str, wanted| {
        let deadline = Instant::now() + PATIENCE;
        while state(&follower.picture, address) != Some(wanted) {
            assert!(Instant::now() < deadline, "{address} is not {wanted:?}");
            follower.kernel.probe(v0, of(version, address).parse().unwrap());
            let next = Instant::now() + Duration::from_secs(1);
            while Instant::now() < next && state(&follower.picture, address) != Some(wanted) {
                follower.step();
            }
        }
    };
    assert!(!asked());
    // Unknown.
    probe(&mut follower, "10.0.0.2", Reachability::Reachable);
    assert!(asked(), "a request arrived");
    // Stale: confirmed again, and not before it is asked for.
    follower.until("stale", |picture| state(picture, "10.0.0.2") == Some(Reachability::Stale));
    probe(&mut follower, "10.0.0.2", Reachability::Reachable);
    // Failed: asked for again once it is there.
    probe(&mut follower, "10.0.0.3", Reachability::Failed);
    host.ip("addr add 10.0.0.3/24 dev eth0");
    probe(&mut follower, "10.0.0.3", Reachability::Reachable);
    // Nonsense is refused by the kernel and harms nothing.
    follower.kernel.probe(9999, "10.0.0.3".parse().unwrap());
    follower.step();
    follower.agrees_with_a_newcomer(&namespace);
}

#[test]
fn lost_notifications_lead_to_the_same_picture() {
    VERSIONS.into_iter().for_each(lost_notifications);
}

fn lost_notifications(version: u8) {
    let Some(namespace) = two_links("lost_notifications", version) else { return };
    namespace.ip("route add 10.1.0.0/16 via 10.0.0.2");
    namespace.ip("neigh add 10.0.0.2 dev v0 lladdr 02:00:00:00:00:02 nud permanent");
    // The kernel doubles it and refuses less than about 2 KiB: a few dozen notifications fit.
    let kernel = namespace.inside(|| Kernel::open_with_receive_buffer(16 << 10).unwrap());
    let mut follower = Follower::of(kernel, version);
    let mut batch = String::new();
    for i in 0..3000 {
        writeln!(batch, "route add 20.{}.{}.0/24 via 10.0.0.2", i / 256, i % 256).unwrap();
    }
    namespace.ip_batch(&batch);
    namespace.ip("route del 10.1.0.0/16");
    namespace.ip("neigh del 10.0.0.2 dev v0");
    namespace.ip("addr del 10.0.1.1/24 dev v1");
    namespace.ip("link del v1");
    follower.until("all routes", |picture| picture.routes(version) == 3001);
    follower.agrees_with_a_newcomer(&namespace);
    assert!(!follower.picture.links.values().any(|link| link.name == "v1"));
    assert!(follower.picture.neighbours.is_empty());
}

/// A small generator (xorshift64): the same commands for the same seed.
struct Random(u64);

impl Random {
    fn of<'a>(&mut self, choices: &[&'a str]) -> &'a str {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        choices[usize::try_from(self.0 % choices.len() as u64).unwrap()]
    }

    fn command(&mut self, version: u8) -> String {
        let prefix = self.of(&["10.1.0.0/16", "10.2.0.0/16", "10.2.0.0/24", "10.3.0.3/32", "default"]);
        let selective = if version == 4 { "metric 5 tos 0x10" } else { "metric 5 from 10.77.0.0/16" };
        let metric = self.of(&["", "metric 5", "metric 9", selective]);
        let id = self.of(&["1", "2", "3"]);
        let device = self.of(&["v0", "v1", "p0", "p1"]);
        let target = self.of(&[
            "via 10.0.0.2",
            "via 10.0.1.2",
            "via 10.0.1.3",
            "dev v0",
            "via 10.0.0.9 src 10.0.0.5",
            "nexthop via 10.0.0.2 nexthop via 10.0.1.2 weight 3",
            "nhid 1",
            "nhid 2",
            "nhid 10",
            "via inet6 fe80::1 dev v0",
        ]);
        match self.of(&[
            "link", "address", "route", "route", "route", "route", "route", "delete", "kind", "object",
            "object", "group",
        ]) {
            "link" => format!("link set {device} {}", self.of(&["up", "up", "down"])),
            "address" => format!(
                "addr {} {}",
                self.of(&["add", "del"]),
                self.of(&[
                    "10.0.0.5/24 dev v0",
                    "10.0.0.1/24 dev v0",
                    "10.0.1.1/24 dev v1",
                    "10.9.0.1/32 dev v1"
                ])
            ),
            "route" => {
                let verb = self.of(&["add", "replace", "append", "prepend", "change"]);
                format!("route {verb} {prefix} {target} {metric}")
            }
            "delete" => format!("route del {prefix} {metric}"),
            "kind" => {
                format!("route replace {} {prefix} {metric}", self.of(&["blackhole", "prohibit", "throw"]))
            }
            "object" => {
                let what = self.of(&[
                    "via 10.0.0.2 dev v0",
                    "via 10.0.1.2 dev v1",
                    "via 10.0.1.9 dev v1",
                    "blackhole",
                ]);
                match self.of(&["add", "replace", "del"]) {
                    "del" => format!("nexthop del id {id}"),
                    verb => format!("nexthop {verb} id {id} {what}"),
                }
            }
            _ => match self.of(&["add", "replace", "del"]) {
                "del" => "nexthop del id 10".to_owned(),
                verb => format!("nexthop {verb} id 10 group {}", self.of(&["1/2", "2,3/3", "1", "1,4/2,2"])),
            },
        }
    }
}

/// What `ip` says of the routes that follow the same words as [`Picture::route`]: the oracle that shares nothing with weir.
fn routes_of_ip(namespace: &Namespace) -> BTreeMap<String, String> {
    let version = format!("-{}", namespace.version);
    let mut best: BTreeMap<String, (u64, Vec<String>)> = BTreeMap::new();
    let text = namespace.exec("ip", &[&version, "-j", "-N", "route", "show", "table", "main"]);
    let routes: Vec<serde_json::Value> = serde_json::from_str(text.trim()).unwrap_or_default();
    for route in routes {
        if route.get("tos").is_some() || route.get("from").is_some() {
            continue;
        }
        let text = |value: &serde_json::Value, key: &str| value[key].as_str().unwrap_or("").to_owned();
        let full = if namespace.version == 4 { ("/32", "0.0.0.0/0") } else { ("/128", "::/0") };
        let prefix = match text(&route, "dst").as_str() {
            "default" => full.1.to_owned(),
            dst if dst.contains('/') => dst.to_owned(),
            dst => format!("{dst}{}", full.0),
        };
        if prefix.starts_with("fe80:") || prefix == "::1/128" {
            continue;
        }
        let metric = route["metric"].as_u64().unwrap_or(0);
        let hop = |hop: &serde_json::Value| {
            let gateway = hop["gateway"].as_str().or(hop["via"]["host"].as_str()).unwrap_or("link");
            let weight = hop["weight"].as_u64().filter(|weight| *weight != 1);
            let weight = weight.map_or(String::new(), |weight| format!("*{weight}"));
            let onlink = hop["flags"].as_array().is_some_and(|it| it.iter().any(|it| it == "onlink"));
            let onlink = if onlink { " onlink" } else { "" };
            format!("{} {gateway}{weight}{onlink}", text(hop, "dev"))
        };
        let mut hops = match (text(&route, "type").as_str(), route["nexthops"].as_array()) {
            ("blackhole" | "6", _) => vec!["Blackhole".to_owned()],
            ("prohibit" | "8", _) => vec!["Prohibit".to_owned()],
            ("unreachable" | "throw" | "7" | "9", _) => vec!["Unreachable".to_owned()],
            (_, Some(several)) => several.iter().map(hop).collect(),
            _ => vec![hop(&route)],
        };
        hops.sort();
        let known = best.entry(prefix).or_insert((metric, hops.clone()));
        if metric < known.0 {
            *known = (metric, hops);
        }
    }
    best.into_iter().map(|(prefix, (_, hops))| (prefix, hops.join(", "))).collect()
}

#[test]
fn random_commands_lead_to_the_picture_of_a_newcomer() {
    for (version, seed) in
        VERSIONS.into_iter().flat_map(|version| (1..=8u64).map(move |seed| (version, seed)))
    {
        let Some(namespace) = two_links("random_commands", version) else { return };
        let compatible = seed % 2 == 1;
        if !compatible {
            namespace.exec("sysctl", &["-qw", "net.ipv4.nexthop_compat_mode=0"]);
        }
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut follower = Follower::new(&namespace);
        for round in 0..10 {
            // A start from which most of what follows can succeed.
            let start =
                ["link set v0 up", "link set p0 up", "link set v1 up", "link set p1 up"].into_iter().chain([
                    "addr replace 10.0.0.1/24 dev v0",
                    "addr replace 10.0.1.1/24 dev v1",
                    "nexthop replace id 1 via 10.0.0.2 dev v0",
                    "nexthop replace id 2 via 10.0.1.2 dev v1",
                ]);
            let random = (0..40).map(|_| random.command(version));
            let commands: Vec<String> = start.map(str::to_owned).chain(random).collect();
            // Many are refused, as they should be: what counts is what the kernel made of the rest.
            namespace.ip_batch_as_far_as_possible(&commands.join("\n"));
            eprintln!("version {version}, seed {seed}, round {round}:\n{}", commands.join("\n"));
            follower.agrees_with_a_newcomer(&namespace);
            // Otherwise `ip` sees only the number of an object.
            if compatible {
                let routes = routes_of_ip(&namespace);
                assert_eq!(routes.len(), follower.picture.routes(version), "{routes:#?}");
                for (prefix, wanted) in routes {
                    // The weight of a group's only member is in no message of a route.
                    let is = follower.picture.route(&prefix);
                    let one = !is.contains(',');
                    let is = if one { is.split('*').next().unwrap() } else { &is };
                    assert_eq!(is, wanted, "{prefix}");
                }
            }
        }
    }
}

#[test]
fn a_hundred_thousand_routes_are_followed() {
    VERSIONS.into_iter().for_each(a_hundred_thousand_routes);
}

fn a_hundred_thousand_routes(version: u8) {
    let Some(namespace) = two_links("a_hundred_thousand_routes", version) else { return };
    let mut follower = Follower::new(&namespace);
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
    let started = Instant::now();
    let loader = {
        let name = namespace.name.clone();
        std::thread::spawn(move || {
            let namespace = std::mem::ManuallyDrop::new(Namespace { name, version });
            namespace.ip_batch(&batch);
            started.elapsed()
        })
    };
    follower.until("all", |picture| picture.routes(version) == 100_002);
    let followed = started.elapsed();
    let loaded = loader.join().unwrap();
    let started = Instant::now();
    let newcomer = Follower::new(&namespace);
    eprintln!(
        "100,000 routes of IPv{version}: `ip -batch` took {loaded:?}, followed to the end after {followed:?}, read anew in {:?}",
        started.elapsed()
    );
    assert!(newcomer.picture == follower.picture);

    // All of them go with a device, those of IPv4 silently.
    namespace.ip("link set v0 down");
    let started = Instant::now();
    follower.until("half gone", |picture| picture.routes(version) == 50_001);
    eprintln!("50,000 routes gone with their device after {:?}", started.elapsed());
    follower.kernel.sync(PATIENCE, &mut |event| follower.picture.apply(event)).unwrap();
    assert_eq!(follower.picture.routes(version), 50_001);
    let forwarding = |target: &Target| matches!(target, Target::Forward(hops) if hops.len() == 1);
    let Picture { ip4, ip6, .. } = &follower.picture;
    assert!(ip4.routes.values().chain(ip6.routes.values()).all(|(_, target)| forwarding(target)));
}

#[test]
fn waiting_for_the_picture_has_an_end() {
    let Some(namespace) = Namespace::new("waiting_has_an_end", 4) else { return };
    let mut kernel = namespace.inside(|| Kernel::open().unwrap());
    let error = kernel.sync(Duration::ZERO, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("did not finish"), "{error}");
}
