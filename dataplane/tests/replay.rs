//! `weir replay` as people run it: captures in, tables and lines out.

#![allow(clippy::unwrap_used, reason = "helpers of tests count as outside them")]

mod captures;

use std::{
    io::Write as _,
    net::IpAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use captures::{ACK, End, Pcap, Pcapng, SYN, Segment, echo};

/// 2023-11-14 22:13:20 UTC.
const BEGIN: u64 = 1_700_000_000_000_000_000;
const MILLISECOND: u64 = 1_000_000;

/// A packet: milliseconds from the beginning, and its frame.
type Packet = (u64, Vec<u8>);

fn end(address: &str, port: u16) -> End {
    End { address: address.parse().unwrap(), port }
}

/// A short connection. The point is 5 ms away from the client and back, 20 ms from the server; the client is 1 ms late once.
fn connection(client: End, server: End, timestamps: bool) -> Vec<Packet> {
    let segment = |time, from, to, flags, sequence, acknowledgement, stamps, payload| {
        let timestamps = timestamps.then_some(stamps);
        (time, Segment { from, to, flags, sequence, acknowledgement, timestamps, payload }.frame())
    };
    vec![
        segment(0, client, server, SYN, 100, 0, (1000, 0), 0),
        segment(20, server, client, SYN | ACK, 500, 101, (7000, 1000), 0),
        segment(25, client, server, ACK, 101, 501, (1025, 7000), 0),
        segment(26, client, server, ACK, 101, 501, (1026, 7000), 300),
        segment(46, server, client, ACK, 501, 401, (7026, 1026), 1000),
        segment(52, client, server, ACK, 401, 1501, (1052, 7026), 0),
        segment(53, client, server, ACK, 401, 1501, (1053, 7026), 200),
        segment(73, server, client, ACK, 1501, 601, (7053, 1053), 0),
    ]
}

fn client() -> End {
    end("10.0.0.1", 40000)
}

fn server() -> End {
    end("192.0.2.1", 443)
}

fn pcap(packets: &[Packet]) -> Vec<u8> {
    let mut capture = Pcap::new(1, false, true);
    for (time, frame) in packets {
        capture.packet(BEGIN + time * MILLISECOND, &frame[..frame.len().min(96)], frame.len());
    }
    capture.bytes
}

struct Lab(tempfile::TempDir);

impl Lab {
    fn new() -> Lab {
        Lab(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn run(&self, words: &[&str], captures: &[&Path], input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_weir"))
            .arg("replay")
            .args(words)
            .args(captures)
            .env("TZ", "UTC")
            .current_dir(self.0.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Whoever refuses its arguments reads nothing.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// What is printed, if all goes well and there is nothing to note.
    fn lines(&self, words: &[&str], captures: &[&Path]) -> String {
        let output = self.run(words, captures, &[]);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && errors.is_empty(), "{errors}");
        String::from_utf8(output.stdout).unwrap()
    }
}

#[test]
fn lines_in_every_form() {
    let lab = Lab::new();
    // What comes first may have been sent before, so handshakes are measured from the second second on.
    let mut packets = vec![(0, echo([10, 0, 0, 9].into(), [192, 0, 2, 9].into(), false, 77, 1))];
    packets
        .extend(connection(client(), server(), true).into_iter().map(|(time, frame)| (time + 1_000, frame)));
    let capture = lab.file("it.pcap", &pcap(&packets));
    let all = ["--interval", "0", "--handshakes", "--format"];
    let form = |form| lab.lines(&[&all[..], &[form]].concat(), &[&capture]);
    let (there, back) = ("192.0.2.1:443+10.0.0.1:40000", "10.0.0.1:40000+192.0.2.1:443");
    assert_eq!(
        form("pping"),
        format!(
            "22:13:21 20.0ms 20.0ms {there}\n\
             22:13:21 5.00ms 5.00ms {back}\n\
             22:13:21 20.0ms 20.0ms {there}\n\
             22:13:21 6.00ms 5.00ms {back}\n\
             22:13:21 20.0ms 20.0ms {there}\n"
        )
    );
    // fBytes: 66 of the SYN, 66 of an acknowledgement, 366 of data, …
    assert_eq!(
        form("pping-m"),
        format!(
            "1700000001.020000 0.020000 0.020000 66 0 66 {there}\n\
             1700000001.025000 0.005000 0.005000 66 0 132 {back}\n\
             1700000001.046000 0.020000 0.020000 498 66 1066 {there}\n\
             1700000001.052000 0.006000 0.005000 1132 66 432 {back}\n\
             1700000001.073000 0.020000 0.020000 830 498 66 {there}\n"
        )
    );
    assert_eq!(
        form("ppviz"),
        format!(
            "1700000001.020000000 0.020000000 0.020000000 {there}\n\
             1700000001.025000000 0.005000000 0.005000000 {back}\n\
             1700000001.046000000 0.020000000 0.020000000 {there}\n\
             1700000001.052000000 0.006000000 0.005000000 {back}\n\
             1700000001.073000000 0.020000000 0.020000000 {there}\n"
        )
    );
    let json = form("json");
    assert_eq!(json.lines().count(), 5);
    assert_eq!(
        json.lines().nth(3).unwrap(),
        concat!(
            r#"{"timestamp":1700000001052000000,"src_ip":"10.0.0.1","src_port":40000,"dest_ip":"192.0.2.1","#,
            r#""dest_port":443,"protocol":"TCP","rtt":6000000,"min_rtt":5000000,"sent_packets":2,"sent_bytes":1000,"#,
            r#""rec_packets":4,"rec_bytes":300,"match_on_egress":false,"method":"timestamp"}"#
        )
    );
    assert!(
        json.starts_with(r#"{"timestamp":1700000001020000000,"#) && json.contains(r#""method":"handshake""#)
    );
}

#[test]
fn the_interval_and_handshakes_are_as_in_weir_run() {
    let lab = Lab::new();
    let capture = lab.file("it.pcap", &pcap(&connection(client(), server(), true)));
    let count =
        |words: &[&str]| lab.lines(&[words, &["--format", "ppviz"]].concat(), &[&capture]).lines().count();
    assert_eq!(count(&["--interval", "0"]), 3);
    // One sample for each direction in 100 ms.
    assert_eq!(count(&[]), 2);
    assert_eq!(count(&["--interval", "10ms"]), 3);
}

#[test]
fn every_method_and_both_versions_of_ip() {
    let lab = Lab::new();
    let (six_client, six_server) = (end("2001:db8::1", 50000), end("2001:db8:1::1", 443));
    let mut packets = connection(client(), server(), false);
    packets.extend(connection(six_client, six_server, true));
    let ping = |from: &str, to: &str, reply, time| {
        let (from, to): (IpAddr, IpAddr) = (from.parse().unwrap(), to.parse().unwrap());
        (time, echo(from, to, reply, 77, 1))
    };
    packets.extend([
        ping("10.0.0.9", "192.0.2.9", false, 60),
        ping("192.0.2.9", "10.0.0.9", true, 91),
        ping("2001:db8::9", "2001:db8:1::9", false, 61),
        ping("2001:db8:1::9", "2001:db8::9", true, 93),
    ]);
    packets.sort_by_key(|(time, _)| *time);
    let capture = lab.file("it.pcap", &pcap(&packets));
    let mut samples: Vec<String> = lab
        .lines(&["--interval", "0", "--format", "json"], &[&capture])
        .lines()
        .map(|line| {
            let it: serde_json::Value = serde_json::from_str(line).unwrap();
            format!("{} {} {} {}", it["src_ip"], it["protocol"], it["method"], it["rtt"]).replace('"', "")
        })
        .collect();
    samples.sort();
    let expected = [
        "10.0.0.1 TCP sequence 6000000",
        "192.0.2.1 TCP sequence 20000000",
        "192.0.2.1 TCP sequence 20000000",
        "192.0.2.9 ICMP echo 31000000",
        "2001:db8:1::1 TCP timestamp 20000000",
        "2001:db8:1::1 TCP timestamp 20000000",
        "2001:db8:1::9 ICMPv6 echo 32000000",
        "2001:db8::1 TCP timestamp 6000000",
    ];
    assert_eq!(samples, expected);
}

#[test]
fn the_table_by_customer_and_by_network() {
    let lab = Lab::new();
    let capture = lab.file("it.pcap", &pcap(&connection(client(), server(), true)));
    let prefixes = lab.file("prefixes.txt", b"# ours\n10.0.0.0/24 alice\n10.0.1.0/24 bob\n");
    let words = ["--interval", "0", "--prefixes", prefixes.to_str().unwrap()];
    assert_eq!(
        lab.lines(&words, &[&capture]),
        "customer  side  samples  min ms  p50 ms  p90 ms  p99 ms  max ms  retransmitted  reordered  packets  bytes\n\
         alice     lan         1   6.000   6.000   6.000   6.000   6.000              0          0        3   1198\n\
         alice     wan         2  20.000  20.000  20.000  20.000  20.000              0          0        5    830\n\
         all                   3   6.000  20.000  20.000  20.000  20.000              0          0        8   2028\n"
    );
    assert_eq!(
        lab.lines(&["--interval", "0"], &[&capture]),
        "to network    samples  min ms  p50 ms  p90 ms  p99 ms  max ms  retransmitted  reordered  packets  bytes\n\
         192.0.2.0/24        2  20.000  20.000  20.000  20.000  20.000              0          0        5    830\n\
         10.0.0.0/24         1   6.000   6.000   6.000   6.000   6.000              0          0        3   1198\n\
         all                 3   6.000  20.000  20.000  20.000  20.000              0          0        8   2028\n"
    );
    let json = lab.lines(&[&words[..], &["--format", "json"]].concat(), &[&capture]);
    let customers = |line: &str| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        [&line["customer_lan"], &line["customer_wan"]].map(|it| it.as_str().unwrap_or("-").to_owned())
    };
    let expected = [["-", "alice"], ["alice", "-"], ["-", "alice"]];
    assert_eq!(json.lines().map(customers).collect::<Vec<_>>(), expected);
    let wrong = lab.file("wrong.txt", b"10.0.0.1/24 alice\n");
    let output = lab.run(&["--prefixes", wrong.to_str().unwrap()], &[&capture], &[]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    assert_eq!(errors.matches("wrong.txt:1:1: ").count(), 1, "{errors}");
    assert_eq!(errors.matches("write 10.0.0.0/24").count(), 1, "{errors}");
}

#[test]
fn captures_in_parts_and_forms_give_the_same() {
    let lab = Lab::new();
    let packets = connection(client(), server(), true);
    let whole = pcap(&packets);
    let words = ["--interval", "0", "--format", "pping-m"];
    let expected = lab.lines(&words, &[&lab.file("whole.pcap", &whole)]);
    assert_eq!(expected.lines().count(), 3);

    let mut newer = Pcapng::default();
    newer.section(true);
    newer.interface(1, Some(9), None);
    for (time, frame) in &packets {
        newer.packet(0, BEGIN + time * MILLISECOND, frame, frame.len());
    }
    assert_eq!(lab.lines(&words, &[&lab.file("newer.pcapng", &newer.bytes)]), expected);

    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(&whole).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(lab.lines(&words, &[&lab.file("whole.pcap.gz", &packed)]), expected);

    // A tapped link: a file for each direction. A rotation, named in the wrong order.
    let (up, down): (Vec<Packet>, Vec<Packet>) =
        packets.iter().cloned().partition(|(_, frame)| frame[26..30] == [10, 0, 0, 1]);
    let (up, down) = (lab.file("up", &pcap(&up)), lab.file("down", &pcap(&down)));
    assert_eq!(lab.lines(&words, &[&down, &up]), expected);
    let (first, second) = packets.split_at(4);
    let (first, second) = (lab.file("1.pcap", &pcap(first)), lab.file("2.pcap", &pcap(second)));
    assert_eq!(lab.lines(&words, &[&second, &first]), expected);

    for input in [&whole, &packed] {
        let output = lab.run(&words, &[Path::new("-")], input);
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
    }
}

#[test]
fn what_is_asked_for_has_to_be_possible() {
    let lab = Lab::new();
    let capture = lab.file("it.pcap", &pcap(&connection(client(), server(), true)));
    let refused = |words: &[&str]| {
        let output = lab.run(words, &[&capture], &[]);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(2), 0));
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(refused(&["--interval", "5"]).contains("time unit needed"));
    assert!(refused(&["--flows", "0"]).contains("0 is not in 1..=16777216"));
    assert!(refused(&["--flows", "99999999999999"]).contains("is not in 1..=16777216"));
    assert!(refused(&["--format", "xml"]).contains("table, pping, pping-m, ppviz, json"));
    // An interval longer than any capture: the first sample of each direction.
    assert_eq!(lab.lines(&["--interval", "1000years", "--format", "ppviz"], &[&capture]).lines().count(), 2);
}

#[test]
fn damage_ends_with_an_error_and_what_came_before() {
    let lab = Lab::new();
    let whole = pcap(&connection(client(), server(), true));
    let words = ["--interval", "0", "--format", "ppviz"];
    let cut = lab.file("cut.pcap", &whole[..whole.len() - 10]);
    let output = lab.run(&words, &[&cut], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
    let at = whole.len() - 16 - 66;
    let expected = format!(
        "weir: {}: damaged at byte {at}: the capture ends after 72 of a record's 82 bytes\n",
        cut.display()
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), expected);

    let text = lab.file("text", b"this is not a capture at all");
    let output = lab.run(&[], &[&text, Path::new("missing.pcap")], &[]);
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("text: neither pcap nor pcapng"), "{errors}");
    assert!(errors.contains("missing.pcap: can't be opened"), "{errors}");
}

#[test]
fn output_that_can_not_be_written_is_an_error() {
    let lab = Lab::new();
    let capture = lab.file("it.pcap", &pcap(&connection(client(), server(), true)));
    let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
    weir.arg("replay").arg(&capture).stdout(std::fs::File::create("/dev/full").unwrap());
    let output = weir.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors, "weir: can't print: No space left on device (os error 28)\n");
}

#[test]
fn what_is_not_measured_is_noted() {
    let lab = Lab::new();
    let mut capture = Pcapng::default();
    capture.section(false);
    capture.interface(1, Some(9), None);
    capture.interface(105, Some(9), None);
    for (time, frame) in connection(client(), server(), true) {
        capture.packet(0, BEGIN + time * MILLISECOND, &frame[..50], frame.len());
        capture.packet(1, BEGIN + time * MILLISECOND, &frame, frame.len());
    }
    capture.simple_packet(&[0; 60], 60);
    let output = lab.run(&["--format", "pping"], &[&lab.file("it.pcapng", &capture.bytes)], &[]);
    assert!(output.status.success() && output.stdout.is_empty());
    let notes = String::from_utf8(output.stderr).unwrap();
    let expected = [
        "weir: 1 packet without a time",
        "weir: 8 packets of link type 105 not measured",
        "weir: 8 packets not measured: the TCP header was not captured whole",
    ];
    for (line, expected) in notes.lines().zip(expected) {
        assert!(line.starts_with(expected), "{line}");
    }
    assert_eq!(notes.lines().count(), expected.len());
}

/// Samples by sequence number are what Wireshark calls the round-trip time of an acknowledgement.
#[test]
fn sequence_samples_are_those_of_tshark() {
    if !Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return eprintln!("SKIP sequence_samples_are_those_of_tshark: there is no tshark");
    }
    let lab = Lab::new();
    let capture = lab.file("it.pcap", &pcap(&acknowledged_at_once()));
    let fields = ["frame.time_epoch", "ip.src", "tcp.srcport", "tcp.analysis.ack_rtt"];
    let mut tshark = Command::new("tshark");
    tshark.args([
        "-n",
        "-o",
        "tcp.analyze_sequence_numbers:TRUE",
        "-Y",
        "tcp.analysis.ack_rtt",
        "-T",
        "fields",
    ]);
    tshark.args(fields.iter().flat_map(|field| ["-e", field])).arg("-r").arg(&capture);
    let output = tshark.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Epoch and round trip have nine decimals each.
    let theirs: std::collections::BTreeSet<String> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| {
            let [time, source, port, rtt] = *line.split('\t').collect::<Vec<_>>() else { panic!("{line}") };
            format!("{time} {rtt} {source}:{port}")
        })
        .collect();
    let ours: Vec<String> = lab
        .lines(&["--interval", "0", "--format", "ppviz"], &[&capture])
        .lines()
        .map(|line| {
            let [time, rtt, _, flow] = *line.split(' ').collect::<Vec<_>>() else { panic!("{line}") };
            format!("{time} {rtt} {}", flow.split('+').next().unwrap())
        })
        .collect();
    let strange: Vec<&String> = ours.iter().filter(|sample| !theirs.contains(*sample)).collect();
    assert!(strange.is_empty(), "not of tshark: {strange:#?}");
    assert!(ours.len() > 1_000, "{} samples, tshark has {}", ours.len(), theirs.len());
}

/// Connections without timestamps, in which each segment of data is acknowledged by itself, after a time of its own; some have
/// several on their way.
fn acknowledged_at_once() -> Vec<Packet> {
    let mut packets = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |end: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % end
    };
    for connection in 0..40_u16 {
        let (client, server) = (end("10.0.0.1", 10_000 + connection), server());
        let mut segment = |time, from, to, flags, sequence, acknowledgement, payload| {
            let timestamps = None;
            packets.push((
                time,
                Segment { from, to, flags, sequence, acknowledgement, timestamps, payload }.frame(),
            ));
        };
        // Sequence numbers of some pass zero.
        let (mut sent, answered) =
            (0xffff_0000_u32.wrapping_add(below(100_000) as u32), below(1 << 32) as u32);
        let mut time = below(50);
        segment(time, client, server, SYN, sent, 0, 0);
        segment(time + 30, server, client, SYN | ACK, answered, sent.wrapping_add(1), 0);
        time += 35;
        sent = sent.wrapping_add(1);
        segment(time, client, server, ACK, sent, answered.wrapping_add(1), 0);
        for _ in 0..50 {
            let (burst, delay) = (1 + below(4), 20 + below(30));
            for at in 0..burst {
                let payload = 1 + below(1400) as usize;
                segment(time + 1 + at, client, server, ACK, sent, answered.wrapping_add(1), payload);
                sent = sent.wrapping_add(payload as u32);
                segment(time + 1 + at + delay, server, client, ACK, answered.wrapping_add(1), sent, 0);
            }
            time += burst + delay + 2;
        }
    }
    packets.sort_by_key(|(time, _)| *time);
    packets
}
