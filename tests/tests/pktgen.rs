//! `weir-pktgen` from one end of a veth to the other: everything that is sent arrives, as it was asked for, whatever makes it; and what is wrong is said in words.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use weir_tests::appliance::Weir;
use weir_tests::lab::{Host, Lab, WIRE};
use weir_tests::measured::Measured;
use weir_tests::namespace::Namespace;
use weir_tests::programs::program;
use weir_tests::scenario::unless_skipped;

/// A receiver at work.
struct Receiving(Child);

impl Receiving {
    /// On a device of this namespace.
    fn start(namespace: &Namespace, device: &str) -> Result<Receiving> {
        let mut command = namespace.command(program("weir-pktgen")?);
        command.args(["receive", device, "--json"]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn()?;
        let mut said = BufReader::new(process.stderr.take().context("no standard error")?);
        let mut line = String::new();
        said.read_line(&mut line)?;
        ensure!(line.starts_with("counting"), "the receiver says {line}");
        Ok(Receiving(process))
    }

    /// Ends it as Ctrl-C does, and returns what it has counted.
    fn finish(self) -> Result<Value> {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).context("no process")?;
        kill_process(id, Signal::INT)?;
        let output = self.0.wait_with_output()?;
        ensure!(output.status.success(), "the receiver ended with {}", output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }
}

/// Sends by a host's wire to the router's end of it.
fn send(host: &Host, words: &str) -> Result<Command> {
    let mac = host.gateway_mac.map(|byte| format!("{byte:02x}")).join(":");
    let mut command = host.namespace.command(program("weir-pktgen")?);
    command.args(["send", WIRE, "--destination-mac", &mac]).args(words.split_whitespace());
    if !words.contains("--source ") {
        command.args(["--source", "10.0.1.2", "--destination", "10.0.2.0/24"]);
    }
    Ok(command)
}

fn number(document: &Value, pointer: &str) -> Result<u64> {
    document.pointer(pointer).and_then(Value::as_u64).with_context(|| format!("no {pointer} in {document}"))
}

#[test]
fn what_is_sent_arrives_as_it_was_asked_for() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::new(1)?;
        let six = "--source 2001:db8:1::2 --destination 2001:db8:2::/112";
        for (words, count, bytes, shortest, longest) in [
            (
                "--count 20000 --sizes imix --source-ports 1000-1999 --order random".to_owned(),
                20_000,
                None,
                60,
                1514,
            ),
            ("--count 12000 --sizes imix --rate 100k".to_owned(), 12_000, Some(12_000 * 4294 / 12), 60, 1514),
            ("--rate 50k --count 10000 --sizes 64 --vlan 5,6".to_owned(), 10_000, Some(600_000), 60, 60),
            (
                "--count 5000 --sizes 1518 --transport tcp --source-ports 1-100".to_owned(),
                5000,
                None,
                1514,
                1514,
            ),
            (format!("--count 5000 --sizes 128 --transport tcp {six}"), 5000, None, 124, 124),
            ("--count 30 --rate 200".to_owned(), 30, Some(1800), 60, 60),
        ] {
            for backend in ["live", "af-xdp"] {
                // a ring of the veth holds 256: faster than anybody looks, packets would be lost there
                let rate = if words.contains("--rate") || backend == "live" { "" } else { "--rate 100k" };
                let words = format!("{words} {rate} --backend {backend}");
                let receiver = Receiving::start(&lab.router, &lab.left().port)?;
                let output = send(lab.left(), &words)?.args(["--stream", "9", "--json"]).output()?;
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                ensure!(output.status.success(), "{words}: {said}");
                let sent: Value = serde_json::from_slice(&output.stdout)?;
                let received = receiver.finish()?;
                println!("{words}: {}", received["streams"][0]["latency"]);
                ensure!(number(&sent, "/packets")? == count, "{words}: {sent}");
                ensure!(bytes.is_none_or(|bytes| sent["bytes"] == bytes), "{words}: {sent}");
                ensure!(number(&sent, "/device_packets")? >= count, "{words}: {sent}");
                let stream = &received["streams"][0];
                for (key, expected) in [
                    ("/stream", 9),
                    ("/packets", count),
                    ("/bytes", number(&sent, "/bytes")?),
                    ("/lowest", 0),
                    ("/highest", count - 1),
                    ("/lost", 0),
                    ("/reordered", 0),
                    ("/duplicates", 0),
                    ("/shortest", shortest),
                    ("/longest", longest),
                ] {
                    ensure!(number(stream, key)? == expected, "{words}: {key} is not {expected}: {stream}");
                }
                ensure!(number(stream, "/latency/max")? < 1_000_000_000, "{words}: {stream}");
            }
        }
        Ok(())
    })
}

#[test]
fn what_cannot_be_sent_is_said_in_words() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::new(1)?;
        let fails = |mut command: Command, word: &str| -> Result<()> {
            let output = command.output()?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(!output.status.success() && said.contains(word), "{command:?} says: {said}");
            Ok(())
        };
        // nobody at the other end takes frames of XDP
        fails(send(lab.left(), "--count 10")?, "has sent none of them")?;
        fails(
            send(lab.left(), "--sizes 1519")?,
            "has an MTU of 1500, but the longest of these packets needs 1501",
        )?;
        fails(send(lab.left(), "--sizes 64 --transport tcp")?, "take 80 to")?;
        fails(send(lab.left(), "--flows 1000")?, "only 256 combinations")?;
        let receive = |device: &str| -> Result<Command> {
            let mut command = lab.router.command(program("weir-pktgen")?);
            command.args(["receive", device]);
            Ok(command)
        };
        fails(receive("nowhere")?, "there is no device nowhere")?;
        let first = Receiving::start(&lab.router, &lab.left().port)?;
        fails(receive(&lab.left().port)?, "another XDP program may be there")?;
        first.finish()?;
        lab.router.ip(&format!("link set {} down", lab.left().port))?;
        fails(receive(&lab.left().port)?, "is down")
    })
}

/// Segments of TCP that go both ways, made apart from each other, are an exchange for who listens in between.
#[test]
fn both_directions_of_tcp_have_the_round_trip_time_that_was_asked_for() -> Result<()> {
    unless_skipped(|| {
        let lab = Lab::new(1)?;
        let (left, right) = (lab.left(), lab.right());
        for (host, device) in [(left, &left.port), (right, &right.port)] {
            // nobody answers for the hosts: they have only receivers
            let mac = host.mac.map(|byte| format!("{byte:02x}")).join(":");
            lab.router
                .ip(&format!("neighbour replace {} lladdr {mac} dev {device} nud permanent", host.address))?;
        }
        let weir = Weir::measuring(&lab, 1, "10.0.1.0/24 left\n10.0.2.0/24 right\n")?;
        let receivers = [left, right].map(|host| Receiving::start(&host.namespace, WIRE));
        let words = "--transport tcp --sizes 200 --rate 5k --count 10000 --echo-delay 30ms --flows 2";
        let start = |from: &Host, to: &Host, ports: &str| -> Result<Child> {
            let addresses = format!("--source {} --destination {}", from.address, to.address);
            Ok(send(from, &format!("{words} {ports} {addresses}"))?.stdout(Stdio::null()).spawn()?)
        };
        let mut senders = [
            start(left, right, "--source-ports 5000-5001 --destination-ports 80")?,
            start(right, left, "--source-ports 80 --destination-ports 5000-5001")?,
        ];
        for sender in &mut senders {
            let status = sender.wait()?;
            ensure!(status.success(), "a sender ended with {status}");
        }
        for receiver in receivers {
            let received = receiver?.finish()?;
            ensure!(number(&received, "/streams/0/packets")? == 10_000, "{received}");
            ensure!(number(&received, "/streams/0/lost")? == 0, "{received}");
        }
        let said = Measured::of(&weir)?;
        for (side, customer) in [("lan", "right"), ("wan", "left")] {
            let times = said.distribution(&format!("/rtt/customers/{side}"), "/customers/names", customer)?;
            let p50 = times.quantile(0.5).context("no samples")?;
            // ticks of a millisecond, and bins
            ensure!(
                times.count() > 20 && (27_000.0..34_000.0).contains(&p50),
                "{customer}: {} samples, {p50} µs",
                times.count()
            );
        }
        weir.stop()
    })
}
