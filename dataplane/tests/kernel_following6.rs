//! What the kernel does with IPv6 as with nothing else, as weir follows it.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as outside them")]

mod kernel_namespace;

use std::fmt::Write;

use kernel_namespace::{Follower, Namespace, PATIENCE, Picture};
use weir::kernel::{Kernel, Standing};

/// Two veth pairs, `v0`–`p0` with 2001:db8::1/64 and `v1`–`p1` with 2001:db8:1::1/64.
fn two_links(test: &str) -> Option<Namespace> {
    let namespace = Namespace::new(test, 6)?;
    namespace.veth("v0", "p0");
    namespace.veth("v1", "p1");
    namespace.ip("addr add 2001:db8::1/64 dev v0");
    namespace.ip("addr add 2001:db8:1::1/64 dev v1");
    Some(namespace)
}

/// How the address stands on `v0`.
fn standing(picture: &Picture, text: &str) -> Option<Standing> {
    let v0 = picture.index("v0");
    let mut addresses = picture.addresses.values();
    addresses.find(|it| it.address.to_string() == text && it.index == v0).map(|it| it.standing)
}

#[test]
fn addresses_stand_as_the_kernel_speaks_from_them() {
    let Some(namespace) = two_links("addresses_stand") else { return };
    let mut follower = Follower::new(&namespace);
    assert_eq!(standing(&follower.picture, "2001:db8::1"), Some(Standing::Primary));
    namespace.ip("addr change 2001:db8::1/64 dev v0 preferred_lft 0 valid_lft 100");
    follower.until("deprecated", |picture| standing(picture, "2001:db8::1") == Some(Standing::Secondary));
    // Asked for on the link, and another machine has it.
    namespace.exec("sysctl", &["-qw", "net.ipv6.conf.all.accept_dad=1"]);
    namespace.exec("sysctl", &["-qw", "net.ipv6.conf.v0.accept_dad=1"]);
    namespace.ip("addr add 2001:db8::7/64 dev p0 nodad");
    namespace.ip("addr add 2001:db8::6/64 dev v0");
    follower.until("asked for", |picture| standing(picture, "2001:db8::6") == Some(Standing::Tentative));
    follower.until("good", |picture| standing(picture, "2001:db8::6") == Some(Standing::Primary));
    follower.agrees_with_a_newcomer(&namespace);
    namespace.ip("addr del 2001:db8::6/64 dev v0");
    follower.until("gone", |picture| standing(picture, "2001:db8::6").is_none());
}

#[test]
fn a_routers_own_destinations_are_its_addresses_and_the_anycast_address_of_their_networks() {
    let Some(namespace) = two_links("own_destinations") else { return };
    let mut follower = Follower::new(&namespace);
    for prefix in ["2001:db8::1/128", "2001:db8::/128", "2001:db8:1::/128", "::1/128"] {
        assert!(follower.picture.has_local(prefix), "{prefix}");
    }
    // The same network on two devices: its anycast address is local until both are gone.
    namespace.ip("addr add 2001:db8::2/64 dev v1");
    follower.until("second", |picture| picture.has_local("2001:db8::2/128"));
    namespace.ip("addr del 2001:db8::1/64 dev v0");
    follower.until("first gone", |picture| !picture.has_local("2001:db8::1/128"));
    follower.agrees_with_a_newcomer(&namespace);
    assert!(follower.picture.has_local("2001:db8::/128"));
    namespace.ip("addr del 2001:db8::2/64 dev v1");
    follower.until("both gone", |picture| !picture.has_local("2001:db8::/128"));
    namespace.ip("route add local 2001:db8:99::/64 dev lo");
    follower.until("local route", |picture| picture.has_local("2001:db8:99::/64"));
    // Link-local and multicast routes are there, one for each device, and not weir's to follow.
    assert!(follower.picture.ip6.routes.keys().all(|prefix| prefix.address() >> 112 == 0x2001));
    // A device that goes down takes its addresses with it.
    namespace.ip("link set v1 down");
    follower.until("down", |picture| !picture.has_local("2001:db8:1::1/128"));
    follower.agrees_with_a_newcomer(&namespace);
}

#[test]
fn siblings_come_and_go_one_by_one() {
    let Some(namespace) = two_links("siblings_come_and_go") else { return };
    let mut follower = Follower::new(&namespace);
    let mut step = |command: &str, wanted: &str| {
        namespace.ip(command);
        follower.until_route("2001:db8:a::/48", wanted);
        follower.agrees_with_a_newcomer(&namespace);
    };
    step("route add 2001:db8:a::/48 via 2001:db8::2", "v0 2001:db8::2");
    step("route append 2001:db8:a::/48 via fe80::9 dev v1", "v0 2001:db8::2, v1 fe80::9");
    // Of equal metric, and not one of them.
    step("route append 2001:db8:a::/48 dev v1", "v0 2001:db8::2, v1 fe80::9");
    step(
        "route append 2001:db8:a::/48 nexthop via 2001:db8:1::3 weight 3 nexthop via 2001:db8::3",
        "v0 2001:db8::2, v0 2001:db8::3, v1 2001:db8:1::3*3, v1 fe80::9",
    );
    step("route del 2001:db8:a::/48 via 2001:db8::2", "v0 2001:db8::3, v1 2001:db8:1::3*3, v1 fe80::9");
    step("route del 2001:db8:a::/48 nexthop via 2001:db8::3 nexthop via fe80::9 dev v1", "v1 link");
    step("route replace 2001:db8:a::/48 via 2001:db8::4", "v1 link");
    step("route del 2001:db8:a::/48 dev v1", "v0 2001:db8::4");
    step(
        "route replace 2001:db8:a::/48 nexthop via 2001:db8::2 nexthop via 2001:db8:1::2",
        "v0 2001:db8::2, v1 2001:db8:1::2",
    );
    step("route replace blackhole 2001:db8:a::/48", "Blackhole");
    step("route del 2001:db8:a::/48", "none");
    // Only for packets from somewhere.
    namespace.ip("route add 2001:db8:a::/48 via 2001:db8::2 from 2001:db8:77::/48 metric 5");
    step("route add 2001:db8:a::/48 via 2001:db8:1::2", "v1 2001:db8:1::2");
    step(
        "route replace 2001:db8:a::/48 encap ip6 dst 2001:db8::9 via 2001:db8::2",
        "Unsupported(Encapsulation)",
    );
}

#[test]
fn what_goes_with_a_device_is_missed_at_once() {
    for silent in [false, true] {
        let Some(namespace) = two_links("what_goes_with_a_device") else { return };
        if silent {
            namespace.exec("sysctl", &["-qw", "net.ipv6.route.skip_notify_on_dev_down=1"]);
        }
        namespace.ip("route add 2001:db8:a::/48 via 2001:db8::2 metric 5");
        namespace.ip("route add 2001:db8:a::/48 via 2001:db8:1::2 metric 9");
        namespace.ip("route add 2001:db8:b::/48 nexthop via 2001:db8::2 nexthop via 2001:db8:1::2");
        let mut follower = Follower::new(&namespace);
        assert_eq!(follower.route("2001:db8:a::/48"), "v0 2001:db8::2");
        namespace.ip("link set v0 down");
        follower.until_route("2001:db8:a::/48", "v1 2001:db8:1::2");
        follower.until_route("2001:db8::/64", "none");
        assert_eq!(follower.route("2001:db8:b::/48"), "v0 2001:db8::2, v1 2001:db8:1::2", "the other lives");
        follower.agrees_with_a_newcomer(&namespace);
        namespace.ip("link set v0 up");
        namespace.ip("link set v1 down");
        follower.until_route("2001:db8:a::/48", "none");
        follower.agrees_with_a_newcomer(&namespace);
        namespace.ip("link del v0");
        follower.until_route("2001:db8:b::/48", "none");
        follower.agrees_with_a_newcomer(&namespace);
    }
}

#[test]
fn a_table_that_changes_while_it_is_read_is_read_whole() {
    let Some(namespace) = two_links("a_table_that_changes") else { return };
    let prefix = |i: u32| format!("2a{:02x}:{:x}0::/48", i / 1024, i % 1024);
    let mut batch = String::new();
    for i in 0..20_000 {
        writeln!(batch, "route add {} via 2001:db8::2", prefix(i)).unwrap();
    }
    namespace.ip_batch(&batch);
    let mut kernel = namespace.inside(|| Kernel::open().unwrap());
    let mut picture = Picture::default();
    // Some way into the routes: then what has been passed is deleted, and something else added.
    while picture.ip6.routes.len() < 3000 {
        kernel.drain(&mut |event| picture.apply(event)).unwrap();
    }
    assert!(!kernel.synced());
    let mut batch = String::new();
    for i in 0..500 {
        writeln!(batch, "route del {}", prefix(i)).unwrap();
    }
    writeln!(batch, "route add 2aff::/48 via 2001:db8::2").unwrap();
    namespace.ip_batch(&batch);
    kernel.sync(PATIENCE, &mut |event| picture.apply(event)).unwrap();
    let missing: Vec<String> = (500..20_000).map(prefix).filter(|it| picture.route(it) == "none").collect();
    assert!(missing.is_empty(), "{} are missing, among them {:?}", missing.len(), missing.first());
    assert_eq!(picture.ip6.routes.len(), 19_500 + 3);
}
