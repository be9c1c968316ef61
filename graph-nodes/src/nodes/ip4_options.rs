//! `ip4-options`: headers with options, on their way between `ip4-rewrite` (which knows the outgoing port) and back to it.
//!
//! Checks the options' form (RFC 791 §3.1) and answers a bad one with parameter problem. Writes record route and timestamp where there is
//! room (RFC 1812 §5.3.13.4, §5.3.13.5), with the address of the outgoing port. Source routes are dropped: that is what the kernel's default and
//! RFC 7126 §4.3, §4.4 do. Unknown options are carried along (RFC 1812 §5.3.13.1).
//!
//! * arcs: `ip4-rewrite`, `ip4-icmp-error`
//! * drops: [`Drop`]

use std::time::SystemTime;

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    node::{Context, Next, Node, Registration, Workbench},
    packet::{Packet, flags},
    wire::{
        icmp4,
        ip4::{self, Ip4},
    },
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// An option whose length does not fit: the sender is told where.
    BadOption,
    /// Loose or strict source route.
    SourceRoute,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip4-options",
    next: &["ip4-rewrite", "ip4-icmp-error"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

const ICMP_ERROR: Next = Next::arc(1);

/// Option types (RFC 791 §3.1).
const END: u8 = 0;
const NO_OPERATION: u8 = 1;
const RECORD_ROUTE: u8 = 7;
const TIMESTAMP: u8 = 68;
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

struct Ip4Options;

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip4Options))
}

/// What is wrong with the options.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    /// The byte of the header that is wrong.
    Bad(u8),
    SourceRoute,
}

/// Walks the options of `header` (the whole IPv4 header) and writes what a router writes. `Ok(true)`: something was written.
fn process(header: &mut [u8], address: u32, milliseconds: u32) -> Result<bool, Refusal> {
    let mut at = ip4::LENGTH;
    let mut written = false;
    while let Some(kind) = header.get(at).copied() {
        match kind {
            END => break,
            NO_OPERATION => {
                at += 1;
                continue;
            }
            _ => {}
        }
        // A header is at most 60 bytes: positions fit a byte.
        let bad = |offset: usize| Refusal::Bad((at + offset) as u8);
        let length = usize::from(*header.get(at + 1).ok_or(bad(0))?);
        if length < 2 {
            return Err(bad(1));
        }
        let option = header.get_mut(at..at + length).ok_or(bad(1))?;
        match kind {
            LOOSE_SOURCE_ROUTE | STRICT_SOURCE_ROUTE => return Err(Refusal::SourceRoute),
            RECORD_ROUTE => written |= record_route(option, address).map_err(bad)?,
            TIMESTAMP => written |= timestamp(option, address, milliseconds).map_err(bad)?,
            _ => {}
        }
        at += length;
    }
    Ok(written)
}

/// RFC 791, record route: type, length, pointer (from 1, first free byte, at least 4), addresses. `Err`: offset of the bad byte.
fn record_route(option: &mut [u8], address: u32) -> Result<bool, usize> {
    let pointer = usize::from(*option.get(2).ok_or(1usize)?);
    if pointer < 4 {
        return Err(2);
    }
    let length = option.len();
    if pointer > length {
        return Ok(false); // full: forwarded as it is
    }
    let place = option.get_mut(pointer - 1..pointer + 3).ok_or(2usize)?;
    place.copy_from_slice(&address.to_be_bytes());
    option[2] = (pointer + 4) as u8;
    debug_assert!(pointer + 3 <= length);
    Ok(true)
}

/// RFC 791, Internet timestamp: type, length, pointer (at least 5), overflow count and flag, then timestamps, with addresses by flag.
/// `Err`: offset of the bad byte.
fn timestamp(option: &mut [u8], address: u32, milliseconds: u32) -> Result<bool, usize> {
    let [_, _, pointer, overflow_flag, ..] = *option else { return Err(1) };
    let pointer = usize::from(pointer);
    if pointer < 5 {
        return Err(2);
    }
    let [overflow, flag] = [overflow_flag >> 4, overflow_flag & 0x0f];
    let room = match flag {
        0 => 4,
        1 | 3 => 8,
        _ => return Err(3),
    };
    if pointer > option.len() {
        // Full: count that we could not write; a count that overflows is an error (RFC 791).
        if overflow == 15 {
            return Err(3);
        }
        option[3] = overflow_flag + 0x10;
        return Ok(true);
    }
    let place = option.get_mut(pointer - 1..pointer - 1 + room).ok_or(2usize)?;
    match flag {
        0 => place.copy_from_slice(&milliseconds.to_be_bytes()),
        _ => {
            let (host, time) = place.split_at_mut(4);
            if flag == 3 && host != address.to_be_bytes() {
                return Ok(false); // prespecified, and not us
            }
            host.copy_from_slice(&address.to_be_bytes());
            time.copy_from_slice(&milliseconds.to_be_bytes());
        }
    }
    option[2] = (pointer + room) as u8;
    Ok(true)
}

/// Milliseconds since midnight UT, as RFC 791 wants them.
fn milliseconds_of_day() -> u32 {
    const DAY: u128 = 86_400_000;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    (now.as_millis() % DAY) as u32
}

impl Node for Ip4Options {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        // The vDSO's clock: no system call, and only vectors with options pay for it.
        let milliseconds = milliseconds_of_day();
        for (packet, next) in packets.iter_mut().zip(next) {
            let address = cx.tables.ports.address(packet.tx_port).map_or(0, u32::from);
            let l3 = usize::from(packet.l3);
            let datagram = cx.frames.bytes_mut(packet).get_mut(l3..).unwrap_or_default();
            let length = Ip4::new(datagram).map_or(0, Ip4::header_length);
            let Some(header) = datagram.get_mut(..length) else {
                *next = cx.drop(packet, Drop::BadOption as u16);
                continue;
            };
            // On a copy: an error quotes the header as it came, also where a good option stands before the bad one.
            let mut copy = [0u8; ip4::MAX_LENGTH];
            let changed = &mut copy[..length]; // four bits of words: at most 60 bytes
            changed.copy_from_slice(header);
            match process(changed, address, milliseconds) {
                Ok(written) => {
                    if written {
                        ip4::write_checksum(changed);
                        header.copy_from_slice(changed);
                    }
                    packet.flags |= flags::OPTIONS_DONE;
                }
                Err(Refusal::Bad(at)) => {
                    let error = icmp4::parameter_problem(at);
                    *next = cx.icmp_error(packet, Drop::BadOption as u16, error, ICMP_ERROR);
                }
                Err(Refusal::SourceRoute) => *next = cx.drop(packet, Drop::SourceRoute as u16),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const US: u32 = 0x0a00_0001;

    fn header(options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0u8; 20];
        bytes.extend_from_slice(options);
        bytes.resize(20 + options.len().next_multiple_of(4), END);
        bytes[0] = 0x40 | (bytes.len() / 4) as u8;
        bytes
    }

    #[test]
    fn record_route_writes_until_it_is_full() {
        let mut bytes = header(&[7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(process(&mut bytes, US, 0), Ok(true));
        assert_eq!(bytes[20..31], [7, 11, 8, 10, 0, 0, 1, 0, 0, 0, 0]);
        assert_eq!(process(&mut bytes, US + 1, 0), Ok(true));
        assert_eq!(bytes[20..31], [7, 11, 12, 10, 0, 0, 1, 10, 0, 0, 2]);
        assert_eq!(process(&mut bytes, US, 0), Ok(false), "full");
    }

    #[test]
    fn timestamps_of_each_flag() {
        let mut bytes = header(&[68, 8, 5, 0, 0, 0, 0, 0]);
        assert_eq!(process(&mut bytes, US, 0x0102_0304), Ok(true));
        assert_eq!(bytes[20..28], [68, 8, 9, 0, 1, 2, 3, 4]);
        assert_eq!(process(&mut bytes, US, 5), Ok(true), "full: the overflow count rises");
        assert_eq!(bytes[23], 0x10);
        let mut bytes = header(&[68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(process(&mut bytes, US, 7), Ok(true));
        assert_eq!(bytes[20..32], [68, 12, 13, 1, 10, 0, 0, 1, 0, 0, 0, 7]);
        let mut bytes = header(&[68, 12, 5, 3, 10, 0, 0, 9, 0, 0, 0, 0]);
        assert_eq!(process(&mut bytes, US, 7), Ok(false), "somebody else's place");
        assert_eq!(process(&mut bytes, 0x0a00_0009, 7), Ok(true));
        let mut bytes = header(&[68, 4, 5, 0xf0]);
        assert_eq!(process(&mut bytes, US, 7), Err(Refusal::Bad(23)), "the overflow count overflows");
    }

    #[test]
    fn bad_options_name_their_byte() {
        for (options, at) in [
            (&[7u8, 0, 4][..], 21u8),     // length 0
            (&[7, 1, 4], 21),             // length 1
            (&[7, 40, 4], 21),            // past the header
            (&[7, 7, 3, 0, 0, 0, 0], 22), // pointer below 4
            (&[7, 6, 5, 0, 0, 0], 22),    // no room for an address at the pointer
            (&[7, 2], 21),                // no pointer
            (&[1, 1, 1, 7], 23),          // type is the last byte
            (&[68, 4, 5, 2], 23),         // unknown flag
        ] {
            assert_eq!(process(&mut header(options), US, 0), Err(Refusal::Bad(at)), "{options:?}");
        }
        assert_eq!(process(&mut header(&[131, 3, 4]), US, 0), Err(Refusal::SourceRoute));
        assert_eq!(process(&mut header(&[137, 3, 4]), US, 0), Err(Refusal::SourceRoute));
    }

    proptest! {
        #[test]
        fn any_options_end(options in proptest::collection::vec(any::<u8>(), 0..=40)) {
            let _ = process(&mut header(&options), US, 0);
        }
    }
}
