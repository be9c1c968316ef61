//! The shaper in the graph, on virtual time: which packets wait, for how long, what becomes of them, and what the segment says of it. All of it whatever
//! the packets wear.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::net::IpAddr;
use std::sync::Arc;

use harness::{
    HZ, Router, Sent, Setup,
    access::{self, Access, Host, Version},
    bridge::{LAN, WAN, bridge_with},
    datagram::header_checksum,
};
use weir_graph::{
    customers::Customer,
    node::Forget,
    nodes::shaper,
    shaped::{self, Capacity},
    shaper::{Direction, Discipline, Leaf, Operation, Orders, Overhead, Rates, Settings, TreeNode},
};
use weir_stats::{Reader, Value};

/// Customers, and their columns.
const ALICE: Host = ["10.0.0.2", "2001:db8:0:2::1"];
const BOB: Host = ["10.0.0.3", "2001:db8:0:3::1"];
const SERVER: Host = ["192.0.2.7", "2001:db9::7"];
const STRANGERS: [Host; 3] =
    [["10.0.0.9", "2001:db8:0:9::1"], ["10.0.0.10", "2001:db8:0:a::1"], ["10.0.0.11", "2001:db8:0:b::1"]];
const NAMES: [(&str, u32); 4] =
    [("10.0.0.2/32", 0), ("2001:db8:0:2::/64", 0), ("10.0.0.3/32", 1), ("2001:db8:0:3::/64", 1)];
/// Bytes of a frame.
const LENGTH: usize = 1000;
/// 8000 bits in 8 ms.
const MEGABIT: u64 = 1_000_000;

fn rates(max: u64) -> Rates {
    Rates { min: max / 2, max, weight: 1 }
}

fn link(direction: Direction, max: u64) -> Operation {
    Operation::Node { node: TreeNode::of(0, direction), parent: None, rates: rates(max) }
}

fn leaf(column: u32, direction: Direction, max: u64) -> Operation {
    let (leaf, parent) = (Leaf::of(column, direction), TreeNode::of(0, direction));
    Operation::Leaf { leaf, parent, rates: rates(max), discipline: 0, overhead: 0 }
}

const SETTINGS: Settings =
    Settings { hz: HZ, leaves: 16, nodes: 16, tins: 64, flows: 256, packets: 512, frame: 2048, mtu: 1514 };

struct Trial {
    router: Router,
    access: Access,
}

impl Trial {
    /// A bridge on which the two customers may send a megabit a second each way, and the link carries a hundred.
    fn new(access: Access) -> Trial {
        Trial::with(access, SETTINGS)
    }

    fn with(access: Access, settings: Settings) -> Trial {
        println!("{}", access.name); // shown if it fails
        let capacity = Capacity { customers: settings.leaves / 2, nodes: settings.nodes / 2 };
        let setup = shaper::Setup { settings, capacity, frames: 1024, common: None };
        let mut router = bridge_with(&Setup { shaper: Some(setup), ..Setup::measuring() });
        let list = NAMES.map(|(text, column)| (access::prefix(text), Customer::of_column(column)));
        router.customers.as_mut().unwrap().replace(list).unwrap();
        shaped::grow(&mut router.counters, 3, 1).unwrap();
        let mut trial = Trial { router, access };
        let both = [Direction::Down, Direction::Up];
        let links = both.map(|direction| link(direction, 100 * MEGABIT));
        let leaves = [0, 1].map(|column| both.map(|direction| leaf(column, direction, MEGABIT)));
        trial.order(links.into_iter().chain(leaves.concat()).collect());
        trial
    }

    fn order(&mut self, operations: Vec<Operation>) {
        self.order_filtering(false, operations);
    }

    /// With a discipline that filters ACKs, or not.
    fn order_filtering(&mut self, ack_filter: bool, operations: Vec<Operation>) {
        let discipline = Discipline { ack_filter, ..Discipline::usual(HZ) };
        let orders = Orders { disciplines: vec![discipline], overheads: vec![Overhead::RAW], operations };
        self.router.graph.plan(&Arc::new(orders));
        self.router.pass(0);
    }

    /// A packet in a frame of [`LENGTH`] bytes.
    fn packet(&self, from: (Host, u16), to: (Host, u16)) -> Vec<u8> {
        let headers = self.access.overhead() + self.access.udp(from, to, 0).len();
        self.access.udp(from, to, LENGTH - headers)
    }

    fn frame(&self, packet: &[u8]) -> Vec<u8> {
        self.access.frame([4; 6], [2; 6], packet)
    }

    fn feed(&mut self, port: u16, packet: &[u8]) {
        let frame = self.frame(packet);
        self.router.feed(port, &frame);
    }

    /// A frame for a customer, one of many of a flow.
    fn down(&mut self, customer: Host, port: u16) {
        let packet = self.packet((SERVER, 53), (customer, port));
        self.feed(WAN, &packet);
    }

    fn up(&mut self, customer: Host, port: u16) {
        let packet = self.packet((customer, port), (SERVER, 53));
        self.feed(LAN, &packet);
    }

    /// An acknowledgement without data.
    fn acknowledge(&mut self, customer: Host, number: u32) {
        let mut packet = Vec::new();
        let builder = self.access.ip(customer, SERVER).tcp(40_000, 443, 1, 256).ack(number);
        builder.write(&mut packet, &[]).unwrap();
        self.feed(LAN, &packet);
    }

    /// Whether a frame is for this host.
    fn is_for(&self, frame: &[u8], host: Host) -> bool {
        let packet = self.access.packet(frame);
        match self.access.address(host) {
            IpAddr::V4(address) => packet[16..20] == address.octets(),
            IpAddr::V6(address) => packet[24..40] == address.octets(),
        }
    }

    /// Lets time pass in steps of 100 µs; what left, and when.
    fn watch(&mut self, ticks: u64) -> Vec<(u64, Sent)> {
        let begin = self.router.now;
        let mut all = Vec::new();
        while self.router.now < begin + ticks {
            let sent = self.router.pass(100);
            let now = self.router.now - begin;
            all.extend(sent.into_iter().map(|sent| (now, sent)));
        }
        all
    }

    fn value(&mut self, path: &str) -> Value {
        let reader = Reader::of(self.router.counters.segment()).unwrap();
        reader.read(&reader.find(path).unwrap().unwrap_or_else(|| panic!("no {path}"))).unwrap()
    }

    fn pair(&mut self, path: &str, column: usize) -> (u64, u64) {
        match self.value(path) {
            Value::Combined(rows) => (rows[1][column].packets, rows[1][column].bytes),
            other => panic!("{path} is {other:?}"),
        }
    }

    fn count(&mut self, path: &str, column: usize) -> u64 {
        match self.value(path) {
            Value::Simple(rows) => rows[1][column],
            other => panic!("{path} is {other:?}"),
        }
    }
}

#[test]
fn packets_leave_at_the_customers_rate_each_way() {
    for access in Access::ALL {
        let mut trial = Trial::new(access);
        for _ in 0..10 {
            trial.down(ALICE, 4000);
            trial.up(ALICE, 4000);
            trial.down(BOB, 4000);
        }
        let at_once = trial.router.run().len() + trial.router.pass(0).len();
        assert_eq!(at_once, 2, "the first of each direction");
        assert_eq!(trial.router.graph.held(), 28);
        let left = trial.watch(200_000);
        assert_eq!(left.len(), 28);
        // Bob's first one waits for the link, which takes 80 µs for alice's; after idle time the link takes two at once.
        let ways = [(LAN, ALICE, 1, 0), (LAN, BOB, 0, 100), (WAN, SERVER, 1, 0)];
        for (port, destination, first, later) in ways {
            let times: Vec<u64> = left
                .iter()
                .filter(|(_, sent)| sent.port == port && trial.is_for(&sent.frame, destination))
                .map(|(time, _)| *time)
                .collect();
            let expected: Vec<u64> = (first..10).map(|n| if n == 0 { later } else { n * 8000 }).collect();
            assert_eq!(times, expected, "{destination:?}");
        }
        assert_eq!(trial.pair("/shaper/customers/down/sent", 0), (10, 10_000));
        assert_eq!(trial.pair("/shaper/customers/up/sent", 0), (10, 10_000));
        assert_eq!(trial.pair("/shaper/customers/down/tins/sent", 9), (10, 10_000), "bob's best effort");
        assert_eq!(trial.pair("/shaper/customers/down/backlog", 0), (0, 0));
        assert_eq!(trial.pair("/shaper/nodes/down/sent", 0), (20, 20_000));
    }
}

#[test]
fn what_has_no_leaf_passes() {
    for access in Access::ALL {
        let mut trial = Trial::new(access);
        trial.order(vec![Operation::RemoveLeaf(Leaf::of(1, Direction::Down))]);
        for _ in 0..10 {
            trial.down(BOB, 4000);
            trial.down(STRANGERS[0], 4000);
            trial.up(STRANGERS[0], 4000);
        }
        let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &[8, 6], &[0; 46]].concat();
        trial.router.feed(LAN, &arp);
        assert_eq!(trial.router.run().len(), 31);
        assert_eq!(trial.router.graph.held(), 0);
    }
}

#[test]
fn strangers_share_a_leaf_if_there_is_one_for_them() {
    for access in Access::ALL {
        let mut trial = Trial::new(access);
        trial.router.customers.as_mut().unwrap().set_unknown(Customer::of_column(2));
        trial.order([Direction::Down, Direction::Up].map(|way| leaf(2, way, MEGABIT)).to_vec());
        for stranger in STRANGERS.iter().cycle().take(10) {
            trial.down(*stranger, 4000);
            trial.up(*stranger, 4000);
        }
        trial.down(ALICE, 4000);
        let at_once = trial.router.run().len() + trial.router.pass(1000).len();
        assert_eq!(at_once, 3, "one each way, and alice's");
        assert_eq!(trial.watch(72_000).len(), 18);
        trial.watch(100_000);
        assert_eq!(trial.pair("/shaper/customers/up/sent", 2), (10, 10_000));
        assert_eq!(trial.pair("/shaper/customers/down/sent", 0), (1, 1000));
    }
}

#[test]
fn an_unheeding_flood_is_dropped_by_name_and_everything_adds_up() {
    for access in Access::ALL {
        let mut trial = Trial::new(access);
        let mut left = 0;
        for step in 0..4000 {
            // Four times the rate.
            trial.down(ALICE, 4000);
            if step % 20 == 0 {
                trial.down(BOB, 4000);
            }
            left += trial.router.run().len() + trial.router.pass(2000).len();
        }
        let drops = trial.router.all_drops();
        let codel = drops.get(&("shaper", "codel")).copied().unwrap_or(0);
        assert!(codel > 500, "{drops:?}");
        let held = trial.router.graph.held() as u64;
        let all: u64 = drops.values().sum();
        assert_eq!(left as u64 + all + held, 4200);
        trial.watch(200_000);
        let all: u64 = trial.router.all_drops().values().sum();
        let counted: u64 = (0..5).map(|cause| trial.count("/shaper/customers/down/dropped", cause)).sum();
        assert_eq!(counted, all, "by customer as by node");
        let bob: u64 = (5..10).map(|cause| trial.count("/shaper/customers/down/dropped", cause)).sum();
        assert_eq!(bob, 0);
        assert_eq!(trial.pair("/shaper/customers/down/sent", 1).0, 200);
    }
}

#[test]
fn what_can_be_marked_is_marked_with_a_right_checksum() {
    for access in Access::ALL {
        let mut trial = Trial::new(access);
        let mut packet = trial.packet((SERVER, 53), (ALICE, 4000));
        // Byte 1 has ECN in IPv4 and, four bits higher, in IPv6.
        let shift = if access.version() == Version::Four { 0 } else { 4 };
        packet[1] |= 1 << shift;
        if access.version() == Version::Four {
            let checksum = header_checksum(&packet[..20]);
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        let frame = trial.frame(&packet);
        let mut marked = 0;
        for _ in 0..400 {
            trial.router.feed(WAN, &frame);
            trial.router.feed(WAN, &frame);
            trial.router.run();
            for (_, sent) in trial.watch(8000) {
                // As it was sent, but for the mark and the checksum over it.
                let mut expected = packet.clone();
                let is_marked = access.packet(&sent.frame)[1] >> shift & 3 == 3;
                marked += u64::from(is_marked);
                if is_marked {
                    expected[1] |= 3 << shift;
                }
                if access.version() == Version::Four {
                    let checksum = header_checksum(&expected[..20]);
                    expected[10..12].copy_from_slice(&checksum.to_be_bytes());
                }
                assert_eq!(access.packet(&sent.frame), expected);
            }
        }
        assert!(marked > 10, "{marked}");
        trial.watch(200_000);
        assert!(trial.count("/shaper/customers/down/marked", 0) >= marked);
    }
}

#[test]
fn a_new_rate_holds_from_its_order_on_and_keeps_what_waits() {
    for access in Access::ALL {
        let mut trial = Trial::new(access);
        for _ in 0..20 {
            trial.down(ALICE, 4000);
        }
        assert_eq!(trial.router.run().len(), 1, "nobody waits yet");
        assert_eq!(trial.watch(40_000).len(), 5);
        trial.order(vec![leaf(0, Direction::Down, 4 * MEGABIT)]);
        let left = trial.watch(40_000);
        assert_eq!(left.len(), 14, "2 ms each from here on");
        assert_eq!(trial.router.all_drops().len(), 0);
    }
}

#[test]
fn a_customer_who_goes_takes_packets_and_counts_along() {
    for access in Access::ALL {
        let mut trial = Trial::new(access);
        for _ in 0..20 {
            trial.down(ALICE, 4000);
        }
        trial.router.run();
        trial.watch(200_000);
        for _ in 0..10 {
            trial.down(ALICE, 4000);
        }
        trial.router.run();
        trial.order(
            [Direction::Down, Direction::Up].map(|way| Operation::RemoveLeaf(Leaf::of(0, way))).to_vec(),
        );
        let drops = trial.router.all_drops();
        assert_eq!(
            drops.get(&("shaper", "removed")),
            Some(&9),
            "all but the one that did not wait: {drops:?}"
        );
        assert!(trial.pair("/shaper/customers/down/sent", 0).0 >= 20);
        trial.router.graph.forget(&Forget { customers: vec![0], ..Forget::default() });
        trial.watch(1000);
        assert_eq!(trial.pair("/shaper/customers/down/sent", 0), (0, 0));
        assert_eq!(trial.count("/shaper/customers/down/dropped", 4), 0);
        // The column's next customer begins at nothing.
        trial.order([Direction::Down, Direction::Up].map(|way| leaf(0, way, MEGABIT)).to_vec());
        trial.down(ALICE, 4000);
        trial.router.run();
        trial.watch(200_000);
        assert_eq!(trial.pair("/shaper/customers/down/sent", 0), (1, 1000));
    }
}

#[test]
fn who_leaves_gives_up_what_waits_and_then_holds_nothing_back() {
    for access in Access::ALL {
        let mut trial = Trial::new(access);
        for _ in 0..20 {
            trial.down(ALICE, 4000);
        }
        let at_once = trial.router.run().len() + trial.router.pass(0).len() + trial.router.drain().len();
        assert_eq!(at_once, 1);
        assert_eq!(trial.router.all_drops().get(&("shaper", "leaving")), Some(&19));
        assert_eq!(trial.router.graph.held(), 0);
        for _ in 0..20 {
            trial.down(ALICE, 4000);
        }
        assert_eq!(trial.router.run().len(), 20);
        trial.watch(100_000);
    }
}

#[test]
fn acknowledgements_that_a_later_one_supersedes_go_where_the_discipline_says_so() {
    for access in Access::ALL {
        // The first need not wait; of the others the last two are left.
        for (ack_filter, left) in [(false, 20), (true, 3)] {
            let mut trial = Trial::new(access);
            trial.order_filtering(ack_filter, vec![leaf(0, Direction::Up, MEGABIT)]);
            for number in 1..=20 {
                trial.acknowledge(ALICE, number);
                trial.router.run();
            }
            let before = trial.router.all_drops().get(&("shaper", "ack-filter")).copied().unwrap_or(0);
            assert_eq!(before, 20 - left);
            trial.watch(200_000);
            assert_eq!(trial.pair("/shaper/customers/up/sent", 0).0, left);
            // Best effort: tin 1.
            let by_tin = [0, 1, 2, 3].map(|tin| trial.count("/shaper/customers/up/tins/ack-filter", tin));
            assert_eq!(by_tin, [0, 20 - left, 0, 0]);
        }
    }
}

#[test]
fn the_pieces_of_a_datagram_wait_in_one_queue_in_their_order() {
    for access in Access::ALL {
        // So many datagrams between the same hosts, each in three pieces: by ports their first pieces would wait in queues of their own, and later pieces overtake them.
        const DATAGRAMS: u16 = 4;
        let mut trial = Trial::new(access);
        trial.down(ALICE, 3999); // what all others wait for
        assert_eq!(trial.router.run().len() + trial.router.pass(0).len(), 1);
        let mut expected = Vec::new();
        for port in 4000..4000 + DATAGRAMS {
            let whole = trial.access.udp((SERVER, 53), (ALICE, port), 2400);
            for piece in trial.access.pieces(&whole, 968, port) {
                trial.feed(WAN, &piece);
                expected.push(trial.frame(&piece));
            }
        }
        trial.router.run();
        assert_eq!(expected.len(), 3 * usize::from(DATAGRAMS));
        let left: Vec<_> = trial.watch(8000 * 30).into_iter().map(|(_, sent)| sent.frame).collect();
        assert_eq!(left, expected);
    }
}

#[test]
fn who_need_not_wait_needs_no_tin() {
    for access in Access::ALL {
        let mut trial = Trial::with(access, Settings { tins: 1, ..SETTINGS });
        for customer in [ALICE, BOB, ALICE] {
            trial.down(customer, 4000);
            assert_eq!(trial.router.run().len(), 1);
            trial.watch(200_000);
        }
        let sent = [0, 1].map(|column| trial.pair("/shaper/customers/down/sent", column));
        assert_eq!(sent, [(2, 2000), (1, 1000)]);
        // Alice has the only tin: best effort's.
        let by_tin = [1, 9].map(|at| trial.pair("/shaper/customers/down/tins/sent", at));
        assert_eq!(by_tin, [(2, 2000), (0, 0)]);
    }
}

#[test]
fn counters_of_those_who_send_all_the_time_are_written_ten_times_a_second() {
    // More than are written at once.
    const CUSTOMERS: u8 = 200;
    let mut trial = Trial::with(Access::PLAIN, Settings { leaves: 512, ..SETTINGS });
    let prefix = |at| access::prefix(&format!("10.0.0.{at}/32"));
    let list = (0..CUSTOMERS).map(|at| (prefix(at), Customer::of_column(at.into())));
    trial.router.customers.as_mut().unwrap().replace(list).unwrap();
    shaped::grow(&mut trial.router.counters, CUSTOMERS.into(), 1).unwrap();
    trial.order((0..CUSTOMERS).map(|at| leaf(at.into(), Direction::Down, 100 * MEGABIT)).collect());
    trial.order(vec![link(Direction::Down, 100_000 * MEGABIT)]);
    trial.watch(10_000); // until all of it is carried out
    let host = |at| -> Host { [Box::leak(format!("10.0.0.{at}").into_boxed_str()), ""] };
    let packets: Vec<Vec<u8>> =
        (0..CUSTOMERS).map(|at| Access::PLAIN.udp((SERVER, 53), (host(at), 4000), 10)).collect();
    let mut written = std::collections::BTreeSet::new();
    for _ in 0..1000 {
        packets.iter().for_each(|packet| trial.feed(WAN, packet));
        assert_eq!(trial.router.run().len(), packets.len(), "nobody waits");
        trial.router.pass(1000);
        written.insert(trial.pair("/shaper/customers/down/sent", 7).0);
    }
    assert!((8..=11).contains(&written.len()), "{written:?}");
    trial.watch(300_000);
    for customer in 0..CUSTOMERS {
        assert_eq!(trial.pair("/shaper/customers/down/sent", customer.into()).0, 1000);
    }
}

#[test]
fn every_drop_reason_is_reached() {
    for access in Access::ALL {
        let mut reached = std::collections::BTreeSet::new();
        // Little memory and a flood: first the queue is full, then BLUE learns who fills it, and CoDel has its part.
        let mut trial = Trial::with(access, Settings { packets: 20, ..SETTINGS });
        for _ in 0..2000 {
            for _ in 0..4 {
                trial.down(ALICE, 4000);
            }
            trial.router.run();
            trial.router.pass(8000);
        }
        trial.down(ALICE, 4000);
        trial.down(ALICE, 4000);
        trial.router.run();
        trial.order(vec![Operation::RemoveLeaf(Leaf::of(0, Direction::Down))]);
        trial.down(BOB, 4000);
        trial.down(BOB, 4000);
        trial.router.run();
        trial.router.drain();
        reached.extend(trial.router.all_drops().into_keys());
        let mut trial = Trial::new(access);
        trial.order_filtering(true, vec![leaf(0, Direction::Up, MEGABIT)]);
        for number in 1..=5 {
            trial.acknowledge(ALICE, number);
        }
        trial.router.run();
        reached.extend(trial.router.all_drops().into_keys());
        // No tin for the second customer.
        let mut trial = Trial::with(access, Settings { tins: 1, ..SETTINGS });
        trial.down(ALICE, 4000);
        trial.down(ALICE, 4000);
        trial.down(BOB, 4000);
        trial.router.run();
        reached.extend(trial.router.all_drops().into_keys());
        let expected: Vec<_> = shaper::REGISTRATION
            .reasons
            .iter()
            .filter(|reason| !reached.contains(&("shaper", reason)))
            .collect();
        assert_eq!(expected, Vec::<&&str>::new(), "of {reached:?}");
    }
}
