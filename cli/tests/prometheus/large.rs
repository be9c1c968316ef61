//! A segment with 100,000 customers: their numbers do not make the others' slow.

use std::time::Instant;

use weir_stats::{Bounds, Description, Options, Segment, Server};

use crate::exporter::{CLASSIC, Exporter, sample};

const CUSTOMERS: usize = 100_000;

const DESCRIPTIONS: [Description; 5] = [
    Description::combined("/if/rx", "interface=/if/names", "received"),
    Description::combined("/customers/rx", "customer=/customers/names", "received from the customer"),
    Description::combined("/customers/tx", "customer=/customers/names", "sent to the customer"),
    Description::simple(
        "/customers/rtt",
        "microseconds",
        "customer=/customers/names,le=/customers/bins",
        "round trips",
    ),
    Description::simple("/node/errors", "packets", "/err/{node}/{reason}", "dropped"),
];

fn segment() -> Segment {
    let mut segment = Segment::create(Options { workers: 2, ..Options::default() }).unwrap();
    let upper: Vec<u64> = (0..18).map(|bin| 100 << bin).collect();
    let (mut rx, mut rtt, mut ports) = segment
        .register(|batch| {
            let mut names = batch.names("/customers/names", CUSTOMERS)?;
            for customer in 0..CUSTOMERS {
                batch.set_name(&mut names, customer, &format!("customer-{customer:06}"))?;
            }
            let mut bins = batch.names("/customers/bins", 64)?;
            for (at, name) in Bounds::names(&upper).iter().enumerate() {
                batch.set_name(&mut bins, at, name)?;
            }
            let mut interfaces = batch.names("/if/names", 64)?;
            for port in 0..64 {
                batch.set_name(&mut interfaces, port, &format!("eth{port}"))?;
            }
            let errors = batch.simple("/node/errors", 200, 200)?;
            for reason in 0..200 {
                batch.symlink(&format!("/err/node-{}/reason-{reason}", reason % 20), errors.id(), reason)?;
            }
            batch.combined("/customers/tx", CUSTOMERS, CUSTOMERS)?;
            Ok((
                batch.combined("/customers/rx", CUSTOMERS, CUSTOMERS)?,
                batch.simple("/customers/rtt", CUSTOMERS * 20, CUSTOMERS * 20)?,
                batch.combined("/if/rx", 64, 64)?,
            ))
        })
        .unwrap();
    segment.describe(&DESCRIPTIONS).unwrap();
    for row in 1..3 {
        let (mut rx, mut rtt) = (rx.take_row(row).unwrap(), rtt.take_row(row).unwrap());
        for customer in 0..CUSTOMERS {
            rx.add(customer, customer as u64, 100);
            (0..20).for_each(|bin| rtt.add(customer * 20 + bin, 1));
        }
        ports.take_row(row).unwrap().add(63, 7, 700);
    }
    segment.beat();
    segment
}

#[test]
fn a_hundred_thousand_customers() {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("stats.sock");
    let mut segment = segment();
    let _server = Server::start(&socket, None, &segment).unwrap();
    for (options, series) in [
        (&["--min-interval", "0", "--match", "^/if/", "^/node/"][..], 64 * 2 * 2 + 200 * 2),
        (&["--min-interval", "0"], 45_000),
    ] {
        let exporter = Exporter::start(&socket, options);
        let mut times = Vec::new();
        let mut text = String::new();
        for _ in 0..6 {
            segment.beat();
            let begun = Instant::now();
            text = exporter.metrics(CLASSIC);
            times.push(begun.elapsed());
        }
        assert_eq!(sample(&text, "weir_up"), Some("1.0"), "{}", exporter.log());
        assert_eq!(sample(&text, r#"weir_if_rx_packets_total{interface="eth63",worker="1"}"#), Some("7"));
        let found = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!(found > series, "{found} series");
        let resident = exporter.resident();
        println!(
            "{options:?}: {found} series, {} KiB; first and later scrapes: {times:?}",
            text.len() / 1024
        );
        println!("resident at most: {} MiB", resident / 1024);
        assert!(resident < 100 << 10, "{resident} KiB");
        // What a debug build may take on a busy machine; docs/prometheus.md has what a release build takes.
        assert!(times[1..].iter().min().unwrap().as_millis() < 500, "{times:?}");
    }
}
