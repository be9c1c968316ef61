//! An IPv4 prefix.

use std::fmt;
use std::net::Ipv4Addr;
use std::str::FromStr;

/// An IPv4 prefix: an address whose bits beyond the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix4 {
    address: u32,
    length: u8,
}

/// Why something is not an IPv4 prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError {
    /// Longer than 32.
    #[error("an IPv4 prefix has 0 to 32 bits, not {length}")]
    TooLong {
        /// The length that was given.
        length: u8,
    },
    /// Bits are set beyond the length.
    #[error("{}/{length} has bits set beyond its length: write {meant}", Ipv4Addr::from_bits(*address))]
    HostBits {
        /// The address that was given, in host byte order.
        address: u32,
        /// The length that was given.
        length: u8,
        /// The prefix that holds this address.
        meant: Prefix4,
    },
    /// Not of the form `a.b.c.d/length`.
    #[error("`{text}` is not an IPv4 prefix: write it as 192.0.2.0/24")]
    Syntax {
        /// The text that was given.
        text: String,
    },
}

impl Prefix4 {
    /// 0.0.0.0/0.
    pub const DEFAULT: Self = Self { address: 0, length: 0 };

    /// The prefix `address/length`, the address in host byte order. Bits beyond the length are refused, not cut off: a route with host
    /// bits is a mistake that its author wants to hear of. [`Self::containing`] cuts them off.
    pub fn new(address: u32, length: u8) -> Result<Self, PrefixError> {
        let meant = Self::containing(address, length)?;
        if meant.address == address {
            Ok(meant)
        } else {
            Err(PrefixError::HostBits { address, length, meant })
        }
    }

    /// The prefix of this length that holds `address` (host byte order).
    pub fn containing(address: u32, length: u8) -> Result<Self, PrefixError> {
        if length > 32 {
            return Err(PrefixError::TooLong { length });
        }
        Ok(Self { address: address & mask(length), length })
    }

    /// The first address, in host byte order.
    #[inline]
    pub const fn address(self) -> u32 {
        self.address
    }

    /// The last address, in host byte order.
    #[inline]
    pub const fn last_address(self) -> u32 {
        self.address | !mask(self.length)
    }

    /// The number of leading bits that count, 0 to 32.
    #[inline]
    pub const fn length(self) -> u8 {
        self.length
    }

    /// Whether `address` (host byte order) is in the prefix.
    #[inline]
    pub const fn contains(self, address: u32) -> bool {
        address & mask(self.length) == self.address
    }
}

/// The netmask of a length of at most 32.
const fn mask(length: u8) -> u32 {
    match length {
        0 => 0,
        _ => u32::MAX << (32 - length),
    }
}

impl fmt::Display for Prefix4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", Ipv4Addr::from_bits(self.address), self.length)
    }
}

impl FromStr for Prefix4 {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            Some((address.parse::<Ipv4Addr>().ok()?, plain.then(|| length.parse().ok())??))
        };
        let (address, length) = parse().ok_or_else(|| PrefixError::Syntax { text: text.to_owned() })?;
        Self::new(address.to_bits(), length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_both_ways() {
        for text in ["0.0.0.0/0", "10.0.0.0/8", "192.0.2.128/25", "255.255.255.255/32"] {
            assert_eq!(text.parse::<Prefix4>().unwrap().to_string(), text);
        }
        for text in ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "10.0.0.0/8/8", "10.0.0.0/256"] {
            assert_eq!(text.parse::<Prefix4>(), Err(PrefixError::Syntax { text: text.to_owned() }));
        }
    }

    #[test]
    fn host_bits_are_refused_with_what_was_meant() {
        let error = "10.1.2.3/8".parse::<Prefix4>().unwrap_err();
        assert_eq!(error.to_string(), "10.1.2.3/8 has bits set beyond its length: write 10.0.0.0/8");
        assert_eq!("10.0.0.0/33".parse::<Prefix4>(), Err(PrefixError::TooLong { length: 33 }));
        assert_eq!(Prefix4::containing(0x0a01_0203, 0), Ok(Prefix4::DEFAULT));
    }

    #[test]
    fn first_and_last_address_are_inside() {
        for length in 0..=32 {
            let prefix = Prefix4::containing(0xc0a8_57a5, length).unwrap();
            assert!(prefix.contains(prefix.address()) && prefix.contains(prefix.last_address()));
            assert!(length == 0 || !prefix.contains(prefix.last_address().wrapping_add(1)));
        }
    }
}
