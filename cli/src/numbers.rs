//! Numbers as people read them at a glance: few digits, an SI prefix, and never wider than their column.

use std::time::Duration;

/// Characters that a number takes at most.
pub const WIDTH: u16 = 6;

/// SI prefixes of powers of a thousand. The last is reached by none of what 64 bits can count: 2^64 bytes in a
/// millisecond are 150 Z bits a second.
const PREFIXES: [&str; 9] = ["", "k", "M", "G", "T", "P", "E", "Z", "Y"];

/// Digits that tell the numbers below a thousand from those that need the next prefix, by the digits behind the point.
const LIMITS: [(f64, usize); 3] = [(9.995, 2), (99.95, 1), (999.5, 0)];

/// What is shown where there is no number (yet).
pub const NOTHING: &str = "-";

/// A rate or a mean: three digits. `0` is exactly zero.
pub fn quantity(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    let mut rest = number;
    for prefix in PREFIXES {
        if let Some((_, digits)) = LIMITS.iter().find(|(limit, _)| rest < *limit) {
            return format!("{rest:.digits$}{prefix}");
        }
        rest /= 1000.0;
    }
    // NaN and infinity too: no division here gives them, and none is worth a crash.
    NOTHING.to_owned()
}

/// A count: exact as long as it fits, four digits otherwise.
pub fn count(number: u64) -> String {
    if number < 1_000_000 {
        return number.to_string();
    }
    let mut rest = number as f64 / 1000.0;
    for prefix in &PREFIXES[1..] {
        // Below 1000 after rounding to three digits behind the point, and so on.
        for (limit, digits) in [(9.9995, 3), (99.995, 2), (999.95, 1)] {
            if rest < limit {
                return format!("{rest:.digits$}{prefix}");
            }
        }
        rest /= 1000.0;
    }
    NOTHING.to_owned()
}

/// A part of a whole, from 0 to 1.
pub fn share(part: f64) -> String {
    if part.is_finite() { format!("{:.1}%", part.clamp(0.0, 1.0) * 100.0) } else { NOTHING.to_owned() }
}

/// A part of a whole, perhaps a little more than it, in four characters.
pub fn percent(part: Option<f64>) -> String {
    match part.map(|part| part * 100.0) {
        Some(percent) if percent > 0.0 && percent < 9.95 => format!("{percent:.1}%"),
        Some(percent) => format!("{:.0}%", percent.min(999.0)),
        None => NOTHING.to_owned(),
    }
}

/// How long something has been up.
pub fn uptime(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    if days > 0 {
        format!("{days}d {hours:02}:{minutes:02}:{:02}", seconds % 60)
    } else {
        format!("{hours}:{minutes:02}:{:02}", seconds % 60)
    }
}

/// An interval in seconds, without digits that say nothing.
pub fn seconds(time: Duration) -> String {
    format!("{} s", (time.as_secs_f64() * 1000.0).round() / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_have_three_digits() {
        for (number, text) in [
            (0.0, "0"),
            (0.001, "0.00"),
            (0.5, "0.50"),
            (9.994, "9.99"),
            (9.996, "10.0"),
            (99.94, "99.9"),
            (99.96, "100"),
            (999.4, "999"),
            (999.6, "1.00k"),
            (12_345.0, "12.3k"),
            (999_700.0, "1.00M"),
            (1.234e9, "1.23G"),
            (u64::MAX as f64 * 8.0 / 0.001, "148Z"),
            (f64::NAN, "-"),
            (f64::INFINITY, "-"),
        ] {
            assert_eq!(quantity(number), text, "{number}");
        }
    }

    #[test]
    fn counts_are_exact_as_long_as_they_fit() {
        for (number, text) in [
            (0, "0"),
            (999_999, "999999"),
            (1_000_000, "1.000M"),
            (9_999_600, "10.00M"),
            (999_949_999, "999.9M"),
            (999_950_001, "1.000G"),
            (u64::MAX, "18.45E"),
        ] {
            assert_eq!(count(number), text);
        }
    }

    #[test]
    fn no_number_is_wider_than_its_column() {
        for exponent in 0..64 {
            for number in [(1_u64 << exponent) - 1, 1 << exponent, 10_u64.saturating_pow(exponent / 3) - 1] {
                for text in [count(number), quantity(number as f64), quantity(number as f64 / 7.0)] {
                    assert!(text.len() <= WIDTH.into(), "{number}: {text}");
                }
            }
        }
    }

    #[test]
    fn shares_are_between_nothing_and_all() {
        assert_eq!(["0.0%", "12.3%", "100.0%", "100.0%", "-"], [0.0, 0.123, 1.0, 7.0, f64::NAN].map(share));
    }

    #[test]
    fn parts_of_a_whole_are_short() {
        let parts = [None, Some(0.0), Some(0.001), Some(0.0994), Some(0.0996), Some(1.004), Some(123.0)];
        assert_eq!(parts.map(percent), ["-", "0%", "0.1%", "9.9%", "10%", "100%", "999%"]);
    }

    #[test]
    fn times_are_read_at_a_glance() {
        assert_eq!(uptime(Duration::from_secs(3_723)), "1:02:03");
        assert_eq!(uptime(Duration::from_secs(86_400 * 400 + 59)), "400d 00:00:59");
        assert_eq!(["0.1 s", "1 s", "60 s"], [0.1, 1.0, 60.0].map(|it| seconds(Duration::from_secs_f64(it))));
    }
}
