//! What programs that are not ours make of it: promtool and a Prometheus server (Debian's package `prometheus`), and the
//! strict OpenMetrics parser of Python's `prometheus_client`.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::exporter::{self, CLASSIC, Exporter, OPENMETRICS};
use crate::sample::Sample;

/// The version that the tests were written against.
const PACKAGE: &str = "prometheus_client==0.26.0";

/// How long a server may take until it has scraped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether the program is there; says that the test is skipped if not.
fn is_there(program: &str, test: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        eprintln!("SKIP {test}: there is no {program} (Debian's package prometheus)");
    }
    found
}

fn with_input(command: &mut Command, input: &str) -> Output {
    let mut process =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    process.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    process.wait_with_output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

pub fn documentation(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(path)
}

#[test]
fn promtool_has_nothing_to_say() {
    if !is_there("promtool", "promtool_has_nothing_to_say") {
        return;
    }
    let weir = Sample::start();
    for naming in ["weir", "vpp"] {
        let exporter = Exporter::start(&weir.socket, &["--naming", naming]);
        let output =
            with_input(Command::new("promtool").args(["check", "metrics"]), &exporter.metrics(CLASSIC));
        assert!(output.status.success() && said(&output).is_empty(), "{naming}: {}", said(&output));
    }
}

#[test]
fn rules_and_configuration_are_sound() {
    if !is_there("promtool", "rules_and_configuration_are_sound") {
        return;
    }
    for (words, file) in [
        (["check", "rules"], documentation("prometheus/alerts.yml")),
        (["check", "rules"], documentation("prometheus/rtt-alerts.yml")),
        (["test", "rules"], documentation("prometheus/rtt-alerts-test.yml")),
        (["check", "config"], documentation("prometheus/prometheus.yml")),
        (["test", "rules"], documentation("prometheus/alerts-test.yml")),
    ] {
        let output = Command::new("promtool").args(words).arg(&file).output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", said(&output));
        assert!(!said(&output).contains("FAILED"), "{}", said(&output));
    }
}

/// Metric names of the strict parser's families, as `name type count`.
const PARSE: &str = "\
import sys
from prometheus_client.openmetrics.parser import text_string_to_metric_families
for family in text_string_to_metric_families(sys.stdin.read()):
    print(family.name, family.type, len(family.samples))
";

#[test]
fn a_strict_parser_takes_it() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => return eprintln!("SKIP a_strict_parser_takes_it: {reason}"),
    };
    let weir = Sample::start();
    for (naming, expected) in [
        (
            "weir",
            [
                "weir_if_rx_packets counter 8",
                "weir_rtt_all_seconds histogram 24",
                "weir_other_answer unknown 1",
            ],
        ),
        ("vpp", ["interfaces_rx_bytes unknown 12", "_latency histogram 18", "buffer_pools_used gauge 1"]),
    ] {
        let exporter = Exporter::start(&weir.socket, &["--naming", naming]);
        let text = exporter.metrics(OPENMETRICS);
        let output = with_input(Command::new(&python).args(["-c", PARSE]), &text);
        let said = said(&output);
        assert!(output.status.success(), "{naming}: {said}\n{text}");
        for line in expected {
            assert!(said.lines().any(|family| family == line), "{line} in\n{said}");
        }
    }
}

/// A Python with the parser, in an environment under the build directory; made by the first call.
fn python() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let lock = fs::File::create(folder.join("prometheus_client.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let home = folder.join("prometheus_client");
    let python = home.join("bin/python");
    let imports =
        || Command::new(&python).args(["-c", "import prometheus_client.openmetrics.parser"]).output();
    if !imports().is_ok_and(|output| output.status.success()) {
        let mut install = Command::new(&python);
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]);
        for command in [Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home), &mut install] {
            let output = command.output().map_err(|error| error.to_string())?;
            if !output.status.success() {
                return Err(said(&output).lines().last().unwrap_or("it failed without a word").to_owned());
            }
        }
    }
    Ok(python)
}

/// A Prometheus that scrapes one target ten times a second.
struct Prometheus {
    process: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    fn start(target: &str) -> Prometheus {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{scrape_interval: 100ms, scrape_timeout: 100ms}}\n\
             scrape_configs: [{{job_name: weir, static_configs: [{{targets: ['{target}']}}]}}]\n"
        );
        fs::write(&config, text).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Prometheus { process, port, _folder: folder }
    }

    /// What its API answers, once it does.
    fn api(&self, path: &str) -> Option<Value> {
        let address = ([127, 0, 0, 1], self.port).into();
        let answer =
            exporter::request(address, "GET", &format!("/api/v1/{path}"), "application/json").ok()?;
        serde_json::from_str(&answer.body).ok()
    }

    /// The value of the one series that a query gives.
    fn query(&self, query: &str) -> Option<String> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.api(&format!("query?query={encoded}"))?;
        let [series] = answer["data"]["result"].as_array()?.as_slice() else { return None };
        Some(series["value"][1].as_str()?.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn eventually(what: &str, found: impl Fn() -> bool) {
    let begun = Instant::now();
    while !found() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_prometheus_server_has_the_numbers_that_dump_shows() {
    if !is_there("prometheus", "a_prometheus_server_has_the_numbers_that_dump_shows") {
        return;
    }
    let mut weir = Sample::start();
    let exporter = Exporter::start(&weir.socket, &[]);
    let server = Prometheus::start(&exporter.address.to_string());
    eventually("a scrape", || server.query("up").is_some_and(|up| up == "1"));
    let targets = server.api("targets?state=active").unwrap();
    let target = &targets["data"]["activeTargets"][0];
    assert_eq!((target["health"].as_str(), target["lastError"].as_str()), (Some("up"), Some("")), "{target}");

    // 2^53 is the largest count that is exact in a Prometheus.
    weir.rx.add(1, 12_345, (1 << 53) - 2000);
    let dumped = |field: &str| {
        let output = exporter::weirstat(&weir.socket, ["--json", "dump", "^/if/rx$"]).output().unwrap();
        let lines = String::from_utf8(output.stdout).unwrap();
        let cell = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap())
            .find(|cell| cell["index"] == 1 && cell["thread"] == 1);
        cell.unwrap()[field].to_string()
    };
    assert_eq!((dumped("packets"), dumped("bytes")), ("12365".to_owned(), (1_u64 << 53).to_string()));
    for field in ["packets", "bytes"] {
        let query = format!(r#"weir_if_rx_{field}_total{{interface="eth \"1\"\\n",worker="0"}}"#);
        eventually(&query, || server.query(&query) == Some(dumped(field)));
    }
    // It knows types, help and units, and makes quantiles of the histograms.
    let metadata = server.api("metadata?metric=weir_if_rx_packets_total").unwrap();
    let metadata = metadata["data"]["weir_if_rx_packets_total"].clone();
    let metadata = if metadata.is_null() {
        server.api("metadata?metric=weir_if_rx_packets").unwrap()["data"]["weir_if_rx_packets"].clone()
    } else {
        metadata
    };
    assert_eq!(metadata[0]["type"], "counter");
    assert_eq!(metadata[0]["help"], "received (/if/rx)");
    let quantile = r#"histogram_quantile(0.5, weir_rtt_all_seconds_bucket{interface="eth0"})"#;
    assert_eq!(server.query(quantile).unwrap(), "0.0015");
    drop(weir);
    eventually("weir_up 0", || server.query("weir_up").is_some_and(|up| up == "0"));
    assert_eq!(
        server.query(r#"weir_if_rx_packets_total{interface="eth0",worker="0"}"#),
        None,
        "a dead weir's numbers are gone"
    );
}
