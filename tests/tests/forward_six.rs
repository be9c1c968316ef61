//! IPv6 between two hosts, and what a router does to its packets: forwarded by the kernel, then by weir.

use std::net::{IpAddr, Ipv6Addr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use etherparse::IpNumber;
use weir_tests::appliance::Weir;
use weir_tests::clients::{Probe, UdpEcho, ping, ping_all, tcp_transfer_between};
use weir_tests::forwarded_by_both;
use weir_tests::frames::{self, ETHERNET};
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::scenario::PLAIN_IP6;
use weir_tests::wire::Wire;

forwarded_by_both! {
    tcp_crosses_both_ways_at_once in PLAIN_IP6;
    udp_crosses_in_every_size in PLAIN_IP6;
    icmp_crosses_both_ways in PLAIN_IP6;
    the_router_itself_answers in PLAIN_IP6;
    forgotten_neighbours_are_found_again in PLAIN_IP6;
    a_packet_changes_only_where_it_must in PLAIN_IP6;
    extension_headers_cross_unchanged in PLAIN_IP6;
    an_option_that_nobody_knows_is_reported in PLAIN_IP6;
    a_spent_hop_limit_is_reported_to_the_sender in PLAIN_IP6;
    a_destination_without_route_is_unreachable in PLAIN_IP6;
    a_host_that_is_not_there_is_unreachable in PLAIN_IP6;
    too_big_a_packet_is_answered_with_the_mtu in PLAIN_IP6;
    tcp_and_udp_learn_the_path_mtu in PLAIN_IP6;
    a_link_local_gateway_is_followed in PLAIN_IP6;
}

const MIB: usize = 1 << 20;
/// For a frame that must come.
const SOON: Duration = Duration::from_secs(5);
/// How long a neighbour may take to be found again.
const FOUND: Duration = Duration::from_secs(1);
/// The narrow wire's MTU: the smallest that IPv6 allows (RFC 8200 §5).
const NARROW: u16 = 1280;
/// Types of ICMPv6 messages (RFC 4443).
const UNREACHABLE: u8 = 1;
const PACKET_TOO_BIG: u8 = 2;
const TIME_EXCEEDED: u8 = 3;
const PARAMETER_PROBLEM: u8 = 4;
/// Bytes of IPv6's header and of ICMPv6's.
const IP6: usize = 40;
const ICMP6: usize = 8;
/// Where the hop limit is in IPv6's header.
const HOP_LIMIT: usize = 7;

/// The receiving kernels have verified every checksum: none was wrong.
fn no_wrong_checksums(lab: &Lab) -> Result<()> {
    for host in &lab.hosts {
        let mut wrong = vec![("Tcp InCsumErrors", host.namespace.kernel_counter("Tcp", "InCsumErrors")?)];
        for name in ["Ip6InHdrErrors", "Udp6InCsumErrors", "Icmp6InCsumErrors"] {
            wrong.push((name, host.namespace.kernel_counter6(name)?));
        }
        ensure!(wrong.iter().all(|(_, count)| *count == 0), "{} counts {wrong:?}", host.address6);
    }
    Ok(())
}

/// The address that a device gives itself (RFC 4291, appendix A).
fn link_local([a, b, c, d, e, f]: [u8; 6]) -> Ipv6Addr {
    Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, a ^ 2, b, c, 0xff, 0xfe, d, e, f])
}

fn tcp_crosses_both_ways_at_once(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    thread::scope(|scope| {
        let one = scope.spawn(|| tcp_transfer_between(left, right, right.address6, 16 * MIB));
        let other = scope.spawn(|| tcp_transfer_between(right, left, left.address6, 16 * MIB));
        for transfer in [one, other] {
            transfer.join().map_err(|_| anyhow::anyhow!("a transfer panicked"))??;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    no_wrong_checksums(lab)
}

fn udp_crosses_in_every_size(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    for (client, server) in [(lab.left(), lab.right()), (lab.right(), lab.left())] {
        let echo = UdpEcho::start_at(server, server.address6, 0)?;
        // up to one that fills a frame, and some that the sender fragments
        for length in [0, 1, 17, 63, 64, 65, 511, 1024, 1451, 1452, 1453, 4000, 20_000] {
            echo.ask(client, length)?;
        }
    }
    no_wrong_checksums(lab)
}

fn icmp_crosses_both_ways(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    ping_all(lab.left(), lab.right().address6, 5)?;
    ping_all(lab.right(), lab.left().address6, 5)?;
    no_wrong_checksums(lab)
}

fn the_router_itself_answers(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    for host in &lab.hosts {
        // its own side, and the far one
        ping_all(host, lab.left().gateway6, 3)?;
        ping_all(host, lab.right().gateway6, 3)?;
        let said = ping(host, &format!("-c 3 -i 0.1 -W 5 {}%{WIRE}", link_local(host.gateway_mac)))?;
        ensure!(said.contains(" 3 received"), "{said}");
        // all routers of the wire
        let said = ping(host, &format!("-c 1 -W 5 ff02::2%{WIRE}"))?;
        ensure!(said.contains(" 1 received"), "{said}");
    }
    // while what is not the router's own goes on through
    ping_all(lab.left(), lab.right().address6, 3)
}

fn forgotten_neighbours_are_found_again(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let right = lab.right();
    let echo = UdpEcho::start_at(right, right.address6, 0)?;
    let probe = Probe::start(lab.left(), &echo)?;
    probe.answered_after(Instant::now(), SOON)?;
    for _ in 0..5 {
        for host in &lab.hosts {
            lab.router.ip(&format!("-6 neigh flush dev {}", host.port))?;
            host.namespace.ip(&format!("-6 neigh flush dev {WIRE}"))?;
        }
        probe.answered_after(Instant::now(), FOUND)?;
        thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Sends a frame from the left host to the right one and checks how it arrives: with one hop less, and the MAC addresses of the second wire.
fn crosses_unchanged(lab: &Lab, frame: &[u8], next: IpNumber) -> Result<()> {
    let right = lab.right();
    let at_right = Wire::open(&right.namespace, WIRE)?;
    Wire::open(&lab.left().namespace, WIRE)?.send(frame)?;
    let arrived = at_right
        .receive(SOON, |frame| frames::as_ip6(frame, next).is_some())?
        .context("nothing came out at the right")?;
    let mut expected = frame.to_owned();
    expected[..6].copy_from_slice(&right.mac);
    expected[6..12].copy_from_slice(&right.gateway_mac);
    expected[ETHERNET + HOP_LIMIT] -= 1;
    ensure!(arrived == expected, "sent     {frame:02x?}\nexpected {expected:02x?}\narrived  {arrived:02x?}");
    Ok(())
}

fn a_packet_changes_only_where_it_must(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    ping_all(left, right.address6, 1)?;
    for (hop_limit, payload) in [(64, &b"a payload of odd length"[..]), (2, b""), (255, &[0xff; 1452])] {
        let datagram = frames::datagram6(left, right.address6, payload)?;
        let mut frame = frames::ip6(left, right.address6, hop_limit, IpNumber::UDP, &datagram)?;
        // a traffic class and a flow label
        frame[ETHERNET..ETHERNET + 4].copy_from_slice(&[0x68, 0x8a, 0xbc, 0xde]);
        crosses_unchanged(lab, &frame, IpNumber::UDP)?;
    }
    Ok(())
}

fn extension_headers_cross_unchanged(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    ping_all(left, right.address6, 1)?;
    let datagram = frames::datagram6(left, right.address6, b"behind a header")?;
    const UDP: u8 = 17;
    let headers = [
        // padding; then an option to be stepped over by who does not know it (RFC 8200 §4.2)
        (IpNumber::IPV6_HEADER_HOP_BY_HOP, [UDP, 0, 1, 4, 0, 0, 0, 0]),
        (IpNumber::IPV6_HEADER_HOP_BY_HOP, [UDP, 0, 0x1e, 4, 1, 2, 3, 4]),
        // what only the destination is to look at, whatever it thinks of it
        (IpNumber::IPV6_DESTINATION_OPTIONS, [UDP, 0, 0x9e, 4, 1, 2, 3, 4]),
        (IpNumber::IPV6_ROUTE_HEADER, [UDP, 0, 253, 1, 0, 0, 0, 0]),
        // a first fragment, one in the middle, the last, and one that is all of its packet
        (IpNumber::IPV6_FRAGMENTATION_HEADER, [UDP, 0, 0, 1, 0, 0, 0, 7]),
        (IpNumber::IPV6_FRAGMENTATION_HEADER, [UDP, 0, 5, 1, 0, 0, 0, 7]),
        (IpNumber::IPV6_FRAGMENTATION_HEADER, [UDP, 0, 5, 0, 0, 0, 0, 7]),
        (IpNumber::IPV6_FRAGMENTATION_HEADER, [UDP, 0, 0, 0, 0, 0, 0, 7]),
    ];
    for (next, header) in headers {
        let frame = frames::ip6(left, right.address6, 64, next, &[&header[..], &datagram].concat())?;
        crosses_unchanged(lab, &frame, next).with_context(|| format!("{next:?} {header:?}"))?;
    }
    // and what no router knows
    let frame = frames::ip6(left, right.address6, 64, IpNumber(253), b"an experiment")?;
    crosses_unchanged(lab, &frame, IpNumber(253))
}

/// Sends `frame` at the left host and returns the ICMPv6 error that the router answers with: type, code and word. Its source and what it quotes are checked.
fn answer(lab: &Lab, frame: &[u8]) -> Result<(u8, u8, u32)> {
    let left: &Host = lab.left();
    let at_left = Wire::open(&left.namespace, WIRE)?;
    at_left.send(frame)?;
    let is_error = |frame: &[u8]| {
        frames::as_ip6(frame, IpNumber::IPV6_ICMP).is_some_and(|(_, message)| message[0] < 128)
    };
    let answer = at_left.receive(SOON, is_error)?.context("the router says nothing")?;
    let (header, message) = frames::as_ip6(&answer, IpNumber::IPV6_ICMP).context("ICMPv6")?;
    ensure!(
        answer[..6] == left.mac && answer[6..12] == left.gateway_mac,
        "wrong MAC addresses: {answer:02x?}"
    );
    ensure!(
        header.source == left.gateway6.octets() && header.destination == left.address6.octets(),
        "wrong addresses in {header:?}"
    );
    let (kind, code, word, quote) = frames::icmp6(&header, message)?;
    // as much of the packet as it was as fits into the smallest MTU (RFC 4443 §2.4(c))
    let sent = &frame[ETHERNET..];
    let most = sent.len().min(usize::from(NARROW) - IP6 - ICMP6);
    let mut expected = sent[..most].to_owned();
    // the kernel's router has counted the hop before it looked for the next
    if quote.get(HOP_LIMIT) == Some(&(sent[HOP_LIMIT] - 1)) {
        expected[HOP_LIMIT] -= 1;
    }
    ensure!(quote == expected, "quoted {quote:02x?}\nof     {sent:02x?}");
    Ok((kind, code, u32::from_be_bytes(word)))
}

/// A frame with a datagram from the left host.
fn datagram(lab: &Lab, to: Ipv6Addr, hop_limit: u8, length: usize) -> Result<Vec<u8>> {
    let datagram = frames::datagram6(lab.left(), to, &vec![0x5a; length])?;
    frames::ip6(lab.left(), to, hop_limit, IpNumber::UDP, &datagram)
}

fn an_option_that_nobody_knows_is_reported(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    let datagram = frames::datagram6(left, right.address6, b"optional")?;
    // types 10xxxxxx and 11xxxxxx are to be answered (RFC 8200 §4.2), with a pointer to the option
    for option in [0x9e, 0xde] {
        let payload = [&[17, 0, option, 4, 1, 2, 3, 4][..], &datagram].concat();
        let frame = frames::ip6(left, right.address6, 64, IpNumber::IPV6_HEADER_HOP_BY_HOP, &payload)?;
        let answer = answer(lab, &frame)?;
        ensure!(answer == (PARAMETER_PROBLEM, 2, 42), "ICMPv6 type, code, pointer: {answer:?}");
    }
    Ok(())
}

fn a_spent_hop_limit_is_reported_to_the_sender(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    for length in [0, 12, 1452] {
        let answer = answer(lab, &datagram(lab, right.address6, 1, length)?)?;
        ensure!(answer == (TIME_EXCEEDED, 0, 0), "ICMPv6 type, code, word: {answer:?}");
    }
    // as traceroute does it
    let said = ping(left, &format!("-c 1 -W 5 -t 1 {}", right.address6))?;
    ensure!(said.contains(&format!("From {}", left.gateway6)) && said.contains("Time exceeded"), "{said}");
    ensure!(ping(left, &format!("-c 1 -W 5 -t 2 {}", right.address6))?.contains(" 1 received"));
    Ok(())
}

fn a_destination_without_route_is_unreachable(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let nowhere = "2001:db8:dead::1".parse()?;
    let answer = answer(lab, &datagram(lab, nowhere, 64, 12)?)?;
    ensure!(answer == (UNREACHABLE, 0, 0), "ICMPv6 type, code, word: {answer:?}");
    Ok(())
}

fn a_host_that_is_not_there_is_unreachable(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let nobody = "2001:db8:2::99".parse()?;
    let answer = answer(lab, &datagram(lab, nobody, 64, 12)?)?;
    ensure!(answer == (UNREACHABLE, 3, 0), "ICMPv6 type, code, word: {answer:?}");
    let said = ping(lab.left(), &format!("-c 2 -W 8 {nobody}"))?;
    ensure!(
        said.contains(&format!("From {}", lab.left().gateway6)) && said.contains("Address unreachable"),
        "{said}"
    );
    Ok(())
}

/// Narrows the right wire, and waits until the router goes by it.
fn narrow(lab: &Lab) -> Result<()> {
    let right = lab.right();
    right.namespace.ip(&format!("link set {WIRE} mtu {NARROW}"))?;
    lab.router.ip(&format!("link set {} mtu {NARROW}", right.port))?;
    ping_all(lab.left(), right.address6, 3)
}

fn too_big_a_packet_is_answered_with_the_mtu(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    narrow(lab)?;
    let right = lab.right();
    for length in [1233, 1452] {
        let answer = answer(lab, &datagram(lab, right.address6, 64, length)?)?;
        ensure!(answer == (PACKET_TOO_BIG, 0, NARROW.into()), "ICMPv6 type, code, MTU: {answer:?}");
    }
    // and one that just fits goes
    crosses_unchanged(lab, &datagram(lab, right.address6, 64, 1232)?, IpNumber::UDP)
}

fn tcp_and_udp_learn_the_path_mtu(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    narrow(lab)?;
    let (left, right) = (lab.left(), lab.right());
    // the receiver offers segments that only its own side of the path could carry
    right.namespace.ip(&format!("route replace default via {} advmss 1440", right.gateway6))?;
    tcp_transfer_between(left, right, right.address6, 4 * MIB)?;
    let route = left.namespace.ip(&format!("route get {}", right.address6))?;
    ensure!(route.contains(&format!("mtu {NARROW}")), "the left host has not learnt the path's MTU: {route}");
    UdpEcho::start_at(right, right.address6, 0)?.ask(left, 1400)?;
    no_wrong_checksums(lab)
}

fn a_link_local_gateway_is_followed(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    let behind: Ipv6Addr = "2001:db8:77::1".parse()?;
    right.namespace.ip(&format!("address add {behind}/128 dev lo"))?;
    lab.router.ip(&format!("route add 2001:db8:77::/64 via {} dev {}", link_local(right.mac), right.port))?;
    // what the router knows of this gateway it finds out only now
    let echo = UdpEcho::start_at(right, IpAddr::from(behind), 0)?;
    let probe = Probe::start(left, &echo)?;
    probe.answered_after(Instant::now(), FOUND)?;
    ping_all(left, behind, 3)?;
    tcp_transfer_between(left, right, behind, MIB)?;
    // or its errors would use up what one source may get
    drop((probe, echo));
    lab.router.ip("route delete 2001:db8:77::/64")?;
    thread::sleep(FOUND);
    let answer = answer(lab, &datagram(lab, behind, 64, 12)?)?;
    ensure!(answer == (UNREACHABLE, 0, 0), "ICMPv6 type, code, word: {answer:?}");
    Ok(())
}
