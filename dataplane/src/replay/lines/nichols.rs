//! The two forms of Nichols' pping.

use std::{fmt, io};

use chrono::TimeZone;

use super::{Flow, Line, Seconds, moment};

/// `HH:MM:SS rtt least flow`, in local time.
pub(super) fn people<Z: TimeZone>(line: &Line, zone: &Z, out: &mut impl io::Write) -> io::Result<()>
where
    Z::Offset: fmt::Display,
{
    let clock = moment(line.time, zone).format("%H:%M:%S");
    writeln!(out, "{clock} {} {} {}", Duration(line.rtt), Duration(line.least), Flow(line))
}

/// `epoch rtt least fBytes dBytes pBytes flow`, seconds with six decimals.
pub(super) fn machine(line: &Line, out: &mut impl io::Write) -> io::Result<()> {
    let passed = &line.passed;
    writeln!(
        out,
        "{} {} {} {} {} {} {}",
        Seconds(line.time, 6),
        Rounded(line.rtt),
        Rounded(line.least),
        passed.stamped,
        passed.echoed,
        passed.since,
        Flow(line)
    )
}

/// Nanoseconds as seconds with six decimals, rounded to the nearest as `printf` does.
struct Rounded(u64);

impl fmt::Display for Rounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Seconds(self.0.saturating_add(500), 6).fmt(f)
    }
}

/// Nanoseconds with three digits and a unit.
struct Duration(u64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0 as f64 / 1e9;
        let (value, unit) = match seconds {
            _ if seconds < 1e-3 => (seconds * 1e6, "us"),
            _ if seconds < 1.0 => (seconds * 1e3, "ms"),
            _ => (seconds, "s"),
        };
        match value {
            _ if value < 10.0 => write!(f, "{value:.2}{unit}"),
            _ if value < 100.0 => write!(f, "{value:.1}{unit}"),
            _ => write!(f, " {value:.0}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::{FixedOffset, Utc};

    use super::super::tests::{line, text};
    use super::*;

    #[test]
    fn people_read_local_time_and_three_digits() {
        assert_eq!(
            text(|out| people(&line(), &Utc, out)),
            "14:02:01 5.98ms 5.44ms 10.11.1.1:443+10.11.1.2:59572\n"
        );
        let east = FixedOffset::east_opt(5 * 3600 + 1800).unwrap();
        assert!(text(|out| people(&line(), &east, out)).starts_with("19:32:01 "));
    }

    #[test]
    fn durations_have_the_widths_of_pping() {
        let cases = [
            (0, "0.00us"),
            (1_234, "1.23us"),
            (12_340, "12.3us"),
            (123_400, " 123us"),
            (999_000, " 999us"),
            (1_000_000, "1.00ms"),
            (16_000_000, "16.0ms"),
            (250_000_000, " 250ms"),
            (1_000_000_000, "1.00s"),
            (12_345_000_000, "12.3s"),
        ];
        for (nanoseconds, text) in cases {
            assert_eq!(Duration(nanoseconds).to_string(), text);
        }
    }

    #[test]
    fn machines_read_seven_fields() {
        assert_eq!(
            text(|out| machine(&line(), out)),
            "1623420121.244545 0.005978 0.005442 2304 1200 66 10.11.1.1:443+10.11.1.2:59572\n"
        );
        let mut six = line();
        six.source.0 = "2001:db8::1".parse().unwrap();
        assert!(text(|out| machine(&six, out)).ends_with(" 2001:db8::1:443+10.11.1.2:59572\n"));
    }
}
