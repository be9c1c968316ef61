//! The two widths of addresses that a FIB can be of.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::hint::select_unpredictable;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IP address as a number in host byte order: `u32` of IPv4, `u128` of IPv6. There are no others.
pub trait Address: Copy + Ord + Hash + Debug + Default + Send + Sync + sealed::Lookup + 'static {
    /// How people write it.
    type Text: Display + FromStr;

    /// Its width.
    const BITS: u8;
    /// Of the internet protocol.
    const VERSION: u8;
    /// A prefix, for those who have not written one.
    const EXAMPLE: &'static str;

    /// As people write it.
    fn text(self) -> Self::Text;

    /// What people have written.
    fn of_text(text: Self::Text) -> Self;

    /// The address's bits, the first one highest, and zeros behind them.
    fn high(self) -> u128;

    /// The address that has these [`high`](Self::high) bits; what is beyond its width is left out.
    fn of_high(high: u128) -> Self;
}

pub(super) mod sealed {
    /// What lookups need.
    pub trait Lookup {
        /// Prefixes lie sparsely among the addresses, so the table leaves out levels where nothing branches.
        const SPARSE: bool;
        /// Levels of blocks below the first table.
        const LEVELS: usize;

        /// The first 24 bits.
        fn first(self) -> usize;

        /// The eight bits behind the first `depth`.
        fn byte(self, depth: u32) -> usize;
    }
}

impl Address for u32 {
    type Text = Ipv4Addr;

    const BITS: u8 = 32;
    const VERSION: u8 = 4;
    const EXAMPLE: &'static str = "192.0.2.0/24";

    fn text(self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self)
    }

    fn of_text(text: Ipv4Addr) -> u32 {
        text.to_bits()
    }

    #[inline(always)]
    fn high(self) -> u128 {
        u128::from(self) << 96
    }

    fn of_high(high: u128) -> u32 {
        (high >> 96) as u32
    }
}

impl sealed::Lookup for u32 {
    const SPARSE: bool = false;
    const LEVELS: usize = 1;

    #[inline(always)]
    fn first(self) -> usize {
        (self >> 8) as usize
    }

    #[inline(always)]
    fn byte(self, _: u32) -> usize {
        usize::from(self as u8)
    }
}

impl Address for u128 {
    type Text = Ipv6Addr;

    const BITS: u8 = 128;
    const VERSION: u8 = 6;
    const EXAMPLE: &'static str = "2001:db8::/32";

    fn text(self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self)
    }

    fn of_text(text: Ipv6Addr) -> u128 {
        text.to_bits()
    }

    #[inline(always)]
    fn high(self) -> u128 {
        self
    }

    fn of_high(high: u128) -> u128 {
        high
    }
}

impl sealed::Lookup for u128 {
    const SPARSE: bool = true;
    const LEVELS: usize = 13;

    #[inline(always)]
    fn first(self) -> usize {
        (self >> 104) as usize
    }

    #[inline(always)]
    fn byte(self, depth: u32) -> usize {
        // The half that has these bits, and then their place in it. Beyond 120 there is no level; wrapped, so that a reader of freed memory finds something wrong and does
        // not panic.
        let half = select_unpredictable(depth < 64, (self >> 64) as u64, self as u64);
        usize::from(half.wrapping_shr(56_u32.wrapping_sub(depth)) as u8)
    }
}
