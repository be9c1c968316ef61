//! IPv4 options (RFC 791 §3.1, RFC 1812 §5.3.13).

use etherparse::{Icmpv4Type, Ipv4Header, icmpv4::ParameterProblemHeader};

use crate::harness::{
    Router,
    datagram::{Datagram, leaving, parse},
    town::{self, EAST, NARROW, WEST, town},
};
use crate::icmp::TTL_EXCEEDED;
use crate::single::{answered, dropped, passes};

/// The address of the port by which these packets leave.
const EAST_ADDRESS: [u8; 4] = [10, 0, 1, 1];

/// Forwards a datagram with options; the options as they left. All else must be as without.
fn through(router: &mut Router, options: &[u8]) -> Vec<u8> {
    let datagram = Datagram::udp(town::FAR, 18).options(options);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    assert_eq!(router.drops().len(), 0, "{options:?}");
    let (header, payload) = parse(&sent[0].frame);
    let mut expected = datagram.header.clone();
    expected.time_to_live -= 1;
    expected.options = header.options.clone();
    expected.set_payload_len(datagram.payload.len()).unwrap();
    expected.header_checksum = expected.calc_header_checksum();
    assert_eq!((&header, payload), (&expected, &datagram.payload[..]), "{options:?}");
    assert_eq!(sent[0].frame, leaving(EAST, "10.0.1.2", &sent[0].frame[14..]));
    header.options.to_vec()
}

pub fn written_by_a_router() -> Router {
    let mut router = town();
    let [a, b, c, d] = EAST_ADDRESS;
    // Record route: into the first free place, until it is full.
    assert_eq!(through(&mut router, &[7, 7, 4, 0, 0, 0, 0, 0]), [7, 7, 8, a, b, c, d, 0]);
    assert_eq!(
        through(&mut router, &[1, 7, 11, 8, 9, 9, 9, 9, 0, 0, 0, 0]),
        [1, 7, 11, 12, 9, 9, 9, 9, a, b, c, d]
    );
    assert_eq!(through(&mut router, &[7, 7, 8, 9, 9, 9, 9, 0]), [7, 7, 8, 9, 9, 9, 9, 0], "full");
    assert_eq!(through(&mut router, &[7, 3, 4, 0]), [7, 3, 4, 0], "no room from the start");
    let mut longest = [0; 40];
    longest[..4].copy_from_slice(&[1, 7, 39, 36]);
    assert_eq!(through(&mut router, &longest)[36 - 1 + 1..40], EAST_ADDRESS, "the ninth place");

    // Timestamps: milliseconds since midnight UT, so one of today, give or take the test's own time.
    let now = || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        (now.as_millis() % 86_400_000) as u32
    };
    let is_now = |written: &[u8]| {
        let written = u32::from_be_bytes(written.try_into().unwrap());
        let age = (now() + 86_400_000 - written) % 86_400_000;
        assert!(age < 60_000, "{written} is {age} ms old");
    };
    let out = through(&mut router, &[68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!((&out[..4], &out[8..]), (&[68, 12, 9, 0][..], &[0; 4][..]));
    is_now(&out[4..8]);
    let out = through(&mut router, &[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(out[..8], [68, 12, 13, 1, a, b, c, d]);
    is_now(&out[8..]);
    let ours = [68, 12, 5, 3, a, b, c, d, 0, 0, 0, 0];
    let out = through(&mut router, &ours);
    assert_eq!(out[..8], [68, 12, 13, 3, a, b, c, d], "asked for by our address");
    is_now(&out[8..]);
    let others = [68, 12, 5, 3, 9, 9, 9, 9, 0, 0, 0, 0];
    assert_eq!(through(&mut router, &others), others, "asked for by another's");
    assert_eq!(
        through(&mut router, &[68, 8, 9, 0x20, 1, 2, 3, 4]),
        [68, 8, 9, 0x30, 1, 2, 3, 4],
        "full: counted"
    );

    // Two in one header.
    let out = through(&mut router, &[7, 7, 4, 0, 0, 0, 0, 68, 8, 5, 0, 0, 0, 0, 0, 0]);
    assert_eq!(out[..11], [7, 7, 8, a, b, c, d, 68, 8, 9, 0]);
    router
}

pub fn carried_along() -> Router {
    let mut router = town();
    for options in [
        &[1, 1, 1, 1][..],                        // no operation
        &[0, 7, 0, 0],                            // what stands behind the end is not looked at
        &[148, 4, 0, 0],                          // router alert
        &[130, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], // security
        &[222, 2, 1, 1],                          // unknown, of the least length
        &[
            30, 40, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24,
            25, 26,
        ]
        .iter()
        .copied()
        .chain([0; 12])
        .collect::<Vec<_>>(),
        &[1; 40],
    ] {
        assert_eq!(through(&mut router, options), options);
    }
    passes(&mut router, "a header of 60 bytes", &Datagram::udp(town::FAR, 8).options(&[1; 40]).bytes(), EAST);
    // Written once only, even though the packet waits for its neighbour in between.
    let datagram = Datagram::udp("10.0.1.9", 8).options(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(router.forward(WEST, &datagram.frame(WEST)), []);
    let neighbour = router.neighbour(EAST, "10.0.1.9", 1500);
    router.route("10.0.1.9/32", &[neighbour]);
    let sent = router.pass(1000);
    let (header, _) = parse(&sent[0].frame);
    assert_eq!(header.options[..], [7, 11, 8, 10, 0, 1, 1, 0, 0, 0, 0, 0]);
    // By the port that the packet leaves by.
    let datagram = Datagram::udp(town::FAR_NARROW, 8).options(&[7, 7, 4, 0, 0, 0, 0]);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    assert_eq!((sent[0].port, &parse(&sent[0].frame).0.options[3..7]), (NARROW, &[10, 0, 2, 1][..]));
    router
}

pub fn source_routes_are_dropped() -> Router {
    let mut router = town();
    for options in [
        &[131, 7, 4, 10, 0, 1, 2][..],
        &[137, 7, 4, 10, 0, 1, 2],
        &[1, 1, 131, 3, 4],
        &[131, 7, 8, 10, 0, 1, 2], // used up, and still not carried
    ] {
        let frame = Datagram::udp(town::FAR, 8).options(options).frame(WEST);
        dropped(&mut router, &format!("{options:?}"), WEST, &frame, ("ip4-options", "source-route"));
    }
    router
}

pub fn bad_ones_are_answered_with_their_place() -> Router {
    let mut router = town();
    // The place is counted from the header's first byte (RFC 792), so options begin at 20.
    for (options, place) in [
        (&[7, 0, 4, 0][..], 21),                     // length 0
        (&[222, 1, 0, 0], 21),                       // length 1
        (&[7, 5, 4, 0], 21),                         // longer than the header
        (&[222, 255, 0, 0], 21),                     // much longer
        (&[1, 1, 1, 222], 23),                       // no length at all
        (&[7, 2, 0, 0], 21),                         // no pointer
        (&[7, 7, 3, 0, 0, 0, 0, 0], 22),             // pointer into the option's own head
        (&[7, 7, 5, 0, 0, 0, 0, 0], 22),             // no room for a whole address at the pointer
        (&[68, 3, 5, 0], 21),                        // no flags
        (&[68, 8, 4, 0, 0, 0, 0, 0], 22),            // pointer into the head
        (&[68, 8, 6, 0, 0, 0, 0, 0], 22),            // no room for a timestamp
        (&[68, 8, 5, 1, 0, 0, 0, 0], 22),            // no room for address and timestamp
        (&[68, 8, 5, 2, 0, 0, 0, 0], 23),            // no such flag
        (&[68, 8, 9, 0xf0, 0, 0, 0, 0], 23),         // the overflow count overflows
        (&[1, 1, 1, 1, 1, 1, 1, 1, 1, 7, 1, 4], 30), // further behind
        (&[131, 1, 4, 0], 21),                       // a source route that is none
    ] {
        router.now += 1_000_000;
        let datagram = Datagram::udp(town::FAR, 18).options(options).bytes();
        let kind = Icmpv4Type::ParameterProblem(ParameterProblemHeader::PointerIndicatesError(place));
        let what = format!("{options:?}");
        answered(&mut router, &what, WEST, &datagram, ("ip4-options", "bad-option"), &kind);
    }
    router
}

pub fn an_error_quotes_them_as_they_came() -> Router {
    let mut router = town();
    let room = [7, 7, 4, 0, 0, 0, 0];
    let kind = Icmpv4Type::ParameterProblem(ParameterProblemHeader::PointerIndicatesError(28));
    let bad = Datagram::udp(town::FAR, 8).options(&[&room[..], &[68, 1, 5, 0, 0]].concat()).bytes();
    answered(&mut router, "a good one, then a bad one", WEST, &bad, ("ip4-options", "bad-option"), &kind);
    let expired = Datagram::udp(town::FAR, 8).options(&room).ttl(1).bytes();
    answered(&mut router, "TTL", WEST, &expired, ("ip4-rewrite", "ttl-expired"), &TTL_EXCEEDED);
    let big = Datagram::udp(town::FAR_NARROW, 1000).options(&room).dont_fragment().bytes();
    let kind = etherparse::icmpv4::DestUnreachableHeader::FragmentationNeeded { next_hop_mtu: 576 };
    let kind = Icmpv4Type::DestinationUnreachable(kind);
    answered(&mut router, "DF", WEST, &big, ("ip4-rewrite", "too-big"), &kind);
    assert!(Ipv4Header::from_slice(&big).is_ok());
    router
}
