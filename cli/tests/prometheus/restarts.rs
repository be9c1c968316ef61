//! The exporter outlives every weir.

use std::thread;
use std::time::Duration;

use rustix::process::Signal;

use crate::exporter::{CLASSIC, Exporter, sample};
use crate::sample::Sample;

/// What there is of a weir that does not live: that it does not, and nothing that it has counted.
fn assert_down(exporter: &Exporter) {
    let text = exporter.metrics(CLASSIC);
    assert_eq!(sample(&text, "weir_up"), Some("0.0"), "{text}");
    for counted in ["weir_if", "weir_node", "weir_sys", "weir_start_time"] {
        assert!(!text.contains(counted), "{text}");
    }
}

fn assert_up(exporter: &Exporter) {
    let text = exporter.metrics(CLASSIC);
    assert_eq!(sample(&text, "weir_up"), Some("1.0"), "{text}\n{}", exporter.log());
    assert!(text.contains("weir_if_rx_packets_total{"));
}

#[test]
fn weir_comes_and_goes_and_comes_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut early = Exporter::start(&folder.path().join("stats.sock"), &["--min-interval", "0"]);
    assert_down(&early);
    assert!(early.end(Signal::INT).success());

    let mut weir = Sample::start();
    let mut exporter = Exporter::start(&weir.socket, &["--min-interval", "0"]);
    assert_up(&exporter);
    weir.rx.add(0, 1, 60);
    let counted = r#"weir_if_rx_packets_total{interface="eth0",worker="0"}"#;
    assert_eq!(sample(&exporter.metrics(CLASSIC), counted), Some("1"));

    let weir = weir.restart();
    assert_up(&exporter);
    assert_eq!(sample(&exporter.metrics(CLASSIC), counted), Some("0"), "a new one");
    let socket = weir.socket.clone();
    drop(weir);
    assert_down(&exporter);

    exporter.says(&format!("there is no weir at {}", socket.display()));
    assert_eq!(exporter.log().matches("reading the weir at").count(), 1, "{}", exporter.log());
    assert!(exporter.end(Signal::TERM).success());
}

#[test]
fn a_weir_that_is_stuck_has_no_numbers() {
    let weir = Sample::start();
    let exporter = Exporter::start(&weir.socket, &["--min-interval", "0"]);
    assert_up(&exporter);
    let guard = weir.segment.lock().unwrap(); // the heart waits
    thread::sleep(Duration::from_millis(3200));
    assert_down(&exporter);
    let text = exporter.metrics(CLASSIC);
    let age: f64 = sample(&text, "weir_heartbeat_age_seconds").unwrap().parse().unwrap();
    assert!(age > 3.0, "{age}");
    exporter.says("is stuck");
    drop(guard);
    thread::sleep(Duration::from_millis(100));
    assert_up(&exporter);
}

/// A client that asks and then reads nothing does not keep the exporter from stopping.
#[test]
fn it_stops_in_good_time() {
    let weir = Sample::start();
    let mut exporter = Exporter::start(&weir.socket, &[]);
    let idle: Vec<_> = (0..3).map(|_| std::net::TcpStream::connect(exporter.address).unwrap()).collect();
    exporter.metrics(CLASSIC);
    let begun = std::time::Instant::now();
    assert!(exporter.end(Signal::TERM).success());
    assert!(begun.elapsed() < Duration::from_secs(4));
    drop(idle);
}
