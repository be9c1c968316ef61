//! Routes, addresses, neighbours and links that change while traffic flows; several equal routes at once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use weir_tests::appliance::Weir;
use weir_tests::clients::{Probe, UdpEcho, ping, ping_all};
use weir_tests::forwarded_by_both;
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::scenario::{PLAIN, Setting, THREE_HOSTS};

forwarded_by_both! {
    traffic_follows_a_changed_route in THREE_HOSTS;
    a_longer_prefix_wins_while_it_is_there in THREE_HOSTS;
    addresses_come_and_go in PLAIN;
    a_neighbour_that_changes_its_mac_is_followed in PLAIN;
    a_forgotten_neighbour_is_found_again in PLAIN;
    equal_routes_share_the_flows in THREE_HOSTS;
    equal_routes_share_the_flows_of_ip6 in Setting { ip6: true, ..THREE_HOSTS };
    a_port_that_was_down_forwards_again in PLAIN;
    a_wire_that_was_cut_carries_again in PLAIN;
}

/// An address that two hosts have, so that the route decides who is meant.
const SHARED: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
const SHARED_IP6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x99, 0, 0, 0, 0, 1);
/// The echo servers' port at that address.
const ECHO: u16 = 7007;
/// How long any change may take to be followed.
const FOLLOWED: Duration = Duration::from_secs(1);
/// How long a port may take to carry again after it came up: the hosts may have to resolve each other first, and ask again
/// after a second.
const UP_AGAIN: Duration = Duration::from_secs(5);
/// Traffic before and after a change.
const WHILE: Duration = Duration::from_millis(500);

/// Gives both `right` and `far` the shared address, and starts an echo server on each.
fn shared_address(lab: &Lab, shared: impl Into<IpAddr>) -> Result<[UdpEcho; 2]> {
    let shared = shared.into();
    let start = |host: &Host| {
        host.namespace.ip(&format!("address add {shared} dev lo"))?;
        ping_all(lab.left(), of(host, shared), 1)?;
        UdpEcho::start_at(host, shared, ECHO)
    };
    Ok([start(lab.right())?, start(&lab.hosts[2])?])
}

/// A host's own address of the version of the shared one.
fn of(host: &Host, shared: IpAddr) -> IpAddr {
    if shared.is_ipv6() { host.address6.into() } else { host.address.into() }
}

/// Waits until `echo` is asked, then checks that from now on only it is, and not `other`.
fn only(echo: &UdpEcho, other: &UdpEcho) -> Result<()> {
    let (changed, before) = (Instant::now(), echo.asked());
    while echo.asked() == before {
        ensure!(changed.elapsed() < FOLLOWED, "traffic has not followed within {FOLLOWED:?}");
        thread::sleep(Duration::from_millis(1));
    }
    // what was on its way may still arrive
    thread::sleep(Duration::from_millis(50));
    let (begun, others) = (echo.asked(), other.asked());
    thread::sleep(WHILE);
    ensure!(other.asked() == others, "{} more went the old way", other.asked() - others);
    ensure!(echo.asked() > begun, "traffic has stopped");
    Ok(())
}

fn traffic_follows_a_changed_route(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let [right, far] = shared_address(lab, SHARED)?;
    let (by_right, by_far) = (lab.right().address, lab.hosts[2].address);
    lab.router.ip(&format!("route add {SHARED}/32 via {by_right}"))?;
    let probe = Probe::start(lab.left(), &right)?;
    only(&right, &far)?;
    let begun = Instant::now();
    for _ in 0..3 {
        lab.router.ip(&format!("route replace {SHARED}/32 via {by_far}"))?;
        only(&far, &right)?;
        lab.router.ip(&format!("route replace {SHARED}/32 via {by_right}"))?;
        only(&right, &far)?;
    }
    let silence = probe.longest_silence(begun, Instant::now());
    ensure!(silence < FOLLOWED, "replacing a route silenced traffic for {silence:?}");

    lab.router.ip(&format!("route delete {SHARED}/32"))?;
    thread::sleep(FOLLOWED);
    let before = right.asked() + far.asked();
    thread::sleep(WHILE);
    ensure!(right.asked() + far.asked() == before, "traffic flows without a route");
    lab.router.ip(&format!("route add {SHARED}/32 via {by_far}"))?;
    only(&far, &right)
}

fn a_longer_prefix_wins_while_it_is_there(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let [right, far] = shared_address(lab, SHARED)?;
    lab.router.ip(&format!("route add 10.9.0.0/16 via {}", lab.right().address))?;
    let _probe = Probe::start(lab.left(), &right)?;
    only(&right, &far)?;
    for longer in ["10.9.0.0/24", "10.9.0.0/25", "10.9.0.1/32"] {
        lab.router.ip(&format!("route add {longer} via {}", lab.hosts[2].address))?;
        only(&far, &right)?;
        lab.router.ip(&format!("route delete {longer}"))?;
        only(&right, &far)?;
    }
    lab.router.ip("route add blackhole 10.9.0.1/32")?;
    thread::sleep(FOLLOWED);
    let before = right.asked() + far.asked();
    thread::sleep(WHILE);
    ensure!(right.asked() + far.asked() == before, "traffic crosses a blackhole");
    lab.router.ip("route delete blackhole 10.9.0.1/32")?;
    only(&right, &far)
}

fn addresses_come_and_go(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    let echo = UdpEcho::start(right)?;
    let probe = Probe::start(left, &echo)?;
    let begun = Instant::now();
    for round in 20..23 {
        let (router, host) = (Ipv4Addr::new(10, 0, round, 1), Ipv4Addr::new(10, 0, round, 2));
        right.namespace.ip(&format!("address add {host}/24 dev {WIRE}"))?;
        lab.router.ip(&format!("address add {router}/24 dev {}", right.port))?;
        ping_all(left, router, 2)?;
        ping_all(left, host, 2)?;
        lab.router.ip(&format!("address delete {router}/24 dev {}", right.port))?;
        let said = ping(left, &format!("-c 1 -W 1 {router}"))?;
        ensure!(said.contains(" 0 received"), "an address that is gone answers: {said}");
        let said = ping(left, &format!("-c 1 -W 1 {host}"))?;
        ensure!(said.contains(" 0 received"), "a subnet that is gone is reached: {said}");
    }
    let silence = probe.longest_silence(begun, Instant::now());
    ensure!(silence < FOLLOWED, "other addresses' changes silenced traffic for {silence:?}");
    Ok(())
}

fn a_neighbour_that_changes_its_mac_is_followed(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let right = lab.right();
    let echo = UdpEcho::start(right)?;
    let probe = Probe::start(lab.left(), &echo)?;
    for mac in ["02:00:00:00:00:77", "02:00:00:00:00:78"] {
        probe.answered_after(Instant::now(), FOLLOWED)?;
        right.namespace.ip(&format!("link set {WIRE} address {mac}"))?;
        // what the host would announce by itself in an ARP of its own
        lab.router
            .ip(&format!("neigh replace {} lladdr {mac} dev {} nud reachable", right.address, right.port))?;
        probe.answered_after(Instant::now(), FOLLOWED)?;
    }
    Ok(())
}

fn a_forgotten_neighbour_is_found_again(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let echo = UdpEcho::start(lab.right())?;
    let probe = Probe::start(lab.left(), &echo)?;
    for _ in 0..5 {
        lab.router.ip(&format!("neigh flush dev {}", lab.right().port))?;
        lab.router.ip(&format!("neigh flush dev {}", lab.left().port))?;
        probe.answered_after(Instant::now(), FOLLOWED)?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn equal_routes_share_the_flows(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    share_the_flows(lab, SHARED.into())
}

fn equal_routes_share_the_flows_of_ip6(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    share_the_flows(lab, SHARED_IP6.into())
}

fn share_the_flows(lab: &Lab, shared: IpAddr) -> Result<()> {
    const FLOWS: u64 = 400;
    /// Each flow sends so many datagrams: they must all take the same way.
    const EACH: u64 = 3;
    let [right, far] = shared_address(lab, shared)?;
    let ways = [of(lab.right(), shared), of(&lab.hosts[2], shared)];
    lab.router.ip(&format!(
        "route add {shared} nexthop via {} weight 1 nexthop via {} weight 1",
        ways[0], ways[1]
    ))?;
    thread::sleep(FOLLOWED);

    let send = |flows: u64| -> Result<[u64; 2]> {
        let before = [right.asked(), far.asked()];
        for _ in 0..flows {
            let socket = lab.left().namespace.run(|| UdpSocket::bind((of(lab.left(), shared), 0)))??;
            socket.set_read_timeout(Some(UP_AGAIN))?;
            let mut from = BTreeMap::new();
            for _ in 0..EACH {
                socket.send_to(b"which way?", (shared, ECHO))?;
                // the answer's source tells who was asked: the server answers from its own wire
                let (_, server) = socket.recv_from(&mut [0; 64])?;
                *from.entry(server).or_insert(0_u64) += 1;
            }
            ensure!(from.len() == 1, "one flow took two ways: {from:?}");
        }
        Ok([right.asked() - before[0], far.asked() - before[1]])
    };
    let [by_right, by_far] = send(FLOWS)?;
    ensure!(by_right + by_far == FLOWS * EACH, "{by_right} + {by_far} arrived");
    // 400 fair coins: outside of 35 to 65 % once in 10^8 runs
    let share = by_right * 100 / (by_right + by_far);
    ensure!((35..=65).contains(&share), "one of two equal routes has {share} % of the flows");

    lab.router.ip(&format!(
        "route replace {shared} nexthop via {} weight 3 nexthop via {} weight 1",
        ways[0], ways[1]
    ))?;
    thread::sleep(FOLLOWED);
    let [by_right, by_far] = send(FLOWS)?;
    let share = by_right * 100 / (by_right + by_far);
    ensure!((62..=88).contains(&share), "the route of weight 3 in 4 has {share} % of the flows");

    // a way that is cut carries nothing any more
    lab.hosts[2].namespace.ip(&format!("link set {WIRE} down"))?;
    thread::sleep(FOLLOWED);
    let [by_right, by_far] = send(40)?;
    ensure!((by_right, by_far) == (40 * EACH, 0), "{by_right} and {by_far} arrived");
    Ok(())
}

/// Cuts and restores with `off` and `on`, under traffic, and checks that it stops and comes back.
fn off_and_on(lab: &Lab, off: impl Fn() -> Result<()>, on: impl Fn() -> Result<()>) -> Result<()> {
    let echo = UdpEcho::start(lab.right())?;
    let probe = Probe::start(lab.left(), &echo)?;
    for _ in 0..2 {
        probe.answered_after(Instant::now(), UP_AGAIN)?;
        off()?;
        // long enough for what is under way to arrive, and for weir to notice
        thread::sleep(WHILE);
        let asked = echo.asked();
        thread::sleep(WHILE);
        ensure!(echo.asked() == asked, "traffic crosses what is down");
        on()?;
        probe.answered_after(Instant::now(), UP_AGAIN)?;
    }
    // and it stays
    let begun = Instant::now();
    thread::sleep(WHILE);
    let silence = probe.longest_silence(begun, Instant::now());
    ensure!(silence < WHILE / 2, "silent for {silence:?} after it came back");
    Ok(())
}

fn a_port_that_was_down_forwards_again(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let port = &lab.right().port;
    let set = |state: &str| lab.router.ip(&format!("link set {port} {state}")).map(drop);
    off_and_on(lab, || set("down"), || set("up"))
}

fn a_wire_that_was_cut_carries_again(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let right = lab.right();
    off_and_on(
        lab,
        || right.namespace.ip(&format!("link set {WIRE} down")).map(drop),
        || {
            right.namespace.ip(&format!("link set {WIRE} up"))?;
            // it went with the link
            right.namespace.ip(&format!("route replace default via {}", right.gateway)).map(drop)
        },
    )
}
