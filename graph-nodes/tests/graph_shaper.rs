//! The shaper in the graph, on virtual time: which packets wait, for how long, what becomes of them, and what the segment says of it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::sync::Arc;

use etherparse::IpNumber;
use harness::{
    HZ, Router, Sent, Setup,
    bridge::{LAN, WAN, bridge_with},
    datagram::Datagram,
};
use weir_graph::{
    customers::Customer,
    fib::Prefix4,
    node::Forget,
    nodes::shaper,
    shaped::{self, Capacity},
    shaper::{Direction, Discipline, Leaf, Operation, Orders, Overhead, Rates, Settings, TreeNode},
};
use weir_stats::{Reader, Value};

/// Customers, and their columns.
const ALICE: &str = "10.0.0.2";
const BOB: &str = "10.0.0.3";
const SERVER: &str = "192.0.2.7";
const NAMES: [(&str, u32); 2] = [(ALICE, 0), (BOB, 1)];
/// Bytes of user data so that a frame has 1000 bytes.
const DATA: usize = 1000 - 14 - 20 - 8;
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
}

impl Trial {
    /// A bridge on which the two customers may send a megabit a second each way, and the link carries a hundred.
    fn new() -> Trial {
        Trial::with(SETTINGS)
    }

    fn with(settings: Settings) -> Trial {
        let capacity = Capacity { customers: 8, nodes: 8 };
        let setup = shaper::Setup { settings, capacity, frames: 1024, common: None };
        let mut router = bridge_with(&Setup { shaper: Some(setup), ..Setup::measuring() });
        let list = NAMES.map(|(name, column)| {
            let prefix = format!("{name}/32").parse::<Prefix4>().unwrap();
            (prefix.into(), Customer::of_column(column))
        });
        router.customers.as_mut().unwrap().replace(list).unwrap();
        shaped::grow(&mut router.counters, 3, 1).unwrap();
        let mut trial = Trial { router };
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

    /// A frame of 1000 bytes for a customer, one of many of a flow.
    fn down(&mut self, customer: &str, port: u16) {
        let frame = Datagram::udp_ports(customer, 53, port, DATA).from(SERVER).frame(WAN);
        self.router.feed(WAN, &frame);
    }

    fn up(&mut self, customer: &str, port: u16) {
        let frame = Datagram::udp_ports(SERVER, port, 53, DATA).from(customer).frame(LAN);
        self.router.feed(LAN, &frame);
    }

    /// An acknowledgement without data.
    fn acknowledge(&mut self, customer: &str, number: u32) {
        let ports = [0x9c, 0x40, 0x01, 0xbb, 0, 0, 0, 1];
        let rest = [5 << 4, 1 << 4, 1, 0, 0, 0, 0, 0];
        let segment = [&ports[..], &number.to_be_bytes(), &rest].concat();
        let frame = Datagram::of(IpNumber::TCP, SERVER, segment).from(customer).frame(LAN);
        self.router.feed(LAN, &frame);
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
    let mut trial = Trial::new();
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
    let ways = [(LAN, [10, 0, 0, 2], 1, 0), (LAN, [10, 0, 0, 3], 0, 100), (WAN, [192, 0, 2, 7], 1, 0)];
    for (port, destination, first, later) in ways {
        let times: Vec<u64> = left
            .iter()
            .filter(|(_, sent)| sent.port == port && sent.frame[30..34] == destination)
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

#[test]
fn what_has_no_leaf_passes() {
    let mut trial = Trial::new();
    trial.order(vec![Operation::RemoveLeaf(Leaf::of(1, Direction::Down))]);
    for _ in 0..10 {
        trial.down(BOB, 4000);
        trial.down("10.0.0.9", 4000);
        trial.up("10.0.0.9", 4000);
    }
    let arp = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 9], &[8, 6], &[0; 46]].concat();
    trial.router.feed(LAN, &arp);
    assert_eq!(trial.router.run().len(), 31);
    assert_eq!(trial.router.graph.held(), 0);
}

#[test]
fn strangers_share_a_leaf_if_there_is_one_for_them() {
    let mut trial = Trial::new();
    trial.router.customers.as_mut().unwrap().set_unknown(Customer::of_column(2));
    trial.order([Direction::Down, Direction::Up].map(|way| leaf(2, way, MEGABIT)).to_vec());
    for host in 9..19 {
        trial.down(&format!("10.0.0.{host}"), 4000);
        trial.up(&format!("10.0.0.{host}"), 4000);
    }
    trial.down(ALICE, 4000);
    let at_once = trial.router.run().len() + trial.router.pass(1000).len();
    assert_eq!(at_once, 3, "one each way, and alice's");
    assert_eq!(trial.watch(72_000).len(), 18);
    trial.watch(100_000);
    assert_eq!(trial.pair("/shaper/customers/up/sent", 2), (10, 10_000));
    assert_eq!(trial.pair("/shaper/customers/down/sent", 0), (1, 1000));
}

#[test]
fn an_unheeding_flood_is_dropped_by_name_and_everything_adds_up() {
    let mut trial = Trial::new();
    let mut left = 0;
    for step in 0..4000 {
        // Four times the rate.
        trial.down(ALICE, 4000);
        if step % 20 == 0 {
            trial.down(BOB, 4000);
        }
        left += trial.router.run().len() + trial.watch(2000).len();
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

#[test]
fn what_can_be_marked_is_marked_with_a_right_checksum() {
    let mut trial = Trial::new();
    let mut datagram = Datagram::udp_ports(ALICE, 53, 4000, DATA).from(SERVER);
    datagram.header.ecn = etherparse::IpEcn::ONE;
    let frame = datagram.frame(WAN);
    let mut marked = 0;
    for _ in 0..400 {
        trial.router.feed(WAN, &frame);
        trial.router.feed(WAN, &frame);
        trial.router.run();
        for (_, sent) in trial.watch(8000) {
            let header = &sent.frame[14..34];
            let sum = harness::datagram::header_checksum(header);
            assert_eq!(header[10..12], sum.to_be_bytes());
            marked += u64::from(header[1] & 3 == 3);
            assert_eq!(sent.frame[34..], frame[34..]);
        }
    }
    assert!(marked > 10, "{marked}");
    trial.watch(200_000);
    assert!(trial.count("/shaper/customers/down/marked", 0) >= marked);
}

#[test]
fn a_new_rate_holds_from_its_order_on_and_keeps_what_waits() {
    let mut trial = Trial::new();
    for _ in 0..20 {
        trial.down(ALICE, 4000);
    }
    trial.router.run();
    assert_eq!(trial.watch(40_000).len(), 6);
    trial.order(vec![leaf(0, Direction::Down, 4 * MEGABIT)]);
    let left = trial.watch(40_000);
    assert_eq!(left.len(), 14, "2 ms each from here on");
    assert_eq!(trial.router.all_drops().len(), 0);
}

#[test]
fn a_customer_who_goes_takes_packets_and_counts_along() {
    let mut trial = Trial::new();
    for _ in 0..20 {
        trial.down(ALICE, 4000);
    }
    trial.router.run();
    trial.watch(200_000);
    for _ in 0..10 {
        trial.down(ALICE, 4000);
    }
    trial.router.run();
    trial.order([Direction::Down, Direction::Up].map(|way| Operation::RemoveLeaf(Leaf::of(0, way))).to_vec());
    let drops = trial.router.all_drops();
    assert_eq!(drops.get(&("shaper", "removed")), Some(&10), "{drops:?}");
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

#[test]
fn who_leaves_gives_up_what_waits_and_then_holds_nothing_back() {
    let mut trial = Trial::new();
    for _ in 0..20 {
        trial.down(ALICE, 4000);
    }
    trial.router.run();
    let at_once = trial.router.pass(0).len() + trial.router.drain().len();
    assert_eq!(at_once, 1);
    assert_eq!(trial.router.all_drops().get(&("shaper", "leaving")), Some(&19));
    assert_eq!(trial.router.graph.held(), 0);
    for _ in 0..20 {
        trial.down(ALICE, 4000);
    }
    assert_eq!(trial.router.run().len(), 20);
    trial.watch(100_000);
}

#[test]
fn acknowledgements_that_a_later_one_supersedes_go_where_the_discipline_says_so() {
    for (ack_filter, left) in [(false, 20), (true, 2)] {
        let mut trial = Trial::new();
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

#[test]
fn every_drop_reason_is_reached() {
    let mut reached = std::collections::BTreeSet::new();
    // Little memory and a flood: first the queue is full, then BLUE learns who fills it, and CoDel has its part.
    let mut trial = Trial::with(Settings { packets: 20, ..SETTINGS });
    for _ in 0..2000 {
        for _ in 0..4 {
            trial.down(ALICE, 4000);
        }
        trial.router.run();
        trial.watch(8000);
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
    let mut trial = Trial::new();
    trial.order_filtering(true, vec![leaf(0, Direction::Up, MEGABIT)]);
    for number in 1..=5 {
        trial.acknowledge(ALICE, number);
    }
    trial.router.run();
    reached.extend(trial.router.all_drops().into_keys());
    // No tin for the second customer.
    let mut trial = Trial::with(Settings { tins: 1, ..SETTINGS });
    trial.down(ALICE, 4000);
    trial.down(BOB, 4000);
    trial.router.run();
    reached.extend(trial.router.all_drops().into_keys());
    let expected: Vec<_> =
        shaper::REGISTRATION.reasons.iter().filter(|reason| !reached.contains(&("shaper", reason))).collect();
    assert_eq!(expected, Vec::<&&str>::new(), "of {reached:?}");
}
