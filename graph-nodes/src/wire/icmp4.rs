//! ICMP for IPv4 (RFC 792): type 0, code 1, checksum 2..4, a word 4..8 that depends on the type, then the datagram it is about.

use crate::packet::IcmpError;

/// Bytes of the header.
pub const LENGTH: usize = 8;

/// Types that are errors: destination unreachable, source quench, redirect, time exceeded, parameter problem (RFC 792, RFC 1122 §3.2.2),
/// and the experimental and reserved ones nobody can tell from errors are not among them.
#[inline]
pub fn is_error(kind: u8) -> bool {
    matches!(kind, 3 | 4 | 5 | 11 | 12)
}

/// Net unreachable: no route (RFC 1812 §5.2.7.1).
pub const NET_UNREACHABLE: IcmpError = IcmpError { kind: 3, code: 0, word: 0 };
/// Host unreachable: the neighbour does not answer.
pub const HOST_UNREACHABLE: IcmpError = IcmpError { kind: 3, code: 1, word: 0 };
/// Communication administratively prohibited.
pub const PROHIBITED: IcmpError = IcmpError { kind: 3, code: 13, word: 0 };
/// Time to live exceeded in transit.
pub const TTL_EXCEEDED: IcmpError = IcmpError { kind: 11, code: 0, word: 0 };

/// Fragmentation needed and DF set, with the next hop's MTU (RFC 1191 §4).
pub const fn fragmentation_needed(mtu: u16) -> IcmpError {
    IcmpError { kind: 3, code: 4, word: mtu as u32 }
}

/// Parameter problem: `pointer` is the offset of the bad byte in the datagram (RFC 792).
pub const fn parameter_problem(pointer: u8) -> IcmpError {
    IcmpError { kind: 12, code: 0, word: (pointer as u32) << 24 }
}
