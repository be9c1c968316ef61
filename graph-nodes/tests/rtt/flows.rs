//! How flows begin and end, and who is pushed out.

use weir_graph::rtt::{Counters, FLOW_BYTES, Tracker};

use super::play::{self, arrive, pass};
use super::segment::{A, B, End, Segment, echo};

const SECOND: u64 = 1_000_000;

fn host(number: u32) -> End {
    let [_, a, b, c] = number.to_be_bytes();
    ([172, a, b, c], 1024)
}

/// A handshake, and a request with its answer.
fn connect(tracker: &mut Tracker, from: End, now: u64) {
    for segment in [
        Segment::opens(from, B, 1000),
        Segment::new(B, from, 5000, 1001).syn(),
        Segment::new(from, B, 1001, 5001).data(10),
        Segment::new(B, from, 5001, 1011).data(10),
    ] {
        pass(tracker, &segment.bytes(), now);
    }
}

/// The flow of `from` is still known: a packet of it makes no new one.
fn known(tracker: &mut Tracker, from: End, now: u64) -> bool {
    let before = tracker.counters();
    let (ticket, _) = arrive(tracker, &Segment::new(from, B, 1011, 5011).bytes(), now);
    ticket.flow().is_some() && before.created == tracker.counters().created
}

/// Lets time pass, as a worker's loop does.
fn wait(tracker: &mut Tracker, now: &mut u64, time: u64) {
    for _ in 0..100 {
        *now += time / 100;
        tracker.age(*now);
    }
}

#[test]
fn a_flow_takes_no_more_than_it_may() {
    const { assert!(FLOW_BYTES <= 128) };
    for (flows, capacity) in [(0, 8), (8, 8), (9, 16), (1000, 1024), (131_072, 131_072)] {
        assert_eq!(play::tracker(play::settings(flows)).capacity(), capacity);
    }
}

#[test]
fn silence_ends_flows() {
    let mut now = 5 * SECOND;
    for (packets, seconds) in [
        (vec![Segment::opens(A, B, 1000)], 30),
        (vec![Segment::a(1, 1).data(5); 5], 30),
        (vec![Segment::opens(A, B, 1000), Segment::b(5000, 1001).syn()], 30),
        (vec![Segment::a(1, 1).data(5), Segment::b(1, 6)], 300),
        (vec![Segment::a(1, 1).data(5), Segment::b(1, 6), Segment::b(1, 6).rst()], 2),
        (vec![Segment::a(1, 1).fin(), Segment::b(1, 2).fin(), Segment::a(2, 2)], 2),
        (vec![Segment::a(1, 1).fin(), Segment::b(1, 2)], 300),
    ] {
        let mut tracker = play::tracker(play::settings(10_000));
        for segment in &packets {
            pass(&mut tracker, &segment.bytes(), now);
        }
        assert_eq!(tracker.counters().active(), 1);
        wait(&mut tracker, &mut now, seconds * SECOND - SECOND);
        assert_eq!(tracker.counters().active(), 1, "before {seconds} s");
        // Once round the table takes eight seconds at most, and the clock is not exact.
        wait(&mut tracker, &mut now, 10 * SECOND);
        assert_eq!(tracker.counters().active(), 0, "after {seconds} s");
        assert_eq!(tracker.counters().ended, 1);
    }
    let mut tracker = play::tracker(play::settings(8));
    pass(&mut tracker, &echo(A.0, B.0, false, 1, 1), now);
    wait(&mut tracker, &mut now, 29 * SECOND);
    assert_eq!(tracker.counters().active(), 1);
    wait(&mut tracker, &mut now, 12 * SECOND);
    assert_eq!(tracker.counters().active(), 0);
}

#[test]
fn a_flow_past_its_time_ends_when_it_comes_again_too() {
    let mut tracker = play::tracker(play::settings(1 << 20));
    connect(&mut tracker, A, SECOND);
    assert!(known(&mut tracker, A, 290 * SECOND));
    assert!(!known(&mut tracker, A, 600 * SECOND));
    assert_eq!(tracker.counters(), Counters { created: 2, ended: 1, ..Counters::default() });
}

#[test]
fn resets_and_replies_make_no_flow() {
    let mut tracker = play::tracker(play::settings(8));
    pass(&mut tracker, &Segment::a(1, 1).rst().bytes(), SECOND);
    pass(&mut tracker, &echo(A.0, B.0, true, 1, 1), SECOND);
    assert_eq!(tracker.counters(), Counters::default());
}

/// The packets that a flood sends from one end.
type Flood = fn(End) -> Vec<Vec<u8>>;

#[test]
fn floods_push_out_their_own() {
    let kinds: [Flood; 4] = [
        |from| vec![Segment::opens(from, B, 1).bytes()],
        |from| vec![Segment::opens(from, B, 1).bytes(), Segment::new(B, from, 9, 2).syn().bytes()],
        |from| (0..3).map(|n| Segment::new(from, B, 1 + n, 1).data(1).bytes()).collect(),
        |from| vec![echo(from.0, B.0, false, 1, 1), echo(B.0, from.0, true, 1, 1)],
    ];
    for (number, flood) in kinds.into_iter().enumerate() {
        let mut tracker = play::tracker(play::settings(1024));
        let mut now = 7 * SECOND;
        let residents: Vec<End> = (0..700).map(host).collect();
        for &resident in &residents {
            connect(&mut tracker, resident, now);
        }
        let before = tracker.counters();
        let stayed: Vec<End> =
            residents.iter().copied().filter(|&end| known(&mut tracker, end, now)).collect();
        assert!(stayed.len() > 600, "flood {number}: {}", stayed.len());
        for attacker in 0..60_000 {
            for packet in flood(host(0x10_0000 + attacker)) {
                pass(&mut tracker, &packet, now);
            }
            now += SECOND / 10_000; // six seconds
        }
        let pushed = stayed.iter().filter(|&&end| !known(&mut tracker, end, now)).count();
        assert_eq!(pushed, 0, "flood {number}");
        let after = tracker.counters();
        assert!(after.evicted > before.evicted + 10_000, "flood {number}: {after:?}");
        assert!(after.active() <= 1024);
    }
}

#[test]
fn a_full_bucket_of_established_flows_refuses_until_one_is_silent() {
    let mut tracker = play::tracker(play::settings(8));
    let mut now = SECOND;
    for number in 0..8 {
        connect(&mut tracker, host(number), now);
    }
    pass(&mut tracker, &Segment::opens(A, B, 1).bytes(), now);
    assert_eq!((tracker.counters().refused, tracker.counters().evicted), (1, 0));
    now += 6 * SECOND;
    for number in 1..8 {
        assert!(known(&mut tracker, host(number), now));
    }
    now += 6 * SECOND;
    pass(&mut tracker, &Segment::opens(A, B, 1).bytes(), now);
    assert_eq!((tracker.counters().refused, tracker.counters().evicted), (1, 1));
    assert!((1..8).all(|number| known(&mut tracker, host(number), now)), "the stalest went");
}

/// The packet was inside when its flow was pushed out and another took its place.
#[test]
fn a_ticket_of_a_flow_that_is_gone_stamps_nothing() {
    let mut tracker = play::tracker(play::settings(8));
    let now = SECOND;
    let data = |from: End| Segment::new(from, B, 1001, 5001).data(10);
    pass(&mut tracker, &Segment::opens(A, B, 1000).bytes(), now);
    let (ticket, _) = arrive(&mut tracker, &data(A).bytes(), now);
    assert!(ticket.wants_stamp());
    for number in 0..100 {
        pass(&mut tracker, &Segment::opens(host(number), B, 1000).bytes(), now + 1);
        arrive(&mut tracker, &data(host(number)).bytes(), now + 1);
    }
    play::depart(&mut tracker, ticket, &data(A).bytes(), now + 2);
    for number in 92..100 {
        let answer = Segment::new(B, host(number), 5001, 1011).bytes();
        assert_eq!(pass(&mut tracker, &answer, now + 3).sample, None, "no stamp of its own has left");
    }
}
