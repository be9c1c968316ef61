//! Fragmentation (RFC 791 §3.2, RFC 1812 §4.2.2.7).

use etherparse::{IpNumber, Ipv4Header};

use crate::harness::{
    Router, Sent, Setup, Tally,
    datagram::{Datagram, leaving, parse, pattern},
    town::{self, EAST, MTU, NARROW, WEST, town, town_with},
};
use crate::single::{dropped, forwarded, passes};

/// Puts pieces together by the letter of RFC 791: header of the first, payload by offset; whether more is to come.
pub fn reassemble(pieces: &[Sent]) -> (Ipv4Header, Vec<u8>, bool) {
    let (first, _) = parse(&pieces[0].frame);
    let start = usize::from(first.fragment_offset.byte_offset());
    let mut payload: Vec<Option<u8>> = Vec::new();
    let mut more = true;
    for piece in pieces {
        let (header, bytes) = parse(&piece.frame);
        let same = |header: &Ipv4Header| {
            (header.identification, header.protocol, header.source, header.destination, header.time_to_live)
        };
        assert_eq!(same(&header), same(&first));
        assert_eq!((header.dscp, header.ecn, header.dont_fragment), (first.dscp, first.ecn, false));
        assert!(header.more_fragments || more, "one last piece");
        assert!(!header.more_fragments || bytes.len() % 8 == 0, "all but the last in units of eight");
        let at = header.fragment_offset.value() as usize * 8 - start;
        payload.resize(payload.len().max(at + bytes.len()), None);
        for (place, byte) in payload[at..].iter_mut().zip(bytes) {
            assert_eq!(place.replace(*byte), None, "no byte comes twice");
        }
        more &= header.more_fragments;
    }
    (first, payload.into_iter().map(|byte| byte.expect("no hole")).collect(), more)
}

pub fn pieces_are_exact() -> Router {
    let mut router = town();
    let datagram = Datagram::udp(town::FAR_NARROW, 1472);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    // 576 - 20 = 556 bytes fit, 552 in units of eight.
    let expected: Vec<Sent> = [(0usize, 552, true), (552, 1104, true), (1104, 1480, false)]
        .into_iter()
        .map(|(from, to, more)| {
            let mut piece = datagram.clone().ttl(63).fragment(from as u16 / 8, more);
            piece.payload = datagram.payload[from..to].to_vec();
            Sent { port: NARROW, frame: leaving(NARROW, "10.0.2.2", &piece.bytes()) }
        })
        .collect();
    assert_eq!(sent, expected, "in order");
    assert_eq!(router.simple_at("/sys/node/created", router.shape.node("ip4-fragment").unwrap()), 2);
    router
}

pub fn of_a_fragment() -> Router {
    let mut router = town();
    for (offset, more) in [(100, true), (100, false), (0, true), (1, true), (8000, false)] {
        let datagram = Datagram::udp(town::FAR_NARROW, 1384).fragment(offset, more);
        let sent = router.forward(WEST, &datagram.frame(WEST));
        assert_eq!(sent.len(), 3);
        let (header, payload, still_more) = reassemble(&sent);
        assert_eq!(header.fragment_offset.value(), offset);
        assert_eq!((payload, still_more), (datagram.payload, more), "{offset} {more}");
        assert_eq!(router.drops(), Tally::new());
    }
    router
}

pub fn copy_the_options_that_say_so() -> Router {
    let mut router = town();
    let alert = [148, 4, 0, 1]; // copied
    let record = [7, 7, 4, 0, 0, 0, 0]; // not copied
    let unknown = [0x9e, 5, 1, 2, 3]; // copied
    for (options, first, others) in [
        (alert.to_vec(), alert.to_vec(), alert.to_vec()),
        (vec![1, 1, 1, 1], vec![1, 1, 1, 1], vec![]),
        (
            [&record[..], &unknown, &alert].concat(),
            [&[7, 7, 8, 10, 0, 2, 1][..], &unknown, &alert].concat(),
            [&unknown[..], &alert, &[0, 0, 0]].concat(),
        ),
        (
            [&unknown[..], &[0, 148, 4]].concat(),
            [&unknown[..], &[0, 148, 4]].concat(),
            [&unknown[..], &[0; 3]].concat(),
        ),
    ] {
        let datagram = Datagram::udp(town::FAR_NARROW, 1400).options(&options);
        let sent = router.forward(WEST, &datagram.frame(WEST));
        let of = |piece: &Sent| parse(&piece.frame).0.options.to_vec();
        assert_eq!(of(&sent[0]), first, "the first piece of {options:?}");
        for piece in &sent[1..] {
            assert_eq!(of(piece), others, "a further piece of {options:?}");
        }
        assert_eq!(reassemble(&sent).1, datagram.payload);
        // As much as fits, in each but the last.
        for piece in &sent[..sent.len() - 1] {
            assert!(piece.frame.len() - 14 + 8 > usize::from(MTU[2]), "{} bytes", piece.frame.len());
        }
    }
    router
}

pub fn at_the_edges() -> Router {
    let mut router = town();
    // One byte more than fits makes a second piece of what is left over, not of one byte: units of eight.
    let sent = router.forward(WEST, &Datagram::udp(town::FAR_NARROW, 549).frame(WEST));
    let lengths = |sent: &[Sent]| sent.iter().map(|piece| piece.frame.len() - 14).collect::<Vec<_>>();
    assert_eq!(lengths(&sent), [572, 25]);
    // 68 bytes are what every link carries: also under a header of 60, of which further pieces keep 20.
    let datagram = Datagram::udp(town::TIGHT, 192);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    assert_eq!(lengths(&sent), [68, 68, 68, 68, 28]);
    let datagram = Datagram::udp(town::TIGHT, 48).options(&[1; 40]);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    assert_eq!(lengths(&sent), [68, 68]);
    assert_eq!(reassemble(&sent).1, datagram.payload);
    // 40 bytes of options that are all copied leave eight bytes in every piece.
    let options = [&[0x9e, 38][..], &[5; 36], &[1, 1]].concat();
    let datagram = Datagram::udp(town::TIGHT, 40).options(&options);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    assert_eq!(lengths(&sent), [68; 6]);
    assert_eq!(reassemble(&sent).1, datagram.payload);
    let frame = Datagram::udp(town::IMPOSSIBLE, 8).frame(WEST);
    dropped(&mut router, "no room for eight bytes", WEST, &frame, ("ip4-fragment", "mtu-too-small"));
    router
}

pub fn all_or_none() -> Router {
    // A piece keeps the datagram's frame, so two more are needed.
    let mut router = town_with(&Setup { frames: 2, ..Setup::default() });
    let datagram = Datagram::udp(town::FAR_NARROW, 1472);
    dropped(&mut router, "one frame too few", WEST, &datagram.frame(WEST), ("ip4-fragment", "no-frames"));
    let mut router = town_with(&Setup { frames: 3, ..Setup::default() });
    assert_eq!(router.forward(WEST, &datagram.frame(WEST)).len(), 3);
    router.feed(WEST, &datagram.frame(WEST));
    router.feed(WEST, &datagram.frame(WEST));
    assert_eq!(router.run(), [], "two datagrams, and one frame for four pieces");
    assert_eq!(router.drops(), Tally::from([(("ip4-fragment", "no-frames"), 2)]));
    router
}

pub fn never_wrap_around() -> Router {
    let mut router = town();
    // A piece that would begin at or behind byte 65,536 cannot be said in 13 bits: cut off, it would lie over the datagram's begin.
    let what = "a fragment that reaches beyond the largest datagram";
    for offset in [0x1fff, 0x1fff - 69] {
        let datagram = Datagram::udp(town::FAR_NARROW, 1384).fragment(offset, true);
        let reason = ("ip4-fragment", "beyond-largest-datagram");
        dropped(&mut router, what, WEST, &datagram.frame(WEST), reason);
    }
    // The last offset that a piece of it can have.
    let mut datagram =
        Datagram::of(IpNumber::UDP, town::FAR_NARROW, pattern(560)).fragment(0x1fff - 69, false);
    let sent = router.forward(WEST, &datagram.frame(WEST));
    let offsets: Vec<_> = sent.iter().map(|piece| parse(&piece.frame).0.fragment_offset.value()).collect();
    assert_eq!(offsets, [0x1fff - 69, 0x1fff]);
    // What need not be cut is carried as it is.
    datagram.header.destination = [192, 0, 2, 7];
    datagram = datagram.fragment(0x1fff, true);
    passes(&mut router, "uncut", &datagram.bytes(), EAST);
    assert_eq!(forwarded(&datagram.bytes()).len(), 580);
    router
}
