//! What a packet costs on the link, in bytes: the line's own headers, least size and cells, by CAKE's keywords.

use std::str::FromStr;

/// Bytes of an Ethernet header, which packets are counted with and links' overheads without.
const ETHERNET: i32 = 14;

/// How a link adds to a packet's length. CAKE's formula: framing(max(length of the IP packet + `bytes`, `mpu`)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overhead {
    /// Bytes on top of the IP packet, −64 to 256.
    pub bytes: i16,
    /// Least bytes that a packet takes, at most 256.
    pub mpu: u16,
    /// What it is cut into.
    pub framing: Framing,
}

/// What a link cuts packets into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// Nothing.
    None,
    /// Cells of 53 bytes for each 48 (ADSL).
    Atm,
    /// One byte more for each 64 that are begun (VDSL2).
    Ptm,
}

/// Why keywords make no overhead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OverheadError {
    /// Not one of CAKE's.
    #[error("`{0}` is no keyword for overhead: write one of {known}, `overhead BYTES` or `mpu BYTES`", known = known())]
    Unknown(String),
    /// `overhead` or `mpu` without a number behind it, or with one that it can't have.
    #[error("`{keyword}` needs a number from {least} to {most} behind it, not `{found}`")]
    Number {
        /// `overhead` or `mpu`.
        keyword: &'static str,
        /// What stands there; empty: nothing.
        found: String,
        /// The least that it can be.
        least: i32,
        /// The most.
        most: i32,
    },
    /// All together are too much.
    #[error("these keywords come to {0} bytes of overhead: −64 to 256 can be")]
    Sum(i32),
}

/// A keyword: bytes that it adds, least bytes and framing that it sets.
struct Keyword(&'static str, i32, Option<u16>, Option<Framing>);

/// CAKE's (tc-cake(8), "Overhead compensation"). `raw`, `conservative`, `overhead` and `mpu` are not sums and stand in the parser.
const KEYWORDS: [Keyword; 17] = [
    Keyword("noatm", 0, None, Some(Framing::None)),
    Keyword("atm", 0, None, Some(Framing::Atm)),
    Keyword("ptm", 0, None, Some(Framing::Ptm)),
    Keyword("ethernet", 38, Some(84), None),
    Keyword("ether-vlan", 4, None, None),
    Keyword("docsis", 18, Some(64), Some(Framing::None)),
    Keyword("pppoe-ptm", 30, None, Some(Framing::Ptm)),
    Keyword("bridged-ptm", 22, None, Some(Framing::Ptm)),
    Keyword("pppoe-vcmux", 32, None, Some(Framing::Atm)),
    Keyword("pppoe-llcsnap", 40, None, Some(Framing::Atm)),
    Keyword("pppoa-vcmux", 10, None, Some(Framing::Atm)),
    Keyword("pppoa-llc", 14, None, Some(Framing::Atm)),
    Keyword("ipoa-vcmux", 8, None, Some(Framing::Atm)),
    Keyword("ipoa-llcsnap", 16, None, Some(Framing::Atm)),
    Keyword("bridged-vcmux", 24, None, Some(Framing::Atm)),
    Keyword("bridged-llcsnap", 32, None, Some(Framing::Atm)),
    Keyword("via-ethernet", 0, None, None),
];

fn known() -> String {
    let mut words = String::from("raw conservative");
    for Keyword(word, ..) in KEYWORDS {
        words.push(' ');
        words.push_str(word);
    }
    words
}

impl Overhead {
    /// The Ethernet frame as it is, without checksum: CAKE's `raw`.
    pub const RAW: Overhead = Overhead { bytes: ETHERNET as i16, mpu: 0, framing: Framing::None };

    /// Reads CAKE's keywords, separated by spaces, for example `pppoe-ptm ether-vlan mpu 64`.
    ///
    /// Names of links and `ether-vlan` (as often as there are tags) add up; `overhead` sets the sum. Nothing: [`Overhead::RAW`].
    ///
    /// # Errors
    /// A word that isn't known, a number that is missing, or more than CAKE allows.
    pub fn from_keywords(keywords: &str) -> Result<Overhead, OverheadError> {
        let (mut bytes, mut mpu, mut framing) = (0, 0, Framing::None);
        let mut raw = true;
        let mut words = keywords.split_whitespace();
        while let Some(word) = words.next() {
            raw = false;
            match word {
                "raw" => (bytes, framing) = (ETHERNET, Framing::None),
                // Enough for anything that there is.
                "conservative" => (bytes, framing) = (48, Framing::Atm),
                "overhead" => bytes = number("overhead", words.next(), -64, 256)?,
                "mpu" => mpu = number("mpu", words.next(), 0, 256)? as u16,
                _ => {
                    let Some(Keyword(_, adds, least, frames)) = KEYWORDS.iter().find(|known| known.0 == word)
                    else {
                        return Err(OverheadError::Unknown(word.to_owned()));
                    };
                    bytes += adds;
                    mpu = least.unwrap_or(mpu);
                    framing = frames.unwrap_or(framing);
                }
            }
        }
        if raw {
            return Ok(Overhead::RAW);
        }
        if !(-64..=256).contains(&bytes) {
            return Err(OverheadError::Sum(bytes));
        }
        Ok(Overhead { bytes: bytes as i16, mpu, framing })
    }

    /// Bytes that a frame of `length` bytes (Ethernet header included, checksum not) takes on the link; at least 1.
    #[inline]
    pub fn of(&self, length: u32) -> u32 {
        let bytes = (length as i32 - ETHERNET + i32::from(self.bytes)).max(i32::from(self.mpu)).max(1) as u32;
        match self.framing {
            Framing::None => bytes,
            Framing::Atm => bytes.div_ceil(48) * 53,
            Framing::Ptm => bytes + bytes.div_ceil(64),
        }
    }
}

impl FromStr for Overhead {
    type Err = OverheadError;

    fn from_str(keywords: &str) -> Result<Overhead, OverheadError> {
        Overhead::from_keywords(keywords)
    }
}

fn number(keyword: &'static str, word: Option<&str>, least: i32, most: i32) -> Result<i32, OverheadError> {
    let found = word.unwrap_or_default();
    match found.parse() {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => Err(OverheadError::Number { keyword, found: found.to_owned(), least, most }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(keywords: &str) -> (i16, u16, Framing) {
        let Overhead { bytes, mpu, framing } = Overhead::from_keywords(keywords).unwrap();
        (bytes, mpu, framing)
    }

    #[test]
    fn keywords_mean_what_they_mean_to_cake() {
        assert_eq!(of("ethernet"), (38, 84, Framing::None));
        assert_eq!(of("ethernet ether-vlan ether-vlan"), (46, 84, Framing::None));
        assert_eq!(of("pppoe-ptm ether-vlan mpu 64 overhead 18"), (18, 64, Framing::Ptm));
        assert_eq!(of("docsis"), (18, 64, Framing::None));
        assert_eq!(of("conservative"), (48, 0, Framing::Atm));
        assert_eq!(of("overhead -20 noatm"), (-20, 0, Framing::None));
        assert_eq!(of("overhead 0"), (0, 0, Framing::None));
        assert_eq!(Overhead::from_keywords(" "), Ok(Overhead::RAW));
        assert_eq!(Overhead::from_keywords("raw"), Ok(Overhead::RAW));
    }

    #[test]
    fn lengths_are_those_of_the_link() {
        let length = |keywords, length| Overhead::from_keywords(keywords).unwrap().of(length);
        assert_eq!(length("raw", 1514), 1514);
        // Preamble, header, checksum and gap: 1538 for a full frame, 84 for the least.
        assert_eq!((length("ethernet", 1514), length("ethernet", 60)), (1538, 84));
        assert_eq!(length("pppoe-ptm", 1506), 1492 + 30 + 24);
        // 40 + 40 bytes: two cells.
        assert_eq!(length("pppoe-llcsnap", 54), 106);
        assert_eq!(length("overhead -64", 40), 1);
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |keywords| Overhead::from_keywords(keywords).unwrap_err().to_string();
        assert!(error("ethernet vlan").contains("`vlan` is no keyword"));
        assert_eq!(error("mpu"), "`mpu` needs a number from 0 to 256 behind it, not ``");
        assert!(error("overhead 999").contains("-64 to 256"));
        assert!(error("ethernet overhead 256 ether-vlan").contains("260 bytes"));
    }
}
