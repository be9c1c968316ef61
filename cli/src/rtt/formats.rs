//! A sample as a line: the forms of other tools that read such lines, and one for people.

use std::io::{self, Write};

use chrono::{DateTime, Local, TimeZone, Utc};
use clap::ValueEnum;
use serde::Serialize;

use crate::failure::Failure;

use super::durations::nanoseconds;
use super::event::{Endpoint, Event};

/// The form of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns, with customers and ports
    Table,
    /// As pping prints them: time, RTT, least RTT, flow
    Pping,
    /// As pping -m prints them; its three byte counts are always 0
    #[value(name = "pping-m")]
    PpingMachine,
    /// As epping -F ppviz prints them, with all digits of the time
    Ppviz,
    /// One object a line, with epping's members and weir's
    Json,
}

/// What the numbers in a sample are called.
#[derive(Debug, Default)]
pub struct Names<'n> {
    /// The customer beyond whose side it was measured.
    pub lan: Option<&'n str>,
    /// The customer on the other side.
    pub wan: Option<&'n str>,
    /// The port that the reply came in by.
    pub port: Option<&'n str>,
}

const NANOSECONDS: u64 = 1_000_000_000;

impl Format {
    /// What stands above the lines.
    pub fn title(self) -> Option<&'static str> {
        (self == Format::Table).then_some(
            "time            rtt  least method    port     beyond               other side           flow",
        )
    }

    /// Writes a sample, as local time or that of `zone`.
    pub fn write(self, event: &Event, names: &Names<'_>, out: &mut impl Write) -> Result<(), Failure> {
        self.write_in(&Local, event, names, out)
    }

    fn write_in<Z: TimeZone<Offset: std::fmt::Display>>(
        self,
        zone: &Z,
        event: &Event,
        names: &Names<'_>,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let (seconds, rest) = (event.time / NANOSECONDS, event.time % NANOSECONDS);
        match self {
            Format::Table => self.write_columns(&clock(zone, event, "%H:%M:%S%.3f"), event, names, out)?,
            Format::Pping => writeln!(
                out,
                "{} {} {} {}",
                clock(zone, event, "%H:%M:%S"),
                pping(event.rtt),
                pping(event.least),
                flow(event)
            )?,
            Format::PpingMachine => writeln!(
                out,
                "{seconds}.{:06} {} {} 0 0 0 {}",
                rest / 1000,
                in_seconds(event.rtt),
                in_seconds(event.least),
                flow(event)
            )?,
            Format::Ppviz => {
                let exact = |time: u64| format!("{}.{:09}", time / NANOSECONDS, time % NANOSECONDS);
                let (rtt, least) = (exact(event.rtt), exact(event.least));
                writeln!(out, "{seconds}.{rest:09} {rtt} {least} {}", flow(event))?;
            }
            Format::Json => {
                serde_json::to_writer(&mut *out, &Sample::of(event, names))?;
                writeln!(out)?;
            }
        }
        Ok(())
    }

    fn write_columns(
        self,
        time: &str,
        event: &Event,
        names: &Names<'_>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let named = |name: Option<&str>| name.unwrap_or("-").to_owned();
        writeln!(
            out,
            "{time} {:>6} {:>6} {:<9} {:<8} {:<20} {:<20} {}",
            nanoseconds(event.rtt),
            nanoseconds(event.least),
            event.method(),
            named(names.port),
            named(names.lan),
            named(names.wan),
            flow(event)
        )
    }

    /// Writes how many samples were missed; only where that is no mistake for a sample.
    pub fn write_missed(self, missed: u64, out: &mut impl Write) -> Result<(), Failure> {
        if self == Format::Json {
            serde_json::to_writer(&mut *out, &Missed { missed })?;
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Replying end, `+`, the other end.
fn flow(event: &Event) -> String {
    let end = |end: &Endpoint| format!("{}:{}", end.address, end.port);
    format!("{}+{}", end(&event.source), end(&event.destination))
}

fn clock<Z: TimeZone<Offset: std::fmt::Display>>(zone: &Z, event: &Event, form: &str) -> String {
    // 2^64 ns since 1970 are the year 2554.
    DateTime::<Utc>::from_timestamp((event.time / NANOSECONDS) as i64, (event.time % NANOSECONDS) as u32)
        .map_or_else(String::new, |time| time.with_timezone(zone).format(form).to_string())
}

/// Seconds with six digits, the last one rounded.
fn in_seconds(time: u64) -> String {
    let microseconds = time.saturating_add(500) / 1000;
    format!("{}.{:06}", microseconds / 1_000_000, microseconds % 1_000_000)
}

/// A time of pping's: two, one or no digits behind the point, and without any a space in front.
fn pping(time: u64) -> String {
    let seconds = time as f64 / 1e9;
    let (time, unit) = match seconds {
        ..1e-3 => (seconds * 1e6, "us"),
        ..1.0 => (seconds * 1e3, "ms"),
        _ => (seconds, "s"),
    };
    match time {
        ..10.0 => format!("{time:.2}{unit}"),
        ..100.0 => format!("{time:.1}{unit}"),
        _ => format!(" {time:.0}{unit}"),
    }
}

/// epping's members in its order, then weir's. What weir does not know is null.
#[derive(Serialize)]
struct Sample<'s> {
    timestamp: u64,
    src_ip: String,
    src_port: u16,
    dest_ip: String,
    dest_port: u16,
    protocol: String,
    rtt: u64,
    min_rtt: u64,
    sent_packets: Option<u64>,
    sent_bytes: Option<u64>,
    rec_packets: Option<u64>,
    rec_bytes: Option<u64>,
    match_on_egress: bool,
    method: String,
    customer_lan: Option<&'s str>,
    customer_wan: Option<&'s str>,
    port: Option<&'s str>,
}

impl<'s> Sample<'s> {
    fn of(event: &Event, names: &Names<'s>) -> Sample<'s> {
        Sample {
            timestamp: event.time,
            src_ip: event.source.address.to_string(),
            src_port: event.source.port,
            dest_ip: event.destination.address.to_string(),
            dest_port: event.destination.port,
            protocol: event.protocol(),
            rtt: event.rtt,
            min_rtt: event.least,
            sent_packets: None,
            sent_bytes: None,
            rec_packets: None,
            rec_bytes: None,
            // Where packets come in, replies are matched.
            match_on_egress: false,
            method: event.method(),
            customer_lan: names.lan,
            customer_wan: names.wan,
            port: names.port,
        }
    }
}

#[derive(Serialize)]
struct Missed {
    missed: u64,
}

#[cfg(test)]
mod tests {
    use chrono::FixedOffset;

    use super::super::event::tests::event;
    use super::*;

    fn line(format: Format, event: &Event, names: &Names<'_>) -> String {
        let mut out = Vec::new();
        let zone = FixedOffset::east_opt(2 * 3600).unwrap();
        format.write_in(&zone, event, names, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pping_and_ppviz() {
        let names = Names::default();
        let flow = "192.0.2.7:443+10.1.2.3:51000\n";
        assert_eq!(line(Format::Pping, &event(), &names), format!("16:34:56 1.54ms  1000us {flow}"));
        assert_eq!(
            line(Format::PpingMachine, &event(), &names),
            format!("1753281296.123456 0.001543 0.001000 0 0 0 {flow}")
        );
        assert_eq!(
            line(Format::Ppviz, &event(), &names),
            format!("1753281296.123456789 0.001543210 0.000999600 {flow}")
        );
    }

    #[test]
    fn times_as_pping_has_them() {
        for (time, text) in [
            (0, "0.00us"),
            (9_994, "9.99us"),
            (17_040, "17.0us"),
            (250_000, " 250us"),
            (1_543_210, "1.54ms"),
            (45_600_000, "45.6ms"),
            (650_400_000, " 650ms"),
            (1_250_000_000, "1.25s"),
            (125_000_000_000, " 125s"),
        ] {
            assert_eq!(pping(time), text);
        }
    }

    #[test]
    fn columns_for_people() {
        let names = Names { lan: None, wan: Some("acme"), port: Some("eth2") };
        let title = Format::Table.title().unwrap();
        let line = line(Format::Table, &event(), &names);
        assert_eq!(
            format!("{title}\n{line}"),
            "\
time            rtt  least method    port     beyond               other side           flow
16:34:56.123 1.54ms 1.00ms timestamp eth2     -                    acme                 192.0.2.7:443+10.1.2.3:51000
"
        );
    }

    #[test]
    fn json_has_eppings_members_first() {
        let names = Names { lan: Some("zoo"), wan: Some("acme"), port: Some("eth2") };
        assert_eq!(
            line(Format::Json, &event(), &names),
            "{\"timestamp\":1753281296123456789,\"src_ip\":\"192.0.2.7\",\"src_port\":443,\"dest_ip\":\"10.1.2.3\",\
             \"dest_port\":51000,\"protocol\":\"TCP\",\"rtt\":1543210,\"min_rtt\":999600,\"sent_packets\":null,\
             \"sent_bytes\":null,\"rec_packets\":null,\"rec_bytes\":null,\"match_on_egress\":false,\
             \"method\":\"timestamp\",\"customer_lan\":\"zoo\",\"customer_wan\":\"acme\",\"port\":\"eth2\"}\n"
        );
        let mut out = Vec::new();
        Format::Json.write_missed(12, &mut out).unwrap();
        Format::Ppviz.write_missed(12, &mut out).unwrap();
        assert_eq!(out, b"{\"missed\":12}\n");
    }

    #[test]
    fn the_longest_time_is_no_trouble() {
        let event = Event { time: u64::MAX, rtt: u64::MAX, least: u64::MAX, ..event() };
        for format in [Format::Table, Format::Pping, Format::PpingMachine, Format::Ppviz, Format::Json] {
            assert!(line(format, &event, &Names::default()).len() < 500);
        }
    }
}
