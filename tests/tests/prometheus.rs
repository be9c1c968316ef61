//! A live weir in Prometheus: numbers that add up, and a dashboard and alerts whose every query has an answer.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;
use weir_tests::appliance::Weir;
use weir_tests::clients::{UdpEcho, ping, ping_all};
use weir_tests::lab::Lab;
use weir_tests::namespace::succeed;
use weir_tests::readers::{Guest, exporter, scrape};
use weir_tests::scenario::unless_skipped;

/// How long anything may take that is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// The sum of all series of a metric that have this in their labels.
fn sum(text: &str, metric: &str, labels: &str) -> u64 {
    let series =
        text.lines().filter(|line| line.starts_with(&format!("{metric}{{")) && line.contains(labels));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// A Prometheus server that scrapes this address five times a second.
fn server(target: SocketAddr, folder: &Path) -> Result<(Guest, String)> {
    let config = folder.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n\
         scrape_configs: [{{job_name: weir, static_configs: [{{targets: ['{target}']}}]}}]\n"
    );
    fs::write(&config, text)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let process = Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("prometheus").display()))
        .arg(format!("--web.listen-address={address}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(folder.join("prometheus.log"))?)
        .spawn()?;
    Ok((Guest(process), format!("http://{address}")))
}

/// The series that a query gives: an error if the server does not understand it.
fn query(server: &str, query: &str) -> Result<Vec<Value>> {
    let output = succeed(Command::new("promtool").args(["query", "instant", "--format=json", server, query]))
        .with_context(|| query.to_owned())?;
    match serde_json::from_str(&output)? {
        Value::Array(series) => Ok(series),
        other => bail!("{query}: {other}"),
    }
}

fn documentation(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path)
}

/// All queries of the dashboard, with its variables as Grafana fills them in.
fn dashboard() -> Result<Vec<String>> {
    fn collect(value: &Value, queries: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                queries.extend(fields.get("expr").and_then(Value::as_str).map(str::to_owned));
                fields.values().for_each(|value| collect(value, queries));
            }
            Value::Array(values) => values.iter().for_each(|value| collect(value, queries)),
            _ => {}
        }
    }
    let text = fs::read_to_string(documentation("grafana/weir.json"))?;
    let mut queries = Vec::new();
    collect(&serde_json::from_str(&text)?, &mut queries);
    ensure!(queries.len() > 20, "the dashboard has {} queries", queries.len());
    let fill = |query: String| {
        let query =
            query.replace("$__rate_interval", "1m").replace("$instance", ".*").replace("$interface", ".*");
        if query.contains('$') { bail!("no value for a variable of {query}") } else { Ok(query) }
    };
    queries.into_iter().map(fill).collect()
}

/// The metrics that a text names.
fn metrics(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("weir_")).map(str::to_owned).collect()
}

fn has_prometheus() -> bool {
    ["prometheus", "promtool"].iter().all(|program| {
        let output = Command::new(program).arg("--version").output();
        output.is_ok_and(|output| output.status.success())
    })
}

#[test]
fn a_live_weir_in_prometheus() {
    unless_skipped(|| {
        if !has_prometheus() {
            eprintln!("SKIP a_live_weir_in_prometheus: there is no prometheus (Debian's package prometheus)");
            return Ok(());
        }
        let lab = Lab::new(2)?;
        let weir = Weir::start(&lab, 2)?;
        let (_exporter, address) = exporter(&weir, &[])?;
        let (_server, url) = server(address, &weir.folder())?;
        let echo = UdpEcho::start(lab.right())?;
        for length in 1..50 {
            echo.ask(lab.left(), length * 20)?;
        }
        ping_all(lab.left(), lab.right().address, 5)?;
        // drops with a reason: their time to live ends at the router
        ping(lab.left(), &format!("-c 2 -i 0.1 -W 1 -t 1 {}", lab.right().address))?;

        // What weir's own reader counts when all is quiet is what is exported, port by port.
        let begun = Instant::now();
        loop {
            let before = weir.counters().columns("/if/rx")?;
            let text = scrape(address)?;
            let after = weir.counters().columns("/if/rx")?;
            if before == after {
                for (column, host) in lab.hosts.iter().enumerate() {
                    let port = format!("interface=\"{}\"", host.port);
                    ensure!(sum(&text, "weir_if_rx_packets_total", &port) == after[column].packets, "{text}");
                    ensure!(sum(&text, "weir_if_rx_bytes_total", &port) == after[column].bytes, "{text}");
                    ensure!(after[column].packets > 50);
                }
                ensure!(sum(&text, "weir_node_errors_packets_total", "") > 0, "no drop:\n{text}");
                break;
            }
            ensure!(begun.elapsed() < PATIENCE, "it is never quiet");
        }

        // Everything that the dashboard and the alerts ask for is there.
        let text = scrape(address)?;
        let typed = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        let exported: BTreeSet<String> = typed.map(str::to_owned).collect();
        let alerts = fs::read_to_string(documentation("prometheus/alerts.yml"))?;
        let asked = metrics(&(dashboard()?.join(" ") + &alerts));
        ensure!(asked.len() > 20, "{asked:?}");
        let missing: Vec<_> = asked.difference(&exported).collect();
        ensure!(missing.is_empty(), "nobody exports {missing:?}:\n{text}");

        // A query that compares may well find nothing; the others must have an answer.
        let begun = Instant::now();
        while query(&url, "rate(weir_if_rx_packets_total[1m])").map_or(true, |series| series.is_empty()) {
            ensure!(begun.elapsed() < PATIENCE, "the server has no rates");
            thread::sleep(Duration::from_millis(200));
        }
        for expression in dashboard()? {
            let series = query(&url, &expression)?;
            let compares = expression.contains(" > ") || expression.contains("series_omitted");
            ensure!(compares || !series.is_empty(), "no answer to {expression}");
        }
        let port = format!("sum(weir_if_rx_packets_total{{interface=\"{}\"}})", lab.left().port);
        let value = query(&url, &port)?;
        let expected = weir.counters().columns("/if/rx")?[0].packets.to_string();
        ensure!(value[0]["value"][1].as_str() == Some(&expected), "{value:?} instead of {expected}");

        for naming in ["weir", "vpp"] {
            let (_exporter, address) = exporter(&weir, &["--naming", naming])?;
            let mut check = Command::new("promtool");
            let mut check = check
                .args(["check", "metrics"])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()?;
            check.stdin.take().context("no stdin")?.write_all(scrape(address)?.as_bytes())?;
            let output = check.wait_with_output()?;
            let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            ensure!(output.status.success() && said.is_empty(), "{naming}: {said}");
        }

        // Killed, it has no numbers; started again, it has new ones. The exporter goes on.
        weir.kill()?;
        let begun = Instant::now();
        while !scrape(address)?.contains("\nweir_up 0.0\n") {
            ensure!(begun.elapsed() < PATIENCE, "a dead weir is up");
            thread::sleep(Duration::from_millis(100));
        }
        ensure!(!scrape(address)?.contains("weir_if_rx"));
        let weir = Weir::start(&lab, 2)?;
        ensure!(scrape(address)?.contains("\nweir_up 1.0\n"));
        weir.stop()
    })
    .unwrap_or_else(|error| panic!("{error:?}"));
}
