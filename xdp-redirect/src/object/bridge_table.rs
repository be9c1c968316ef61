//! The verdicts of a bridge's program, frame by frame, as in `verdict_table`.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::verdict_table::{Case, OWN, XDP_PASS, all, case, ethernet, ip4, own_addresses, run};
use super::{Loaded, Tags};
use crate::redirect::Vlans;
use crate::testbed::{Namespace, skip};
use crate::{OwnAddresses, Verdict};

const PORT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x11];
const BRIDGE_MAC: [u8; 6] = [0x06, 0, 0, 0, 0, 0xff];
const HOST_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x33];
const BROADCAST: [u8; 6] = [0xff; 6];
const SOLICITED: [u8; 6] = [0x33, 0x33, 0xff, 0, 0, 0x01];
const OWN6: &str = "2001:db8::1";

fn arp(destination: [u8; 6], operation: u8, target: &str) -> Vec<u8> {
    let target: Ipv4Addr = target.parse().unwrap();
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    body.extend([0x02, 0, 0, 0, 0, 0x02, 192, 0, 2, 77, 0, 0, 0, 0, 0, 0]);
    body.extend(target.octets());
    ethernet(destination, 0x0806, &body)
}

/// Of ICMPv6 type `kind` about `target`.
fn neighbour(destination: [u8; 6], kind: u8, target: &str) -> Vec<u8> {
    let target: Ipv6Addr = target.parse().unwrap();
    let mut packet = vec![0x60, 0, 0, 0, 0, 24, 58, 255];
    packet.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]);
    packet.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 1]);
    packet.extend([kind, 0, 0, 0, 0, 0, 0, 0]);
    packet.extend(target.octets());
    ethernet(destination, 0x86dd, &packet)
}

/// The frame with tags in front of its type.
fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
    let tags: Vec<u8> =
        tags.iter().flat_map(|(kind, tag)| [kind.to_be_bytes(), tag.to_be_bytes()].concat()).collect();
    [&frame[..12], &tags, &frame[12..]].concat()
}

pub(super) fn cases() -> Vec<Case> {
    use Verdict::{Arp, Malformed, NeighbourSolicitation, OwnMac, Redirected};
    let question = || arp(BROADCAST, 1, OWN[0]);
    let solicitation = || neighbour(SOLICITED, 135, OWN6);
    let cut = |frame: Vec<u8>, length: usize| frame[..length].to_vec();
    vec![
        case("13 bytes", Malformed, cut(question(), 13)),
        case("14 bytes to a host", Redirected, ethernet(HOST_MAC, 0x0800, &[])),
        case("14 bytes of ARP", Redirected, ethernet(BROADCAST, 0x0806, &[])),
        // By MAC address, whatever it is.
        case("IPv4 to a host", Redirected, ethernet(HOST_MAC, 0x0800, &ip4("198.51.100.9"))),
        case(
            "an own IPv4 address at a host's MAC address",
            Redirected,
            ethernet(HOST_MAC, 0x0800, &ip4(OWN[0])),
        ),
        case("IPv4 to the port", OwnMac, ethernet(PORT_MAC, 0x0800, &ip4(OWN[0]))),
        case("IPv4 to the port for somebody else", OwnMac, ethernet(PORT_MAC, 0x0800, &ip4("198.51.100.9"))),
        case("IPv4 to the kernel's bridge", OwnMac, ethernet(BRIDGE_MAC, 0x0800, &ip4(OWN[0]))),
        case("IPv6 to the kernel's bridge", OwnMac, ethernet(BRIDGE_MAC, 0x86dd, &[0x60; 46])),
        case(
            "tagged to the kernel's bridge",
            OwnMac,
            tagged(&ethernet(BRIDGE_MAC, 0x0800, &ip4(OWN[0])), &[(0x8100, 7)]),
        ),
        case("14 bytes to the port", OwnMac, ethernet(PORT_MAC, 0x1234, &[])),
        case("an ARP reply to the port", OwnMac, arp(PORT_MAC, 2, OWN[0])),
        // Questions.
        case("ARP for an own address", Arp, question()),
        case("ARP for another own address", Arp, arp(BROADCAST, 1, OWN[2])),
        case("an ARP announcement of an own address", Arp, arp(BROADCAST, 2, OWN[0])),
        case("ARP for a host", Redirected, arp(BROADCAST, 1, "192.0.2.2")),
        case("ARP for an own address backwards", Redirected, arp(BROADCAST, 1, "1.2.0.192")),
        case("unicast ARP for an own address to a host", Redirected, arp(HOST_MAC, 1, OWN[0])),
        case("ARP, cut off", Redirected, cut(question(), 41)),
        case("ARP of another kind", Redirected, {
            let mut frame = question();
            frame[18] = 8;
            frame
        }),
        case("tagged ARP for an own address", Arp, tagged(&question(), &[(0x8100, 0x6007)])),
        case("ARP for an own address in two tags", Arp, tagged(&question(), &[(0x88a8, 9), (0x8100, 7)])),
        case(
            "ARP for an own address in three tags",
            Redirected,
            tagged(&question(), &[(0x88a8, 9), (0x9100, 8), (0x8100, 7)]),
        ),
        case("a tag, cut off", Redirected, cut(tagged(&question(), &[(0x8100, 7)]), 17)),
        case("a solicitation for an own address", NeighbourSolicitation, solicitation()),
        case("the same in a tag", NeighbourSolicitation, tagged(&solicitation(), &[(0x8100, 7)])),
        case("a solicitation for a host", Redirected, neighbour(SOLICITED, 135, "2001:db8::2")),
        case(
            "an advertisement of an own address",
            Redirected,
            neighbour([0x33, 0x33, 0, 0, 0, 1], 136, OWN6),
        ),
        case("a solicitation, cut off", Redirected, cut(solicitation(), 77)),
        // All the rest.
        case("broadcast IPv4", Redirected, ethernet(BROADCAST, 0x0800, &ip4("255.255.255.255"))),
        case("multicast IPv4", Redirected, ethernet([1, 0, 0x5e, 0, 0, 5], 0x0800, &ip4("224.0.0.5"))),
        case("broadcast IPv4 to an own address", Redirected, ethernet(BROADCAST, 0x0800, &ip4(OWN[0]))),
        case("a router advertisement", Redirected, neighbour([0x33, 0x33, 0, 0, 0, 1], 134, OWN6)),
        case("LLDP", Redirected, ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], 0x88cc, &[0; 46])),
        case("spanning tree", Redirected, ethernet([0x01, 0x80, 0xc2, 0, 0, 0], 38, &[0x42; 46])),
        case("PPPoE session", Redirected, ethernet(HOST_MAC, 0x8864, &[0; 46])),
        case("PPPoE discovery", Redirected, ethernet(BROADCAST, 0x8863, &[0; 46])),
        case(
            "a VLAN's frame",
            Redirected,
            tagged(&ethernet(HOST_MAC, 0x0800, &ip4("198.51.100.9")), &[(0x8100, 7)]),
        ),
        case("MPLS", Redirected, ethernet(HOST_MAC, 0x8847, &[0; 46])),
        case("version 6 behind IPv4's type", Redirected, ethernet(HOST_MAC, 0x0800, &[0x65; 46])),
        case("1514 bytes", Redirected, ethernet(HOST_MAC, 0x0800, &[0x45; 1500])),
    ]
}

fn own() -> OwnAddresses {
    let own = own_addresses();
    own.insert(OWN6.parse().unwrap()).unwrap();
    own.insert_mac(PORT_MAC).unwrap();
    own.insert_mac(BRIDGE_MAC).unwrap();
    own
}

#[test]
fn every_frame_of_a_bridge_gets_its_verdict() {
    let test = "every_frame_of_a_bridge_gets_its_verdict";
    if skip(test).is_some() {
        return;
    }
    let namespace = Namespace::new();
    namespace.inside(|| all(test, &Loaded::bridge(Tags::Lost, 1, None, &own()).unwrap(), cases));
}

/// On a port with the VLANs 2 and 3.
fn two_vlans() -> Vec<Case> {
    use Verdict::{OtherVlan, Redirected};
    let mut all = Vec::new();
    for Case { what, frame, verdict } in cases() {
        let cut = frame.len() < 14
            || what.contains("cut off")
            || what.contains("three tags")
            || what.contains("two tags");
        if !cut {
            all.push(case(what, verdict, tagged(&frame, &[(0x8100, 2)])));
            all.push(case(what, verdict, tagged(&frame, &[(0x8100, 0xf003)])));
            all.push(case(what, OtherVlan, tagged(&frame, &[(0x8100, 4)])));
            all.push(case(what, OtherVlan, tagged(&frame, &[(0x88a8, 2)])));
        }
    }
    let untagged = ethernet(HOST_MAC, 0x0800, &ip4("198.51.100.9"));
    let two = tagged(&untagged, &[(0x8100, 0x6002)]);
    all.extend([
        case("untagged", OtherVlan, untagged.clone()),
        case("untagged ARP for an own address", OtherVlan, arp(BROADCAST, 1, OWN[0])),
        case("VLAN 0", OtherVlan, tagged(&untagged, &[(0x8100, 0)])),
        case("a tag, cut off", OtherVlan, two[..17].to_vec()),
        case("a tag and nothing behind it", Redirected, two[..18].to_vec()),
        case("a VLAN inside another one", OtherVlan, tagged(&untagged, &[(0x8100, 9), (0x8100, 2)])),
    ]);
    all
}

#[test]
fn a_port_with_two_vlans_takes_these_alone() {
    let test = "a_port_with_two_vlans_takes_these_alone";
    if skip(test).is_some() {
        return;
    }
    let namespace = Namespace::new();
    let vlans = Some(Vlans { wan: 2, lan: 3 });
    namespace.inside(|| all(test, &Loaded::bridge(Tags::Lost, 1, vlans, &own()).unwrap(), two_vlans));
}

#[test]
fn own_macs_and_addresses_of_ip6_are_followed() {
    if skip("own_macs_and_addresses_of_ip6_are_followed").is_some() {
        return;
    }
    let own = own();
    let port = Loaded::bridge(Tags::Lost, 1, None, &own).unwrap();
    let verdict = |frame: &[u8]| {
        let (answer, verdict) = run(&port, frame, 0, 0).unwrap();
        assert_eq!(answer, XDP_PASS);
        verdict
    };
    let solicitation = neighbour(SOLICITED, 135, OWN6);
    let mut frame = ethernet(PORT_MAC, 0x0800, &ip4("198.51.100.9"));
    assert_eq!(verdict(&solicitation), Verdict::NeighbourSolicitation);
    assert_eq!(verdict(&frame), Verdict::OwnMac);
    for at in 0..6 {
        frame[at] ^= 2;
        assert_eq!(verdict(&frame), Verdict::NoSocket, "byte {at}");
        frame[at] ^= 2;
    }
    own.remove(OWN6.parse().unwrap()).unwrap();
    own.remove_mac(PORT_MAC).unwrap();
    own.remove_mac(PORT_MAC).unwrap();
    assert_eq!(verdict(&solicitation), Verdict::NoSocket);
    assert_eq!(verdict(&frame), Verdict::NoSocket);
}
