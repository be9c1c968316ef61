//! Rates as files write them.

use std::ops::RangeInclusive;

use super::{Both, Rates};

/// Bits a second that weir can hold somebody to.
pub(crate) const RATES: RangeInclusive<u64> = 64_000..=100_000_000_000;

/// What the link may carry unless the config says otherwise: no limit, as far as weir goes.
pub(crate) const DEFAULT_LINK: u64 = *RATES.end();

/// Bits a second for each of weight, so that the fastest rate has the greatest weight, a million; HTB likewise takes a quantum in proportion
/// to the rate (its r2q).
const WEIGHT: u64 = 100_000;

/// Greatest weight.
pub(super) const MAX_WEIGHT: u32 = 1_000_000;

/// A rate in Mbit/s, fractions allowed, as bits a second; `None`: it is no number, or not one that could be a rate.
pub(super) fn megabits(text: &str) -> Option<u64> {
    bits(text, 1e6)
}

/// A rate as `tc` writes it: a number and its unit, bits a second where there is none.
pub(crate) fn written(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "bit" => 1e0,
        "kbit" => 1e3,
        "mbit" => 1e6,
        "gbit" => 1e9,
        // `mbps` is megabytes to tc and megabits to most people: not to be guessed.
        _ => return None,
    };
    bits(digits, factor)
}

fn bits(number: &str, factor: f64) -> Option<u64> {
    let number = number.trim();
    // `parse` would take words such as `inf`.
    if !number.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'-' | b'+' | b'e' | b'E')) {
        return None;
    }
    let bits = number.parse::<f64>().ok()? * factor;
    // Beyond 2⁵³ a rate has lost its last digits, and is absurd anyway.
    (0.0..=9e15).contains(&bits).then(|| bits.round() as u64)
}

/// Why nobody can be held to this rate.
pub(crate) fn rate_problem(rate: u64) -> Option<String> {
    (!RATES.contains(&rate))
        .then(|| format!("{} is not between {} and {}", text(rate), text(*RATES.start()), text(*RATES.end())))
}

/// A rate as people read it.
pub(super) fn text(rate: u64) -> String {
    let (scaled, unit) = match rate {
        0..1_000 => (rate as f64, "bit/s"),
        1_000..1_000_000 => (rate as f64 / 1e3, "kbit/s"),
        1_000_000..1_000_000_000 => (rate as f64 / 1e6, "Mbit/s"),
        _ => (rate as f64 / 1e9, "Gbit/s"),
    };
    let rounded = (scaled * 1000.0).round() / 1000.0;
    format!("{rounded} {unit}")
}

/// The weight that goes with a rate.
pub(super) fn weight(rate: u64) -> u32 {
    let weight = rate.saturating_add(WEIGHT / 2) / WEIGHT;
    u32::try_from(weight).unwrap_or(MAX_WEIGHT).clamp(1, MAX_WEIGHT)
}

/// What a file says of one customer or node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// Bits a second; 0: nothing is guaranteed.
    pub(super) min: Both<u64>,
    /// Bits a second.
    pub(super) max: Both<u64>,
    /// `None`: it follows from the rates.
    pub(super) weight: Option<u32>,
}

impl Asked {
    /// Rates with these guarantees; `base` is what the weight follows unless the file names one.
    pub(super) fn rates(self, min: Both<u64>, base: Both<u64>) -> Both<Rates> {
        let Asked { max, weight, .. } = self;
        let of =
            |min: u64, max: u64, base: u64| Rates { min, max, weight: weight.unwrap_or(self::weight(base)) };
        Both { down: of(min.down, max.down, base.down), up: of(min.up, max.up, base.up) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_tc_and_libreqos_write_them() {
        for (text, rate) in [
            ("1.5mbit", 1_500_000),
            ("10Gbit", 10_000_000_000),
            ("64kbit", 64_000),
            ("100 Mbit", 100_000_000),
            ("64000", 64_000),
        ] {
            assert_eq!(written(text), Some(rate), "{text}");
        }
        for text in
            ["", "fast", "1 furlong", "-1mbit", "infmbit", "NaN", "1e300gbit", "1.2.3mbit", "mbit", "1mbps"]
        {
            assert_eq!(written(text), None, "{text}");
        }
        assert_eq!(megabits("10.5"), Some(10_500_000));
        assert_eq!(megabits(" 0.1 "), Some(100_000));
        assert_eq!(megabits("0.30000001"), Some(300_000));
        for text in ["", "nan", "inf", "-1", "1,5", "ten", "0x10"] {
            assert_eq!(megabits(text), None, "{text}");
        }
    }

    #[test]
    fn weights_follow_rates() {
        assert_eq!([0, 64_000, 100_000, 1_250_000, 1 << 40].map(weight), [1, 1, 1, 13, MAX_WEIGHT]);
        assert_eq!(weight(*RATES.end()), MAX_WEIGHT);
    }

    #[test]
    fn rates_are_written_for_people() {
        assert_eq!(
            [64_000, 1_500_000, 100_000_000_000, 12, 2_500_000_000].map(text),
            ["64 kbit/s", "1.5 Mbit/s", "100 Gbit/s", "12 bit/s", "2.5 Gbit/s"]
        );
    }
}
