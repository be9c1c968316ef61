//! TCP, UDP and ICMP between two hosts, and what a router does to a packet: forwarded by the kernel, then by weir.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::IpNumber;
use weir_tests::appliance::Weir;
use weir_tests::clients::{UdpEcho, ping, ping_all, tcp_transfer};
use weir_tests::forwarded_by_both;
use weir_tests::frames;
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::scenario::PLAIN;
use weir_tests::wire::Wire;

forwarded_by_both! {
    tcp_crosses_both_ways_at_once in PLAIN;
    udp_crosses_in_every_size in PLAIN;
    icmp_crosses_both_ways in PLAIN;
    the_router_itself_answers in PLAIN;
    a_packet_changes_only_where_it_must in PLAIN;
    a_spent_ttl_is_reported_to_the_sender in PLAIN;
    a_destination_without_route_is_unreachable in PLAIN;
    a_host_that_is_not_there_is_unreachable in PLAIN;
}

const MIB: usize = 1 << 20;
/// For a frame that must come.
const SOON: Duration = Duration::from_secs(5);

/// The receiving kernels have verified every checksum: none was wrong.
fn no_wrong_checksums(lab: &Lab) -> Result<()> {
    for host in &lab.hosts {
        for (protocol, counter) in [
            ("Ip", "InHdrErrors"),
            ("Tcp", "InCsumErrors"),
            ("Udp", "InCsumErrors"),
            ("Icmp", "InCsumErrors"),
        ] {
            let count = host.namespace.kernel_counter(protocol, counter)?;
            ensure!(count == 0, "{} counts {count} {protocol} {counter}", host.address);
        }
    }
    Ok(())
}

fn tcp_crosses_both_ways_at_once(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    thread::scope(|scope| {
        let one = scope.spawn(|| tcp_transfer(left, right, 16 * MIB));
        let other = scope.spawn(|| tcp_transfer(right, left, 16 * MIB));
        for transfer in [one, other] {
            transfer.join().map_err(|_| anyhow::anyhow!("a transfer panicked"))??;
        }
        Ok::<(), anyhow::Error>(())
    })?;
    no_wrong_checksums(lab)
}

fn udp_crosses_in_every_size(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    for (client, server) in [(lab.left(), lab.right()), (lab.right(), lab.left())] {
        let echo = UdpEcho::start(server)?;
        // from an empty datagram, which Ethernet pads, to one that fills a frame, and one that the sender fragments
        for length in [0, 1, 17, 18, 19, 63, 64, 65, 511, 1024, 1471, 1472, 4000] {
            echo.ask(client, length)?;
        }
    }
    no_wrong_checksums(lab)
}

fn icmp_crosses_both_ways(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    ping_all(lab.left(), lab.right().address, 5)?;
    ping_all(lab.right(), lab.left().address, 5)?;
    no_wrong_checksums(lab)
}

fn the_router_itself_answers(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    for host in &lab.hosts {
        // its own side, and the far one
        ping_all(host, lab.left().gateway, 3)?;
        ping_all(host, lab.right().gateway, 3)?;
    }
    // while what is not the router's own goes on through
    ping_all(lab.left(), lab.right().address, 3)
}

/// Sends `frame` at the left host and returns it as it comes out at the right.
fn across(lab: &Lab, frame: &[u8], protocol: IpNumber) -> Result<Vec<u8>> {
    let at_right = Wire::open(&lab.right().namespace, WIRE)?;
    Wire::open(&lab.left().namespace, WIRE)?.send(frame)?;
    at_right.receive(SOON, |frame| frames::is_ip(frame, protocol))?.context("nothing came out at the right")
}

fn a_packet_changes_only_where_it_must(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    ping_all(left, right.address, 1)?;
    for (ttl, payload) in [(64, &b"a payload of odd length"[..]), (2, b""), (255, &[0xff; 1472])] {
        let mut frame = frames::udp(left, right, ttl, payload)?;
        frames::edit_ip(&mut frame, |header| header.dscp = etherparse::IpDscp::AF41)?;
        let arrived = across(lab, &frame, IpNumber::UDP)?;

        let mut expected = frame.clone();
        expected[..6].copy_from_slice(&right.mac);
        expected[6..12].copy_from_slice(&right.gateway_mac);
        frames::edit_ip(&mut expected, |header| header.time_to_live -= 1)?;
        ensure!(
            arrived == expected,
            "sent     {frame:02x?}\nexpected {expected:02x?}\narrived  {arrived:02x?}"
        );
    }
    Ok(())
}

/// Sends `frame` at the left host and returns the ICMP message that the router answers with, its source checked.
fn answer(lab: &Lab, frame: &[u8]) -> Result<(u8, u8, Vec<u8>)> {
    let at_left = Wire::open(&lab.left().namespace, WIRE)?;
    at_left.send(frame)?;
    let answer = at_left
        .receive(SOON, |frame| frames::is_ip(frame, IpNumber::ICMP))?
        .context("the router says nothing")?;
    let (header, message) = frames::ip(&answer)?;
    let left: &Host = lab.left();
    ensure!(
        answer[..6] == left.mac && answer[6..12] == left.gateway_mac,
        "wrong MAC addresses: {answer:02x?}"
    );
    ensure!(
        header.source == left.gateway.octets() && header.destination == left.address.octets(),
        "wrong addresses in {header:?}"
    );
    let (kind, code, _, quote) = frames::icmp(message)?;
    Ok((kind, code, quote.to_owned()))
}

fn a_spent_ttl_is_reported_to_the_sender(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let (left, right) = (lab.left(), lab.right());
    let frame = frames::udp(left, right, 1, b"too far away")?;
    let (kind, code, quote) = answer(lab, &frame)?;
    ensure!((kind, code) == (11, 0), "ICMP type {kind}, code {code}");
    // the packet as it was: header and at least eight bytes
    let sent = &frame[frames::ETHERNET..];
    ensure!(quote.len() >= 28 && quote[..28] == sent[..28], "quoted {quote:02x?}\nof     {sent:02x?}");

    // as traceroute does it
    let said = ping(left, &format!("-c 1 -W 5 -t 1 {}", right.address))?;
    ensure!(
        said.contains(&format!("From {}", left.gateway)) && said.contains("Time to live exceeded"),
        "{said}"
    );
    ensure!(ping(left, &format!("-c 1 -W 5 -t 2 {}", right.address))?.contains(" 1 received"));
    Ok(())
}

fn a_destination_without_route_is_unreachable(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let mut frame = frames::udp(lab.left(), lab.right(), 64, b"nowhere to go")?;
    frames::edit_ip(&mut frame, |header| header.destination = Ipv4Addr::new(198, 51, 100, 1).octets())?;
    let (kind, code, quote) = answer(lab, &frame)?;
    ensure!((kind, code) == (3, 0), "ICMP type {kind}, code {code}");
    ensure!(quote.len() >= 28 && quote[..28] == frame[frames::ETHERNET..][..28]);
    Ok(())
}

fn a_host_that_is_not_there_is_unreachable(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let said = ping(lab.left(), "-c 2 -W 8 10.0.2.99")?;
    ensure!(
        said.contains(&format!("From {}", lab.left().gateway))
            && said.contains("Destination Host Unreachable"),
        "{said}"
    );
    Ok(())
}
