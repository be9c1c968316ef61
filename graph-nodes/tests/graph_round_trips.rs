//! Round-trip times through the whole graph: what is counted for whom, in the segment, as readers find it.
//!
//! The state machine that decides which packet answers which has tests of its own (`tests/rtt`). Here time is the processor's: packets leave a little after they
//! came in, and how much later is measured around the graph.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::net::Ipv4Addr;

use etherparse::{PacketBuilder, TcpOptionElement};
use harness::{
    Router, Setup,
    datagram::{Datagram, arriving},
    town::{self, EAST, HOST, NARROW, WEST, town_with},
};
use weir_graph::{
    clock::{self, Clock},
    customers::Customer,
    fib::Prefix4,
    latency,
    node::Forget,
    round_trips::{COMBINED_BY_CUSTOMER, LATENCY_BY_CUSTOMER, SIMPLE_BY_CUSTOMER},
    rtt::Settings,
};
use weir_stats::{Bounds, Distribution, Pair, Reader, Value};

const LAN: usize = 0;
const WAN: usize = 1;
/// Customers: those behind the west port, and the servers in the east.
const CUSTOMERS: [(&str, u32); 2] = [("10.0.0.0/24", LAN as u32), ("192.0.2.0/24", WAN as u32)];

struct Trial {
    router: Router,
    clock: Clock,
}

/// What a segment says.
#[derive(Clone, Copy, Default)]
struct Tcp {
    flags: &'static str,
    sequence: u32,
    acknowledgement: u32,
    timestamps: (u32, u32),
    length: usize,
}

impl Trial {
    fn new() -> Trial {
        let clock = Clock::calibrate();
        let rtt = Settings { interval: 0, settling: 0, ..Settings::new(clock, 1024) };
        let mut router = town_with(&Setup { rtt: Some(rtt), clock, ..Setup::default() });
        let list = CUSTOMERS
            .map(|(prefix, column)| (prefix.parse::<Prefix4>().unwrap().into(), Customer::of_column(column)));
        router.customers.as_mut().unwrap().replace(list).unwrap();
        for vector in COMBINED_BY_CUSTOMER {
            router.counters.grow_combined(vector, 2).unwrap();
        }
        for vector in SIMPLE_BY_CUSTOMER {
            router.counters.grow_simple(vector, 2).unwrap();
        }
        for vector in LATENCY_BY_CUSTOMER {
            router.counters.grow_simple(vector, 2 * latency::WIDTH).unwrap();
        }
        router.now = clock::now(); // real time, so that what happens inside takes some
        Trial { router, clock }
    }

    /// A segment from the host to the server, or back; when it came in, and by when it had left.
    fn segment(&mut self, out: bool, tcp: Tcp) -> (u64, u64) {
        let (host, server): (Ipv4Addr, Ipv4Addr) = (HOST.parse().unwrap(), town::FAR.parse().unwrap());
        let (from, to, ports, port) =
            if out { (host, server, (50_000, 443), WEST) } else { (server, host, (443, 50_000), EAST) };
        let mut builder =
            PacketBuilder::ipv4(from.octets(), to.octets(), 64).tcp(ports.0, ports.1, tcp.sequence, 64_000);
        for flag in tcp.flags.chars() {
            builder = match flag {
                'S' => builder.syn(),
                'F' => builder.fin(),
                _ => builder.ack(tcp.acknowledgement),
            };
        }
        if tcp.timestamps != (0, 0) {
            let (value, echo) = tcp.timestamps;
            builder = builder.options(&[TcpOptionElement::Timestamp(value, echo)]).unwrap();
        }
        let mut datagram = Vec::new();
        builder.write(&mut datagram, &vec![b'x'; tcp.length]).unwrap();
        self.pass(port, &datagram)
    }

    fn pass(&mut self, port: u16, datagram: &[u8]) -> (u64, u64) {
        self.router.now = clock::now();
        let came = self.router.now;
        assert!(!self.router.forward(port, &arriving(port, datagram)).is_empty());
        (came, clock::now())
    }

    /// A connection from the host to the server, with timestamps or without.
    fn connect(&mut self, timestamps: bool) {
        let stamp = |value, echo| if timestamps { (value, echo) } else { (0, 0) };
        self.segment(true, Tcp { flags: "S", sequence: 99, timestamps: stamp(10, 0), ..Tcp::default() });
        let answer = Tcp {
            flags: "SA",
            sequence: 499,
            acknowledgement: 100,
            timestamps: stamp(7, 10),
            ..Tcp::default()
        };
        self.segment(false, answer);
        let last = Tcp {
            flags: "A",
            sequence: 100,
            acknowledgement: 500,
            timestamps: stamp(11, 7),
            ..Tcp::default()
        };
        self.segment(true, last);
    }

    fn value(&mut self, path: &str) -> Value {
        let reader = Reader::of(self.router.counters.segment()).unwrap();
        reader.read(&reader.find(path).unwrap().unwrap_or_else(|| panic!("{path}"))).unwrap()
    }

    /// A simple vector, over all rows.
    fn simple(&mut self, path: &str) -> Vec<u64> {
        let Value::Simple(rows) = self.value(path) else { panic!("{path}") };
        (0..rows[0].len()).map(|column| rows.iter().map(|row| row[column]).sum()).collect()
    }

    fn combined(&mut self, path: &str) -> Vec<Pair> {
        let Value::Combined(rows) = self.value(path) else { panic!("{path}") };
        rows[1].clone()
    }

    fn distribution(&mut self, path: &str, object: usize) -> Distribution {
        let bounds = Bounds::of_names(&latency::names()).unwrap();
        let columns = self.simple(path);
        bounds.distribution(&columns[object * latency::WIDTH..][..latency::WIDTH])
    }
}

#[test]
fn a_round_trip_is_counted_where_it_belongs() {
    for timestamps in [true, false] {
        let mut it = Trial::new();
        it.connect(timestamps);
        let stamp = |value, echo| if timestamps { (value, echo) } else { (0, 0) };
        // The server's answer to the host's data: what lies between is beyond the host's customer's other side.
        let data =
            Tcp { flags: "A", sequence: 100, acknowledgement: 500, timestamps: stamp(20, 7), length: 100 };
        let (earliest, latest) = it.segment(true, data);
        std::thread::sleep(std::time::Duration::from_millis(5));
        let answer =
            Tcp { flags: "A", sequence: 500, acknowledgement: 200, timestamps: stamp(8, 20), length: 0 };
        let (answered, _) = it.segment(false, answer);
        let range = [latest, earliest].map(|left| it.clock.duration(answered - left).as_micros() as u64);
        // The answer comes from the server's customer and goes to the host's.
        for (path, object) in
            [("/rtt/customers/lan", WAN), ("/rtt/customers/wan", LAN), ("/rtt/ports", usize::from(EAST))]
        {
            let distribution = it.distribution(path, object);
            assert_eq!(distribution.count(), 1, "{path} {timestamps}");
            let sum = distribution.sum().unwrap();
            assert!((range[0]..=range[1] + 1).contains(&sum), "{path}: {sum} is not within {range:?}");
            assert!(distribution.highest().unwrap() >= sum);
        }
        for (path, object) in
            [("/rtt/customers/lan", LAN), ("/rtt/customers/wan", WAN), ("/rtt/ports", usize::from(WEST))]
        {
            assert_eq!(it.distribution(path, object).count(), 0, "{path}");
        }
        let expected = if timestamps { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
        assert_eq!(it.simple("/rtt/samples"), expected);
        let record = record(&mut it);
        let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
        let (rtt, least) = (number(16), number(24));
        let sum = it.distribution("/rtt/ports", usize::from(EAST)).sum().unwrap();
        assert!(number(0) == 0 && (rtt / 1000).abs_diff(sum) <= 1, "{rtt} ns, {sum} µs");
        // The flow table has room for some bits of the least one.
        assert!(least <= rtt && rtt - least <= 10, "{rtt} {least}");
        let now =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
        assert!(now.abs_diff(number(8)) < 60_000_000_000, "{now} {}", number(8));
        let address = |at: usize| {
            std::net::Ipv6Addr::from(<[u8; 16]>::try_from(&record[at..at + 16]).unwrap()).to_canonical()
        };
        assert_eq!(
            (address(32).to_string(), address(48).to_string()),
            (town::FAR.to_owned(), HOST.to_owned())
        );
        let ports = [443_u16.to_le_bytes(), 50_000_u16.to_le_bytes()].concat();
        assert_eq!(&record[64..68], ports);
        assert_eq!(&record[68..72], [u8::from(!timestamps), 0, EAST as u8, 0]);
        assert_eq!(&record[72..], [1, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0], "customers 1 and 0, TCP");
    }
}

/// The newest record of the ring.
fn record(it: &mut Trial) -> Vec<u8> {
    let Value::Ring(ring) = it.value("/rtt/events") else { panic!("no ring") };
    let text = String::from_utf8_lossy(&ring.schema).into_owned();
    let schema: serde_json::Value = serde_json::from_str(text.trim_end_matches('\0')).unwrap();
    assert_eq!(schema["size"], 88);
    ring.rows[1].records.last().unwrap().to_vec()
}

#[test]
fn every_packet_counts_for_its_customers_and_ports() {
    let mut it = Trial::new();
    for (destination, length) in [(town::FAR, 100), (town::FAR, 8), (town::FAR_NARROW, 50)] {
        it.pass(WEST, &Datagram::udp(destination, length).bytes());
    }
    it.pass(EAST, &Datagram::udp(HOST, 30).from(town::FAR).bytes());
    let frame = |payload: u64| 14 + 20 + 8 + payload;
    let pair = |packets, bytes| Pair { packets, bytes };
    let up = pair(3, frame(100) + frame(8) + frame(50));
    assert_eq!(it.combined("/customers/up"), [up, pair(1, frame(30))]);
    assert_eq!(it.combined("/customers/down"), [pair(1, frame(30)), pair(2, frame(100) + frame(8))]);
    let counts = |it: &mut Trial, path: &str| [0, 1].map(|object| it.distribution(path, object).count());
    assert_eq!(counts(&mut it, "/delay/customers/up"), [3, 1]);
    assert_eq!(counts(&mut it, "/delay/customers/down"), [1, 2]);
    let by_port = [WEST, EAST, NARROW].map(|port| it.distribution("/delay/ports", usize::from(port)).count());
    assert_eq!(by_port, [1, 2, 1]);
}

#[test]
fn packets_of_one_vector_wait_each_for_themselves() {
    let mut it = Trial::new();
    let datagrams: Vec<_> = (0..40)
        .map(|at| match at % 4 {
            0 => (WEST, Datagram::udp(town::FAR, 10)),
            1 => (WEST, Datagram::udp(town::FAR_NARROW, 10)),
            2 => (EAST, Datagram::udp(HOST, 10).from(town::FAR)),
            _ => (EAST, Datagram::udp(HOST, 10).from("203.0.113.9")),
        })
        .collect();
    for (port, datagram) in &datagrams {
        it.router.feed(*port, &datagram.frame(*port));
    }
    it.router.now = clock::now();
    assert_eq!(it.router.run().len(), 40);
    let counts = |it: &mut Trial, path: &str| [0, 1].map(|object| it.distribution(path, object).count());
    assert_eq!(counts(&mut it, "/delay/customers/up"), [20, 10]);
    assert_eq!(counts(&mut it, "/delay/customers/down"), [20, 10]);
    let by_port = [WEST, EAST, NARROW].map(|port| it.distribution("/delay/ports", usize::from(port)).count());
    assert_eq!(by_port, [20, 10, 10]);
    let within = it.clock.duration(clock::now() - it.router.now).as_micros() as u64;
    let sum = it.distribution("/delay/ports", usize::from(WEST)).sum().unwrap();
    assert!(sum <= 20 * within, "{sum} of {within}");
}

#[test]
fn what_was_sent_again_counts_by_direction() {
    let mut it = Trial::new();
    it.connect(true);
    let data = |sequence, value| Tcp {
        flags: "A",
        sequence,
        acknowledgement: 500,
        timestamps: (value, 7),
        length: 100,
    };
    it.segment(true, data(100, 20));
    it.segment(true, data(200, 21));
    it.segment(true, data(100, 22));
    assert_eq!(it.simple("/customers/retransmissions/up"), [1, 0]);
    assert_eq!(it.simple("/customers/retransmissions/down"), [0, 1]);
    it.segment(true, data(400, 30));
    it.segment(true, data(300, 29));
    assert_eq!(it.simple("/customers/reordered/up"), [1, 0]);
    assert_eq!(it.simple("/customers/reordered/down"), [0, 1]);
    assert_eq!(it.simple("/customers/retransmissions/up"), [1, 0]);
}

#[test]
fn a_customer_that_is_gone_leaves_nothing_to_the_next() {
    let mut it = Trial::new();
    it.connect(true);
    let data = Tcp { flags: "A", sequence: 100, acknowledgement: 500, timestamps: (20, 7), length: 100 };
    it.segment(true, data);
    it.segment(true, data);
    it.segment(
        false,
        Tcp { flags: "A", sequence: 500, acknowledgement: 200, timestamps: (8, 20), length: 0 },
    );
    it.router.graph.forget(&Forget { customers: vec![LAN as u32], ..Forget::default() });
    for path in ["/customers/up", "/customers/down"] {
        let pairs = it.combined(path);
        assert!(pairs[LAN].packets == 0 && pairs[LAN].bytes == 0 && pairs[WAN].packets > 0, "{path}");
    }
    for path in ["/rtt/customers/wan", "/delay/customers/up", "/delay/customers/down"] {
        let distribution = it.distribution(path, LAN);
        assert_eq!((distribution.count(), distribution.sum()), (0, Some(0)), "{path}");
    }
    assert_eq!(it.distribution("/rtt/customers/lan", WAN).count(), 1);
    assert_eq!(it.simple("/customers/retransmissions/up"), [0, 0]);
    assert_eq!(it.simple("/customers/retransmissions/down"), [0, 1]);
}

#[test]
fn flows_that_are_silent_end_though_no_packet_comes() {
    let mut it = Trial::new();
    it.connect(true);
    let second = it.clock.hz();
    it.router.pass(second);
    assert_eq!(it.simple("/rtt/flows"), [1, 1, 0, 0, 0]);
    for _ in 0..3000 {
        it.router.pass(second / 5);
    }
    assert_eq!(it.simple("/rtt/flows"), [0, 1, 1, 0, 0]);
}

#[test]
fn an_echo_is_measured() {
    let mut it = Trial::new();
    it.pass(WEST, &Datagram::echo(town::FAR).bytes());
    let mut reply = Datagram::echo(HOST).from(town::FAR).bytes();
    reply[20] = 0;
    it.pass(EAST, &reply);
    assert_eq!(it.simple("/rtt/samples"), [0, 0, 1, 0]);
    assert_eq!(it.distribution("/rtt/ports", usize::from(EAST)).count(), 1);
}
