//! A bridge, and what it must do with any frame, told without weir's code.
//!
//! ```text
//!   port 0 "wan" ◀──▶ port 1 "lan", MTU 1500      port 2 "stick": VLAN 2 ◀──▶ VLAN 3      port 3: in no bridge
//! ```

use weir_graph::{
    nodes::BRIDGE,
    ports::{Across, Side},
};

use super::{Router, Sent, Setup};

pub const WAN: u16 = 0;
pub const LAN: u16 = 1;
pub const STICK: u16 = 2;
pub const NOWHERE: u16 = 3;
/// The stick's VLANs.
pub const WAN_VLAN: u16 = 2;
pub const LAN_VLAN: u16 = 3;

/// A bridge made of `setup`.
pub fn bridge_with(setup: &Setup) -> Router {
    let router = Router::new(&Setup { ports: 4, nodes: BRIDGE, ..setup.clone() });
    let ports = &router.tables.ports;
    ports.set_across(WAN, Across::Port(LAN));
    ports.set_across(LAN, Across::Port(WAN));
    ports.set_across(STICK, Across::Vlans { wan: WAN_VLAN, lan: LAN_VLAN });
    ports.set_side(WAN, Side::Wan);
    ports.set_side(LAN, Side::Lan);
    router
}

/// A bridge as most tests use it.
pub fn bridge() -> Router {
    bridge_with(&Setup::default())
}

/// What must leave when this frame comes in, or the reason for which nothing does.
pub fn crossing(port: u16, frame: &[u8]) -> Result<Sent, &'static str> {
    match frame.len() {
        0..14 => return Err("too-short"),
        // An MTU of 1500, an Ethernet header, two tags.
        1523.. => return Err("larger-than-mtu"),
        _ => {}
    }
    let whole = |port| Ok(Sent { port, frame: frame.to_vec() });
    match port {
        WAN => whole(LAN),
        LAN => whole(WAN),
        STICK if frame.len() >= 16 && frame[12..14] == [0x81, 0] => {
            let other = match (frame[14] & 0xf, frame[15]) {
                (0, 2) => 3,
                (0, 3) => 2,
                _ => return Err("other-vlan"),
            };
            let mut frame = frame.to_vec();
            frame[15] = other;
            Ok(Sent { port, frame })
        }
        STICK => Err("other-vlan"),
        _ => Err("no-other-side"),
    }
}

/// Frames that a bridge carries, by name; each is 14 bytes of Ethernet header, tags, and what follows.
pub fn kinds() -> Vec<(&'static str, Vec<u8>)> {
    const BROADCAST: [u8; 6] = [0xff; 6];
    const HOST: [u8; 6] = [0x06, 0, 10, 0, 0, 2];
    const OTHER: [u8; 6] = [0x06, 0, 10, 0, 0, 3];
    let frame = |destination: [u8; 6], rest: &[&[u8]]| [&destination[..], &HOST, &rest.concat()].concat();
    let four = super::datagram::Datagram::udp("10.0.0.3", 8).bytes();
    let mut expired = four.clone();
    (expired[8], expired[10]) = (0, 0xee);
    let six = {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 8, 17, 1];
        bytes.extend((0..32).map(|at| at ^ 0x20));
        bytes.extend([0, 53, 4, 0, 0, 8, 0x12, 0x34]);
        bytes
    };
    let session = |length: u8, protocol: u8| [0x88, 0x64, 0x11, 0, 0, 7, 0, 2 + length, 0, protocol];
    vec![
        ("arp", frame(BROADCAST, &[&[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[7; 20]])),
        ("ip4", frame(OTHER, &[&[8, 0], &four])),
        (
            "ip4 with a time to live of 0, a wrong checksum and padding",
            frame(OTHER, &[&[8, 0], &expired, &[0xaa; 30]]),
        ),
        ("ip6", frame(OTHER, &[&[0x86, 0xdd], &six])),
        ("neighbour solicitation", frame([0x33, 0x33, 0xff, 0, 0, 2], &[&[0x86, 0xdd], &six])),
        ("multicast", frame([1, 0, 0x5e, 0, 0, 5], &[&[8, 0], &four])),
        (
            "lldp",
            frame(
                [1, 0x80, 0xc2, 0, 0, 0x0e],
                &[&[0x88, 0xcc, 2, 7, 4], &HOST, &[4, 2, 7, 49, 6, 2, 0, 120, 0, 0]],
            ),
        ),
        ("spanning tree", frame([1, 0x80, 0xc2, 0, 0, 0], &[&[0, 38, 0x42, 0x42, 3], &[0; 43]])),
        ("vlan", frame(OTHER, &[&[0x81, 0, 0xe0, 5, 8, 0], &four])),
        ("two tags", frame(OTHER, &[&[0x88, 0xa8, 0, 9, 0x81, 0, 0x20, 5, 0x86, 0xdd], &six])),
        ("pppoe session, ip4", frame(OTHER, &[&session(36, 0x21), &four])),
        ("pppoe session, ip6", frame(OTHER, &[&session(48, 0x57), &six])),
        ("pppoe session, lcp", frame(OTHER, &[&[0x88, 0x64, 0x11, 0, 0, 7, 0, 10, 0xc0, 0x21], &[9; 8]])),
        ("pppoe discovery", frame(BROADCAST, &[&[0x88, 0x63, 0x11, 9, 0, 0, 0, 4, 1, 1, 0, 0]])),
        ("pppoe session in a vlan", frame(OTHER, &[&[0x81, 0, 0, 5], &session(36, 0x21), &four])),
        ("mpls", frame(OTHER, &[&[0x88, 0x47, 0, 0x10, 1, 64], &four])),
        ("header alone", frame(OTHER, &[&[0x12, 0x34]])),
        ("from and to nobody", vec![0; 60]),
        (
            "as large as it may be",
            frame(OTHER, &[&[0x88, 0xa8, 0, 9, 0x81, 0, 0, 5, 8, 0, 0x45], &[5; 1499]]),
        ),
    ]
}

/// Frames whose headers before IP contradict themselves, each with its name and the event that it counts as. They cross like any other.
pub fn flawed() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    const TAG: [u8; 4] = [0x81, 0, 0, 5];
    let frame = |rest: &[&[u8]]| [&[6, 0, 10, 0, 0, 3, 6, 0, 10, 0, 0, 2], rest.concat().as_slice()].concat();
    let four = super::datagram::Datagram::udp("10.0.0.3", 8).bytes();
    let six = [&[0x60, 0, 0, 0, 0, 8, 17, 1][..], &[0x20; 32], &[0, 53, 4, 0, 0, 8, 0x12, 0x34]].concat();
    let session = |length: u16, protocol: u8| {
        let [high, low] = length.to_be_bytes();
        [0x88, 0x64, 0x11, 0, 0, 7, high, low, 0, protocol]
    };
    // All of it, two bytes of PPP protocol included, is 38 bytes long.
    vec![
        ("endless-tags", "tag-stack", frame(&[&TAG.repeat(300)])),
        ("five-tags", "tag-stack", frame(&[&TAG.repeat(5), &[8, 0], &four])),
        ("cut-in-a-tag", "tag-stack", frame(&[&TAG, &[0x88, 0xa8, 0]])),
        ("endless-labels", "label-stack", frame(&[&[0x88, 0x47], &[0, 1, 0, 64].repeat(300)])),
        ("cut-in-a-label", "label-stack", frame(&[&[0x88, 0x47], &[0, 1, 0, 64, 0, 1]])),
        ("labels-and-nothing", "label-stack", frame(&[&TAG, &[0x88, 0x48], &[0, 1, 1, 64]])),
        ("session-longer-than-its-frame", "pppoe-length", frame(&[&session(39, 0x21), &four])),
        ("session-shorter-than-its-datagram", "pppoe-length", frame(&[&session(37, 0x21), &four])),
        ("session-shorter-than-its-packet", "pppoe-length", frame(&[&TAG, &session(49, 0x57), &six])),
        ("session-of-nothing", "pppoe-length", frame(&[&session(0, 0x21), &four])),
        ("session-without-end", "pppoe-length", frame(&[&session(0xffff, 0xc0), &four])),
        ("cut-in-a-session", "pppoe-length", frame(&[&session(38, 0x21)[..7]])),
        ("ip4-said-to-be-ip6", "ip-header", frame(&[&[0x86, 0xdd], &four, &[0; 12]])),
        ("ip6-said-to-be-ip4", "ip-header", frame(&[&TAG, &[8, 0], &six])),
        ("ip6-in-a-session-of-ip4", "ip-header", frame(&[&session(50, 0x21), &six])),
        ("ip4-under-the-label-of-ip6", "ip-header", frame(&[&[0x88, 0x47, 0, 0, 0x21, 64], &four])),
        ("cut-in-ip4", "ip-header", frame(&[&[8, 0], &four[..19]])),
        ("cut-in-ip6", "ip-header", frame(&[&[0x86, 0xdd], &six[..39]])),
        ("nothing-behind-the-type", "ip-header", frame(&[&TAG, &[0x86, 0xdd]])),
    ]
}
