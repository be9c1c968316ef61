//! Ranges of addresses and ports, as a command line writes them.

use std::net::IpAddr;
use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};

/// `count` values from `first` on, of which packets have one each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The first.
    pub first: u32,
    /// How many, at least one.
    pub count: u32,
}

impl Range {
    /// The value that flow number `rest` has, and what is left of that number for other ranges.
    pub fn pick(self, rest: &mut u32) -> u32 {
        if self.count < 2 {
            return self.first;
        }
        let place = *rest % self.count;
        *rest /= self.count;
        self.first + place
    }
}

/// Addresses that differ in their last 32 bits: `10.0.0.1`, `10.0.0.1-10.0.0.9`, `10.0.0.0/24`, and the same of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The first.
    pub first: IpAddr,
    /// How many, at least one.
    pub count: u32,
}

impl Addresses {
    /// Their last 32 bits.
    pub fn low(self) -> Range {
        let first = match self.first {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => address.to_bits() as u32,
        };
        Range { first, count: self.count }
    }
}

impl From<IpAddr> for Addresses {
    fn from(first: IpAddr) -> Addresses {
        Addresses { first, count: 1 }
    }
}

impl FromStr for Addresses {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Addresses> {
        let address =
            |text: &str| text.trim().parse::<IpAddr>().with_context(|| format!("{text} is no IP address"));
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (address(first)?, address(last)?);
            let span = match (first, last) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    u128::from(last.to_bits()).checked_sub(first.to_bits().into())
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => last.to_bits().checked_sub(first.to_bits()),
                _ => bail!("{text}: one address is of IPv4, the other of IPv6"),
            };
            let span = span.with_context(|| format!("{text} ends before it begins"))?;
            return counted(text, first, span + 1);
        }
        if let Some((network, length)) = text.split_once('/') {
            let (network, length) = (address(network)?, length.parse::<u32>().context("no prefix length")?);
            let width = if network.is_ipv4() { 32 } else { 128 };
            ensure!(length <= width, "{text}: a prefix has at most {width} bits");
            let host = width - length;
            ensure!(host < 32, "{text}: addresses differ in fewer than 32 bits");
            let mask = !((1_u128 << host) - 1);
            let first = match network {
                IpAddr::V4(address) => IpAddr::from((address.to_bits() & mask as u32).to_be_bytes()),
                IpAddr::V6(address) => IpAddr::from((address.to_bits() & mask).to_be_bytes()),
            };
            return counted(text, first, 1 << host);
        }
        address(text).map(Addresses::from)
    }
}

/// The range, if nothing but the last 32 bits differs.
fn counted(text: &str, first: IpAddr, count: u128) -> Result<Addresses> {
    let low = Addresses::from(first).low().first;
    match u32::try_from(count) {
        Ok(count) if low.checked_add(count - 1).is_some() => Ok(Addresses { first, count }),
        _ => bail!("{text}: only the last 32 bits of a range's addresses may differ"),
    }
}

/// Ports: `1000` or `1000-1999`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports(pub Range);

impl FromStr for Ports {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Ports> {
        let port = |text: &str| text.trim().parse::<u16>().with_context(|| format!("{text} is no port"));
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (port(first)?, port(last)?);
        let span = last.checked_sub(first).with_context(|| format!("{text} ends before it begins"))?;
        Ok(Ports(Range { first: first.into(), count: u32::from(span) + 1 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(text: &str) -> Option<(String, u32)> {
        text.parse::<Addresses>().ok().map(|it| (it.first.to_string(), it.count))
    }

    #[test]
    fn addresses_are_one_or_from_to_or_a_prefix() {
        let of = |first: &str, count| Some((first.to_owned(), count));
        assert_eq!(addresses("10.0.0.1"), of("10.0.0.1", 1));
        assert_eq!(addresses("10.0.0.250-10.0.1.5"), of("10.0.0.250", 12));
        assert_eq!(addresses("10.1.2.3/16"), of("10.1.0.0", 65_536));
        assert_eq!(addresses("10.1.2.3/32"), of("10.1.2.3", 1));
        assert_eq!(addresses("2001:db8::1-2001:db8::ff"), of("2001:db8::1", 255));
        assert_eq!(addresses("2001:db8::/112"), of("2001:db8::", 65_536));
        for wrong in
            ["", "10.0.0", "10.0.0.2-10.0.0.1", "10.0.0.1-::1", "0.0.0.0/0", "10.0.0.0/33", "2001:db8::/64"]
        {
            assert_eq!(addresses(wrong), None, "{wrong}");
        }
        // the low word would overflow
        assert_eq!(addresses("2001:db8::ffff:fff0-2001:db8::1:0:10"), None);
        assert_eq!(addresses("0.0.0.0-255.255.255.255"), None);
    }

    #[test]
    fn ports_are_one_or_from_to() {
        let ports = |text: &str| text.parse::<Ports>().ok().map(|Ports(range)| (range.first, range.count));
        assert_eq!(ports("53"), Some((53, 1)));
        assert_eq!(ports("0-65535"), Some((0, 65_536)));
        assert_eq!(ports("1000-1009"), Some((1000, 10)));
        for wrong in ["", "65536", "2-1", "-1", "a"] {
            assert_eq!(ports(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn flows_take_all_combinations_before_any_again() {
        let (ports, hosts) = (Range { first: 10, count: 3 }, Range { first: 100, count: 2 });
        let flows: Vec<(u32, u32)> = (0..7)
            .map(|mut rest| {
                let port = ports.pick(&mut rest);
                (port, hosts.pick(&mut rest))
            })
            .collect();
        assert_eq!(flows, [(10, 100), (11, 100), (12, 100), (10, 101), (11, 101), (12, 101), (10, 100)]);
    }
}
