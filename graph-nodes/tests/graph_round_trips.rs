//! Round-trip times through the whole graph: what is counted for whom, in the segment, as readers find it. In a router, and in a bridge whatever the
//! packets wear there.
//!
//! The state machine that decides which packet answers which has tests of its own (`tests/rtt`). Here time is the processor's: packets leave a little after they
//! came in, and how much later is measured around the graph.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::collections::BTreeMap;

use etherparse::TcpOptionElement;
use harness::{
    Router, Setup,
    access::{self, Access, Host},
    bridge::{self, bridge_with},
    port_mac, town,
    town::town_with,
};
use weir_graph::{
    clock::{self, Clock},
    customers::Customer,
    latency,
    node::Forget,
    round_trips::{COMBINED_BY_CUSTOMER, LATENCY_BY_CUSTOMER, SIMPLE_BY_CUSTOMER},
    rtt::Settings,
};
use weir_stats::{Bounds, Distribution, Pair, Reader, Value};

const LAN: usize = 0;
const WAN: usize = 1;
/// Customers: those behind the west port, and the servers in the east.
const CUSTOMERS: [(&str, u32); 4] = [
    ("10.0.0.0/24", LAN as u32),
    ("2001:db8::/64", LAN as u32),
    ("192.0.2.0/24", WAN as u32),
    ("2001:db8:f::/48", WAN as u32),
];
const HOST: Host = [town::HOST, town::HOST6];
const FAR: Host = [town::FAR, town::FAR6];
const FAR_NARROW: Host = [town::FAR_NARROW, town::FAR6_NARROW];

/// What stands between host and servers, and how it takes their packets.
#[derive(Clone, Copy)]
enum Place {
    Router(Access),
    Bridge(Access),
}

impl Place {
    fn all() -> impl Iterator<Item = Place> {
        let plain = Access::ALL[..2].iter().map(|access| Place::Router(*access));
        plain.chain(Access::ALL.map(Place::Bridge))
    }

    fn access(self) -> Access {
        let (Place::Router(access) | Place::Bridge(access)) = self;
        access
    }

    fn name(self) -> String {
        let kind = if matches!(self, Place::Router(_)) { "router" } else { "bridge" };
        format!("{kind}, {}", self.access().name)
    }

    /// The port that a host is behind.
    fn port(self, host: Host) -> u16 {
        match (self, host) {
            (Place::Router(_), HOST) => town::WEST,
            (Place::Router(_), FAR) => town::EAST,
            (Place::Router(_), _) => town::NARROW,
            (Place::Bridge(_), HOST) => bridge::LAN,
            (Place::Bridge(_), _) => bridge::WAN,
        }
    }
}

struct Trial {
    router: Router,
    clock: Clock,
    place: Place,
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
    fn new(place: Place) -> Trial {
        let clock = Clock::calibrate();
        let rtt = Settings { interval: 0, settling: 0, ..Settings::new(clock, 1024) };
        let setup = Setup { rtt: Some(rtt), clock, ..Setup::default() };
        let mut router = match place {
            Place::Router(_) => town_with(&setup),
            Place::Bridge(_) => bridge_with(&setup),
        };
        let list = CUSTOMERS.map(|(text, column)| (access::prefix(text), Customer::of_column(column)));
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
        Trial { router, clock, place }
    }

    /// A segment from the host to the server, or back; when it came in, and by when it had left.
    fn segment(&mut self, out: bool, tcp: Tcp) -> (u64, u64) {
        let (from, to, ports) = if out { (HOST, FAR, (50_000, 443)) } else { (FAR, HOST, (443, 50_000)) };
        let mut builder = self.place.access().ip(from, to).tcp(ports.0, ports.1, tcp.sequence, 64_000);
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
        let mut packet = Vec::new();
        builder.write(&mut packet, &vec![b'x'; tcp.length]).unwrap();
        self.pass(from, &packet)
    }

    /// The frame in which a host sends a packet, and the port by which it comes.
    fn frame(&self, from: Host, packet: &[u8]) -> (u16, Vec<u8>) {
        let port = self.place.port(from);
        (port, self.place.access().frame(port_mac(port), [6, 0, 0, 0, 0, 1], packet))
    }

    fn udp(&self, from: Host, to: Host, length: usize) -> Vec<u8> {
        self.place.access().udp((from, 4000), (to, 5000), length)
    }

    fn pass(&mut self, from: Host, packet: &[u8]) -> (u64, u64) {
        let (port, frame) = self.frame(from, packet);
        self.router.now = clock::now();
        let came = self.router.now;
        assert!(!self.router.forward(port, &frame).is_empty(), "{}", self.place.name());
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

    /// How many times are counted at each port that has any.
    fn counts_by_port(&mut self, path: &str) -> BTreeMap<u16, u64> {
        let count = |port| (port, self.distribution(path, usize::from(port)).count());
        (0..4).map(count).filter(|(_, count)| *count > 0).collect()
    }

    /// Counts by host, as counts by the ports that they are behind.
    fn by_port(&self, counts: [(Host, u64); 3]) -> BTreeMap<u16, u64> {
        let mut ports = BTreeMap::new();
        counts.iter().for_each(|(host, count)| *ports.entry(self.place.port(*host)).or_default() += count);
        ports
    }

    fn distribution(&mut self, path: &str, object: usize) -> Distribution {
        let bounds = Bounds::of_names(&latency::names()).unwrap();
        let columns = self.simple(path);
        bounds.distribution(&columns[object * latency::WIDTH..][..latency::WIDTH])
    }
}

#[test]
fn a_round_trip_is_counted_where_it_belongs() {
    for (place, timestamps) in Place::all().flat_map(|place| [(place, true), (place, false)]) {
        let mut it = Trial::new(place);
        let (east, west) = (usize::from(place.port(FAR)), usize::from(place.port(HOST)));
        let name = place.name();
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
        for (path, object) in [("/rtt/customers/lan", WAN), ("/rtt/customers/wan", LAN), ("/rtt/ports", east)]
        {
            let distribution = it.distribution(path, object);
            assert_eq!(distribution.count(), 1, "{name}: {path} {timestamps}");
            let sum = distribution.sum().unwrap();
            assert!(
                (range[0]..=range[1] + 1).contains(&sum),
                "{name}: {path}: {sum} is not within {range:?}"
            );
            assert!(distribution.highest().unwrap() >= sum);
        }
        for (path, object) in [("/rtt/customers/lan", LAN), ("/rtt/customers/wan", WAN), ("/rtt/ports", west)]
        {
            assert_eq!(it.distribution(path, object).count(), 0, "{name}: {path}");
        }
        let expected = if timestamps { [1, 0, 0, 0] } else { [0, 1, 0, 0] };
        assert_eq!(it.simple("/rtt/samples"), expected, "{name}");
        let record = record(&mut it);
        let number = |at: usize| u64::from_le_bytes(record[at..at + 8].try_into().unwrap());
        let (rtt, least) = (number(16), number(24));
        let sum = it.distribution("/rtt/ports", east).sum().unwrap();
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
            (address(32), address(48)),
            (place.access().address(FAR), place.access().address(HOST)),
            "{name}"
        );
        let ports = [443_u16.to_le_bytes(), 50_000_u16.to_le_bytes()].concat();
        assert_eq!(&record[64..68], ports);
        assert_eq!(&record[68..72], [u8::from(!timestamps), 0, east as u8, 0]);
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
    for place in Place::all() {
        let (mut it, name) = (Trial::new(place), place.name());
        let (mut up, mut down) = ([Pair::default(); 2], [Pair::default(); 2]);
        for (from, to, length) in [(HOST, FAR, 100), (HOST, FAR, 8), (HOST, FAR_NARROW, 50), (FAR, HOST, 30)]
        {
            let packet = it.udp(from, to, length);
            it.pass(from, &packet);
            let bytes = it.frame(from, &packet).1.len() as u64;
            let count = |of: &mut [Pair; 2], host| {
                if let Some(at) = [HOST, FAR].iter().position(|customer| *customer == host) {
                    of[at] = Pair { packets: of[at].packets + 1, bytes: of[at].bytes + bytes };
                }
            };
            count(&mut up, from);
            count(&mut down, to);
        }
        assert_eq!(it.combined("/customers/up"), up, "{name}");
        assert_eq!(it.combined("/customers/down"), down, "{name}");
        let counts = |it: &mut Trial, path: &str| [0, 1].map(|object| it.distribution(path, object).count());
        assert_eq!(counts(&mut it, "/delay/customers/up"), [3, 1], "{name}");
        assert_eq!(counts(&mut it, "/delay/customers/down"), [1, 2], "{name}");
        let expected = it.by_port([(HOST, 1), (FAR, 2), (FAR_NARROW, 1)]);
        assert_eq!(it.counts_by_port("/delay/ports"), expected, "{name}");
    }
}

#[test]
fn packets_of_one_vector_wait_each_for_themselves() {
    for place in Place::all() {
        let (mut it, name) = (Trial::new(place), place.name());
        for at in 0..40 {
            let (from, to) = match at % 4 {
                0 => (HOST, FAR),
                1 => (HOST, FAR_NARROW),
                2 => (FAR, HOST),
                _ => (FAR_NARROW, HOST),
            };
            let (port, frame) = it.frame(from, &it.udp(from, to, 10));
            it.router.feed(port, &frame);
        }
        it.router.now = clock::now();
        assert_eq!(it.router.run().len(), 40);
        let counts = |it: &mut Trial, path: &str| [0, 1].map(|object| it.distribution(path, object).count());
        assert_eq!(counts(&mut it, "/delay/customers/up"), [20, 10], "{name}");
        assert_eq!(counts(&mut it, "/delay/customers/down"), [20, 10], "{name}");
        let expected = it.by_port([(HOST, 20), (FAR, 10), (FAR_NARROW, 10)]);
        assert_eq!(it.counts_by_port("/delay/ports"), expected, "{name}");
        let within = it.clock.duration(clock::now() - it.router.now).as_micros() as u64;
        let sum = it.distribution("/delay/ports", usize::from(place.port(HOST))).sum().unwrap();
        assert!(sum <= 20 * within, "{name}: {sum} of {within}");
    }
}

#[test]
fn what_was_sent_again_counts_by_direction() {
    for place in Place::all() {
        println!("{}", place.name()); // shown if it fails
        let mut it = Trial::new(place);
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
}

#[test]
fn a_customer_that_is_gone_leaves_nothing_to_the_next() {
    for place in Place::all() {
        println!("{}", place.name()); // shown if it fails
        let mut it = Trial::new(place);
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
}

#[test]
fn flows_that_are_silent_end_though_no_packet_comes() {
    for place in Place::all() {
        println!("{}", place.name()); // shown if it fails
        let mut it = Trial::new(place);
        it.connect(true);
        let second = it.clock.hz();
        it.router.pass(second);
        assert_eq!(it.simple("/rtt/flows"), [1, 1, 0, 0, 0]);
        for _ in 0..3000 {
            it.router.pass(second / 5);
        }
        assert_eq!(it.simple("/rtt/flows"), [0, 1, 1, 0, 0]);
    }
}

#[test]
fn an_echo_is_measured() {
    for place in Place::all() {
        let (mut it, name) = (Trial::new(place), place.name());
        it.pass(HOST, &place.access().echo(HOST, FAR, false));
        it.pass(FAR, &place.access().echo(FAR, HOST, true));
        assert_eq!(it.simple("/rtt/samples"), [0, 0, 1, 0], "{name}");
        assert_eq!(it.distribution("/rtt/ports", usize::from(place.port(FAR))).count(), 1, "{name}");
    }
}

#[test]
fn of_a_datagram_in_pieces_only_the_first_is_taken_for_what_it_carries() {
    for place in Place::all() {
        let (mut it, name) = (Trial::new(place), place.name());
        it.connect(true);
        let mut packet = Vec::new();
        let options = [TcpOptionElement::Timestamp(20, 7)];
        let builder = place.access().ip(HOST, FAR).tcp(50_000, 443, 100, 64_000).ack(500);
        builder.options(&options).unwrap().write(&mut packet, &[b'x'; 100]).unwrap();
        // The later pieces hold what looks like headers of other flows.
        let pieces = place.access().pieces(&packet, 40, 9);
        assert_eq!(pieces.len(), 4);
        let flows = it.simple("/rtt/flows");
        for piece in pieces.iter().rev() {
            it.pass(HOST, piece);
        }
        it.router.pass(it.clock.hz());
        assert_eq!(it.simple("/rtt/flows")[1], 1, "{name}: {flows:?}");
        // The first one is answered as a whole segment is.
        let answer = Tcp { flags: "A", sequence: 500, acknowledgement: 200, timestamps: (8, 20), length: 0 };
        it.segment(false, answer);
        assert_eq!(it.simple("/rtt/samples"), [1, 0, 0, 0], "{name}");
    }
}
