//! ICMP for IPv6 (RFC 4443 §2.1): type 0, code 1, checksum 2..4, a word 4..8 that depends on the type, then the packet it is about.

use crate::packet::IcmpError;

/// Bytes of the header.
pub const LENGTH: usize = 8;
/// Types below are errors (RFC 4443 §2.1).
const INFORMATIONAL: u8 = 128;
/// Redirect (RFC 4861 §4.5): no error is sent about one either (RFC 4443 §2.4(e)).
const REDIRECT: u8 = 137;
/// Type of "packet too big".
pub const PACKET_TOO_BIG: u8 = 2;
/// Type of "time exceeded".
pub const TIME_EXCEEDED: u8 = 3;
/// Type of "parameter problem".
pub const PARAMETER_PROBLEM: u8 = 4;
/// Code of a parameter problem: an option that is not known.
pub const UNKNOWN_OPTION: u8 = 2;

/// Messages about which no error is sent (RFC 4443 §2.4(e)): errors, and redirects.
#[inline]
pub fn is_unanswered(kind: u8) -> bool {
    kind < INFORMATIONAL || kind == REDIRECT
}

/// No route (RFC 4443 §3.1).
pub const NO_ROUTE: IcmpError = IcmpError { kind: 1, code: 0, word: 0 };
/// Communication administratively prohibited.
pub const PROHIBITED: IcmpError = IcmpError { kind: 1, code: 1, word: 0 };
/// Beyond the scope of the source address.
pub const BEYOND_SCOPE: IcmpError = IcmpError { kind: 1, code: 2, word: 0 };
/// Address unreachable: the neighbour does not answer.
pub const ADDRESS_UNREACHABLE: IcmpError = IcmpError { kind: 1, code: 3, word: 0 };
/// Hop limit exceeded in transit (RFC 4443 §3.3).
pub const HOP_LIMIT_EXCEEDED: IcmpError = IcmpError { kind: TIME_EXCEEDED, code: 0, word: 0 };

/// Packet too big, with the next hop's MTU (RFC 4443 §3.2).
pub const fn packet_too_big(mtu: u16) -> IcmpError {
    IcmpError { kind: PACKET_TOO_BIG, code: 0, word: mtu as u32 }
}

/// An option that is not known: `pointer` is its offset in the packet (RFC 4443 §3.4).
pub const fn unknown_option(pointer: u32) -> IcmpError {
    IcmpError { kind: PARAMETER_PROBLEM, code: UNKNOWN_OPTION, word: pointer }
}

/// A field of a header that is wrong: `pointer` is its offset in the packet (RFC 4443 §3.4).
pub const fn erroneous_field(pointer: u32) -> IcmpError {
    IcmpError { kind: PARAMETER_PROBLEM, code: 0, word: pointer }
}
