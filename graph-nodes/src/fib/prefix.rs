//! A prefix.

use std::fmt;
use std::str::FromStr;

use super::Address;

/// A prefix: an address whose bits beyond the length are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix<A> {
    address: A,
    length: u8,
}

/// A prefix of IPv4.
pub type Prefix4 = Prefix<u32>;
/// A prefix of IPv6.
pub type Prefix6 = Prefix<u128>;

/// Why something is not a prefix.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrefixError<A: Address = u32> {
    /// Longer than an address.
    #[error("an IPv{} prefix has 0 to {} bits, not {length}", A::VERSION, A::BITS)]
    TooLong {
        /// The length that was given.
        length: u8,
    },
    /// Bits are set beyond the length.
    #[error("{}/{length} has bits set beyond its length: write {meant}", address.text())]
    HostBits {
        /// The address that was given, in host byte order.
        address: A,
        /// The length that was given.
        length: u8,
        /// The prefix that holds this address.
        meant: Prefix<A>,
    },
    /// Not of the form `address/length`.
    #[error("`{text}` is not an IPv{} prefix: write it as {}", A::VERSION, A::EXAMPLE)]
    Syntax {
        /// The text that was given.
        text: String,
    },
}

impl<A: Address> Prefix<A> {
    /// The prefix `address/length`, the address in host byte order. Bits beyond the length are refused, not cut off: a route with host
    /// bits is a mistake that its author wants to hear of. [`Self::containing`] cuts them off.
    pub fn new(address: A, length: u8) -> Result<Self, PrefixError<A>> {
        let meant = Self::containing(address, length)?;
        if meant.address == address {
            Ok(meant)
        } else {
            Err(PrefixError::HostBits { address, length, meant })
        }
    }

    /// The prefix of this length that holds `address` (host byte order).
    pub fn containing(address: A, length: u8) -> Result<Self, PrefixError<A>> {
        if length > A::BITS {
            return Err(PrefixError::TooLong { length });
        }
        Ok(Self { address: A::of_high(address.high() & mask(length)), length })
    }

    /// The first address, in host byte order.
    #[inline]
    pub fn address(self) -> A {
        self.address
    }

    /// The last address, in host byte order.
    #[inline]
    pub fn last_address(self) -> A {
        A::of_high(self.address.high() | !mask(self.length))
    }

    /// The number of leading bits that count, 0 to the address's width.
    #[inline]
    pub fn length(self) -> u8 {
        self.length
    }

    /// Whether `address` (host byte order) is in the prefix.
    #[inline]
    pub fn contains(self, address: A) -> bool {
        address.high() & mask(self.length) == self.address.high()
    }
}

impl Prefix4 {
    /// 0.0.0.0/0.
    pub const DEFAULT: Self = Self { address: 0, length: 0 };
}

/// 96 bits that say "IPv4" (RFC 4291 §2.5.5.2), and how many they are.
const MAPPED: u128 = 0xffff << 32;
const MAPPED_LENGTH: u8 = 96;

impl Prefix6 {
    /// ::/0.
    pub const DEFAULT: Self = Self { address: 0, length: 0 };

    /// The prefix of IPv4 that this is the mapping of: one of `::ffff:0:0/96`.
    pub fn ip4(self) -> Option<Prefix4> {
        let length = self.length.checked_sub(MAPPED_LENGTH)?;
        (self.address & mask(MAPPED_LENGTH) == MAPPED)
            .then_some(Prefix { address: self.address as u32, length })
    }
}

impl From<Prefix4> for Prefix6 {
    /// The prefix of mapped addresses.
    fn from(prefix: Prefix4) -> Prefix6 {
        Prefix { address: MAPPED | u128::from(prefix.address), length: MAPPED_LENGTH + prefix.length }
    }
}

/// As many ones as `length`, which is at most 128, the first bit being highest.
pub(super) const fn mask(length: u8) -> u128 {
    match length {
        0 => 0,
        _ => u128::MAX << (128 - length),
    }
}

impl<A: Address> fmt::Display for Prefix<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address.text(), self.length)
    }
}

impl<A: Address> FromStr for Prefix<A> {
    type Err = PrefixError<A>;

    fn from_str(text: &str) -> Result<Self, PrefixError<A>> {
        let parse = || {
            let (address, length) = text.split_once('/')?;
            let plain = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            Some((address.parse::<A::Text>().ok()?, plain.then(|| length.parse().ok())??))
        };
        let (address, length) = parse().ok_or_else(|| PrefixError::Syntax { text: text.to_owned() })?;
        Self::new(A::of_text(address), length)
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
        for text in ["::/0", "2001:db8::/32", "2001:db8:0:100::/56", "2001:db8::1/128"] {
            assert_eq!(text.parse::<Prefix6>().unwrap().to_string(), text);
        }
        for text in ["", "10.0.0.0", "10.0.0.0/", "10.0.0.0/+8", "10.0.0/8", "10.0.0.0/8/8", "10.0.0.0/256"] {
            assert_eq!(text.parse::<Prefix4>(), Err(PrefixError::Syntax { text: text.to_owned() }));
            assert_eq!(text.parse::<Prefix6>(), Err(PrefixError::Syntax { text: text.to_owned() }));
        }
    }

    #[test]
    fn host_bits_are_refused_with_what_was_meant() {
        let error = "10.1.2.3/8".parse::<Prefix4>().unwrap_err();
        assert_eq!(error.to_string(), "10.1.2.3/8 has bits set beyond its length: write 10.0.0.0/8");
        let error = "2001:db8::1/64".parse::<Prefix6>().unwrap_err();
        assert_eq!(error.to_string(), "2001:db8::1/64 has bits set beyond its length: write 2001:db8::/64");
        assert_eq!("10.0.0.0/33".parse::<Prefix4>(), Err(PrefixError::TooLong { length: 33 }));
        let error = "::/129".parse::<Prefix6>().unwrap_err();
        assert_eq!(error.to_string(), "an IPv6 prefix has 0 to 128 bits, not 129");
        assert_eq!(Prefix4::containing(0x0a01_0203, 0), Ok(Prefix4::DEFAULT));
    }

    #[test]
    fn first_and_last_address_are_inside() {
        for length in 0..=32 {
            let prefix = Prefix4::containing(0xc0a8_57a5, length).unwrap();
            assert!(prefix.contains(prefix.address()) && prefix.contains(prefix.last_address()));
            assert!(length == 0 || !prefix.contains(prefix.last_address().wrapping_add(1)));
        }
        for length in 0..=128 {
            let prefix = Prefix6::containing(0x2001_0db8_a5a5_5a5a_0123_4567_89ab_cdef, length).unwrap();
            assert!(prefix.contains(prefix.address()) && prefix.contains(prefix.last_address()));
            assert!(length == 0 || !prefix.contains(prefix.last_address().wrapping_add(1)));
        }
    }

    #[test]
    fn ip4_prefixes_are_known_from_their_mapping() {
        for text in ["0.0.0.0/0", "192.0.2.0/25", "255.255.255.255/32"] {
            let prefix: Prefix4 = text.parse().unwrap();
            assert_eq!(Prefix6::from(prefix).ip4(), Some(prefix));
        }
        for text in ["::/0", "::/96", "2001:db8::/32", "2001:db8::1/128", "::ffff:0:0/95"] {
            assert_eq!(
                Prefix6::containing(text.parse::<Prefix6>().map_or(MAPPED, Prefix6::address), 95)
                    .unwrap()
                    .ip4(),
                None
            );
        }
    }
}
