//! What weir measures of customers, in Prometheus: histograms with sides and directions, a dashboard and alerts.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use weir_stats::{Bounds, Options, Segment, Server};

use crate::exporter::{CLASSIC, Exporter, sample};
use crate::measured::{DESCRIPTIONS, bounds};
use crate::outside::documentation;

const CUSTOMERS: usize = 100;

/// Each customer has counted something in each place.
fn segment() -> Segment {
    let mut segment = Segment::create(Options { size: 64 << 20, workers: 2, ..Options::default() }).unwrap();
    segment.describe(&DESCRIPTIONS).unwrap();
    let names = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let customers: Vec<String> = (0..CUSTOMERS).map(|number| format!("c{number}")).collect();
    let (bins, width) = (Bounds::names(&bounds()), bounds().len() + 2);
    segment
        .register(|batch| {
            for (path, texts) in [
                ("/rtt/bins", bins),
                ("/customers/names", customers),
                ("/if/names", names(&["eth1", "eth2"])),
                ("/rtt/methods", names(&["timestamp", "sequence", "echo", "handshake"])),
                ("/rtt/flow-states", names(&["active", "evicted"])),
            ] {
                let mut vector = batch.names(path, texts.len())?;
                texts.iter().enumerate().try_for_each(|(at, text)| batch.set_name(&mut vector, at, text))?;
            }
            for (path, objects) in [
                ("/rtt/customers/lan", CUSTOMERS),
                ("/rtt/customers/wan", CUSTOMERS),
                ("/delay/customers/down", CUSTOMERS),
                ("/delay/customers/up", CUSTOMERS),
                ("/rtt/ports", 2),
                ("/delay/ports", 2),
            ] {
                let mut matrix = batch.simple(path, objects * width, objects * width)?;
                for mut row in (1..3).filter_map(|row| matrix.take_row(row)) {
                    for object in 0..objects {
                        row.add(object * width + 51, 3); // up to 1535 us
                        row.add(object * width + width - 2, 1); // longer than all bounds
                        row.add(object * width + width - 1, 3 * 1500 + 20_000_000);
                    }
                }
            }
            for direction in ["down", "up"] {
                batch
                    .combined(&format!("/customers/{direction}"), CUSTOMERS, CUSTOMERS)?
                    .take_row(1)
                    .unwrap()
                    .add(0, 50, 7000);
                for what in ["retransmissions", "reordered"] {
                    let path = format!("/customers/{what}/{direction}");
                    batch.simple(&path, CUSTOMERS, CUSTOMERS)?.take_row(1).unwrap().add(0, 2);
                }
            }
            batch.simple("/rtt/samples", 4, 4)?.take_row(1).unwrap().add(2, 9);
            batch.simple("/rtt/flows", 2, 2)?.take_row(1).unwrap().add(0, 5);
            batch.ring("/rtt/events", 88, 15, b"{}")?;
            Ok(())
        })
        .unwrap();
    segment.beat();
    segment
}

#[test]
fn round_trips_are_histograms_by_side_and_customer() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let mut segment = segment();
    let _server = Server::start(&socket, None, &segment).unwrap();
    let exporter = Exporter::start(&socket, &["--max-series", "100000"]);
    segment.beat();
    let text = exporter.metrics(CLASSIC);
    for (series, value) in [
        (r#"weir_rtt_customers_seconds_bucket{le="0.001407",side="lan",customer="c7"}"#, "0"),
        (r#"weir_rtt_customers_seconds_bucket{le="0.001535",side="lan",customer="c7"}"#, "6"),
        (r#"weir_rtt_customers_seconds_bucket{le="+Inf",side="wan",customer="c99"}"#, "8"),
        (r#"weir_rtt_customers_seconds_count{side="wan",customer="c99"}"#, "8"),
        (r#"weir_rtt_customers_seconds_sum{side="wan",customer="c99"}"#, "40.009"),
        (r#"weir_delay_customers_seconds_count{direction="up",customer="c0"}"#, "8"),
        (r#"weir_rtt_ports_seconds_count{interface="eth2"}"#, "8"),
        (r#"weir_customers_packets_total{direction="down",customer="c0"}"#, "50"),
        (r#"weir_customers_bytes_total{direction="up",customer="c0"}"#, "7000"),
        (r#"weir_customers_retransmissions_packets_total{direction="down",customer="c0"}"#, "2"),
        (r#"weir_customers_reordered_packets_total{direction="up",customer="c0"}"#, "2"),
        (r#"weir_rtt_samples_total{method="echo",worker="0"}"#, "9"),
    ] {
        assert_eq!(sample(&text, series), Some(value), "{series}\n{}", exporter.log());
    }
    assert_eq!(text.matches("# TYPE weir_rtt_customers_seconds histogram\n").count(), 1);

    // All that the dashboard and the alerts ask for is there.
    let exported: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let alerts = std::fs::read_to_string(documentation("prometheus/rtt-alerts.yml")).unwrap();
    for query in queries(&documentation("grafana/weir-rtt.json")).iter().chain([&alerts]) {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter(|word| word.starts_with("weir_") && *word != "weir_up") {
            let family = metric.strip_suffix("_bucket").or(metric.strip_suffix("_count")).unwrap_or(metric);
            assert!(exported.contains(family), "nobody exports {metric}: {query}");
        }
    }
}

#[test]
fn the_limit_leaves_the_same_customers_on_both_sides() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let mut segment = segment();
    let _server = Server::start(&socket, None, &segment).unwrap();
    let exporter = Exporter::start(&socket, &["--max-series", "10000"]);
    segment.beat();
    let text = exporter.metrics(CLASSIC);
    // 161 buckets, a sum and a count.
    let series = bounds().len() + 3;
    let each = 5000 / series;
    for side in ["lan", "wan"] {
        let found = |customer: usize| {
            let series =
                format!("weir_rtt_customers_seconds_count{{side=\"{side}\",customer=\"c{customer}\"}}");
            sample(&text, &series).is_some()
        };
        assert!(found(each - 1) && !found(each), "{side}");
    }
    let omitted = format!("{}", 2 * (CUSTOMERS - each) * series);
    let name = r#"weir_exporter_series_omitted{metric="weir_rtt_customers_seconds"}"#;
    assert_eq!(sample(&text, name), Some(&*omitted));
}

/// All queries of a dashboard.
pub fn queries(path: &Path) -> Vec<String> {
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
    let mut found = Vec::new();
    collect(&serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap(), &mut found);
    assert!(found.len() > 5, "{found:?}");
    found
}
