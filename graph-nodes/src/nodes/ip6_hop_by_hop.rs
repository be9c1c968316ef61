//! `ip6-hop-by-hop`: reads the options that every router on the way is to read (RFC 8200 §4.3), and does with those that it does not know what their types say (§4.2).
//!
//! weir itself has nothing to do for any option: padding and the router alert are stepped over. Bounded, as hosts and routers may be (RFC 8504 §5.3): so many options, and
//! so much padding in a row.
//!
//! * arcs: `ip6-lookup`, `ip6-icmp-error`
//! * drops: [`Drop`]

use strum::VariantNames;
use weir_stats::Error;

use crate::{
    node::{Context, Next, Node, Registration, Workbench},
    packet::{IcmpError, Packet},
    wire::{icmp6, ip6},
};

/// Why this node drops a packet.
#[derive(Clone, Copy, Debug, VariantNames)]
#[strum(serialize_all = "kebab-case")]
#[repr(u16)]
pub enum Drop {
    /// The packet ends before the header of the options does, or that header before an option.
    Cut,
    /// More than eight options that are not padding, or more than seven bytes of padding in a row.
    TooManyOptions,
    /// An option that is not known, whose type says that the packet is then to be discarded; the sender is told if the type says so too (parameter problem).
    UnknownOption,
    /// A jumbogram's option in a packet that has a length: the sender is told (parameter problem, RFC 2675 §3).
    Jumbogram,
}

/// This node's entry in the list of nodes.
pub const REGISTRATION: Registration = Registration {
    name: "ip6-hop-by-hop",
    next: &["ip6-lookup", "ip6-icmp-error"],
    reasons: Drop::VARIANTS,
    events: &[],
    create,
};

const ICMP_ERROR: Next = Next::arc(1);

/// Options that are not padding (RFC 8504 §5.3).
const MAX_OPTIONS: usize = 8;
/// Bytes of padding in a row: more than what aligns an option to eight bytes serves nothing (RFC 8504 §5.3).
const MAX_PADDING: usize = 7;
/// Option types (IANA, Destination Options and Hop-by-Hop Options).
const PAD_1: u8 = 0;
const PAD_N: u8 = 1;
const ROUTER_ALERT: u8 = 5;
const JUMBO: u8 = 0xc2;

struct Ip6HopByHop;

fn create(_: &mut Workbench<'_>) -> Result<Box<dyn Node>, Error> {
    Ok(Box::new(Ip6HopByHop))
}

/// Reads the options of a packet; `bytes` begins with its IPv6 header.
fn read(bytes: &[u8]) -> Result<(), (Drop, Option<IcmpError>)> {
    const CUT: (Drop, Option<IcmpError>) = (Drop::Cut, None);
    let length = (usize::from(*bytes.get(ip6::LENGTH + 1).ok_or(CUT)?) + 1) * 8;
    let header = bytes.get(..ip6::LENGTH + length).ok_or(CUT)?;
    let mut at = ip6::LENGTH + 2;
    let (mut options, mut padding) = (0, 0);
    while let Some(&kind) = header.get(at) {
        let size = match kind {
            PAD_1 => 1,
            _ => 2 + usize::from(*header.get(at + 1).ok_or(CUT)?),
        };
        if at + size > header.len() {
            return Err(CUT);
        }
        match kind {
            PAD_1 | PAD_N => padding += size,
            _ => (options, padding) = (options + 1, 0),
        }
        if options > MAX_OPTIONS || padding > MAX_PADDING {
            return Err((Drop::TooManyOptions, None));
        }
        // At most 2 KiB behind the packet's start.
        let pointer = at as u32;
        match kind {
            PAD_1 | PAD_N | ROUTER_ALERT => {}
            JUMBO => return Err((Drop::Jumbogram, Some(icmp6::erroneous_field(pointer)))),
            // The highest two bits: what to do with an option that is not known (RFC 8200 §4.2). Both values that ask for an error differ only for
            // multicast packets, which are none of this router's.
            _ => match kind >> 6 {
                0 => {}
                1 => return Err((Drop::UnknownOption, None)),
                _ => return Err((Drop::UnknownOption, Some(icmp6::unknown_option(pointer)))),
            },
        }
        at += size;
    }
    Ok(())
}

impl Node for Ip6HopByHop {
    fn process(&mut self, cx: &mut Context<'_>, packets: &mut Vec<Packet>, next: &mut [Next]) {
        for (packet, next) in packets.iter_mut().zip(next) {
            let bytes = cx.frames.bytes(packet).get(usize::from(packet.l3)..).unwrap_or_default();
            match read(bytes) {
                Ok(()) => {}
                Err((reason, Some(error))) => {
                    *next = cx.icmp_error(packet, reason as u16, error, ICMP_ERROR);
                }
                Err((reason, None)) => *next = cx.drop(packet, reason as u16),
            }
        }
    }
}
