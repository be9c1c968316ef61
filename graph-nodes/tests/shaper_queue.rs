//! The queue of a customer on a virtual clock: a line of a known rate, sources that send as TCP and voice do, and what each gets and waits.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use weir_graph::shaper::{
    Arrival, Cause, Discipline, Dropped, Isolation, Lead, Leaf, Queues, Settings, Tins,
};

const MS: u64 = 1_000_000;
const SECOND: u64 = 1000 * MS;
const LEAF: Leaf = Leaf(0);
const MTU: u32 = 1514;

fn settings() -> Settings {
    Settings {
        hz: SECOND,
        nodes: 0,
        leaves: 4,
        tins: 16,
        flows: 4096,
        packets: 20_000,
        frame: 2048,
        mtu: MTU,
    }
}

fn discipline(tins: Tins, isolation: Isolation) -> Discipline {
    Discipline { tins, isolation, target: 5 * MS, interval: 100 * MS, ack_filter: false }
}

fn jain(shares: &[f64]) -> f64 {
    let sum: f64 = shares.iter().sum();
    sum * sum / (shares.len() as f64 * shares.iter().map(|share| share * share).sum::<f64>())
}

/// Who sends what.
#[derive(Clone)]
struct Source {
    host: u32,
    dscp: u8,
    kind: Kind,
    ecn: bool,
}

#[derive(Clone)]
enum Kind {
    /// Additive increase, multiplicative decrease, with this round trip beyond the queue.
    Aimd { round_trip: u64 },
    /// A packet of so many bytes at each interval, whatever happens.
    Constant { length: u32, interval: u64 },
}

/// What came of a source.
#[derive(Clone, Default)]
struct Outcome {
    bytes: u64,
    sojourns: Vec<u64>,
    dropped: u64,
    marked: u64,
    window: f64,
    in_flight: f64,
    /// Until when no further loss halves the window: one round trip.
    recovers: u64,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Line,
    Send(usize),
    Acknowledged(usize),
    Lost(usize),
}

/// Runs the sources through one leaf of `rate` for `time`; outcomes count from `warm` on.
fn simulate(
    discipline: Discipline,
    rate: u64,
    sources: &[Source],
    warm: u64,
    time: u64,
) -> (Vec<Outcome>, Queues) {
    let mut queues = Queues::new(settings(), &[discipline]);
    queues.set_up(LEAF, 0, rate);
    let mut outcomes = vec![Outcome { window: 10.0, ..Outcome::default() }; sources.len()];
    let mut events = BinaryHeap::new();
    let mut order = 0u64;
    for (source, _) in sources.iter().enumerate() {
        // Not all at once: sources that start together stay in step.
        events.push(Reverse((
            (source as u64 * 7919 * 1000) % (50 * MS) + 1,
            source as u64,
            Event::Send(source),
        )));
    }
    let mut schedule = |events: &mut BinaryHeap<_>, at: u64, event: Event| {
        order += 1;
        events.push(Reverse((at, order + 1_000_000, event)));
    };
    let mut line_free = 0u64;
    let mut line_asked = false;
    while let Some(Reverse((now, _, event))) = events.pop() {
        if now > time {
            break;
        }
        let mut lost: Vec<usize> = Vec::new();
        match event {
            Event::Line => {
                line_asked = false;
                let departure =
                    queues.dequeue(LEAF, now, &mut |dropped: Dropped| lost.push(dropped.packet as usize));
                if let Some(departure) = departure {
                    let source = departure.packet as usize;
                    line_free = now + u64::from(departure.length) * 8 * SECOND / rate;
                    let outcome = &mut outcomes[source];
                    if now >= warm {
                        outcome.bytes += u64::from(departure.length);
                        outcome.sojourns.push(departure.sojourn);
                        outcome.marked += u64::from(departure.mark);
                    }
                    if let Kind::Aimd { round_trip } = sources[source].kind {
                        if departure.mark && now >= outcome.recovers {
                            outcome.window = (outcome.window / 2.0).max(1.0);
                            outcome.recovers = now + round_trip;
                        }
                        schedule(&mut events, line_free + round_trip, Event::Acknowledged(source));
                    }
                }
            }
            Event::Send(source) => {
                let length = match sources[source].kind {
                    Kind::Constant { length, interval } => {
                        schedule(&mut events, now + interval, Event::Send(source));
                        length
                    }
                    Kind::Aimd { .. } => {
                        let outcome = &mut outcomes[source];
                        if outcome.in_flight + 1.0 > outcome.window {
                            continue;
                        }
                        outcome.in_flight += 1.0;
                        // A window's packets leave one after another, as a sender's own line lets them.
                        schedule(&mut events, now + 100_000, Event::Send(source));
                        MTU
                    }
                };
                let Source { host, dscp, ecn, .. } = sources[source];
                let arrival = Arrival {
                    packet: source as u32,
                    length,
                    flow: (source as u32 + 1).wrapping_mul(0x9e37_79b1),
                    // Each flow from a server of its own.
                    source: 1000 + source as u32,
                    destination: host,
                    dscp,
                    ecn_capable: ecn,
                };
                queues.enqueue(LEAF, &arrival, Lead::default(), now, &mut |dropped: Dropped| {
                    lost.push(dropped.packet as usize);
                });
            }
            Event::Acknowledged(source) => {
                let outcome = &mut outcomes[source];
                outcome.in_flight -= 1.0;
                outcome.window += 1.0 / outcome.window;
                schedule(&mut events, now, Event::Send(source));
            }
            Event::Lost(source) => {
                let outcome = &mut outcomes[source];
                outcome.in_flight -= 1.0;
                if now >= outcome.recovers {
                    outcome.window = (outcome.window / 2.0).max(1.0);
                    if let Kind::Aimd { round_trip } = sources[source].kind {
                        outcome.recovers = now + round_trip;
                    }
                }
                schedule(&mut events, now, Event::Send(source));
            }
        }
        for source in lost {
            outcomes[source].dropped += 1;
            if let Kind::Aimd { round_trip } = sources[source].kind {
                schedule(&mut events, now + round_trip, Event::Lost(source));
            }
        }
        if !line_asked && queues.is_backlogged(LEAF) {
            line_asked = true;
            schedule(&mut events, line_free.max(now), Event::Line);
        }
    }
    queues.audit().unwrap();
    (outcomes, queues)
}

fn greedy(host: u32) -> Source {
    Source { host, dscp: 0, kind: Kind::Aimd { round_trip: 20 * MS }, ecn: false }
}

fn quantile(sojourns: &mut [u64], quantile: f64) -> u64 {
    sojourns.sort_unstable();
    sojourns[((sojourns.len() - 1) as f64 * quantile) as usize]
}

#[test]
fn equal_flows_share_equally_though_their_round_trips_differ() {
    let flow = |round_trip| Source { kind: Kind::Aimd { round_trip }, ..greedy(1) };
    let sources: Vec<Source> = (0..16).map(|at| flow((10 + 5 * at) * MS)).collect();
    let (outcomes, _) = simulate(
        discipline(Tins::Diffserv4, Isolation::Both),
        100_000_000,
        &sources,
        5 * SECOND,
        25 * SECOND,
    );
    let shares: Vec<f64> = outcomes.iter().map(|outcome| outcome.bytes as f64).collect();
    let used = shares.iter().sum::<f64>() * 8.0 / 20.0 / 100e6;
    assert!(used > 0.99, "the line was used to {used}");
    assert!(jain(&shares) >= 0.99, "{} of {shares:?}", jain(&shares));
}

#[test]
fn equal_hosts_share_equally_though_one_has_32_flows() {
    for isolation in [Isolation::Both, Isolation::Destinations] {
        let hosts = [1u32, 2, 8, 32].into_iter().enumerate();
        let sources: Vec<Source> =
            hosts.flat_map(|(host, flows)| (0..flows).map(move |_| greedy(host as u32))).collect();
        let (outcomes, _) =
            simulate(discipline(Tins::BestEffort, isolation), 50_000_000, &sources, 5 * SECOND, 25 * SECOND);
        let mut shares = [0f64; 4];
        for (source, outcome) in sources.iter().zip(&outcomes) {
            shares[source.host as usize] += outcome.bytes as f64;
        }
        assert!(jain(&shares) >= 0.99, "{} of {shares:?}", jain(&shares));
        let flows: Vec<f64> = outcomes[11..].iter().map(|outcome| outcome.bytes as f64).collect();
        assert!(jain(&flows) >= 0.99, "within the host of 32: {} of {flows:?}", jain(&flows));
    }
}

#[test]
fn a_host_of_unheeding_flows_gets_no_more_than_its_share() {
    let mut sources = vec![greedy(0)];
    sources.resize(
        9,
        Source { host: 1, dscp: 0, kind: Kind::Constant { length: 1000, interval: MS / 2 }, ecn: false },
    );
    let (outcomes, queues) = simulate(
        discipline(Tins::BestEffort, Isolation::Destinations),
        20_000_000,
        &sources,
        5 * SECOND,
        20 * SECOND,
    );
    let flood: u64 = outcomes[1..].iter().map(|outcome| outcome.bytes).sum();
    let shares = [outcomes[0].bytes as f64, flood as f64];
    assert!(jain(&shares) >= 0.99, "{shares:?}");
    let tin = queues.tin(LEAF, 0).unwrap();
    assert!(tin.unresponsive_flows >= 1 && tin.counters.blue > 0 && tin.counters.codel > 0, "{tin:?}");
}

#[test]
fn voice_beside_32_greedy_flows_waits_five_milliseconds_at_most() {
    for (dscp, host) in [(46, 9), (0, 9), (0, 1)] {
        let mut sources = vec![greedy(1); 32];
        sources.push(Source {
            host,
            dscp,
            kind: Kind::Constant { length: 214, interval: 20 * MS },
            ecn: false,
        });
        let (mut outcomes, _) = simulate(
            discipline(Tins::Diffserv4, Isolation::Destinations),
            20_000_000,
            &sources,
            5 * SECOND,
            65 * SECOND,
        );
        let voice = outcomes.last_mut().unwrap();
        assert_eq!(voice.dropped, 0);
        assert!(voice.sojourns.len() > 2990);
        let p99 = quantile(&mut voice.sojourns, 0.99);
        assert!(p99 <= 5 * MS, "DSCP {dscp}, host {host}: {p99} ns at p99");
    }
}

#[test]
fn a_single_flow_waits_no_longer_than_twice_the_target() {
    for rate in [1_000_000, 5_000_000, 50_000_000, 500_000_000] {
        for ecn in [false, true] {
            let sources = [Source { ecn, ..greedy(1) }];
            let (mut outcomes, queues) = simulate(
                discipline(Tins::BestEffort, Isolation::Both),
                rate,
                &sources,
                10 * SECOND,
                40 * SECOND,
            );
            let target = queues.tin(LEAF, 0).unwrap().limits.target;
            let p50 = quantile(&mut outcomes[0].sojourns, 0.5);
            assert!(p50 <= 2 * target, "{rate} bit/s: {p50} ns at p50, the target is {target} ns");
            assert_eq!(ecn, outcomes[0].marked > 0, "{rate} bit/s");
            let counters = queues.leaf(LEAF).counters;
            assert_eq!(counters.codel == 0, ecn, "marks instead of drops: {counters:?}");
        }
    }
}

#[test]
fn greedy_tins_get_their_shares_and_an_idle_ones_share_goes_to_the_others() {
    let tin = |dscp| Source { dscp, kind: Kind::Constant { length: 1000, interval: MS / 4 }, ..greedy(1) };
    // 32 Mbit/s each into a line of 20.
    let (bulk, best_effort, video, voice) = (8, 0, 34, 46);
    let shares = |dscps: &[u8], rate: u64| -> Vec<f64> {
        let sources: Vec<Source> = dscps.iter().map(|&dscp| tin(dscp)).collect();
        let (outcomes, _) =
            simulate(discipline(Tins::Diffserv4, Isolation::Both), rate, &sources, SECOND, 6 * SECOND);
        let sum: u64 = outcomes.iter().map(|outcome| outcome.bytes).sum();
        outcomes.iter().map(|outcome| outcome.bytes as f64 / sum as f64).collect()
    };
    for (dscps, expected) in [
        (vec![bulk, best_effort, video, voice], vec![1.0 / 16.0, 3.0 / 16.0, 0.5, 0.25]),
        (vec![bulk, best_effort], vec![1.0 / 16.0, 15.0 / 16.0]),
        (vec![best_effort, voice], vec![0.75, 0.25]),
        (vec![bulk], vec![1.0]),
    ] {
        for rate in [2_000_000, 20_000_000] {
            let shares = shares(&dscps, rate);
            for (share, expected) in shares.iter().zip(&expected) {
                assert!((share - expected).abs() < 0.01, "{dscps:?} at {rate}: {shares:?}");
            }
        }
    }
}

#[test]
fn target_and_interval_follow_the_rate() {
    let mut queues = Queues::new(settings(), &[discipline(Tins::Diffserv4, Isolation::Both)]);
    queues.set_up(LEAF, 0, SECOND);
    let arrival = |dscp| Arrival {
        packet: 0,
        length: 100,
        flow: 1,
        source: 1,
        destination: 2,
        dscp,
        ecn_capable: false,
    };
    for dscp in [0, 8] {
        queues.enqueue(LEAF, &arrival(dscp), Lead::default(), 1, &mut |_| ());
    }
    queues.rate(LEAF, 100_000_000);
    let limits = queues.tin(LEAF, 1).unwrap().limits;
    assert_eq!((limits.target, limits.interval), (5 * MS, 100 * MS));
    // 1514 bytes at 1 Mbit/s: 12.112 ms.
    queues.rate(LEAF, 1_000_000);
    let limits = queues.tin(LEAF, 1).unwrap().limits;
    assert_eq!((limits.target, limits.interval), (18_168_000, 113_168_000));
    // Bulk at a sixteenth: 290 ms, and twice that.
    let limits = queues.tin(LEAF, 0).unwrap().limits;
    assert_eq!((limits.target, limits.interval), (290_688_000, 581_376_000));
}

#[test]
fn when_memory_runs_out_the_longest_queue_of_the_largest_leaf_pays() {
    let mut queues = Queues::new(
        Settings { packets: 1000, ..settings() },
        &[discipline(Tins::BestEffort, Isolation::Both)],
    );
    for leaf in 0..4 {
        queues.set_up(Leaf(leaf), 0, SECOND);
    }
    let mut dropped = Vec::new();
    let mut put = |leaf: u32, flow: u32, packet: u32, now: u64| {
        let arrival =
            Arrival { packet, length: 100, flow, source: 1, destination: 2, dscp: 0, ecn_capable: false };
        queues.enqueue(Leaf(leaf), &arrival, Lead::default(), now, &mut |packet| dropped.push(packet));
    };
    for packet in 0..100 {
        put(1, 5, packet, 1);
    }
    for packet in 100..600 {
        put(2, packet % 2, packet, 2);
    }
    for packet in 600..1000 {
        put(2, 3, packet, 3);
    }
    // Full: leaf 1 has 100, leaf 2 has flows of 250, 250 and 400.
    for packet in 1000..1100 {
        put(1, 6, packet, 4);
    }
    assert_eq!(dropped.len(), 100);
    for (at, packet) in dropped.iter().enumerate() {
        assert_eq!((packet.leaf, packet.cause, packet.packet), (Leaf(2), Cause::Overlimit, 600 + at as u32));
    }
    assert_eq!(queues.backlog(), 1000);
    assert_eq!(queues.leaf(Leaf(1)).packets, 200);
    queues.audit().unwrap();
}

/// The pseudo code of RFC 8289 §5, over a queue of its own.
struct Rfc8289 {
    queue: VecDeque<(u32, u64, u32)>,
    bytes: u32,
    first_above_time: u64,
    drop_next: u64,
    count: u32,
    lastcount: u32,
    dropping: bool,
    dropped: Vec<u32>,
}

impl Rfc8289 {
    const TARGET: u64 = 5 * MS;
    const INTERVAL: u64 = 100 * MS;

    fn control_law(t: u64, count: u32) -> u64 {
        t + (Self::INTERVAL as f64 / f64::from(count).sqrt()).round() as u64
    }

    fn dodequeue(&mut self, now: u64) -> (Option<u32>, bool) {
        let Some((packet, at, length)) = self.queue.pop_front() else {
            self.first_above_time = 0;
            return (None, false);
        };
        self.bytes -= length;
        let sojourn_time = now - at;
        let mut ok_to_drop = false;
        if sojourn_time < Self::TARGET || self.bytes <= MTU {
            self.first_above_time = 0;
        } else if self.first_above_time == 0 {
            self.first_above_time = now + Self::INTERVAL;
        } else if now >= self.first_above_time {
            ok_to_drop = true;
        }
        (Some(packet), ok_to_drop)
    }

    fn dequeue(&mut self, now: u64) -> Option<u32> {
        let (mut packet, mut ok_to_drop) = self.dodequeue(now);
        if self.dropping {
            if !ok_to_drop {
                self.dropping = false;
            }
            while now >= self.drop_next && self.dropping {
                self.dropped.extend(packet);
                self.count += 1;
                (packet, ok_to_drop) = self.dodequeue(now);
                if ok_to_drop {
                    self.drop_next = Self::control_law(self.drop_next, self.count);
                } else {
                    self.dropping = false;
                }
            }
        } else if ok_to_drop {
            self.dropped.extend(packet);
            (packet, _) = self.dodequeue(now);
            self.dropping = true;
            let delta = self.count - self.lastcount;
            self.count = 1;
            if delta > 1 && (now as i64 - self.drop_next as i64) < 16 * Self::INTERVAL as i64 {
                self.count = delta;
            }
            self.drop_next = Self::control_law(now, self.count);
            self.lastcount = self.count;
        }
        packet
    }
}

#[test]
fn codel_drops_what_the_pseudo_code_of_rfc_8289_drops() {
    let mut random = 88_172_645_463_325_252u64;
    let mut all = 0;
    for _ in 0..40 {
        let mut queues = Queues::new(settings(), &[discipline(Tins::BestEffort, Isolation::Flows)]);
        queues.set_up(LEAF, 0, 100_000_000);
        let mut oracle = Rfc8289 {
            queue: VecDeque::new(),
            bytes: 0,
            first_above_time: 0,
            drop_next: 0,
            count: 0,
            lastcount: 0,
            dropping: false,
            dropped: Vec::new(),
        };
        let mut dropped = Vec::new();
        let (mut now, mut packet, mut overload) = (SECOND, 0u32, 50);
        for step in 0..60_000u32 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if step % 2000 == 0 {
                // More than the line carries, then less, then more again.
                overload = 40 + random % 25;
            }
            now += MS / 2 + random % 1000;
            if (random >> 20) % 100 < overload && oracle.queue.len() < 1900 {
                packet += 1;
                let length = 100 + (random >> 40) as u32 % 1400;
                oracle.queue.push_back((packet, now, length));
                oracle.bytes += length;
                let arrival = Arrival {
                    packet,
                    length,
                    flow: 1,
                    source: 1,
                    destination: 1,
                    dscp: 0,
                    ecn_capable: false,
                };
                queues.enqueue(LEAF, &arrival, Lead::default(), now, &mut |_| panic!("nothing runs out"));
            } else if !oracle.queue.is_empty() {
                let expected = oracle.dequeue(now);
                let departure = queues.dequeue(LEAF, now, &mut |packet: Dropped| {
                    assert_eq!(packet.cause, Cause::Codel);
                    dropped.push(packet.packet);
                });
                assert_eq!(departure.map(|departure| departure.packet), expected, "step {step}");
            }
        }
        assert_eq!(dropped, oracle.dropped);
        all += dropped.len();
    }
    assert!(all > 10_000, "only {all} drops were compared");
}
