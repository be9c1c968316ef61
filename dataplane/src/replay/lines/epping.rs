//! The forms of epping that have a line for every sample.

use std::io;

use serde::Serialize;

use super::{Flow, Line, Seconds};

/// `epoch rtt least flow`, seconds. All in fixed-point numbers with nanoseconds: epping itself prints the epoch with nine significant digits, so
/// its times are good to ten seconds.
pub(super) fn ppviz(line: &Line, out: &mut impl io::Write) -> io::Result<()> {
    let (time, rtt, least) = (Seconds(line.time, 9), Seconds(line.rtt, 9), Seconds(line.least, 9));
    writeln!(out, "{time} {rtt} {least} {}", Flow(line))
}

/// An object of epping's members, in its order; how the sample was measured, and the customers if any are named, are added at the end.
#[derive(Serialize)]
struct Object<'l> {
    timestamp: u64,
    src_ip: std::net::IpAddr,
    src_port: u16,
    dest_ip: std::net::IpAddr,
    dest_port: u16,
    protocol: &'l str,
    rtt: u64,
    min_rtt: u64,
    sent_packets: u64,
    sent_bytes: u64,
    rec_packets: u64,
    rec_bytes: u64,
    /// A capture has one point, through which packets neither come in nor go out.
    match_on_egress: bool,
    method: &'l str,
    #[serde(flatten)]
    customers: Option<Customers<'l>>,
}

/// As `weirstat rtt` calls them.
#[derive(Serialize)]
struct Customers<'l> {
    customer_lan: Option<&'l str>,
    customer_wan: Option<&'l str>,
}

pub(super) fn json(line: &Line, out: &mut impl io::Write) -> io::Result<()> {
    let object = Object {
        timestamp: line.time,
        src_ip: line.source.0,
        src_port: line.source.1,
        dest_ip: line.destination.0,
        dest_port: line.destination.1,
        protocol: line.protocol,
        rtt: line.rtt,
        min_rtt: line.least,
        sent_packets: line.passed.sent_packets,
        sent_bytes: line.passed.sent_bytes,
        rec_packets: line.passed.received_packets,
        rec_bytes: line.passed.received_bytes,
        match_on_egress: false,
        method: line.method,
        customers: line
            .customers
            .as_ref()
            .map(|[lan, wan]| Customers { customer_lan: lan.as_deref(), customer_wan: wan.as_deref() }),
    };
    serde_json::to_writer(&mut *out, &object)?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use super::super::tests::{line, text};
    use super::*;

    #[test]
    fn ppviz_keeps_every_digit_of_the_clock() {
        assert_eq!(
            text(|out| ppviz(&line(), out)),
            "1623420121.244545678 0.005977708 0.005441848 10.11.1.1:443+10.11.1.2:59572\n"
        );
    }

    #[test]
    fn json_names_customers() {
        let mut line = line();
        line.customers = Some([Some("née \"1\"".into()), None]);
        let text = text(|out| json(&line, out));
        assert!(
            text.ends_with(
                "\"method\":\"timestamp\",\"customer_lan\":\"née \\\"1\\\"\",\"customer_wan\":null}\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn json_has_the_members_of_epping_in_its_order() {
        assert_eq!(
            text(|out| json(&line(), out)),
            concat!(
                r#"{"timestamp":1623420121244545678,"src_ip":"10.11.1.1","src_port":443,"dest_ip":"10.11.1.2","#,
                r#""dest_port":59572,"protocol":"TCP","rtt":5977708,"min_rtt":5441848,"sent_packets":12,"#,
                r#""sent_bytes":2000,"rec_packets":9,"rec_bytes":37,"match_on_egress":false,"method":"timestamp"}"#,
                "\n"
            )
        );
    }
}
