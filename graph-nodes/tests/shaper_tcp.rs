//! TCP over the queue on a virtual clock: what CUBIC (RFC 9438) and Reno (RFC 5681) make of its drops and marks, and how long their packets wait.
//!
//! Senders here have what matters to a queue: slow start, a window in bytes that grows by their law, one reduction a round trip, acknowledgements that
//! clock out what follows. A loss is heard of when the packet behind it has been acknowledged, which in a queue that is never empty is a round trip later.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use weir_graph::shaper::{
    Arrival, Discipline, Dropped, Isolation, Lead, Leaf, Queues, Settings, TinView, Tins,
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const LEAF: Leaf = Leaf(0);
const MTU: u32 = 1514;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Law {
    Reno,
    Cubic,
    /// Sends so many bits a second, whatever happens.
    Flood(u64),
}

struct Sender {
    law: Law,
    ecn: bool,
    round_trip: u64,
    window: f64,
    threshold: f64,
    in_flight: u32,
    /// When the last reduction was, and what the window was; what was sent before says nothing new.
    reduced: u64,
    largest: f64,
    // What came of it.
    bytes: u64,
    sojourns: Vec<u64>,
    dropped: u64,
    marked: u64,
}

impl Sender {
    fn new(law: Law, ecn: bool, round_trip: u64) -> Sender {
        Sender {
            law,
            ecn,
            round_trip,
            window: 10.0,
            threshold: f64::INFINITY,
            in_flight: 0,
            reduced: 0,
            largest: 0.0,
            bytes: 0,
            sojourns: Vec::new(),
            dropped: 0,
            marked: 0,
        }
    }

    fn acknowledged(&mut self, now: u64) {
        self.in_flight -= 1;
        if self.window < self.threshold {
            self.window += 1.0;
            return;
        }
        self.window += match self.law {
            Law::Cubic => {
                // RFC 9438 §4.2 to §4.4: C = 0.4, β = 0.7; no slower than Reno would be.
                let since = |now: u64| now.saturating_sub(self.reduced) as f64 / SECOND as f64;
                let k = (self.largest * 0.3 / 0.4).cbrt();
                let curve = |at: f64| 0.4 * (at - k).powi(3) + self.largest;
                let next = curve(since(now + self.round_trip)).clamp(self.window, 1.5 * self.window);
                let trips = since(now) * SECOND as f64 / self.round_trip as f64;
                let reno = self.largest * 0.7 + 0.53 * trips;
                if reno > self.window {
                    0.53f64.max(reno - self.window) / self.window
                } else {
                    (next - self.window) / self.window
                }
            }
            Law::Reno | Law::Flood(_) => 1.0 / self.window,
        };
    }

    /// A packet that was sent at `sent` is known to be lost, or marked.
    fn congested(&mut self, sent: u64, now: u64) {
        if sent <= self.reduced {
            return;
        }
        let kept = if self.law == Law::Cubic { 0.7 } else { 0.5 };
        // RFC 9438 §4.7: fast convergence.
        self.largest =
            if self.window < self.largest { self.window * (1.0 + kept) / 2.0 } else { self.window };
        self.window = (self.window * kept).max(2.0);
        self.threshold = self.window;
        self.reduced = now;
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Line,
    /// Of a sender: a packet that was sent then, and whether it was marked.
    Acknowledged(usize, u64, bool),
    Lost(usize, u64),
    Begin(usize),
}

/// Runs the senders through one leaf of `rate`; counts from `warm` to `end`.
fn run(rate: u64, tins: Tins, senders: &mut [Sender], warm: u64, end: u64) -> TinView {
    let settings = Settings {
        hz: SECOND,
        nodes: 2,
        leaves: 1,
        tins: 4,
        flows: 256,
        packets: 60_000,
        frame: 2048,
        mtu: MTU,
    };
    let discipline = Discipline {
        tins,
        isolation: Isolation::Both,
        target: 5 * MS,
        interval: 100 * MS,
        ack_filter: false,
    };
    let mut queues = Queues::new(settings, &[discipline]);
    queues.set_up(LEAF, 0, rate);
    let mut events = BinaryHeap::new();
    let mut order = 0u64;
    let mut schedule = |events: &mut BinaryHeap<_>, at: u64, event: Event| {
        order += 1;
        events.push(Reverse((at, order, event)));
    };
    for (number, sender) in senders.iter().enumerate() {
        let apart = if matches!(sender.law, Law::Flood(_)) { 0 } else { 7 * MS };
        schedule(&mut events, 1 + number as u64 * apart, Event::Begin(number));
    }
    let (mut line_free, mut line_asked) = (0u64, false);
    // Whose each packet is, and when it was sent.
    let mut packets: Vec<(usize, u64)> = Vec::new();
    while let Some(Reverse((now, _, event))) = events.pop() {
        if now > end {
            break;
        }
        let mut lost: Vec<usize> = Vec::new();
        let mut sends = None;
        match event {
            Event::Line => {
                line_asked = false;
                if let Some(gone) =
                    queues.dequeue(LEAF, now, &mut |gone: Dropped| lost.push(gone.packet as usize))
                {
                    line_free = now + u64::from(gone.length) * 8 * SECOND / rate;
                    let (number, sent) = packets[gone.packet as usize];
                    let sender = &mut senders[number];
                    if now >= warm {
                        sender.bytes += u64::from(gone.length);
                        sender.sojourns.push(gone.sojourn);
                        sender.marked += u64::from(gone.mark);
                    }
                    if !matches!(sender.law, Law::Flood(_)) {
                        schedule(
                            &mut events,
                            line_free + sender.round_trip,
                            Event::Acknowledged(number, sent, gone.mark),
                        );
                    }
                }
            }
            Event::Acknowledged(number, sent, mark) => {
                senders[number].acknowledged(now);
                if mark {
                    senders[number].congested(sent, now);
                }
                sends = Some(number);
            }
            Event::Lost(number, sent) => {
                senders[number].in_flight -= 1;
                senders[number].congested(sent, now);
                sends = Some(number);
            }
            Event::Begin(number) => {
                if let Law::Flood(bits) = senders[number].law {
                    schedule(&mut events, now + u64::from(MTU) * 8 * SECOND / bits, Event::Begin(number));
                }
                sends = Some(number);
            }
        }
        if let Some(number) = sends {
            let sender = &mut senders[number];
            let flood = matches!(sender.law, Law::Flood(_));
            let mut may = if flood { 1 } else { (sender.window as u32).saturating_sub(sender.in_flight) };
            while may > 0 {
                may -= 1;
                sender.in_flight += u32::from(!flood);
                let arrival = Arrival {
                    packet: packets.len() as u32,
                    length: MTU,
                    flow: (number as u32 + 1).wrapping_mul(0x9e37_79b1),
                    source: 1000 + number as u32,
                    destination: 1,
                    dscp: 0,
                    ecn_capable: sender.ecn,
                };
                packets.push((number, now));
                queues.enqueue(LEAF, &arrival, Lead::default(), now, &mut |gone| {
                    lost.push(gone.packet as usize);
                });
            }
        }
        for packet in lost {
            let (number, sent) = packets[packet];
            senders[number].dropped += u64::from(now >= warm);
            if !matches!(senders[number].law, Law::Flood(_)) {
                schedule(&mut events, now + senders[number].round_trip, Event::Lost(number, sent));
            }
        }
        if !line_asked && queues.is_backlogged(LEAF) {
            line_asked = true;
            schedule(&mut events, line_free.max(now), Event::Line);
        }
    }
    queues.audit().unwrap();
    queues.tin(LEAF, u8::from(tins != Tins::BestEffort)).unwrap()
}

fn p50(senders: &[Sender]) -> u64 {
    let mut all: Vec<u64> = senders.iter().flat_map(|sender| sender.sojourns.iter().copied()).collect();
    let middle = all.len() / 2;
    *all.select_nth_unstable(middle).1
}

fn utilisation(senders: &[Sender], rate: u64, time: u64) -> f64 {
    let bytes: u64 = senders.iter().map(|sender| sender.bytes).sum();
    bytes as f64 * 8.0 / (rate as f64 * time as f64 / SECOND as f64)
}

/// Flows of a law and a round trip in milliseconds, through a line of so many Mbit/s.
fn flows(law: Law, count: usize, rate: u64, round_trip: u64, ecn: bool) -> (Vec<Sender>, TinView, f64) {
    let mut senders: Vec<Sender> = (0..count).map(|_| Sender::new(law, ecn, round_trip * MS)).collect();
    let (warm, end) = if rate == 1000 { (10 * SECOND, 20 * SECOND) } else { (20 * SECOND, 60 * SECOND) };
    let tin = run(rate * 1_000_000, Tins::BestEffort, &mut senders, warm, end);
    let used = utilisation(&senders, rate * 1_000_000, end - warm);
    (senders, tin, used)
}

const RATES: [u64; 4] = [5, 20, 100, 1000];

/// With 100 ms a queue of 5 ms holds a twentieth of what is on its way: a sender that goes back to 0.7 of it can't fill the line until it has come
/// back, whatever the queue does. Four do. (Reno, which goes back to a half: at 20 ms, up to where its growth takes longer than the run.)
#[test]
fn a_line_is_full_and_its_queue_short() {
    for rate in RATES {
        for (law, count, round_trip, least) in [
            (Law::Cubic, 1, 20, 0.95),
            (Law::Cubic, 1, 100, 0.87),
            (Law::Cubic, 4, 100, 0.95),
            (Law::Reno, 1, 20, if rate == 1000 { 0.8 } else { 0.9 }),
        ] {
            let (senders, tin, used) = flows(law, count, rate, round_trip, false);
            let (p50, target) = (p50(&senders), tin.limits.target);
            let case = format!("{count} of {law:?}, {rate} Mbit/s, {round_trip} ms");
            assert!(p50 <= 2 * target, "{case}: p50 {p50} ns, target {target} ns");
            assert!(used >= least, "{case}: used to {used}");
        }
    }
}

#[test]
fn what_can_be_marked_is_marked_and_never_dropped() {
    for rate in [5, 20, 100] {
        let (senders, tin, used) = flows(Law::Cubic, 1, rate, 20, true);
        assert!(senders[0].marked > 0 && tin.counters.marked >= senders[0].marked, "{rate} Mbit/s");
        assert_eq!((senders[0].dropped, tin.counters.dropped()), (0, 0), "{rate} Mbit/s");
        assert!(p50(&senders) <= 2 * tin.limits.target && used >= 0.95, "{rate} Mbit/s: used to {used}");
    }
}

/// A flood of twice the line, and four that heed: each gets a fifth, what waits long is the flood's, and BLUE learns to drop it.
#[test]
fn a_flood_takes_no_more_than_its_share_and_harms_only_itself() {
    for ecn in [false, true] {
        let mut senders: Vec<Sender> = (0..4).map(|_| Sender::new(Law::Cubic, ecn, 20 * MS)).collect();
        senders.push(Sender::new(Law::Flood(40_000_000), ecn, 0));
        let (warm, end) = (10 * SECOND, 40 * SECOND);
        let tin = run(20_000_000, Tins::BestEffort, &mut senders, warm, end);
        let fair = 20e6 / 8.0 / 5.0 * ((end - warm) / SECOND) as f64;
        for sender in &senders {
            let share = sender.bytes as f64 / fair;
            assert!((share - 1.0).abs() < 0.05, "ECN {ecn}, {:?}: {share} of its share", sender.law);
        }
        assert!(p50(&senders[..4]) <= 4 * tin.limits.target, "ECN {ecn}: {} ns", p50(&senders[..4]));
        assert!(tin.counters.blue > 0 && tin.unresponsive_flows == 1, "ECN {ecn}: {tin:?}");
        assert!(senders[..4].iter().all(|sender| sender.dropped * 10 < senders[4].dropped), "ECN {ecn}");
    }
}
