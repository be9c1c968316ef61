//! A weir that measures round-trip times, for the tests: the entries of its segment, as weir lays them out.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::measured::{DESCRIPTIONS, bounds};
use weir_stats::{Batch, Bounds, CombinedRow, Error, Names, Options, RingRow, Segment, Server, SimpleRow};

/// Room for customers.
const CAPACITY: usize = 16;

/// Records that a follower can be behind by: those of a ring row, but for the one that is written next.
pub const RECORDS: u64 = 47;

/// What is measured of a customer.
#[derive(Clone, Copy)]
pub enum Measure {
    Lan,
    Wan,
    Down,
    Up,
}

/// Its writer, with what one worker counts, and two workers' samples.
pub struct RoundTrips {
    pub segment: Segment,
    server: Option<Server>,
    names: Names,
    histograms: Vec<SimpleRow>,
    ports: Vec<SimpleRow>,
    /// Down, up.
    traffic: Vec<CombinedRow>,
    /// Retransmissions down, up.
    again: Vec<SimpleRow>,
    samples: Vec<RingRow>,
    numbers: [u64; 2],
}

/// A sample, of a reply from 192.0.2.7:443 to a customer's address.
#[derive(Clone, Copy)]
pub struct Sample {
    pub time: u64,
    pub rtt: u64,
    pub to: [u8; 4],
    pub wan: u32,
}

impl RoundTrips {
    /// Serves it.
    pub fn start(socket: &Path, customers: &[&str]) -> RoundTrips {
        let options = Options { size: 16 << 20, workers: 2, ..Options::default() };
        let mut segment = Segment::create(options).unwrap();
        segment.describe(&DESCRIPTIONS).unwrap();
        let mut it = segment.register(|batch| RoundTrips::publish(batch, customers)).unwrap();
        it.server = Some(Server::start(socket, None, &segment).unwrap());
        it.segment = segment;
        it
    }

    fn publish(batch: &mut Batch<'_>, customers: &[&str]) -> Result<RoundTrips, Error> {
        let mut names = batch.names("/customers/names", CAPACITY)?;
        customers.iter().enumerate().try_for_each(|(at, name)| batch.set_name(&mut names, at, name))?;
        let texts = Bounds::names(&bounds());
        let mut bins = batch.names("/rtt/bins", texts.len())?;
        texts.iter().enumerate().try_for_each(|(at, name)| batch.set_name(&mut bins, at, name))?;
        let mut ports = batch.names("/if/names", 2)?;
        batch.set_name(&mut ports, 0, "eth1")?;
        batch.set_name(&mut ports, 1, "eth2")?;
        let (all, width) = (CAPACITY, texts.len());
        let mut simple = |path: &str, columns: usize| {
            batch.simple(path, columns, columns).map(|mut vector| vector.take_row(2).unwrap())
        };
        let mut histograms = Vec::new();
        for path in
            ["/rtt/customers/lan", "/rtt/customers/wan", "/delay/customers/down", "/delay/customers/up"]
        {
            histograms.push(simple(path, all * width)?);
        }
        let ports = vec![simple("/rtt/ports", 2 * width)?, simple("/delay/ports", 2 * width)?];
        let again = ["down", "up"].map(|it| simple(&format!("/customers/retransmissions/{it}"), all));
        for direction in ["down", "up"] {
            simple(&format!("/customers/reordered/{direction}"), all)?;
        }
        let mut traffic = Vec::new();
        for direction in ["down", "up"] {
            traffic.extend(batch.combined(&format!("/customers/{direction}"), all, all)?.take_row(1));
        }
        batch.combined("/if/tx", 2, 2)?.take_row(1).unwrap().add(1, 20, 9000);
        let mut ring = batch.ring("/rtt/events", 88, RECORDS as usize, b"{\"record\":88}")?;
        assert_eq!(ring.records() as u64, RECORDS + 1);
        Ok(RoundTrips {
            // It takes the place of the one that this is part of.
            segment: Segment::in_heap(Options { size: 64 << 10, ..Options::default() })?,
            server: None,
            names,
            histograms,
            ports,
            traffic,
            again: again.into_iter().collect::<Result<_, _>>()?,
            samples: (1..3).filter_map(|row| ring.take_row(row)).collect(),
            numbers: [0; 2],
        })
    }

    /// Calls a customer so from now on.
    pub fn name(&mut self, customer: usize, name: &str) {
        let names = &mut self.names;
        self.segment.register(|batch| batch.set_name(names, customer, name)).unwrap();
    }

    /// So many round trips or waits of this time.
    pub fn measure(&mut self, measure: Measure, customer: usize, microseconds: u64, count: u64) {
        record(&mut self.histograms[measure as usize], customer, microseconds, count);
    }

    /// The same beyond (0) a port, or of packets that leave by it (1).
    pub fn measure_port(&mut self, which: usize, port: usize, microseconds: u64, count: u64) {
        record(&mut self.ports[which], port, microseconds, count);
    }

    /// Packets to (0) or from (1) a customer, and how many of them were sent again.
    pub fn pass(&mut self, direction: usize, customer: usize, packets: u64, bytes: u64, again: u64) {
        self.traffic[direction].add(customer, packets, bytes);
        self.again[direction].add(customer, again);
    }

    /// Writes down a sample of a worker.
    pub fn sample(&mut self, worker: usize, sample: Sample) {
        let Sample { time, rtt, to, wan } = sample;
        let mapped = |address: [u8; 4]| IpAddr::from(Ipv4Addr::from(address).to_ipv6_mapped());
        let mut bytes = Vec::with_capacity(88);
        for number in [self.numbers[worker], time, rtt, rtt - 1000] {
            bytes.extend(number.to_le_bytes());
        }
        for address in [[192, 0, 2, 7], to] {
            let IpAddr::V6(address) = mapped(address) else { unreachable!() };
            bytes.extend(address.octets());
        }
        bytes.extend(443_u16.to_le_bytes());
        bytes.extend(51_000_u16.to_le_bytes());
        bytes.extend([0, 0, 1, 0]);
        bytes.extend(u32::MAX.to_le_bytes());
        bytes.extend(wan.to_le_bytes());
        bytes.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        self.numbers[worker] += 1;
        self.samples[worker].push(&bytes);
    }
}

fn record(row: &mut SimpleRow, object: usize, microseconds: u64, count: u64) {
    let bounds = bounds();
    let start = object * (bounds.len() + 2);
    row.add(start + bounds.partition_point(|bound| *bound < microseconds), count);
    row.add(start + bounds.len() + 1, microseconds * count);
}
