//! The file that gives prefixes names: `PREFIX NAME` a line, `#` before what is not meant.
//!
//! ```text
//! # our customers
//! 192.0.2.0/25      alice
//! 192.0.2.7         the router at alice's        # one address
//! 2001:db8:a::/48   alice
//! ```
//! Several prefixes may share a name. Where prefixes overlap, the longest one that holds an address decides.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    ops::Range,
    path::Path,
};

use crate::config::{Problem, Problems};

/// A prefix of 128-bit addresses; IPv4 ones are those of `::ffff:0:0/96`.
pub type Prefix = (u128, u8);

/// A prefix and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// The prefix, no bits set beyond its length.
    pub prefix: Prefix,
    /// The name.
    pub name: String,
}

/// An address as 128 bits.
pub fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// An address that [`bits`] has made.
pub fn address(bits: u128) -> IpAddr {
    Ipv6Addr::from_bits(bits).to_canonical()
}

/// A prefix as people write it.
pub fn text((network, length): Prefix) -> String {
    match address(network) {
        IpAddr::V4(network) if length >= 96 => format!("{network}/{}", length - 96),
        _ => format!("{}/{length}", Ipv6Addr::from_bits(network)),
    }
}

/// Mistakes that are reported of one file: whoever has made more has taken the wrong file.
const SHOWN: usize = 20;

/// Reads a file of named prefixes, in its order: all of it, or what is wrong with it.
pub fn load(path: &Path) -> Result<Vec<Named>, Problems> {
    match std::fs::read_to_string(path) {
        Ok(text) => read(path, &text),
        Err(error) => Err(Problems(vec![Problem::of_file(
            path,
            format!("can't read the prefixes: {error}"),
            "see that the file is there, readable, and UTF-8".into(),
        )])),
    }
}

/// [`load`], of text that is there already; `path` is what problems call it.
pub fn read(path: &Path, text: &str) -> Result<Vec<Named>, Problems> {
    let (mut all, mut problems, mut seen) = (Vec::new(), Vec::new(), HashMap::new());
    let mut start = 0;
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let meant = line.split('#').next().unwrap_or_default();
        let begins = start + (meant.len() - meant.trim_start().len());
        start += line.len();
        let meant = meant.trim();
        if meant.is_empty() {
            continue;
        }
        if problems.len() == SHOWN {
            break;
        }
        let (prefix, name) = meant.split_once(char::is_whitespace).unwrap_or((meant, ""));
        let place = begins..begins + prefix.len();
        let mut wrong = |place: Range<usize>, what: String, fix: String| {
            problems.push(Problem::at(path, text, place, what, fix));
        };
        let name = name.trim();
        match parse(prefix) {
            Err((what, fix)) => wrong(place, what, fix),
            Ok(_) if name.is_empty() => {
                wrong(place, "a prefix without a name".into(), format!("write `{prefix} NAME`"));
            }
            Ok(prefix) => match seen.insert(prefix, index + 1) {
                Some(before) => wrong(
                    place,
                    format!("this prefix has a name already, in line {before}"),
                    "leave one of the two out".into(),
                ),
                None => all.push(Named { prefix, name: name.to_owned() }),
            },
        }
    }
    if problems.is_empty() { Ok(all) } else { Err(Problems(problems)) }
}

/// A prefix, or what is wrong with it and what to write instead.
pub(crate) fn parse(text: &str) -> Result<Prefix, (String, String)> {
    const EXAMPLE: &str = "write it as 192.0.2.0/24 or 2001:db8::/32";
    let not_one = || (format!("`{}` is not a prefix", text.escape_debug()), EXAMPLE.to_owned());
    let (network, length) = match text.split_once('/') {
        Some((network, length)) => (network, Some(length)),
        None => (text, None),
    };
    let network: IpAddr = network.parse().map_err(|_| not_one())?;
    let width: u8 = if network.is_ipv4() { 32 } else { 128 };
    let length = match length {
        Some(length) => length.parse::<u8>().map_err(|_| not_one())?,
        None => width,
    };
    if length > width {
        let version = if network.is_ipv4() { 4 } else { 6 };
        return Err((
            format!("an IPv{version} prefix has 0 to {width} bits, not {length}"),
            EXAMPLE.to_owned(),
        ));
    }
    let length = length + (128 - width);
    let meant = masked(bits(network), length);
    if meant != bits(network) {
        let fix = format!("write {}", self::text((meant, length)));
        return Err(("bits are set beyond the prefix's length".to_owned(), fix));
    }
    Ok((meant, length))
}

/// An address without the bits beyond `length`.
pub fn masked(address: u128, length: u8) -> u128 {
    match length {
        0 => 0,
        1..128 => address & (u128::MAX << (128 - length)),
        128.. => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<(String, String)>, String> {
        let all = read(Path::new("prefixes.txt"), text).map_err(|problems| problems.to_string())?;
        Ok(all.into_iter().map(|it| (self::text(it.prefix), it.name)).collect())
    }

    #[test]
    fn lines_name_prefixes() {
        let text = "# customers\n\n192.0.2.0/25 alice\n\t10.0.0.1   the router at alice's # one\r\n2001:db8::/48 alice\n::/0 six";
        let expected = [
            ("192.0.2.0/25", "alice"),
            ("10.0.0.1/32", "the router at alice's"),
            ("2001:db8::/48", "alice"),
            ("::/0", "six"),
        ];
        assert_eq!(of(text).unwrap(), expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
        assert_eq!(of("").unwrap(), []);
        assert_eq!(of("0.0.0.0/0 four").unwrap(), [("0.0.0.0/0".to_owned(), "four".to_owned())]);
    }

    #[test]
    fn all_mistakes_are_named_with_their_remedies() {
        let problems =
            of("10.0.0.1/24 a\n10.0.0.0/8\nhost b\n10.0.0.0/33 c\n10.1.0.0/16 d\n 10.1.0.0/16 e\n")
                .unwrap_err();
        for expected in [
            "prefixes.txt:1:1: bits are set beyond the prefix's length",
            "write 10.0.0.0/24",
            "prefixes.txt:2:1: a prefix without a name",
            "prefixes.txt:3:1: `host` is not a prefix",
            "prefixes.txt:4:1: an IPv4 prefix has 0 to 32 bits, not 33",
            "prefixes.txt:6:2: this prefix has a name already, in line 5",
        ] {
            assert!(problems.contains(expected), "{expected} is not in\n{problems}");
        }
        let missing = load(Path::new("/nowhere/prefixes.txt")).unwrap_err().to_string();
        assert!(missing.contains("/nowhere/prefixes.txt: can't read the prefixes"), "{missing}");
    }
}
