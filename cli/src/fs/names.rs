//! File names for what is called something else: exact, and reversible by percent-decoding.

use std::borrow::Cow;
use std::fmt::Write;

/// The longest file name, in bytes (`NAME_MAX` of Linux's limits.h).
const LONGEST: usize = 255;

/// What stands for a name of no characters: a byte that no name can hold, so decoding gives the empty name when NULs are
/// dropped.
const EMPTY: &str = "%00";

/// The file name of one component of a path, or of an object.
pub fn encode(name: &str) -> Cow<'_, str> {
    let encoded = match name {
        "" => Cow::Borrowed(EMPTY),
        "." => Cow::Borrowed("%2E"),
        ".." => Cow::Borrowed("%2E%2E"),
        _ => escape(name, &['%', '/']),
    };
    if encoded.len() <= LONGEST { encoded } else { Cow::Owned(cut(&encoded, name)) }
}

/// The file name of an object that several names together make: `,` stands between them, and is escaped in them.
pub fn encode_all<'n>(names: impl IntoIterator<Item = &'n str>) -> String {
    let encoded: Vec<_> = names.into_iter().map(|name| escape(name, &['%', '/', ',']).into_owned()).collect();
    let joined = encoded.join(",");
    if joined.len() <= LONGEST { joined } else { cut(&joined, &joined) }
}

/// Another name for the same, where the plain one, in which nothing was escaped, is taken by something else.
pub fn evade(encoded: &str) -> String {
    let mut characters = encoded.chars();
    let mut other = String::new();
    if let Some(first) = characters.next() {
        percent(first, &mut other);
    }
    other.push_str(characters.as_str());
    other
}

/// The file name of an object that is called like another one. `@` is no hexadecimal digit: nothing else is encoded so.
pub fn numbered(encoded: &str, column: usize) -> String {
    let suffix = format!("%@{column}");
    format!("{}{suffix}", shortened(encoded, LONGEST - suffix.len()))
}

fn escape<'n>(name: &'n str, special: &[char]) -> Cow<'n, str> {
    if !name.contains(special) {
        return Cow::Borrowed(name);
    }
    let mut encoded = String::with_capacity(name.len() + 8);
    for character in name.chars() {
        if special.contains(&character) { percent(character, &mut encoded) } else { encoded.push(character) }
    }
    Cow::Owned(encoded)
}

fn percent(character: char, to: &mut String) {
    for byte in character.encode_utf8(&mut [0; 4]).bytes() {
        // Writing to a string cannot fail.
        let _ = write!(to, "%{byte:02X}");
    }
}

/// A name that is too long for a file: its beginning, and what tells it from others that begin so. `~` is no hexadecimal
/// digit.
fn cut(encoded: &str, name: &str) -> String {
    let suffix = format!("%~{:016x}", fnv(name.as_bytes()));
    format!("{}{suffix}", shortened(encoded, LONGEST - suffix.len()))
}

/// At most so many bytes, and no part of a character or of an escape.
fn shortened(encoded: &str, most: usize) -> &str {
    if encoded.len() <= most {
        return encoded;
    }
    let mut end = encoded.floor_char_boundary(most);
    if let Some(escape) = encoded[..end].rfind('%').filter(|at| end - at < "%XX".len()) {
        end = escape;
    }
    &encoded[..end]
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): the same in every build, so that names stay what they were.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the user guide says: percent-decode, drop NULs.
    fn decode(encoded: &str) -> String {
        let mut bytes = encoded.bytes();
        let mut name = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'%' {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = str::from_utf8(&digits).unwrap();
                name.push(u8::from_str_radix(digits, 16).unwrap());
            } else {
                name.push(byte);
            }
        }
        name.retain(|byte| *byte != 0);
        String::from_utf8(name).unwrap()
    }

    #[test]
    fn names_are_file_names_and_can_be_had_back() {
        for (name, file) in [
            ("eth1", "eth1"),
            ("stat segment", "stat segment"),
            ("", "%00"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            ("...", "..."),
            ("100%", "100%25"),
            ("%2F", "%252F"),
            ("10.0.0.0/24", "10.0.0.0%2F24"),
            ("größe", "größe"),
        ] {
            assert_eq!(encode(name), file);
            assert_eq!(decode(file), name);
        }
        // Only names of forms are evaded, and these hold no escape.
        assert_eq!(decode(&evade("by-interface")), "by-interface");
        assert_eq!((evade("table"), evade("äh")), ("%74able".to_owned(), "%C3%A4h".to_owned()));
        assert_eq!(encode_all(["a,b", "up/down"]), "a%2Cb,up%2Fdown");
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (one, two) = ("ä%".repeat(200), format!("{}!", "ä%".repeat(200)));
        assert_ne!(encode(&one), encode(&two));
        for name in [&one, &two] {
            let encoded = encode(name);
            assert!(encoded.len() <= 255 && encoded.starts_with("ä%25ä%25"), "{encoded}");
            assert!(!encoded.contains("%%") && !encoded.contains("%2%"), "{encoded}");
            assert!(numbered(&encoded, usize::MAX).len() <= 255);
        }
        assert_eq!(encode(&"x".repeat(255)), "x".repeat(255));
        assert_eq!(numbered("eth1", 7), "eth1%@7");
    }
}
