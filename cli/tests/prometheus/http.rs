//! What is answered: pages, formats, limits, and many at once.

use std::collections::HashSet;
use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::exporter::{self, CLASSIC, Exporter, OPENMETRICS, sample};
use crate::sample::Sample;

#[test]
fn each_client_gets_the_format_that_it_asks_for() {
    let weir = Sample::start();
    let exporter = Exporter::start(&weir.socket, &[]);
    let answer = exporter.get("/metrics", OPENMETRICS);
    let head = answer.head.to_ascii_lowercase();
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(answer.body.ends_with("\n# EOF\n"));
    assert!(answer.body.contains("\n# UNIT weir_if_rx_bytes bytes\n"));
    for accept in [CLASSIC, "*/*", "text/html,*/*;q=0.8"] {
        let answer = exporter.get("/metrics", accept);
        let head = answer.head.to_ascii_lowercase();
        assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
        assert!(!answer.body.contains("# EOF") && !answer.body.contains("# UNIT"));
        assert!(answer.body.contains("\n# TYPE weir_if_rx_bytes_total counter\n"));
    }
}

#[test]
fn numbers_have_labels_instead_of_indices() {
    let weir = Sample::start();
    let exporter = Exporter::start(&weir.socket, &[]);
    let text = exporter.metrics(CLASSIC);
    for (series, value) in [
        (r#"weir_if_rx_packets_total{interface="eth \"1\"\\n",worker="0"}"#, "20"),
        (r#"weir_if_rx_bytes_total{interface="eth \"1\"\\n",worker="0"}"#, "2000"),
        (r#"weir_if_tx_packets_total{interface="twin",worker="1"}"#, "23"),
        (r#"weir_if_tx_packets_total{interface="twin",index="4",worker="1"}"#, "24"),
        (r#"weir_if_rx_no_buf_packets_total{interface="eth \"1\"\\n"}"#, "11"),
        (r#"weir_node_errors_packets_total{node="tx",reason="full",worker="1"}"#, "6"),
        (r#"weir_sys_node_calls_total{node="ip4-input",worker="control"}"#, "1"),
        (r#"weir_sys_node_held_packets{node="ip4-input",worker="1"}"#, "1"),
        (r#"weir_xdp_packets_total{verdict="not-ip",interface="eth0",cpu="1"}"#, "2"),
        (r#"weir_buffer_pools_used_buffers{pool="default-numa-0"}"#, "18446744073709551615"),
        (r#"weir_other_vector_total{index="1",thread="2"}"#, "3"),
        ("weir_other_answer", "42"),
        // in 1,023 ns below 2^11, 5 values; none up to 8,191; two above
        (r#"weir_latency_seconds_bucket{le="0.000002047"}"#, "5"),
        (r#"weir_latency_seconds_bucket{le="+Inf"}"#, "7"),
        ("weir_latency_seconds_count", "7"),
        (r#"weir_rtt_all_seconds_bucket{le="0.002",interface="eth0"}"#, "6"),
        (r#"weir_rtt_all_seconds_count{interface="eth0"}"#, "8"),
        (r#"weir_rtt_all_seconds_sum{interface="eth0"}"#, "0.017"),
        ("weir_up", "1.0"),
    ] {
        assert_eq!(sample(&text, series), Some(value), "{series} in\n{text}");
    }
    // One place for each number: links are other names, and a control thread that counts nothing is left out.
    for absent in
        ["interfaces", "weir_err", "weir_sys_boottime", r#"weir_sys_node_calls_total{node="tx",worker="c"#]
    {
        assert!(!text.contains(absent), "{absent}");
    }
    assert_eq!(series(&text).len(), series(&text).into_iter().collect::<HashSet<_>>().len());
}

#[test]
fn vpps_names_are_kept() {
    let weir = Sample::start();
    let exporter = Exporter::start(&weir.socket, &["--naming", "vpp"]);
    let text = exporter.metrics(CLASSIC);
    for (series, value) in [
        (r#"interfaces_rx_packets{interface="eth \"1\"\\n1",index="0",thread="1"}"#, "20"),
        (r#"interfaces_rx_bytes{interface="eth \"1\"\\n1",index="0",thread="1"}"#, "2000"),
        (r#"err{node="tx",error="full",index="0",thread="2"}"#, "6"),
        (r#"buffer_pools_used{pool="default-numa-0"}"#, "18446744073709551615"),
        (r#"mem{heap="stat segment",index="0",thread="0"}"#, "68719476736"),
        ("sys_num_worker_threads", "2"),
        (r#"_if_tx_packets{interface="3",thread="2"}"#, "23"),
        (r#"_node_errors{interface="2",thread="1"}"#, "5"),
        (r#"_latency_bucket{le="2047.0",thread="1"}"#, "2"),
        (r#"_latency_count{thread="2"}"#, "4"),
        ("_other_answer", "42"),
    ] {
        assert_eq!(sample(&text, series), Some(value), "{series} in\n{text}");
    }
    let uptime: u64 = sample(&text, "sys_uptime").unwrap().parse().unwrap();
    assert!(uptime < 60, "{uptime}");
    assert!(
        text.contains("# TYPE interfaces_rx_packets untyped\n# ")
            || text.contains("# TYPE interfaces_rx_packets untyped\ni")
    );
    assert_eq!(series(&text).len(), series(&text).into_iter().collect::<HashSet<_>>().len());
}

/// The names and labels of all samples.
fn series(text: &str) -> Vec<&str> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.map(|line| line.rsplit_once(' ').unwrap().0).collect()
}

#[test]
fn there_are_pages_for_people_and_for_watchdogs() {
    let weir = Sample::start();
    let exporter = Exporter::start(&weir.socket, &[]);
    let index = exporter.get("/", "text/html");
    assert_eq!(index.status, 200);
    assert!(
        index.body.contains("href=\"/metrics\"") && index.body.contains("reading the weir at"),
        "{index:?}"
    );
    assert_eq!(exporter.get("/-/healthy", "*/*").status, 200);
    assert_eq!(exporter.get("/nothing", "*/*").status, 404);
    let refused = exporter.ask("POST", "/metrics", "*/*");
    assert_eq!(refused.status, 405);
    assert!(refused.head.to_ascii_lowercase().contains("allow: get"), "{refused:?}");
    let head = exporter.ask("HEAD", "/metrics", OPENMETRICS);
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[test]
fn what_is_left_out_is_told() {
    let weir = Sample::start();
    let exporter =
        Exporter::start(&weir.socket, &["--max-series", "5", "--match", "^/if/", "--match", "^/rtt"]);
    let text = exporter.metrics(CLASSIC);
    let tx = series(&text).iter().filter(|series| series.starts_with("weir_if_tx_packets_total")).count();
    assert_eq!(tx, 4, "two ports with both workers, and no half one:\n{text}");
    for (metric, omitted) in
        [("weir_if_tx_packets_total", "4"), ("weir_if_rx_bytes_total", "4"), ("weir_rtt_all_seconds", "24")]
    {
        let series = format!("weir_exporter_series_omitted{{metric=\"{metric}\"}}");
        assert_eq!(sample(&text, &series), Some(omitted), "{text}");
    }
    for unmatched in
        ["weir_sys", "weir_node", "weir_latency", "weir_exporter_series_omitted{metric=\"weir_if_rx_no"]
    {
        assert!(!text.contains(unmatched), "{unmatched}");
    }
    assert!(text.contains("\nweir_up 1.0\n"));
    exporter.metrics(CLASSIC);
    exporter.says("weir_if_tx_packets_total has 4 series more");
    let log = exporter.log();
    assert_eq!(log.matches("weir_if_tx_packets_total has").count(), 1, "{log}");
}

#[test]
fn scrapes_share_a_reading_for_the_minimum_interval() {
    let weir = Sample::start();
    let readings = |exporter: &Exporter| {
        sample(&exporter.metrics(CLASSIC), "weir_exporter_readings_total").unwrap().parse::<u64>().unwrap()
    };
    let patient = Exporter::start(&weir.socket, &["--min-interval", "60"]);
    assert_eq!([readings(&patient), readings(&patient)], [1, 1]);
    let eager = Exporter::start(&weir.socket, &["--min-interval", "0"]);
    assert_eq!([readings(&eager), readings(&eager)], [1, 2]);
}

/// Fifty at once, again and again, while entries come and go, names change and vectors grow.
#[test]
fn many_scrapes_while_the_segment_changes() {
    let weir = Sample::start();
    let exporter = Exporter::start(&weir.socket, &["--min-interval", "0"]);
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut number = 0_u64;
            let (mut vector, mut names) = weir
                .segment
                .lock()
                .unwrap()
                .register(|batch| {
                    Ok((batch.simple("/growing", 1, 1 << 16)?, batch.names("/growing-names", 9)?))
                })
                .unwrap();
            while !stop.load(Ordering::Relaxed) {
                let mut segment = weir.segment.lock().unwrap();
                let gauge = segment.register(|batch| batch.gauge("/comes and goes", number)).unwrap();
                segment
                    .register(|batch| {
                        batch.grow_simple(&mut vector, (number as usize % (1 << 16)).max(1))?;
                        batch.set_name(&mut names, 0, &number.to_string())
                    })
                    .unwrap();
                segment.register(|batch| batch.remove(gauge.id())).unwrap();
                drop(segment);
                number += 1;
                thread::sleep(Duration::from_micros(200));
            }
        });
        let scrapes: Vec<_> = (0..50)
            .map(|client| {
                let exporter = &exporter;
                scope.spawn(move || {
                    for _ in 0..5 {
                        let accept = if client % 2 == 0 { OPENMETRICS } else { CLASSIC };
                        let text = exporter.metrics(accept);
                        assert_eq!(sample(&text, "weir_up"), Some("1.0"), "{text}");
                        assert_eq!(
                            sample(&text, r#"weir_if_tx_packets_total{interface="twin",worker="1"}"#),
                            Some("23")
                        );
                        assert_eq!(text.ends_with("# EOF\n"), client % 2 == 0);
                        let series = series(&text);
                        assert_eq!(series.len(), series.iter().collect::<HashSet<_>>().len());
                    }
                })
            })
            .collect();
        let failed = scrapes.into_iter().filter_map(|scrape| scrape.join().err()).count();
        stop.store(true, Ordering::Relaxed);
        assert_eq!(failed, 0);
    });
}

#[test]
fn addresses_that_cannot_be_had_are_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let weir = Sample::start();
    for (listen, reason) in [
        (address.as_str(), "another process has it"),
        ("9482", "write it as ADDRESS:PORT"),
        ("127.0.0.1:66000", "write it as ADDRESS:PORT"),
        ("192.0.2.1:9482", "name an address of this machine"),
        ("nobody.invalid:9482", "name an address of this machine"),
    ] {
        let output = exporter::command(&weir.socket, &["--listen", listen]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.starts_with(&format!("weirstat: cannot listen on {listen}: ")), "{said}");
        assert!(said.contains(reason), "{said}");
    }
    let output = exporter::command(&weir.socket, &["--match", "("]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not a pattern"));
}

#[test]
fn several_addresses_and_all_addresses() {
    let weir = Sample::start();
    let exporter = Exporter::start(&weir.socket, &["--listen", ":0", "--listen", "localhost:0"]);
    exporter.says("listening on http://127.0.0.1:");
    let log = exporter.log();
    let addresses: Vec<&str> =
        log.split("http://").skip(1).map(|rest| rest.split('/').next().unwrap()).collect();
    assert!(addresses.len() >= 3, "{log}");
    for address in addresses {
        // All addresses, by one of them.
        let address = address.replace("[::]", "127.0.0.1").replace("0.0.0.0", "127.0.0.1");
        let answer = exporter::request(address.parse().unwrap(), "GET", "/metrics", CLASSIC).unwrap();
        assert_eq!(answer.status, 200, "{address}");
    }
}
