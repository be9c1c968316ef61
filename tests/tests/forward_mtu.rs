//! Wires of all MTUs; a narrower one ahead: fragmentation, and path-MTU discovery.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use etherparse::IpNumber;
use weir_tests::appliance::Weir;
use weir_tests::clients::{UdpEcho, ping, ping_all, tcp_transfer};
use weir_tests::forwarded_by_both;
use weir_tests::frames;
use weir_tests::lab::{Lab, WIRE};
use weir_tests::scenario::{BRIDGED, Forwarder, PLAIN, Setting, run};
use weir_tests::wire::Wire;

forwarded_by_both! {
    a_long_packet_arrives_in_fragments in PLAIN;
    a_fragment_is_fragmented_again in PLAIN;
    dont_fragment_is_answered_with_the_mtu in PLAIN;
    tcp_and_udp_learn_the_path_mtu in PLAIN;
    a_jumbo_arrives_in_fragments in Setting { mtu: JUMBO, ..PLAIN };
    wires_become_wider in PLAIN;
    wires_of_a_bridge_become_wider in BRIDGED;
}

/// The largest MTU that weir does.
const JUMBO: u32 = 9000;

#[test]
fn packets_of_every_size_are_routed_at_every_mtu() {
    at_every_mtu(PLAIN);
}

#[test]
fn packets_of_every_size_are_bridged_at_every_mtu() {
    at_every_mtu(BRIDGED);
}

/// IPv6's least, Ethernet's, the largest that fits into a page with XDP's headroom and the kernel's tailroom, the largest.
fn at_every_mtu(setting: Setting) {
    for mtu in [1280, 1500, 3498, JUMBO] {
        for forwarder in [Forwarder::Kernel, Forwarder::Weir] {
            run(forwarder, Setting { mtu, ..setting }, |lab, _| {
                every_size(lab, mtu).with_context(|| format!("{forwarder:?} at {mtu}"))
            });
        }
    }
}

/// Pings and datagrams up to the MTU and beyond, and TCP, both ways.
fn every_size(lab: &Lab, mtu: u32) -> Result<()> {
    let whole = mtu as usize - 28;
    for (client, server) in [(lab.left(), lab.right()), (lab.right(), lab.left())] {
        for size in [0, 100, 1200, whole - 1, whole] {
            let said = ping(client, &format!("-c 2 -i 0.05 -W 5 -M do -s {size} {}", server.address))?;
            ensure!(said.contains(" 2 received"), "{size} bytes: {said}");
        }
        let echo = UdpEcho::start(server)?;
        for length in [0, 1, 500, whole - 1, whole, whole + 1, 2 * whole] {
            echo.ask(client, length).with_context(|| format!("{length} bytes"))?;
        }
        tcp_transfer(client, server, 4 << 20)?;
    }
    for host in &lab.hosts {
        let wrong = host.namespace.kernel_counter("Tcp", "InCsumErrors")?;
        ensure!(wrong == 0, "{wrong} wrong checksums");
    }
    Ok(())
}

fn wires_become_wider(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    for mtu in [JUMBO, 1500, 3498] {
        lab.set_mtu(mtu)?;
        every_size(lab, mtu).with_context(|| format!("at {mtu}"))?;
    }
    Ok(())
}

fn wires_of_a_bridge_become_wider(lab: &Lab, weir: Option<&Weir>) -> Result<()> {
    wires_become_wider(lab, weir)
}

fn a_jumbo_arrives_in_fragments(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    let right = lab.right();
    for (mtu, expected) in [(4000, 3), (1500, 7), (1280, 8)] {
        right.namespace.ip(&format!("link set {WIRE} mtu {mtu}"))?;
        lab.router.ip(&format!("link set {} mtu {mtu}", right.port))?;
        ping_all(lab.left(), right.address, 3)?;
        let payload: Vec<u8> = (0..8972_u16).map(|n| (n % 251) as u8).collect();
        let mut frame = frames::udp(lab.left(), right, 64, &payload)?;
        frames::edit_ip(&mut frame, |header| {
            header.dont_fragment = false;
            header.identification = 4713;
        })?;
        let pieces = arrives_in_fragments(lab, &frame, mtu)?;
        ensure!(pieces == expected, "{pieces} pieces at {mtu}");
        let said = ping(lab.left(), &format!("-c 3 -i 0.2 -W 5 -M dont -s 8972 {}", right.address))?;
        ensure!(said.contains(" 3 received"), "{said}");
        let said = ping(lab.left(), &format!("-c 1 -W 1 -M do -s 8972 {}", right.address))?;
        ensure!(said.contains(&format!("mtu = {mtu}")), "{said}");
        // what the left host has learnt of the path
        lab.left().namespace.ip("route flush cache")?;
    }
    Ok(())
}

/// The narrow wire's MTU, bytes; no multiple of 8, so that the fragments' length has to be rounded down.
const NARROW: u16 = 1003;
/// For a frame that must come.
const SOON: Duration = Duration::from_secs(5);

/// Narrows the right wire, and waits until the router goes by it.
fn narrow(lab: &Lab) -> Result<()> {
    let right = lab.right();
    right.namespace.ip(&format!("link set {WIRE} mtu {NARROW}"))?;
    lab.router.ip(&format!("link set {} mtu {NARROW}", right.port))?;
    ping_all(lab.left(), right.address, 3)
}

/// Sends a packet without DF at the left, collects its fragments at the right, and checks what they add up to.
fn arrives_in_fragments(lab: &Lab, frame: &[u8], mtu: u16) -> Result<usize> {
    let at_right = Wire::open(&lab.right().namespace, WIRE)?;
    Wire::open(&lab.left().namespace, WIRE)?.send(frame)?;
    let (sent, sent_payload) = frames::ip(frame)?;

    let mut pieces = BTreeMap::new();
    let mut complete = None;
    while complete.is_none_or(|length: usize| pieces.values().map(Vec::len).sum::<usize>() < length) {
        let arrived = at_right
            .receive(SOON, |frame| frames::is_ip(frame, IpNumber::UDP))?
            .with_context(|| format!("only {} fragments came", pieces.len()))?;
        let (header, payload) = frames::ip(&arrived)?;
        ensure!(header.total_len <= mtu, "a fragment of {} bytes", header.total_len);
        ensure!(
            header.identification == sent.identification
                && header.time_to_live == sent.time_to_live - 1
                && header.source == sent.source
                && header.destination == sent.destination
                && header.dscp == sent.dscp,
            "sent {sent:?}, arrived {header:?}"
        );
        let offset = usize::from(header.fragment_offset.value()) * 8;
        let first = usize::from(sent.fragment_offset.value()) * 8;
        let at = offset.checked_sub(first).context("a fragment from before the packet")?;
        let last = at + payload.len() == sent_payload.len();
        ensure!(header.more_fragments == (sent.more_fragments || !last), "wrong more-fragments flag at {at}");
        ensure!(last || payload.len() % 8 == 0, "{} bytes at {at}", payload.len());
        complete = last.then_some(sent_payload.len()).or(complete);
        pieces.insert(at, payload.to_owned());
    }
    let joined: Vec<u8> = pieces.values().flatten().copied().collect();
    ensure!(joined == sent_payload, "the fragments' contents differ from what was sent");
    Ok(pieces.len())
}

fn a_long_packet_arrives_in_fragments(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    narrow(lab)?;
    let payload: Vec<u8> = (0..1472_u16).map(|n| (n % 251) as u8).collect();
    for (length, expected) in [(1472, 2), (980, 2), (975, 1)] {
        let mut frame = frames::udp(lab.left(), lab.right(), 64, &payload[..length])?;
        frames::edit_ip(&mut frame, |header| {
            header.dont_fragment = false;
            header.identification = 4711;
            header.dscp = etherparse::IpDscp::EF;
        })?;
        let pieces = arrives_in_fragments(lab, &frame, NARROW)?;
        ensure!(pieces == expected, "{length} bytes came in {pieces} pieces");
    }
    // and the receiving kernel puts them together
    let said = ping(lab.left(), &format!("-c 3 -i 0.2 -W 5 -M dont -s 1400 {}", lab.right().address))?;
    ensure!(said.contains(" 3 received"), "{said}");
    let said = ping(lab.left(), &format!("-c 3 -i 0.2 -W 5 -M dont -s 8000 {}", lab.right().address))?;
    ensure!(said.contains(" 3 received"), "{said}");
    Ok(())
}

fn a_fragment_is_fragmented_again(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    narrow(lab)?;
    for more in [true, false] {
        let mut frame = frames::udp(lab.left(), lab.right(), 64, &[0x5a; 1400])?;
        frames::edit_ip(&mut frame, |header| {
            header.dont_fragment = false;
            header.identification = 4712;
            header.more_fragments = more;
            header.fragment_offset = etherparse::IpFragOffset::try_new(185).unwrap_or_default();
        })?;
        let pieces = arrives_in_fragments(lab, &frame, NARROW)?;
        ensure!(pieces == 2, "it came in {pieces} pieces");
    }
    Ok(())
}

fn dont_fragment_is_answered_with_the_mtu(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    narrow(lab)?;
    let mut frame = frames::udp(lab.left(), lab.right(), 64, &[1; 1400])?;
    frames::edit_ip(&mut frame, |header| header.dont_fragment = true)?;
    let at_left = Wire::open(&lab.left().namespace, WIRE)?;
    at_left.send(&frame)?;
    let answer = at_left
        .receive(SOON, |frame| frames::is_ip(frame, IpNumber::ICMP))?
        .context("the router says nothing")?;
    let (header, message) = frames::ip(&answer)?;
    ensure!(header.source == lab.left().gateway.octets(), "{header:?}");
    let (kind, code, [_, _, high, low], quote) = frames::icmp(message)?;
    ensure!((kind, code) == (3, 4), "ICMP type {kind}, code {code}");
    ensure!(
        u16::from_be_bytes([high, low]) == NARROW,
        "it names an MTU of {}",
        u16::from_be_bytes([high, low])
    );
    ensure!(quote.len() >= 28 && quote[..28] == frame[frames::ETHERNET..][..28]);
    Ok(())
}

fn tcp_and_udp_learn_the_path_mtu(lab: &Lab, _: Option<&Weir>) -> Result<()> {
    narrow(lab)?;
    let (left, right) = (lab.left(), lab.right());
    // the receiver offers segments that only its own side of the path could carry
    right.namespace.ip(&format!("route replace default via {} advmss 1460", right.gateway))?;
    tcp_transfer(left, right, 4 << 20)?;
    let route = left.namespace.ip(&format!("route get {}", right.address))?;
    ensure!(route.contains(&format!("mtu {NARROW}")), "the left host has not learnt the path's MTU: {route}");
    UdpEcho::start(right)?.ask(left, 1400)
}
