//! A line for every sample, in the forms that other programs read.

mod epping;
mod nichols;

use std::{fmt, io, net::IpAddr, rc::Rc};

use chrono::{DateTime, Local, TimeZone};

/// A sample, and what the forms say besides.
#[derive(Clone, Debug)]
pub struct Line {
    /// When the reply passed, in nanoseconds since 1970.
    pub time: u64,
    /// The round trip, in nanoseconds.
    pub rtt: u64,
    /// The least one of this flow and direction until now, in nanoseconds.
    pub least: u64,
    /// Where the reply comes from: the end that the round trip leads to.
    pub source: (IpAddr, u16),
    /// Where the reply goes.
    pub destination: (IpAddr, u16),
    /// Its name.
    pub protocol: &'static str,
    /// How it was measured.
    pub method: &'static str,
    /// What had passed by then.
    pub passed: Passed,
    /// The customer beyond whose side it is and the one beyond whose other side, if customers are named.
    pub customers: Option<[Option<Rc<str>>; 2]>,
}

/// What has passed of a flow. *Measured* is the direction that the round trip began with, *replies* is the other one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// Frames' bytes of the measured direction, the stamped packet included, when that passed.
    pub stamped: u64,
    /// Of these, what was known to have arrived when the stamped packet passed.
    pub echoed: u64,
    /// Frames' bytes of the replies since the line before.
    pub since: u64,
    /// Packets of the measured direction.
    pub sent_packets: u64,
    /// Their payload's bytes.
    pub sent_bytes: u64,
    /// Packets of the replies, the one that ends this round trip included.
    pub received_packets: u64,
    /// Their payload's bytes.
    pub received_bytes: u64,
}

/// A form of lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Nichols' pping, for people.
    Pping,
    /// Nichols' pping with `-m`.
    PpingMachine,
    /// epping's ppviz.
    Ppviz,
    /// epping's JSON, an object a line.
    Json,
}

impl Form {
    /// Whether lines of this form say what has passed.
    pub fn says_what_passed(self) -> bool {
        matches!(self, Form::PpingMachine | Form::Json)
    }

    /// Writes a line.
    pub fn write(self, line: &Line, out: &mut impl io::Write) -> io::Result<()> {
        match self {
            Form::Pping => nichols::people(line, &Local, out),
            Form::PpingMachine => nichols::machine(line, out),
            Form::Ppviz => epping::ppviz(line, out),
            Form::Json => epping::json(line, out),
        }
    }
}

/// `src:sport+dst:dport` of the reply, as both programs write it: IPv6 addresses have no brackets.
struct Flow<'l>(&'l Line);

impl fmt::Display for Flow<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Line { source, destination, .. } = self.0;
        write!(f, "{}:{}+{}:{}", source.0, source.1, destination.0, destination.1)
    }
}

/// Nanoseconds as seconds, cut to this many decimals (at most 9).
struct Seconds(u64, usize);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SECOND: u64 = 1_000_000_000;
        let Seconds(nanoseconds, decimals) = *self;
        let unit = 10_u64.pow(9 - decimals.min(9) as u32);
        write!(f, "{}.{:0decimals$}", nanoseconds / SECOND, nanoseconds % SECOND / unit)
    }
}

/// A moment in a time zone.
fn moment<Z: TimeZone>(time: u64, zone: &Z) -> DateTime<Z> {
    // Nanoseconds since 1970 reach year 2554 in 64 bits, and 2262 in chrono's.
    DateTime::from_timestamp((time / 1_000_000_000).cast_signed(), 0).unwrap_or_default().with_timezone(zone)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Replies of a web server to a client, measured beyond the server's side.
    pub(super) fn line() -> Line {
        Line {
            time: 1_623_420_121_244_545_678,
            rtt: 5_977_708,
            least: 5_441_848,
            source: ([10, 11, 1, 1].into(), 443),
            destination: ([10, 11, 1, 2].into(), 59572),
            protocol: "TCP",
            method: "timestamp",
            passed: Passed {
                stamped: 2_304,
                echoed: 1_200,
                since: 66,
                sent_packets: 12,
                sent_bytes: 2_000,
                received_packets: 9,
                received_bytes: 37,
            },
            customers: None,
        }
    }

    pub(super) fn text(write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn seconds_are_cut() {
        assert_eq!(Seconds(1_999_999_999, 6).to_string(), "1.999999");
        assert_eq!(Seconds(1_000_000_000, 9).to_string(), "1.000000000");
        assert_eq!(Seconds(999, 6).to_string(), "0.000000");
        assert_eq!(Seconds(u64::MAX, 9).to_string(), "18446744073.709551615");
    }
}
