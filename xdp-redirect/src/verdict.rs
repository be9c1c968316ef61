//! What the program decided, and how often.

use std::fmt;

/// What the program did with a packet. The crate's documentation draws the order in which they are tried.
///
/// The discriminants are the positions in the program's counters (`enum verdict` in `bpf/weir.h`).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Verdict {
    /// Transit (a router's: IP only), handed to the AF_XDP socket of its receive queue.
    Redirected,
    /// ARP, in a bridge only what asks for an address in [`OwnAddresses`](crate::OwnAddresses); the kernel's.
    Arp,
    /// Neither ARP nor IP; the kernel's.
    NotIp,
    /// To an address in [`OwnAddresses`](crate::OwnAddresses); the kernel's.
    OwnAddress,
    /// IP to a group MAC address, to 224.0.0.0/4, 255.255.255.255 or ff00::/8; the kernel's.
    Multicast,
    /// IP to a unicast MAC address that is not the port's (the sub-interface's): another host's, or that of a device on top of the port (macvlan, VRRP); the
    /// kernel's.
    OtherMac,
    /// Shorter than an Ethernet header; passed to the kernel, which drops it.
    Malformed,
    /// Transit on a receive queue without a socket; the kernel's, which forwards it if it is set up to.
    NoSocket,
    /// In a bridge: to a MAC address in [`OwnAddresses`](crate::OwnAddresses); the kernel's.
    OwnMac,
    /// In a bridge: an IPv6 neighbour solicitation for an address in [`OwnAddresses`](crate::OwnAddresses); the kernel's.
    NeighbourSolicitation,
    /// Tagged, and of no sub-interface; in a bridge on a port that is both sides: untagged, or of neither VLAN. The kernel's.
    OtherVlan,
    /// IPv6 from or to a link-local address (fe80::/10); the kernel's.
    LinkLocal,
}

impl Verdict {
    /// Number of verdicts.
    pub const COUNT: usize = Self::ALL.len();

    /// Every verdict, in the order of the program's counters.
    pub const ALL: [Self; 12] = [
        Self::Redirected,
        Self::Arp,
        Self::NotIp,
        Self::OwnAddress,
        Self::Multicast,
        Self::OtherMac,
        Self::Malformed,
        Self::NoSocket,
        Self::OwnMac,
        Self::NeighbourSolicitation,
        Self::OtherVlan,
        Self::LinkLocal,
    ];

    /// The name under which the verdict is published: lower case, words joined by hyphens.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Redirected => "redirected",
            Self::Arp => "arp",
            Self::NotIp => "not-ip",
            Self::OwnAddress => "own-address",
            Self::Multicast => "multicast",
            Self::OtherMac => "other-mac",
            Self::Malformed => "malformed",
            Self::NoSocket => "no-socket",
            Self::OwnMac => "own-mac",
            Self::NeighbourSolicitation => "neighbour-solicitation",
            Self::OtherVlan => "other-vlan",
            Self::LinkLocal => "link-local",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Packets and their bytes, Ethernet header included, frame check sequence not. Only grows, from zero at attach.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

/// A reading of one port's counters.
///
/// Each number is whole, but packets keep arriving while the numbers are copied: a packet may already be in `packets` and not
/// yet in `bytes`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counters {
    per_cpu: Vec<[Count; Verdict::COUNT]>,
}

impl Counters {
    /// Counts by CPU (every possible CPU of the machine, in the kernel's order) and verdict (in the order of
    /// [`Verdict::ALL`]).
    pub fn per_cpu(&self) -> &[[Count; Verdict::COUNT]] {
        &self.per_cpu
    }

    /// Sum over all CPUs.
    pub fn total(&self, verdict: Verdict) -> Count {
        self.per_cpu.iter().fold(Count::default(), |sum, cpu| {
            let count = cpu[verdict as usize];
            Count {
                packets: sum.packets.wrapping_add(count.packets),
                bytes: sum.bytes.wrapping_add(count.bytes),
            }
        })
    }

    /// From the value that the kernel keeps for each CPU: `struct counts` of the program.
    pub(crate) fn parse(values: &[Vec<u8>]) -> Self {
        let per_cpu = values
            .iter()
            .map(|value| {
                let mut words = value.as_chunks::<8>().0.iter().map(|word| u64::from_ne_bytes(*word));
                // A value of another length than the program's would be another program's map; missing words read as 0.
                std::array::from_fn(|_| Count {
                    packets: words.next().unwrap_or(0),
                    bytes: words.next().unwrap_or(0),
                })
            })
            .collect();
        Self { per_cpu }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_in_counter_order_and_names_are_distinct() {
        for (position, verdict) in Verdict::ALL.into_iter().enumerate() {
            assert_eq!(verdict as usize, position);
            assert_eq!(Verdict::ALL.iter().filter(|other| other.name() == verdict.name()).count(), 1);
        }
    }

    #[test]
    fn counters_are_read_by_cpu_and_summed_by_verdict() {
        let cpu = |base: u64| -> Vec<u8> {
            (base..base + 2 * Verdict::COUNT as u64).flat_map(u64::to_ne_bytes).collect()
        };
        let counters = Counters::parse(&[cpu(0), cpu(100)]);
        assert_eq!(counters.per_cpu().len(), 2);
        assert_eq!(counters.per_cpu()[1][Verdict::Arp as usize], Count { packets: 102, bytes: 103 });
        assert_eq!(counters.total(Verdict::NoSocket), Count { packets: 14 + 114, bytes: 15 + 115 });
    }
}
