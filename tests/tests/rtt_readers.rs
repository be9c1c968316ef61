//! Readers of round trips on a weir that measures: tables, files, metrics, screens, followers and captures tell what the
//! segment tells.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use weir_stats::Distribution;
use weir_tests::appliance::Weir;
use weir_tests::capture::{self, Capture};
use weir_tests::clients::{Stream, ping, ping_all, tcp_ping_pong};
use weir_tests::delay::DelayLine;
use weir_tests::lab::{Lab, WIRE};
use weir_tests::measured::Measured;
use weir_tests::namespace::succeed;
use weir_tests::programs::program;
use weir_tests::readers::{Guest, exporter, mounted, objects, output, scrape, until, weirstat};
use weir_tests::scenario::{Forwarder, PLAIN, Setting, run, unless_skipped};
use weir_tests::terminal::Terminal;

/// The two hosts.
const CUSTOMERS: &str = "10.0.1.0/24 left\n10.0.2.0/24 right\n";
const NAMES: [&str; 2] = ["left", "right"];
const MEASURES: [(&str, &str, &str); 4] = [
    ("rtt", "lan", "/rtt/customers/lan"),
    ("rtt", "wan", "/rtt/customers/wan"),
    ("delay", "down", "/delay/customers/down"),
    ("delay", "up", "/delay/customers/up"),
];
/// Until what has passed is counted.
const SETTLED: Duration = Duration::from_millis(400);

fn traffic(lab: &Lab) -> Result<()> {
    // There is one sample for each tick of TCP's timestamps, a millisecond; a turn takes a tenth of that.
    tcp_ping_pong(lab.left(), lab.right(), 3000)?;
    ping_all(lab.right(), lab.left().address, 5)?;
    thread::sleep(SETTLED);
    Ok(())
}

/// What the segment has: by customer and path.
fn truth(weir: &Weir) -> Result<BTreeMap<(&'static str, &'static str), Distribution>> {
    let measured = Measured::of(weir)?;
    let mut all = BTreeMap::new();
    for name in NAMES {
        for (_, _, path) in MEASURES {
            let distribution = measured.distribution(path, "/customers/names", name)?;
            ensure!(distribution.count() >= 60, "{path} of {name}: {}", distribution.count());
            all.insert((name, path), distribution);
        }
    }
    Ok(all)
}

#[test]
fn tables_screens_files_and_metrics_tell_what_the_segment_tells() {
    run(Forwarder::Weir, Setting { customers: Some(CUSTOMERS), ..PLAIN }, |lab, weir| {
        let weir = weir.context("weir runs")?;
        traffic(lab)?;
        let truth = truth(weir)?;
        table(weir)?;
        json(weir, &truth)?;
        screen(weir)?;
        files(weir, &truth)?;
        metrics(weir, &truth)
    });
}

/// The words of the table's line of a customer and measure, behind its name.
fn line(weir: &Weir, name: &str, kind: &str, measure: &str) -> Result<Vec<String>> {
    let text = output(weir, &["rtt"])?;
    let words = text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let mut lines = words.filter(|words| words.get(..3).is_some_and(|first| first == [name, kind, measure]));
    Ok(lines.next().with_context(|| format!("no {name} {kind} {measure}:\n{text}"))?.split_off(3))
}

fn table(weir: &Weir) -> Result<()> {
    let measured = Measured::of(weir)?;
    for name in NAMES {
        for (kind, measure, path) in MEASURES {
            let (line, truth) =
                (line(weir, name, kind, measure)?, measured.distribution(path, "/customers/names", name)?);
            // count min p50 p90 p99 max packets bytes resent
            ensure!(line.len() == 9 && line[0] == truth.count().to_string(), "{name} {measure}: {line:?}");
            let traffic = match kind {
                "rtt" => ["-".to_owned(), "-".to_owned()],
                _ => {
                    let pair = measured.traffic(&format!("/customers/{measure}"), name)?;
                    ensure!(pair.packets == truth.count(), "each packet waits: {pair:?}");
                    [pair.packets.to_string(), pair.bytes.to_string()]
                }
            };
            ensure!(line[6..8] == traffic, "{name} {measure}: {line:?} and not {traffic:?}");
        }
    }
    Ok(())
}

fn json(weir: &Weir, truth: &BTreeMap<(&str, &str), Distribution>) -> Result<()> {
    let customers = objects(&output(weir, &["rtt", "--json"])?)?;
    ensure!(customers.len() == 2, "{customers:?}");
    for customer in &customers {
        let name = customer["customer"].as_str().context("a name")?;
        for (kind, measure, path) in MEASURES {
            let (said, truth) = (&customer[kind][measure], &truth[&(name, path)]);
            ensure!(said["count"].as_u64() == Some(truth.count()), "{name} {measure}: {said}");
            let mean = truth.sum().context("a sum")? as f64 / truth.count() as f64;
            for (key, truth) in [
                ("mean_us", Some(mean)),
                ("p50_us", truth.quantile(0.5)),
                ("p90_us", truth.quantile(0.9)),
                ("p99_us", truth.quantile(0.99)),
            ] {
                let (said, truth) = (said[key].as_f64().context("a time")?, truth.context("samples")?);
                // it is printed in nanoseconds
                ensure!((said - truth).abs() < 0.001, "{name} {measure} {key}: {said} and not {truth}");
            }
        }
    }
    Ok(())
}

/// The view of customers in `weirstat top`, since weir's start.
fn screen(weir: &Weir) -> Result<()> {
    let measured = Measured::of(weir)?;
    let mut terminal = Terminal::start(weirstat(weir, &["top", "--interval", "0.2"])?)?;
    terminal.wait_until("tab", |text| text.contains("5 Customers"))?;
    terminal.press("5t")?;
    terminal.wait_until("totals", |text| text.contains("lan p50") && text.contains("down bytes"))?;
    for name in NAMES {
        let times =
            [line(weir, name, "rtt", "lan")?.swap_remove(2), line(weir, name, "rtt", "wan")?.swap_remove(4)];
        let bytes = measured.traffic("/customers/down", name)?.bytes.to_string();
        let shown = |text: &str| {
            let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let mut lines = words.filter(|words| words.first() == Some(&name));
            lines.any(|words| times.iter().chain([&bytes]).all(|word| words.contains(&word.as_str())))
        };
        terminal.wait_until(&format!("{name} with {times:?} and {bytes}"), shown)?;
    }
    terminal.press("q")
}

fn files(weir: &Weir, truth: &BTreeMap<(&str, &str), Distribution>) -> Result<()> {
    let measured = Measured::of(weir)?;
    mounted(weir, |mount| {
        let number = |path: &str| -> Result<f64> {
            Ok(fs::read_to_string(mount.join(path)).with_context(|| path.to_owned())?.trim_end().parse()?)
        };
        for ((name, path), truth) in truth {
            let folder = format!("{}/by-customer/{name}", &path[1..]);
            ensure!(number(&format!("{folder}/count"))? == truth.count() as f64, "{folder}/count");
            let (said, p50) = (number(&format!("{folder}/p50"))?, truth.quantile(0.5).context("samples")?);
            ensure!((said - p50).abs() <= 1.0, "{folder}/p50 says {said} and not {p50}");
        }
        for name in NAMES {
            let pair = measured.traffic("/customers/up", name)?;
            let folder = format!("customers/up/by-customer/{name}");
            ensure!(number(&format!("{folder}/packets"))? == pair.packets as f64, "{folder}");
            ensure!(number(&format!("{folder}/bytes"))? == pair.bytes as f64, "{folder}");
        }
        let samples = measured.counts("/rtt/samples")?;
        for method in ["timestamp", "sequence", "echo", "handshake"] {
            let truth = samples[measured.column("/rtt/methods", method)?] as f64;
            ensure!(number(&format!("rtt/samples/by-method/{method}"))? == truth, "{method}");
        }
        Ok(())
    })
}

/// A sample of Prometheus' text: its value.
fn value(text: &str, metric: &str, labels: &[String]) -> Result<f64> {
    let mut lines = text.lines().filter(|line| {
        line.starts_with(&format!("{metric}{{")) && labels.iter().all(|label| line.contains(label))
    });
    let line = lines.next().with_context(|| format!("no {metric} with {labels:?}:\n{text}"))?;
    ensure!(lines.next().is_none(), "{metric} with {labels:?} is there twice");
    Ok(line.rsplit_once(' ').context("a value")?.1.parse()?)
}

fn metrics(weir: &Weir, truth: &BTreeMap<(&str, &str), Distribution>) -> Result<()> {
    let (_exporter, address) = exporter(weir, &[])?;
    let text = scrape(address)?;
    for name in NAMES {
        for (side, path) in [("lan", "/rtt/customers/lan"), ("wan", "/rtt/customers/wan")] {
            let truth = &truth[&(name, path)];
            let labels = [format!("side=\"{side}\""), format!("customer=\"{name}\"")];
            let metric = "weir_rtt_customers_seconds";
            ensure!(value(&text, &format!("{metric}_count"), &labels)? == truth.count() as f64);
            let (said, sum) =
                (value(&text, &format!("{metric}_sum"), &labels)?, truth.sum().context("a sum")?);
            ensure!(
                (said * 1e6 - sum as f64).abs() < 0.5,
                "{name} {side}: the sum is {said} and not {sum} µs"
            );
            let mut so_far = 0;
            for (bound, count) in truth.bins() {
                so_far += count;
                let le = bound.map_or("+Inf".to_owned(), |bound| (bound as f64 / 1e6).to_string());
                let labels = [&labels[..], &[format!("le=\"{le}\"")]].concat();
                ensure!(value(&text, &format!("{metric}_bucket"), &labels)? == so_far as f64, "{labels:?}");
            }
        }
    }
    // And so is all that the dashboard and the alerts ask for.
    let exported: BTreeSet<&str> = text.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    for file in ["grafana/weir-rtt.json", "prometheus/rtt-alerts.yml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(file);
        let asking = fs::read_to_string(path)?;
        let words = asking.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let asked: BTreeSet<&str> = words.filter(|word| word.starts_with("weir_")).collect();
        let missing: Vec<_> = asked.difference(&exported).collect();
        ensure!(asked.len() > 3 && missing.is_empty(), "{file}: nobody exports {missing:?}");
    }
    Ok(())
}

/// A reader of samples that writes into files.
struct Follower {
    guest: Guest,
    out: PathBuf,
    complaints: PathBuf,
}

impl Follower {
    fn start(weir: &Weir, format: &str, name: &str) -> Result<Follower> {
        let [out, complaints] = ["out", "err"].map(|what| weir.folder().join(format!("{name}.{what}")));
        let mut command = weirstat(weir, &["rtt", "--follow", "--format", format])?;
        let guest = Guest(command.stdout(File::create(&out)?).stderr(File::create(&complaints)?).spawn()?);
        Ok(Follower { guest, out, complaints })
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    fn lines(&self) -> usize {
        self.text().lines().count()
    }

    fn complaints(&self) -> String {
        fs::read_to_string(&self.complaints).unwrap_or_default()
    }
}

fn samples(weir: &Weir) -> Result<u64> {
    Ok(Measured::of(weir)?.counts("/rtt/samples")?.iter().sum())
}

/// Pings until each follower has had something: a follower begins with what comes after it.
fn all_follow(lab: &Lab, followers: &[&Follower]) -> Result<()> {
    until(
        || {
            ping_all(lab.left(), lab.right().address, 1).is_ok()
                && followers.iter().all(|follower| follower.lines() > 0)
        },
        "the first sample",
    )?;
    thread::sleep(SETTLED);
    Ok(())
}

#[test]
fn followers_tell_every_sample() {
    run(Forwarder::Weir, Setting { customers: Some(CUSTOMERS), ..PLAIN }, |lab, weir| {
        let weir = weir.context("weir runs")?;
        let json = Follower::start(weir, "json", "json")?;
        let ppviz = Follower::start(weir, "ppviz", "ppviz")?;
        all_follow(lab, &[&json, &ppviz])?;
        let (before, lines) = (samples(weir)?, [json.lines(), ppviz.lines()]);
        traffic(lab)?;
        let new = samples(weir)? - before;
        ensure!(new >= 60, "{new} samples");
        let arrived = || {
            [&json, &ppviz]
                .iter()
                .zip(lines)
                .all(|(follower, lines)| follower.lines() as u64 == lines as u64 + new)
        };
        until(arrived, "the last sample").with_context(|| {
            format!("{new} samples since {lines:?} lines, then {} and {}", json.lines(), ppviz.lines())
        })?;
        // The same samples, in the same order.
        let objects = objects(&json.text())?;
        let objects = &objects[lines[0]..];
        let text = ppviz.text();
        let (mut lan, mut wan) = (0, 0);
        for (object, line) in objects.iter().zip(text.lines().skip(lines[1])) {
            let nanoseconds = |key: &str| {
                let time = object[key].as_u64().context("a time")?;
                Ok::<_, anyhow::Error>(format!("{}.{:09}", time / 1_000_000_000, time % 1_000_000_000))
            };
            let expected = format!(
                "{} {} {} {}:{}+{}:{}",
                nanoseconds("timestamp")?,
                nanoseconds("rtt")?,
                nanoseconds("min_rtt")?,
                object["src_ip"].as_str().context("an address")?,
                object["src_port"],
                object["dest_ip"].as_str().context("an address")?,
                object["dest_port"],
            );
            ensure!(line == expected, "{line} and not {expected}");
            let of = |key: &str, name: &str| usize::from(object[key] == name);
            lan += of("customer_lan", "right");
            wan += of("customer_wan", "right");
            let port = if object["customer_lan"] == "right" { "to-right" } else { "to-left" };
            ensure!(object["port"] == port, "{object}");
        }
        ensure!(lan > 0 && wan > 0 && lan + wan == objects.len(), "{lan} lan, {wan} wan");
        ensure!(json.complaints().is_empty() && ppviz.complaints().is_empty(), "{}", json.complaints());
        Ok(())
    });
}

/// As many samples as a worker's ring keeps: `EVENTS_KEPT` in `graph-nodes/src/round_trips.rs`, and what fills its last cache line.
const KEPT: u64 = (1 << 14) + 15;

#[test]
fn a_follower_that_was_stopped_is_told_what_it_missed() {
    run(Forwarder::Weir, Setting { customers: Some(CUSTOMERS), ..PLAIN }, |lab, weir| {
        let weir = weir.context("weir runs")?;
        let stopped = Follower::start(weir, "json", "stopped")?;
        let awake = Follower::start(weir, "json", "awake")?;
        all_follow(lab, &[&stopped, &awake])?;
        let (before, lines) = (samples(weir)?, [stopped.lines(), awake.lines()]);
        stopped.guest.signal(Signal::STOP)?;
        let stream = Stream::start(lab.left(), lab.right())?;
        while samples(weir)? < before + KEPT * 3 / 2 {
            let sent = weir.counters().received()?;
            // as fast as answers come
            ping(lab.left(), &format!("-q -f -c 2000 {}", lab.right().address))?;
            ensure!(weir.counters().received()? >= sent + 2000, "packets do not wait for readers");
        }
        let arrived = stream.arrived();
        until(|| stream.arrived() > arrived, "the stream's next bytes")?;
        drop(stream);
        thread::sleep(SETTLED);
        let new = samples(weir)? - before;
        ensure!(stopped.lines() == lines[0], "it was not stopped");
        stopped.guest.signal(Signal::CONT)?;

        let told = || {
            let lines = objects(&stopped.text()).unwrap_or_default();
            let missed: u64 = lines.iter().filter_map(|line| line["missed"].as_u64()).sum();
            (missed, lines.iter().filter(|line| line["rtt"].is_u64()).count() as u64)
        };
        until(|| told().0 + told().1 == lines[0] as u64 + new, "the sum of what it had and what it missed")
            .with_context(|| format!("{:?} of {new}", told()))?;
        let (missed, _) = told();
        ensure!(missed >= new - KEPT, "{missed} of {new} were missed, and {KEPT} are kept");
        ensure!(
            stopped.complaints().contains(&format!("missed {missed} samples")),
            "{}",
            stopped.complaints()
        );

        // The other one is told everything, whoever stands still beside it.
        until(|| awake.lines() as u64 == lines[1] as u64 + new, "everything")
            .with_context(|| format!("{} lines, {new} samples; {}", awake.lines(), awake.complaints()))?;
        ensure!(awake.complaints().is_empty(), "{}", awake.complaints());
        Ok(())
    });
}

/// Each way.
const DELAY: Duration = Duration::from_millis(5);
/// What a median of the capture may differ by from weir's, in microseconds: between the two lies a veth, there and back, on which a packet waits for a
/// worker to wake up. That takes some 10 µs on an idle machine, and a quarter of a millisecond was seen on a busy one.
const NEAR: f64 = 1000.0;

/// The same packets, measured where they pass and afterwards.
#[test]
fn a_capture_beside_weir_tells_the_same() -> Result<()> {
    unless_skipped(|| {
        if let Some(reason) = capture::missing() {
            eprintln!("SKIP a_capture_beside_weir_tells_the_same: {reason}");
            return Ok(());
        }
        let mut lab = Lab::new(1)?;
        let line = DelayLine::insert(&mut lab.hosts[1], DELAY)?;
        let weir = Weir::measuring(&lab, 1, CUSTOMERS)?;
        // the other end of weir's wire
        let capture = Capture::start(&line.namespace, WIRE)?;
        tcp_ping_pong(lab.left(), lab.right(), 150)?;
        ping_all(lab.left(), lab.right().address, 10)?;
        let file = capture.finish()?;

        let replayed = replay(&weir, &file, &["--format", "json"])?;
        let replayed = objects(&replayed)?;
        let table = replay(&weir, &file, &[])?;
        let measured = Measured::of(&weir)?;
        for (side, key) in [("lan", "customer_lan"), ("wan", "customer_wan")] {
            let live =
                measured.distribution(&format!("/rtt/customers/{side}"), "/customers/names", "right")?;
            let mut times: Vec<f64> = replayed
                .iter()
                .filter(|sample| sample[key] == "right")
                .filter_map(|sample| Some(sample["rtt"].as_u64()? as f64 / 1000.0))
                .collect();
            times.sort_by(f64::total_cmp);
            let (median, p50) = (times[times.len() / 2], live.quantile(0.5).context("samples")?);
            println!(
                "right {side}: live {} samples, p50 {p50:.0} µs; replayed {}, {median:.0} µs",
                live.count(),
                times.len()
            );
            // One question at a time: no two packets pass each other between weir and the capture.
            ensure!(times.len() as u64 == live.count() && times.len() >= 140, "{side}: {}", times.len());
            ensure!((median - p50).abs() <= NEAR, "{side}: {median} µs, and live {p50} µs");
            let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
            let mut row = row.filter(|words| words.get(..2).is_some_and(|first| first == ["right", side]));
            let count = row.next().context("a row")?[2].to_owned();
            ensure!(count == times.len().to_string(), "the table: {table}");
        }
        let all = measured.counts("/rtt/samples")?;
        for (method, count) in measured.names("/rtt/methods")?.iter().zip(all) {
            let said = replayed.iter().filter(|sample| sample["method"] == method.as_str()).count() as u64;
            ensure!(said == count, "by {method}: {said} replayed, {count} live");
        }
        weir.stop()
    })
}

fn replay(weir: &Weir, file: &Path, words: &[&str]) -> Result<String> {
    let mut command = Command::new(program("weir")?);
    command.args(["replay", "--interval", "0", "--prefixes"]).arg(weir.folder().join("customers.txt"));
    succeed(command.args(words).arg(file))
}
