//! What the shaper counts, in Prometheus: names and units, and what is left out of a hundred thousand customers.

use std::collections::BTreeSet;
use std::path::Path;

use weir_stats::Server;

use crate::exporter::{CLASSIC, Exporter, sample};
use crate::outside::documentation;
use crate::rtt::queries;
use crate::shaped::Shaped;

/// A node with so many customers, of whom each has sent something; two of them have two workers.
fn served(socket: &Path, customers: usize) -> (Shaped, Server) {
    let names: Vec<String> = (0..customers).map(|number| format!("c{number}")).collect();
    let customers: Vec<_> = names.iter().map(|name| (name.as_str(), "", "", Some(1))).collect();
    let mut weir = Shaped::new(true, &[("net", "", None), ("AP 7", "ap", Some(0))], &customers);
    let server = Server::start(socket, None, &weir.segment).unwrap();
    weir.rates("/shaper/nodes/down", 1, [0, 200_000_000, 180_000_000]);
    weir.pair("/shaper/nodes/down/sent", 1, 3, 4_000);
    for customer in 0..customers.len() {
        weir.rates("/shaper/customers/down", customer, [1_000_000, 100_000_000, 90_000_000]);
        weir.pair("/shaper/customers/up/sent", customer, 5, 600);
        weir.pair("/shaper/customers/up/backlog", customer, 1, 120);
        weir.set("/shaper/customers/down/dropped", 6 * customer + 2, 7);
        weir.set("/shaper/customers/down/tins/target", 8 * customer + 1, 5_000);
        weir.wait("down", customer, 1_000, 3);
    }
    weir.segment.beat();
    (weir, server)
}

#[test]
fn nodes_and_customers_have_names_and_units() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let _weir = served(&socket, 4);
    let exporter = Exporter::start(&socket, &[]);
    let text = exporter.metrics(CLASSIC);
    for (series, value) in [
        (r#"weir_shaper_nodes_sent_bytes_total{direction="down",node="AP 7",worker="1"}"#, "4000"),
        (r#"weir_shaper_nodes_max_bits_per_second{direction="down",node="AP 7"}"#, "200000000"),
        (r#"weir_shaper_nodes_rate_bits_per_second{direction="down",node="AP 7",worker="1"}"#, "180000000"),
        (r#"weir_shaper_customers_sent_bytes_total{direction="up",customer="c3"}"#, "600"),
        (r#"weir_shaper_customers_backlog_packets{direction="up",customer="c2"}"#, "1"),
        (r#"weir_shaper_customers_rate_bits_per_second{direction="down",customer="c1"}"#, "90000000"),
        (r#"weir_shaper_customers_min_bits_per_second{direction="down",customer="c1"}"#, "1000000"),
        (
            r#"weir_shaper_customers_dropped_packets_total{direction="down",customer="c1",cause="overlimit"}"#,
            "7",
        ),
        (r#"weir_shaper_customers_dropped_packets_total{direction="down",customer="c1",cause="codel"}"#, "0"),
        (r#"weir_shaper_customers_queue{direction="down",customer="c1"}"#, "0"),
    ] {
        assert_eq!(sample(&text, series), Some(value), "{series}\n{}", exporter.log());
    }
    for gauge in
        ["nodes_backlog_bytes", "nodes_rate_bits_per_second", "customers_backlog_packets", "customers_queue"]
    {
        assert!(text.contains(&format!("# TYPE weir_shaper_{gauge} gauge\n")), "{gauge}");
    }
    for detail in ["tins", "parent"] {
        assert!(!text.contains(&format!("weir_shaper_customers_{detail}")), "nobody asked for {detail}");
    }

    // All that the dashboard and the alerts ask for is there.
    let exported: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let alerts = std::fs::read_to_string(documentation("prometheus/shaper-alerts.yml")).unwrap();
    for query in queries(&documentation("grafana/weir-shaper.json")).iter().chain([&alerts]) {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for metric in words.filter(|word| word.starts_with("weir_")) {
            let family = metric.strip_suffix("_bucket").unwrap_or(metric);
            assert!(exported.contains(family), "nobody exports {metric}: {query}");
        }
    }
}

#[test]
fn tins_are_there_for_who_asks_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let _weir = served(&socket, 2);
    let text = Exporter::start(&socket, &["--match", "^/shaper/customers/down/tins/"]).metrics(CLASSIC);
    let target = r#"weir_shaper_customers_tins_target_seconds{direction="down",customer="c1",tin="1"}"#;
    assert_eq!(sample(&text, target), Some("0.005"));
    assert!(text.contains("# TYPE weir_shaper_customers_tins_codel_packets_total counter\n"));
}

#[test]
fn the_limit_leaves_the_same_customers_in_both_directions() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let _weir = served(&socket, 100);
    let text = Exporter::start(&socket, &["--max-series", "40"]).metrics(CLASSIC);
    for direction in ["down", "up"] {
        let is_there = |customer: usize| {
            let name = "weir_shaper_customers_sent_packets_total";
            sample(&text, &format!("{name}{{direction=\"{direction}\",customer=\"c{customer}\"}}")).is_some()
        };
        assert!(is_there(19) && !is_there(20), "{direction}");
    }
    let omitted = r#"weir_exporter_series_omitted{metric="weir_shaper_customers_sent_packets_total"}"#;
    assert_eq!(sample(&text, omitted), Some("160"));
}
