use proptest::prelude::*;

use super::*;

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = u16::try_from(4 + value.len()).unwrap().to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn route_message(kind: u8, attributes: &[Vec<u8>]) -> Vec<u8> {
    let fixed = [AF_INET, 16, 0, 0, 254, 3, 0, kind, 0, 0, 0, 0];
    request(libc::RTM_NEWROUTE, NLM_F_CREATE, 9, &fixed, &attributes.concat())
}

fn only(datagram: &[u8]) -> Body {
    let mut all = messages(datagram);
    let first = all.next().unwrap().body;
    assert!(all.next().is_none());
    first
}

fn multipath_route() -> Vec<u8> {
    let gateway = attribute(libc::RTA_GATEWAY, &[10, 0, 0, 2]);
    let mut hops = vec![16, 0, 4, 2, 7, 0, 0, 0];
    hops.extend(gateway);
    hops.extend([8, 0, 0, 255, 8, 0, 0, 0]);
    route_message(
        libc::RTN_UNICAST,
        &[attribute(libc::RTA_DST, &[10, 1, 0, 0]), attribute(libc::RTA_MULTIPATH, &hops)],
    )
}

#[test]
fn multipath_with_and_without_gateway() {
    let Body::Ip4(RouteMessage::New(route, order)) = only(&multipath_route()) else { panic!() };
    assert_eq!(order, Order::First);
    assert_eq!(route.prefix.to_string(), "10.1.0.0/16");
    let gateway = Some([10, 0, 0, 2].into());
    let hops = [
        NextHop { index: 7, gateway, weight: 3, onlink: true },
        NextHop { index: 8, gateway: None, weight: 256, onlink: false },
    ];
    let hops = hops.map(|next_hop| Hop { next_hop, unsupported: None });
    assert_eq!(route.action, Action::Forward(hops.to_vec()));
}

/// What the message says of its one next hop.
fn only_hop(message: &[u8]) -> Hop {
    let Body::Ip4(RouteMessage::New(route, _)) = only(message) else { panic!() };
    let Action::Forward(hops) = route.action else { panic!("{:?}", route.action) };
    let [hop] = hops[..] else { panic!("{hops:?}") };
    hop
}

#[test]
fn a_vlan_is_known_by_its_tag_and_the_device_below_it() {
    let message = |info: &[Vec<u8>]| {
        let mut fixed = [0; LINK_FIXED];
        fixed[4] = 9;
        let attributes = [
            attribute(libc::IFLA_IFNAME, b"eth1.7\0"),
            attribute(libc::IFLA_LINK, &4u32.to_ne_bytes()),
            attribute(libc::IFLA_LINKINFO, &info.concat()),
        ];
        request(libc::RTM_NEWLINK, 0, 1, &fixed, &attributes.concat())
    };
    let found = |info: &[Vec<u8>]| {
        let Body::Link(link) = only(&message(info)) else { panic!() };
        link.vlan
    };
    let kind = |name: &[u8]| attribute(IFLA_INFO_KIND, name);
    let id = attribute(IFLA_VLAN_ID, &7u16.to_ne_bytes());
    let protocol = attribute(IFLA_VLAN_PROTOCOL, &[0x88, 0xa8]);
    let data = |parts: &[&[u8]]| attribute(IFLA_INFO_DATA, &parts.concat());
    let of = |kind| Some(VlanOf { parent: 4, kind, id: 7 });
    assert_eq!(found(&[kind(b"vlan\0"), data(&[&id])]), of(0x8100));
    assert_eq!(found(&[kind(b"vlan\0"), data(&[&id, &protocol])]), of(0x88a8));
    assert_eq!(found(&[kind(b"vlan\0"), data(&[&protocol])]), None);
    assert_eq!(found(&[kind(b"macvlan\0"), data(&[&id])]), None);
    assert_eq!(found(&[data(&[&id])]), None);
}

#[test]
fn what_weir_cannot_do_is_named() {
    let device = attribute(libc::RTA_OIF, &[7, 0, 0, 0]);
    let message = route_message(libc::RTN_UNICAST, &[attribute(RTA_ENCAP, &[0; 4]), device.clone()]);
    assert_eq!(only_hop(&message).unsupported, Some(Unsupported::Encapsulation));
    // A label of MPLS.
    let message = route_message(libc::RTN_UNICAST, &[attribute(RTA_VIA, &[28, 0, 1, 2, 3, 4]), device]);
    assert_eq!(only_hop(&message).unsupported, Some(Unsupported::ForeignGateway));
    let message = route_message(10, &[]);
    let Body::Ip4(RouteMessage::New(route, _)) = only(&message) else { panic!() };
    assert_eq!(route.action, Action::To(Target::Unsupported(Unsupported::Type)));
}

#[test]
fn a_route_of_ip4_may_have_a_gateway_of_ip6() {
    let via = [&10u16.to_ne_bytes()[..], &[0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9]].concat();
    let device = attribute(libc::RTA_OIF, &[7, 0, 0, 0]);
    let message = route_message(libc::RTN_UNICAST, &[attribute(RTA_VIA, &via), device]);
    assert_eq!(only_hop(&message).next_hop.gateway, Some("fe80::9".parse().unwrap()));
}

#[test]
fn a_route_of_ip6_is_read_with_what_only_it_has() {
    let read = |source_length: u8, flags: u32, kind: u16| {
        let fixed = [
            &[AF_INET6, 48, source_length, 0, 254, RTPROT_RA, 0, libc::RTN_UNICAST],
            &flags.to_ne_bytes()[..],
        ];
        let attributes = [
            attribute(libc::RTA_DST, &[0x20, 1, 0xd, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
            attribute(RTA_PREF, &[1]),
            attribute(libc::RTA_OIF, &[7, 0, 0, 0]),
        ];
        only(&request(kind, NLM_F_CREATE, 9, &fixed.concat(), &attributes.concat()))
    };
    let Body::Ip6(RouteMessage::New(route, Order::First)) = read(0, 0, libc::RTM_NEWROUTE) else { panic!() };
    assert_eq!(route.prefix.to_string(), "2001:db8:1::/48");
    assert!((route.preference, route.advertised, route.selective) == (2, true, false));
    let Body::Ip6(RouteMessage::Gone(route)) = read(64, 0, libc::RTM_DELROUTE) else { panic!() };
    assert!(route.selective, "only for packets from somewhere");
    assert_eq!(read(0, libc::RTM_F_CLONED, libc::RTM_NEWROUTE), Body::Other);
}

#[test]
fn addresses_stand_as_their_flags_say() {
    let read = |family: u8, address: &[u8], flags: u32| {
        let fixed = [family, 24, 0x80, 0, 7, 0, 0, 0];
        let attributes = [attribute(libc::IFA_ADDRESS, address), attribute(IFA_FLAGS, &flags.to_ne_bytes())];
        match only(&request(libc::RTM_NEWADDR, 0, 1, &fixed, &attributes.concat())) {
            Body::Address(address) => Some(address.standing),
            _ => None,
        }
    };
    let standing = |flags| (read(AF_INET, &[10, 0, 0, 1], flags), read(AF_INET6, &[0x20; 16], flags));
    let (first, second) = (Some(Standing::Primary), Some(Standing::Secondary));
    assert_eq!(standing(0x80), (first, first));
    assert_eq!(standing(IFA_F_SECONDARY), (second, second));
    assert_eq!(standing(IFA_F_DEPRECATED), (first, second));
    assert_eq!(standing(IFA_F_TENTATIVE | IFA_F_DEPRECATED), (first, Some(Standing::Tentative)));
    assert_eq!(standing(IFA_F_DADFAILED), (first, Some(Standing::Tentative)));
    assert_eq!(read(AF_INET, &[0x20; 16], 0), None);
    assert_eq!(read(AF_INET6, &[10, 0, 0, 1], 0), None);
}

#[test]
fn a_neighbour_of_each_version_is_asked_for() {
    for (address, family) in [("10.0.0.2", AF_INET), ("fe80::2", AF_INET6)] {
        let address: IpAddr = address.parse().unwrap();
        let message = use_neighbour(7, address, 1);
        assert_eq!(message.len() as u32, u32_at(&message, 0).unwrap());
        let read = neighbour(&message[MESSAGE_HEADER..]).unwrap();
        assert_eq!((message[MESSAGE_HEADER], read.index, read.address), (family, 7, address));
    }
}

#[test]
fn a_dump_that_failed_is_not_one_that_ended() {
    let done = |code: i32| request(NLMSG_DONE, 0, 1, &code.to_ne_bytes(), &[]);
    assert_eq!(only(&done(0)), Body::Done);
    assert_eq!(only(&done(-95)), Body::Refused(95));
    assert_eq!(only(&request(NLMSG_DONE, 0, 1, &[], &[])), Body::Done);
    assert_eq!(only(&request(NLMSG_ERROR, 0, 1, &(-19i32).to_ne_bytes(), &[])), Body::Refused(19));
}

#[test]
fn weights_of_group_members_have_two_bytes() {
    assert_eq!(member(&[5, 0, 0, 0, 255, 0, 0, 0]), Some((5, 256)));
    assert_eq!(member(&[5, 0, 0, 0, 255, 255, 0, 0]), Some((5, 65536)));
}

proptest! {
    /// Whatever the kernel may send, damaged or of another layout: no panic, and as many messages as there are headers at most.
    #[test]
    fn any_bytes(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0u16..120, cut in 0usize..200) {
        if bytes.len() >= 16 {
            let length = u32::try_from(bytes.len().min(cut.max(16))).unwrap();
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
            if let Some(family) = bytes.get_mut(16) {
                *family = [0, 2, 10, 7][usize::from(*family) % 4];
            }
        }
        prop_assert!(messages(&bytes).count() <= bytes.len() / MESSAGE_HEADER);
    }

    /// A route with some bytes changed.
    #[test]
    fn a_damaged_route(changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4)) {
        let mut message = multipath_route();
        for (at, value) in changes {
            let at = at.index(message.len());
            message[at] = value;
        }
        prop_assert!(messages(&message).count() <= message.len() / MESSAGE_HEADER);
    }
}
