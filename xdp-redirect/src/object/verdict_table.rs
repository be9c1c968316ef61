//! The program's verdicts, frame by frame: each case is run through the loaded program by `BPF_PROG_TEST_RUN`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, ProgramInput};

use super::{Loaded, Tags};
use crate::redirect::{Queues, Redirect, counters};
use crate::testbed::{Namespace, Socket, skip};
use crate::{OwnAddresses, Verdict};

/// enum xdp_action of linux/bpf.h.
pub(super) const XDP_PASS: u32 = 2;
const XDP_REDIRECT: u32 = 4;

const ROUTER_MAC: [u8; 6] = [0x02, 0, 0, 0, 0, 0x01];
pub(super) const OWN: [&str; 3] = ["192.0.2.1", "192.0.2.255", "203.0.113.7"];

pub(super) const OWN6: &str = "2001:db8::1";

pub(super) struct Case {
    pub(super) what: &'static str,
    pub(super) frame: Vec<u8>,
    /// For transit: with a socket in the queue's slot. Without one it is `NoSocket`.
    pub(super) verdict: Verdict,
}

pub(super) fn case(what: &'static str, verdict: Verdict, frame: Vec<u8>) -> Case {
    Case { what, frame, verdict }
}

pub(super) fn ethernet(destination: [u8; 6], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let source = [0x02, 0, 0, 0, 0, 0x02];
    [&destination[..], &source, &ethertype.to_be_bytes(), payload].concat()
}

/// An IPv4 packet with 26 bytes behind its header, so that its frame is the shortest that Ethernet allows (60 bytes).
pub(super) fn ip4(destination: &str) -> Vec<u8> {
    let destination: Ipv4Addr = destination.parse().unwrap();
    let mut packet = vec![0x45, 0, 0, 46, 0, 1, 0, 0, 64, 17, 0, 0, 198, 51, 100, 9];
    packet.extend(destination.octets());
    packet.extend([0xa5; 26]);
    packet
}

fn ip4_frame(destination: &str) -> Vec<u8> {
    ethernet(ROUTER_MAC, 0x0800, &ip4(destination))
}

/// An IPv6 header and nothing more.
fn ip6_frame(source: &str, destination: &str) -> Vec<u8> {
    let octets = |address: &str| address.parse::<Ipv6Addr>().unwrap().octets();
    let packet = [&[0x60, 0, 0, 0, 0, 0, 59, 64][..], &octets(source), &octets(destination)].concat();
    ethernet(ROUTER_MAC, 0x86dd, &packet)
}

/// [`ip4_frame`] with some bytes of the IPv4 header replaced.
fn with_header(destination: &str, changes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = ip4(destination);
    for (offset, byte) in changes {
        packet[*offset] = *byte;
    }
    ethernet(ROUTER_MAC, 0x0800, &packet)
}

fn cut(mut frame: Vec<u8>, length: usize) -> Vec<u8> {
    assert!(frame.len() >= length);
    frame.truncate(length);
    frame
}

fn cases() -> Vec<Case> {
    use Verdict::{Arp, LinkLocal, Malformed, Multicast, NotIp, OtherVlan, OwnAddress, Redirected};
    let vlan = |ethertype: u16| {
        ethernet(ROUTER_MAC, ethertype, &[&[0, 10, 0x08, 0][..], &ip4("198.51.100.9")].concat())
    };
    let options = {
        let mut packet = ip4("198.51.100.9");
        packet[0] = 0x46; // one word of options: router alert (RFC 2113)
        packet.splice(20..20, [0x94, 4, 0, 0]);
        ethernet(ROUTER_MAC, 0x0800, &packet)
    };
    let own_with_options = {
        let mut packet = ip4(OWN[0]);
        packet[0] = 0x4f;
        packet.splice(20..20, [1; 40]);
        ethernet(ROUTER_MAC, 0x0800, &packet)
    };
    vec![
        // Lengths.
        case("no bytes at all", Malformed, vec![]),
        case("1 byte", Malformed, vec![0xff]),
        case("13 bytes", Malformed, cut(ip4_frame("198.51.100.9"), 13)),
        case("13 bytes of an ARP broadcast", Malformed, cut(ethernet([0xff; 6], 0x0806, &[]), 13)),
        case("14 bytes: IPv4 without a header", Redirected, ethernet(ROUTER_MAC, 0x0800, &[])),
        case("14 bytes: IPv4 without a header, broadcast", Multicast, ethernet([0xff; 6], 0x0800, &[])),
        case("14 bytes: ARP without a body", Arp, ethernet([0xff; 6], 0x0806, &[])),
        case("14 bytes: IPv6 without a header", Redirected, ethernet(ROUTER_MAC, 0x86dd, &[])),
        case("53 bytes: IPv6 header cut off", Redirected, cut(ip6_frame("2001:db8:9::1", OWN6), 53)),
        case(
            "54 bytes: IPv6 header and nothing more",
            Redirected,
            ip6_frame("2001:db8:9::1", "2001:db8:8::1"),
        ),
        case("33 bytes: IPv4 header cut off", Redirected, cut(ip4_frame("198.51.100.9"), 33)),
        case("33 bytes: the same to an own address", Redirected, cut(ip4_frame(OWN[0]), 33)),
        case("34 bytes: IPv4 header and nothing more", Redirected, cut(ip4_frame("198.51.100.9"), 34)),
        case("34 bytes: the same to an own address", OwnAddress, cut(ip4_frame(OWN[0]), 34)),
        case("34 bytes: the same to a group", Multicast, cut(ip4_frame("224.0.0.5"), 34)),
        case(
            "1514 bytes",
            Redirected,
            ethernet(ROUTER_MAC, 0x0800, &[ip4("198.51.100.9"), vec![0; 1454]].concat()),
        ),
        // Ethertypes.
        case("ARP request, broadcast", Arp, ethernet([0xff; 6], 0x0806, &[0; 46])),
        case("ARP reply, unicast", Arp, ethernet(ROUTER_MAC, 0x0806, &[0; 46])),
        case("IPv6, unicast", Redirected, ethernet(ROUTER_MAC, 0x86dd, &[0x60; 46])),
        case("version 4 behind IPv6's ethertype", Redirected, ethernet(ROUTER_MAC, 0x86dd, &[0x45; 46])),
        case(
            "IPv6 neighbour solicitation",
            Multicast,
            ethernet([0x33, 0x33, 0xff, 0, 0, 1], 0x86dd, &[0x60; 46]),
        ),
        case("802.1Q tag around IPv4 transit", OtherVlan, vlan(0x8100)),
        case("802.1ad tag around IPv4 transit", OtherVlan, vlan(0x88a8)),
        case("LLDP", NotIp, ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], 0x88cc, &[0; 46])),
        case("MPLS", NotIp, ethernet(ROUTER_MAC, 0x8847, &[0; 46])),
        case("PPPoE session", NotIp, ethernet(ROUTER_MAC, 0x8864, &[0; 46])),
        case(
            "802.3 length instead of a type (STP)",
            NotIp,
            ethernet([0x01, 0x80, 0xc2, 0, 0, 0], 38, &[0x42; 46]),
        ),
        case(
            "ethertype 0x0008: IPv4's in the wrong byte order",
            NotIp,
            ethernet(ROUTER_MAC, 0x0008, &ip4(OWN[0])),
        ),
        // Group MAC addresses.
        case("broadcast MAC, broadcast IP", Multicast, ethernet([0xff; 6], 0x0800, &ip4("255.255.255.255"))),
        case("broadcast MAC, unicast IP", Multicast, ethernet([0xff; 6], 0x0800, &ip4("198.51.100.9"))),
        case("broadcast MAC, own IP", Multicast, ethernet([0xff; 6], 0x0800, &ip4(OWN[0]))),
        case(
            "multicast MAC, multicast IP",
            Multicast,
            ethernet([1, 0, 0x5e, 0, 0, 5], 0x0800, &ip4("224.0.0.5")),
        ),
        case(
            "multicast MAC, unicast IP",
            Multicast,
            ethernet([1, 0, 0x5e, 0, 0, 5], 0x0800, &ip4("198.51.100.9")),
        ),
        case(
            "locally administered unicast MAC",
            Redirected,
            ethernet([0xfe, 1, 2, 3, 4, 5], 0x0800, &ip4("198.51.100.9")),
        ),
        // Group IP addresses behind a unicast MAC address.
        case("to 223.255.255.255, the last before the groups", Redirected, ip4_frame("223.255.255.255")),
        case("to 224.0.0.0, the first group", Multicast, ip4_frame("224.0.0.0")),
        case("to 239.255.255.255, the last group", Multicast, ip4_frame("239.255.255.255")),
        case("to 240.0.0.0, reserved", Redirected, ip4_frame("240.0.0.0")),
        case("to 255.255.255.254, reserved", Redirected, ip4_frame("255.255.255.254")),
        case("to 255.255.255.255", Multicast, ip4_frame("255.255.255.255")),
        case("to 0.0.0.0", Redirected, ip4_frame("0.0.0.0")),
        case("to 127.0.0.1", Redirected, ip4_frame("127.0.0.1")),
        case("to ff02::1 at a unicast MAC address", Multicast, ip6_frame("2001:db8:9::1", "ff02::1")),
        case("to ff0e::1 at a unicast MAC address", Multicast, ip6_frame("2001:db8:9::1", "ff0e::1")),
        case("to fe80::1", LinkLocal, ip6_frame("2001:db8:9::1", "fe80::1")),
        case("to febf::1, the last of the link", LinkLocal, ip6_frame("2001:db8:9::1", "febf::1")),
        case("from fe80::1 to an own address", LinkLocal, ip6_frame("fe80::1", OWN6)),
        case("to fec0::1", Redirected, ip6_frame("2001:db8:9::1", "fec0::1")),
        case("to ::1", Redirected, ip6_frame("2001:db8:9::1", "::1")),
        // Own addresses.
        case("to an own IPv6 address", OwnAddress, ip6_frame("2001:db8:9::1", OWN6)),
        case("to the IPv6 address after it", Redirected, ip6_frame("2001:db8:9::1", "2001:db8::2")),
        case("to an own address", OwnAddress, ip4_frame(OWN[0])),
        case("to another own address", OwnAddress, ip4_frame(OWN[2])),
        case("to a subnet's broadcast address in the map", OwnAddress, ip4_frame(OWN[1])),
        case("to a subnet's broadcast address not in the map", Redirected, ip4_frame("198.51.100.255")),
        case("to an own address backwards", Redirected, ip4_frame("1.2.0.192")),
        case("to the address after an own one", Redirected, ip4_frame("192.0.2.2")),
        case("to an own address, with options", OwnAddress, own_with_options),
        case("to an own address, later fragment", OwnAddress, with_header(OWN[0], &[(6, 0x20), (7, 0xb9)])),
        // IPv4 headers.
        case("with options", Redirected, options),
        case("first fragment", Redirected, with_header("198.51.100.9", &[(6, 0x20)])),
        case("last fragment", Redirected, with_header("198.51.100.9", &[(7, 0xb9)])),
        case("TTL 0", Redirected, with_header("198.51.100.9", &[(8, 0)])),
        case("version 6 behind IPv4's ethertype", Redirected, with_header("198.51.100.9", &[(0, 0x65)])),
        case("version 0, to an own address", Redirected, with_header(OWN[0], &[(0, 0x05)])),
        case("header length 4 words, to an own address", Redirected, with_header(OWN[0], &[(0, 0x44)])),
        case("header length 0, to a group", Redirected, with_header("224.0.0.5", &[(0, 0x40)])),
        case("header longer than the packet", Redirected, cut(with_header("198.51.100.9", &[(0, 0x4f)]), 34)),
        case("total length 0", Redirected, with_header("198.51.100.9", &[(3, 0)])),
        case("total length 65535", Redirected, with_header("198.51.100.9", &[(2, 0xff), (3, 0xff)])),
    ]
}

/// Shows `frame` to the program as if it arrived on a queue of a device (0: the namespace's loopback, whose queue is 0).
/// Returns the program's answer, or `None` if the kernel takes no such run.
fn test_run(loaded: &Loaded, frame: &[u8], ifindex: u32, queue: u32) -> Option<u32> {
    const SHORTEST: usize = 14; // ETH_HLEN: the least data that the kernel takes
    const METADATA: usize = 32; // the most metadata that every kernel lets stand in front of a packet
    let length = frame.len();
    let padding = [0; SHORTEST];
    // Data, and where in it the packet starts and ends. A shorter packet is the first buffer's share of longer data; for
    // kernels that do not know such runs, the data is long enough with metadata in front.
    let attempts = if length >= SHORTEST {
        vec![(frame.to_vec(), 0, length)]
    } else {
        vec![
            ([frame, &padding[length..]].concat(), 0, length),
            ([&[0; METADATA], frame].concat(), METADATA, METADATA + length),
        ]
    };
    let program = loaded.program().unwrap();
    attempts.into_iter().find_map(|(data, start, end)| {
        // struct xdp_md of linux/bpf.h
        let (start, end) = (u32::try_from(start).unwrap(), u32::try_from(end).unwrap());
        let context = [start, end, 0, ifindex, queue, 0];
        let mut context: Vec<u8> = context.into_iter().flat_map(u32::to_ne_bytes).collect();
        let input =
            ProgramInput { data_in: Some(&data), context_in: Some(&mut context), ..ProgramInput::default() };
        match program.test_run(input) {
            Ok(output) => Some(output.return_value),
            Err(error) => {
                assert!(length < SHORTEST, "{length} bytes: {error:#}");
                None
            }
        }
    })
}

/// Runs the program once and returns its answer and the verdict that it counted, `None` if the kernel takes no such run.
pub(super) fn run(loaded: &Loaded, frame: &[u8], ifindex: u32, queue: u32) -> Option<(u32, Verdict)> {
    let before = counters(&loaded.verdicts).unwrap();
    let answer = test_run(loaded, frame, ifindex, queue)?;
    let after = counters(&loaded.verdicts).unwrap();

    let grown: Vec<Verdict> =
        Verdict::ALL.into_iter().filter(|verdict| before.total(*verdict) != after.total(*verdict)).collect();
    let [verdict] = grown[..] else { panic!("not one verdict but {grown:?}") };
    let (before, after) = (before.total(verdict), after.total(verdict));
    assert_eq!(after.packets - before.packets, 1);
    let (counted, length) = (after.bytes - before.bytes, u64::try_from(frame.len()).unwrap());
    if length < 14 && counted == 14 {
        return None; // a program that knows of frags is shown a whole Ethernet header
    }
    assert_eq!(counted, length);
    Some((answer, verdict))
}

pub(super) fn own_addresses() -> OwnAddresses {
    let own = OwnAddresses::new(16).unwrap();
    for address in OWN.into_iter().chain([OWN6]) {
        own.insert(address.parse().unwrap()).unwrap();
    }
    own
}

fn put(loaded: &Loaded, queue: u32, socket: &Socket) {
    let value = socket.as_fd().as_raw_fd().to_ne_bytes();
    loaded.sockets.update(&queue.to_ne_bytes(), &value, MapFlags::ANY).unwrap();
}

#[test]
fn every_frame_gets_its_verdict() {
    if skip("every_frame_gets_its_verdict").is_some() {
        return;
    }
    for frags in [false, true] {
        // Each has its own: a socket is not gone at once when it is closed.
        let namespace = Namespace::new();
        namespace.inside(|| {
            let loaded = Loaded::new(Tags::Lost, Queues { count: 1, frags }, &own_addresses()).unwrap();
            all("every_frame_gets_its_verdict", &loaded, cases);
        });
    }
}

/// Shows all cases to the program, first without a socket, then with one.
pub(super) fn all(test: &str, loaded: &Loaded, cases: fn() -> Vec<Case>) {
    let mut wrong = Vec::new();
    let mut check = |what: &str, got: Option<(u32, Verdict)>, want: (u32, Verdict)| match got {
        None => eprintln!("SKIP {test}, {what}: this kernel takes no run so short"),
        Some(got) if got != want => wrong.push(format!("{what}: {got:?} instead of {want:?}")),
        Some(_) => {}
    };
    for Case { what, frame, verdict } in cases() {
        let want = if verdict == Verdict::Redirected { Verdict::NoSocket } else { verdict };
        check(what, run(loaded, &frame, 0, 0), (XDP_PASS, want));
    }
    let socket = Socket::new("lo", 0);
    put(loaded, 0, &socket);
    for Case { what, frame, verdict } in cases() {
        let action = if verdict == Verdict::Redirected { XDP_REDIRECT } else { XDP_PASS };
        check(what, run(loaded, &frame, 0, 0), (action, verdict));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_covers_every_verdict() {
    for verdict in Verdict::ALL {
        let covered = cases().iter().any(|case| case.verdict == verdict);
        let in_a_bridge = super::bridge_table::cases().iter().any(|case| case.verdict == verdict);
        // These two depend on more than the frame: each has a test of its own.
        let aside = matches!(verdict, Verdict::NoSocket | Verdict::OtherMac);
        assert!(covered || in_a_bridge || aside, "{verdict}");
    }
}

#[test]
fn own_addresses_are_followed_by_every_instance() {
    if skip("own_addresses_are_followed_by_every_instance").is_some() {
        return;
    }
    let own = own_addresses();
    let ports = [Loaded::new(Tags::Lost, 1, &own).unwrap(), Loaded::new(Tags::Lost, 3, &own).unwrap()];
    let address: IpAddr = "198.51.100.9".parse().unwrap();
    let frame = ip4_frame("198.51.100.9");
    let expect = |verdict: Verdict| {
        for port in &ports {
            assert_eq!(run(port, &frame, 0, 0), Some((XDP_PASS, verdict)));
        }
        assert_eq!(own.contains(address).unwrap(), verdict == Verdict::OwnAddress);
    };
    expect(Verdict::NoSocket);
    own.insert(address).unwrap();
    own.insert(address).unwrap();
    expect(Verdict::OwnAddress);
    own.remove(address).unwrap();
    own.remove(address).unwrap();
    expect(Verdict::NoSocket);
}

#[test]
fn packets_to_other_mac_addresses_are_the_kernels() {
    if skip("packets_to_other_mac_addresses_are_the_kernels").is_some() {
        return;
    }
    let own = own_addresses();
    let port = Loaded::new(Tags::Lost, 1, &own).unwrap();
    let mut frame = ip4_frame("198.51.100.9");
    let address = *frame.first_chunk::<6>().unwrap();
    // Not known yet: any.
    assert_eq!(run(&port, &frame, 0, 0), Some((XDP_PASS, Verdict::NoSocket)));
    Loaded::set_mac(port.mac.as_ref().unwrap(), address).unwrap();
    assert_eq!(run(&port, &frame, 0, 0), Some((XDP_PASS, Verdict::NoSocket)));
    // Each byte counts.
    for at in 0..6 {
        frame[at] ^= 2;
        assert_eq!(run(&port, &frame, 0, 0), Some((XDP_PASS, Verdict::OtherMac)), "byte {at}");
        // A cut-off header is not ours to drop either.
        assert_eq!(run(&port, &frame[..20], 0, 0), Some((XDP_PASS, Verdict::OtherMac)), "byte {at}");
        frame[at] ^= 2;
    }
    // What comes before in the order stays what it is.
    frame[0] |= 1;
    assert_eq!(run(&port, &frame, 0, 0), Some((XDP_PASS, Verdict::Multicast)));
}

#[test]
fn tagged_packets_are_transit_where_a_sub_interface_has_their_tags() {
    if skip("tagged_packets_are_transit_where_a_sub_interface_has_their_tags").is_some() {
        return;
    }
    use Verdict::{Arp, LinkLocal, Multicast, NoSocket, NotIp, OtherMac, OtherVlan, OwnAddress};
    let own = own_addresses();
    let port = Loaded::new(Tags::Lost, 1, &own).unwrap();
    let sub =
        |tags| Loaded::set_sub_interface(port.sub_interfaces.as_ref().unwrap(), tags, ROUTER_MAC).unwrap();
    sub([0x81, 0, 0, 10, 0, 0, 0, 0]);
    sub([0x88, 0xa8, 0, 7, 0x81, 0, 0, 10]);
    let (one, two) = ([0x81, 0, 0, 10], [0x88, 0xa8, 0, 7]);
    let tagged = |tags: &[[u8; 4]], frame: &[u8]| [&frame[..12], &tags.concat(), &frame[12..]].concat();
    let transit = ip4_frame("198.51.100.9");
    let six = ip6_frame("2001:db8:9::1", "2001:db8:8::1");
    let other_mac = ethernet([2, 0, 0, 0, 0, 9], 0x0800, &ip4("198.51.100.9"));
    for (what, tags, frame, verdict) in [
        ("IPv4", &[one][..], &transit, NoSocket),
        ("IPv4 of any priority", &[[0x81, 0, 0xf0, 10]], &transit, NoSocket),
        ("IPv6", &[one], &six, NoSocket),
        ("QinQ, IPv4", &[two, one], &transit, NoSocket),
        ("QinQ, IPv6", &[two, one], &six, NoSocket),
        ("another VLAN", &[[0x81, 0, 0, 11]], &transit, OtherVlan),
        ("VLAN 0", &[[0x81, 0, 0, 0]], &transit, OtherVlan),
        ("another type of tag", &[[0x88, 0xa8, 0, 10]], &transit, OtherVlan),
        ("the outer tag alone", &[two], &transit, OtherVlan),
        ("the other way round", &[one, two], &transit, OtherVlan),
        ("one tag twice", &[one, one], &transit, OtherVlan),
        ("a third tag", &[two, one, one], &transit, NotIp),
        ("the kernel's ARP", &[one], &ethernet([0xff; 6], 0x0806, &[0; 46]), Arp),
        ("LLDP", &[one], &ethernet([1, 0x80, 0xc2, 0, 0, 0x0e], 0x88cc, &[0; 46]), NotIp),
        ("a group MAC address", &[one], &ethernet([0xff; 6], 0x0800, &ip4("198.51.100.9")), Multicast),
        ("another MAC address", &[two, one], &other_mac, OtherMac),
        ("an own address", &[one], &ip4_frame(OWN[0]), OwnAddress),
        ("an own IPv6 address", &[two, one], &ip6_frame("2001:db8:9::1", OWN6), OwnAddress),
        ("a link-local address", &[one], &ip6_frame("fe80::1", OWN6), LinkLocal),
    ] {
        assert_eq!(run(&port, &tagged(tags, frame), 0, 0), Some((XDP_PASS, verdict)), "{what}");
    }
    let frame = tagged(&[two, one], &transit);
    for length in [14, 16, 17, 20, 21] {
        assert_eq!(run(&port, &frame[..length], 0, 0), Some((XDP_PASS, OtherVlan)), "{length} bytes");
    }
    assert_eq!(run(&port, &frame[..22], 0, 0), Some((XDP_PASS, NoSocket)), "no header: the graph's to drop");
}

#[test]
fn each_queue_has_its_own_socket() {
    if skip("each_queue_has_its_own_socket").is_some() {
        return;
    }
    let namespace = Namespace::new();
    namespace
        .ip("link add port numrxqueues 3 numtxqueues 3 type veth peer name far numrxqueues 3 numtxqueues 3");
    namespace.ip("link set port up");
    let ifindex = namespace.ifindex("port");
    namespace.inside(|| {
        let own = own_addresses();
        // The kernel runs tests only on queues that are ready for XDP: an attached program makes them so.
        let _attached = Redirect::attach(ifindex, 3, &own).unwrap();
        let loaded = Loaded::new(Tags::Lost, 2, &own).unwrap();
        let socket = Socket::new("port", 1);
        put(&loaded, 1, &socket);
        let transit = ip4_frame("198.51.100.9");
        assert_eq!(run(&loaded, &transit, ifindex, 0), Some((XDP_PASS, Verdict::NoSocket)));
        assert_eq!(run(&loaded, &transit, ifindex, 1), Some((XDP_REDIRECT, Verdict::Redirected)));
        // Beyond the map.
        assert_eq!(run(&loaded, &transit, ifindex, 2), Some((XDP_PASS, Verdict::NoSocket)));
    });
}
