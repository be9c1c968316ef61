//! What packets begin with, by the type of the link that they were captured on, and the way from there to their IP header.

use weir_graph::wire;

/// A type of link, as <https://www.tcpdump.org/linktypes.html> numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkType(pub u32);

impl LinkType {
    /// BSD loopback: an address family in the capturing host's byte order.
    pub const NULL: LinkType = LinkType(0);
    /// Ethernet.
    pub const ETHERNET: LinkType = LinkType(1);
    /// An IP header at once, 4 or 6. BSDs write their own numbers for it, 12 and 14.
    pub const RAW: LinkType = LinkType(101);
    /// OpenBSD loopback: an address family in network byte order.
    pub const LOOP: LinkType = LinkType(108);
    /// Linux cooked, as of `tcpdump -i any`.
    pub const LINUX_SLL: LinkType = LinkType(113);
    /// An IPv4 header at once.
    pub const IPV4: LinkType = LinkType(228);
    /// An IPv6 header at once.
    pub const IPV6: LinkType = LinkType(229);
    /// Linux cooked, the newer form.
    pub const LINUX_SLL2: LinkType = LinkType(276);
}

/// What a packet is found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contents {
    /// An IP packet, from this byte on.
    Ip(usize),
    /// Something else.
    Other,
    /// Nobody knows: the link's type is not one of those above.
    Unknown,
}

/// Finds the IP header in a packet; `length` is what there was on the wire, of which `bytes` may be less.
#[inline]
pub fn contents(link: LinkType, bytes: &[u8], length: u32) -> Contents {
    match link {
        LinkType::ETHERNET => from_type(bytes, 12, length),
        LinkType::RAW | LinkType(12 | 14) | LinkType::IPV4 | LinkType::IPV6 => Contents::Ip(0),
        // The families of IPv6 differ between systems; the version in the IP header does not.
        LinkType::NULL | LinkType::LOOP => Contents::Ip(4),
        LinkType::LINUX_SLL => from_type(bytes, 14, length),
        LinkType::LINUX_SLL2 => behind(bytes, 0, 20, length),
        _ => Contents::Unknown,
    }
}

/// From the EtherType at `at` on.
#[inline]
fn from_type(bytes: &[u8], at: usize, length: u32) -> Contents {
    behind(bytes, at, at + 2, length)
}

/// By the EtherType at `kind`, from the byte `at` on.
#[inline]
fn behind(bytes: &[u8], kind: usize, at: usize, length: u32) -> Contents {
    match number(bytes, kind) {
        Some(wire::IP4 | wire::IP6) => Contents::Ip(at),
        Some(kind) => match wire::behind_type(bytes, kind, at, length as usize) {
            Ok(Some((_, at))) => Contents::Ip(at),
            Ok(None) | Err(_) => Contents::Other,
        },
        None => Contents::Other,
    }
}

#[inline]
fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ethernet(rest: &[u8]) -> Contents {
        let bytes = [&[0; 12], rest].concat();
        contents(LinkType::ETHERNET, &bytes, 200)
    }

    #[test]
    fn tags_and_sessions_are_stepped_over() {
        assert_eq!(ethernet(&[0x08, 0, 0x45]), Contents::Ip(14));
        assert_eq!(ethernet(&[0x86, 0xdd, 0x60]), Contents::Ip(14));
        assert_eq!(ethernet(&[0x81, 0, 0, 5, 0x08, 0, 0x45]), Contents::Ip(18));
        assert_eq!(ethernet(&[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x86, 0xdd]), Contents::Ip(22));
        let session = [0x88, 0x64, 0x11, 0, 0, 1, 0, 40];
        assert_eq!(ethernet(&[&session[..], &[0, 0x21, 0x45]].concat()), Contents::Ip(22));
        assert_eq!(
            ethernet(&[&[0x81, 0, 0, 7, 0x88, 0x64, 0x11, 0, 0, 1, 0, 42], &[0, 0x57][..]].concat()),
            Contents::Ip(26)
        );
        // LCP is PPP, but no IP.
        assert_eq!(ethernet(&[&session[..], &[0xc0, 0x21]].concat()), Contents::Other);
        assert_eq!(ethernet(&[0x81, 0].repeat(40)), Contents::Other);
        assert_eq!(ethernet(&[0x08, 0x06]), Contents::Other);
    }

    #[test]
    fn labels_and_sessions_are_measured_by_what_was_on_the_wire() {
        let label = [0x88, 0x47, 0, 1, 1, 64];
        let four = |total: u8| [&label[..], &[0x45, 0, 0, total]].concat();
        // Cut after 24 bytes of 200: 18 and 182 are all.
        assert_eq!(ethernet(&four(182)), Contents::Ip(18));
        assert_eq!(ethernet(&four(181)), Contents::Other, "a pseudowire that begins like IP");
        assert_eq!(ethernet(&[&label[..], &[0, 0, 0, 0, 0x45]].concat()), Contents::Other, "a control word");
        let session = |length: u8| [0x88, 0x64, 0x11, 0, 0, 1, 0, length, 0, 0x21, 0x45, 0, 0, 100];
        assert_eq!(ethernet(&session(102)), Contents::Ip(22));
        assert_eq!(ethernet(&session(180)), Contents::Ip(22));
        assert_eq!(ethernet(&session(181)), Contents::Other, "more than there was");
        assert_eq!(ethernet(&session(101)), Contents::Other, "less than the datagram");
    }

    #[test]
    fn headers_that_are_cut_off_are_no_ip() {
        let whole =
            [&[0; 12][..], &[0x88, 0xa8, 0, 5, 0x81, 0, 0, 6, 0x88, 0x64, 0x11, 0, 0, 1, 0, 40]].concat();
        for length in 0..=whole.len() {
            assert_eq!(contents(LinkType::ETHERNET, &whole[..length], 200), Contents::Other);
        }
    }

    #[test]
    fn links_without_ethernet() {
        let cooked = [&[0; 14][..], &[0x08, 0, 0x45]].concat();
        let contents = |link, bytes: &[u8]| contents(link, bytes, bytes.len() as u32);
        assert_eq!(contents(LinkType::LINUX_SLL, &cooked), Contents::Ip(16));
        let tagged = [&[0; 14][..], &[0x81, 0, 0, 5, 0x08, 0, 0x45]].concat();
        assert_eq!(contents(LinkType::LINUX_SLL, &tagged), Contents::Ip(20));
        let newer = [&[0x08, 0][..], &[0; 18], &[0x45]].concat();
        assert_eq!(contents(LinkType::LINUX_SLL2, &newer), Contents::Ip(20));
        assert_eq!(contents(LinkType::LOOP, &[0, 0, 0, 2, 0x45]), Contents::Ip(4));
        assert_eq!(contents(LinkType::RAW, &[0x60]), Contents::Ip(0));
        assert_eq!(contents(LinkType(105), &[0; 100]), Contents::Unknown);
    }
}
