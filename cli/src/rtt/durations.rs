//! Times as people read them: three digits and a unit, as `ping` and `tc` have them.

/// Units, and how many of the next smaller one they are.
const UNITS: [(&str, f64); 3] = [("us", 1.0), ("ms", 1e3), ("s", 1e3)];

/// Below these numbers there is room for so many digits behind the point.
const LIMITS: [(f64, usize); 2] = [(9.995, 2), (99.95, 1)];

/// From here on the next unit is written, as its three digits would be rounded up to it.
const NEXT: f64 = 999.5;

/// Characters that a time takes at most, with a sign for what lies below or above.
pub const WIDTH: usize = 6;

/// What is shown where there is no time.
pub const NOTHING: &str = "-";

/// A time in microseconds.
pub fn microseconds(time: f64) -> String {
    if !time.is_finite() {
        return NOTHING.to_owned();
    }
    let mut rest = time.max(0.0);
    for (at, (unit, factor)) in UNITS.into_iter().enumerate() {
        rest /= factor;
        if rest < NEXT || at + 1 == UNITS.len() {
            let digits = LIMITS.iter().find(|(limit, _)| rest < *limit).map_or(0, |(_, digits)| *digits);
            return format!("{rest:.digits$}{unit}");
        }
    }
    NOTHING.to_owned()
}

/// A time in nanoseconds.
pub fn nanoseconds(time: u64) -> String {
    microseconds(time as f64 / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (time, text) in [
            (0.0, "0.00us"),
            (0.25, "0.25us"),
            (9.994, "9.99us"),
            (17.0, "17.0us"),
            (99.96, "100us"),
            (999.4, "999us"),
            (999.6, "1.00ms"),
            (1_543.0, "1.54ms"),
            (12_345.0, "12.3ms"),
            (135_000.0, "135ms"),
            (999_600.0, "1.00s"),
            (16_777_215.0, "16.8s"),
            (1e9, "1000s"),
            (f64::INFINITY, "-"),
            (f64::NAN, "-"),
            (-1.0, "0.00us"),
        ] {
            assert_eq!(microseconds(time), text, "{time}");
        }
        assert_eq!(nanoseconds(1_543_999), "1.54ms");
    }

    #[test]
    fn no_time_that_is_measured_is_wider_than_its_column() {
        for exponent in 0..30 {
            for time in [f64::from(1 << exponent) * 0.999_4, f64::from(1 << exponent)] {
                assert!(microseconds(time).len() <= WIDTH, "{time}");
            }
        }
    }
}
