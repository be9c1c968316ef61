//! One rule at a time, with packets by hand.

use weir_graph::rtt::{Method, Settings, Tracker};

use super::play::{self, Brought, arrive, depart, pass};
use super::segment::{A, B, Segment, echo};

const MS: u64 = 1000;

/// A tracker, a clock, and what the last packet brought.
struct Bench {
    tracker: Tracker,
    now: u64,
}

impl Bench {
    fn new(change: impl FnOnce(&mut Settings)) -> Bench {
        let mut settings = play::settings(64);
        (settings.interval, settings.handshakes) = (0, false);
        change(&mut settings);
        Bench { tracker: play::tracker(settings), now: 1_000_000_000 }
    }

    /// After a handshake: A's next sequence number is 1001, B's 5001; TSvals 100 and 900 if there are any.
    fn connected(timestamps: bool) -> Bench {
        let mut bench = Bench::new(|_| {});
        bench.handshake(timestamps);
        bench
    }

    fn handshake(&mut self, timestamps: bool) {
        let with = |segment: Segment, tsval, tsecr| {
            if timestamps { segment.timestamps(tsval, tsecr) } else { segment }
        };
        self.pass(1, with(Segment::opens(A, B, 1000), 100, 0));
        self.pass(1, with(Segment::b(5000, 1001).syn(), 900, 100));
        self.pass(1, with(Segment::a(1001, 5001), 100, 900));
    }

    /// A packet passes `after` milliseconds.
    fn pass(&mut self, after: u64, segment: Segment) -> Brought {
        self.now += after * MS;
        pass(&mut self.tracker, &segment.bytes(), self.now)
    }

    /// The round trip in milliseconds that a packet makes, if it makes one.
    fn rtt(&mut self, after: u64, segment: Segment) -> Option<u64> {
        self.pass(after, segment).sample.map(|sample| sample.rtt / MS)
    }
}

#[test]
fn the_first_packet_of_a_tick_and_the_first_echo_count() {
    let mut bench = Bench::connected(true);
    assert_eq!(bench.rtt(1, Segment::a(1001, 5001).data(10).timestamps(101, 900)), None);
    assert_eq!(bench.rtt(3, Segment::a(1011, 5001).data(10).timestamps(101, 900)), None, "the same tick");
    assert_eq!(bench.rtt(20, Segment::b(5001, 1011).timestamps(902, 100)), None, "an older echo");
    assert_eq!(bench.rtt(5, Segment::b(5001, 1021).timestamps(903, 101)), Some(28));
    assert_eq!(bench.rtt(5, Segment::b(5001, 1021).timestamps(904, 101)), None, "only once");
    assert_eq!(
        bench.rtt(5, Segment::a(1021, 5001).data(10).timestamps(101, 900)),
        None,
        "still the same tick"
    );
    assert_eq!(bench.rtt(5, Segment::b(5001, 1031).timestamps(905, 101)), None);
}

#[test]
fn pure_acknowledgements_use_their_tsval_up() {
    let mut bench = Bench::connected(true);
    assert_eq!(bench.rtt(1, Segment::a(1001, 5001).timestamps(105, 900)), None);
    assert_eq!(bench.rtt(1, Segment::a(1001, 5001).data(10).timestamps(105, 900)), None);
    assert_eq!(bench.rtt(9, Segment::b(5001, 1011).timestamps(902, 105)), None, "may answer the first");
    assert_eq!(bench.rtt(1, Segment::a(1011, 5001).data(10).timestamps(106, 900)), None);
    assert_eq!(bench.rtt(9, Segment::b(5001, 1021).timestamps(903, 106)), Some(9));
}

#[test]
fn an_echo_needs_the_ack_flag_and_exactly_the_tsval() {
    let mut bench = Bench::connected(true);
    bench.pass(1, Segment::a(1001, 5001).data(10).timestamps(u32::MAX - 50, 900));
    bench.pass(1, Segment::a(1001, 5001).data(10).timestamps(101, 900));
    let silent = Segment { acknowledgement: None, ..Segment::b(5001, 0).timestamps(901, 101) };
    assert_eq!(bench.rtt(1, silent), None);
    assert_eq!(bench.rtt(1, Segment::b(5001, 1011).timestamps(901, 101)), Some(2));
    bench.pass(1, Segment::a(1011, 5001).data(10).timestamps(102, 900));
    assert_eq!(
        bench.rtt(1, Segment::b(5001, 1021).timestamps(901, 103)),
        None,
        "a newer one gives the stamp up"
    );
    assert_eq!(bench.rtt(1, Segment::b(5001, 1021).timestamps(901, 102)), None);
}

#[test]
fn a_flow_met_in_its_middle_waits_for_an_edge_and_a_while() {
    let mut bench = Bench::new(|_| {});
    assert_eq!(bench.rtt(0, Segment::a(1001, 5001).data(10).timestamps(100, 900)), None);
    assert_eq!(bench.rtt(9, Segment::b(5001, 1011).timestamps(901, 100)), None, "not an edge");
    bench.pass(1, Segment::a(1011, 5001).data(10).timestamps(110, 900));
    assert_eq!(bench.rtt(9, Segment::b(5001, 1021).timestamps(902, 110)), None, "too early");
    bench.pass(100, Segment::a(1021, 5001).data(10).timestamps(210, 900));
    assert_eq!(bench.rtt(9, Segment::b(5001, 1031).timestamps(903, 210)), Some(9));
}

#[test]
fn tsvals_and_sequence_numbers_wrap() {
    let mut bench = Bench::new(|settings| settings.settling = 0);
    bench.pass(1, Segment::a(u32::MAX - 5, 1).data(4).timestamps(u32::MAX - 1, 7));
    for (tsval, rtt) in [(u32::MAX, Some(3)), (0, None), (1, Some(3))] {
        bench.pass(1, Segment::a(1, 1).data(4).timestamps(tsval, 7));
        assert_eq!(bench.rtt(3, Segment::b(1, 1).timestamps(8, tsval)), rtt, "{tsval}");
    }
    let mut bench = Bench::new(|settings| settings.settling_sequence = 0);
    for start in [u32::MAX - 25, u32::MAX - 15, u32::MAX - 5, 4, 14] {
        bench.pass(1, Segment::a(start, 1).data(10));
        assert_eq!(bench.rtt(3, Segment::b(1, start.wrapping_add(10))), Some(3), "{start}");
    }
}

#[test]
fn a_stamp_grows_stale_and_never_locks_the_flow_out() {
    let mut bench = Bench::connected(true);
    bench.pass(1, Segment::a(1001, 5001).data(10).timestamps(101, 900));
    bench.pass(1, Segment::a(1011, 5001).data(10).timestamps(102, 900));
    assert_eq!(bench.rtt(10_000, Segment::b(5001, 1021).timestamps(901, 101)), None, "more than 10 s");
    bench.pass(1, Segment::a(1021, 5001).data(10).timestamps(103, 900));
    bench.pass(10_001, Segment::a(1031, 5001).data(10).timestamps(104, 900));
    assert_eq!(bench.rtt(5, Segment::b(5001, 1041).timestamps(902, 104)), Some(5), "another in its place");
    // A forged TSval far ahead: nothing is newer any more, until so much time has passed that it can't be lateness.
    bench.pass(1, Segment::a(1041, 5001).data(10).timestamps(0x7000_0000, 900));
    for tick in 0..30 {
        bench.pass(1000, Segment::a(1051 + tick, 5001).data(1).timestamps(200 + tick, 900));
        bench.pass(5, Segment::b(5001, 1052 + tick).timestamps(910 + tick, 200 + tick));
    }
    bench.pass(1000, Segment::a(1081, 5001).data(1).timestamps(300, 900));
    assert_eq!(bench.rtt(5, Segment::b(5001, 1082).timestamps(990, 300)), Some(5));
}

#[test]
fn the_interval_runs_from_stamps_that_gave_a_sample() {
    let mut bench = Bench::new(|settings| settings.interval = 100 * MS);
    bench.handshake(true);
    bench.pass(1, Segment::a(1001, 5001).data(10).timestamps(101, 900));
    assert_eq!(bench.rtt(9, Segment::b(5001, 1011).timestamps(901, 101)), Some(9));
    bench.pass(90, Segment::a(1011, 5001).data(10).timestamps(102, 900));
    assert_eq!(bench.rtt(1, Segment::b(5001, 1021).timestamps(902, 102)), None, "99 ms");
    bench.pass(1, Segment::a(1021, 5001).data(10).timestamps(103, 900));
    assert_eq!(bench.rtt(2, Segment::b(5001, 1031).timestamps(903, 104)), None, "never echoed");
    bench.pass(1, Segment::a(1031, 5001).data(10).timestamps(105, 900));
    assert_eq!(bench.rtt(2, Segment::b(5001, 1041).timestamps(904, 105)), Some(2), "so the next one at once");
}

#[test]
fn sequence_numbers_where_there_are_no_timestamps() {
    let mut bench = Bench::connected(false);
    bench.pass(1, Segment::a(1001, 5001).data(100));
    bench.pass(1, Segment::a(1101, 5001).data(100));
    assert_eq!(bench.rtt(1, Segment::b(5001, 1100)), None, "a byte short");
    let sample = bench.pass(1, Segment::b(5001, 1201)).sample.unwrap();
    assert_eq!((sample.rtt, sample.method), (3 * MS, Method::Sequence));
    assert_eq!(bench.rtt(1, Segment::b(5001, 1201)), None, "only once");
    bench.pass(1, Segment::a(1201, 5001).data(100));
    assert_eq!(bench.rtt(1, Segment::b(5001, 1400)), None, "acknowledges what never passed");
    assert_eq!(bench.rtt(1, Segment::b(5001, 1301)), None);
}

#[test]
fn nothing_sent_again_gives_a_sample() {
    let mut bench = Bench::connected(false);
    bench.pass(1, Segment::a(1001, 5001).data(100));
    assert!(bench.pass(300, Segment::a(1001, 5001).data(100)).resent);
    assert_eq!(bench.rtt(9, Segment::b(5001, 1101)), None, "Karn");
    bench.pass(1, Segment::a(1101, 5001).data(100));
    assert_eq!(bench.rtt(9, Segment::b(5001, 1201)), Some(9));
}

#[test]
fn an_acknowledgement_that_jumps_over_a_repaired_hole_gives_no_sample() {
    for sack in [false, true] {
        let mut bench = Bench::connected(false);
        let with = |segment: Segment| if sack { segment.sack(1101, 1201) } else { segment };
        // 1001 was stamped and answered; 1101 is lost behind the point; 1201 is stamped.
        bench.pass(1, Segment::a(1001, 5001).data(100));
        bench.pass(0, Segment::a(1101, 5001).data(100));
        assert_eq!(bench.rtt(9, Segment::b(5001, 1101)), Some(9));
        bench.pass(0, Segment::a(1201, 5001).data(100));
        bench.pass(9, with(Segment::b(5001, 1101)));
        assert!(bench.pass(1, Segment::a(1101, 5001).data(100)).resent);
        // New data while the repair is on its way.
        bench.pass(1, Segment::a(1301, 5001).data(100));
        assert_eq!(bench.rtt(9, Segment::b(5001, 1401)), None, "SACK {sack}");
        bench.pass(1, Segment::a(1401, 5001).data(100));
        assert_eq!(bench.rtt(9, Segment::b(5001, 1501)), Some(9), "SACK {sack}");
    }
}

#[test]
fn a_hole_before_the_point_gives_no_sample_either() {
    let mut bench = Bench::connected(false);
    bench.pass(1, Segment::a(1101, 5001).data(100)); // 1001 is missing
    bench.pass(1, Segment::a(1201, 5001).data(100));
    assert!(bench.pass(1, Segment::a(1001, 5001).data(100)).reordered);
    assert_eq!(bench.rtt(9, Segment::b(5001, 1301)), None);
    bench.pass(1, Segment::a(1301, 5001).data(100));
    assert_eq!(bench.rtt(9, Segment::b(5001, 1401)), Some(9));
}

#[test]
fn keep_alives_and_probes_are_never_stamped() {
    for timestamps in [false, true] {
        let mut bench = Bench::connected(timestamps);
        let mut tick = 100;
        let mut with = |segment: Segment| {
            tick += 1;
            if timestamps { segment.timestamps(tick, tick - 1) } else { segment }
        };
        bench.pass(1, with(Segment::a(1001, 5001).data(100)));
        bench.pass(1, with(Segment::b(5001, 1101)));
        for length in [0, 1] {
            let brought = bench.pass(1000, with(Segment::a(1100, 5001).data(length)));
            assert_eq!(brought, Brought::default(), "not lost either");
            assert_eq!(
                bench.rtt(1, with(Segment::b(5001, 1101))),
                None,
                "keep-alive of {length}, {timestamps}"
            );
        }
        bench.pass(1, with(Segment::b(5001, 1101).window(0)));
        bench.pass(1000, with(Segment::a(1101, 5001).data(1)));
        assert_eq!(bench.rtt(1, with(Segment::b(5001, 1102).window(9))), None, "probe, {timestamps}");
        bench.pass(1, with(Segment::a(1102, 5001).data(1)));
        assert_eq!(bench.rtt(1, with(Segment::b(5001, 1103).window(9))), Some(1), "one byte is not a probe");
    }
}

#[test]
fn losses_are_told_apart_by_tsval() {
    let mut bench = Bench::connected(true);
    bench.pass(1, Segment::a(1001, 5001).data(100).timestamps(110, 900));
    bench.pass(1, Segment::a(1201, 5001).data(100).timestamps(112, 900));
    assert!(bench.pass(1, Segment::a(1101, 5001).data(100).timestamps(111, 900)).reordered, "older");
    bench.pass(1, Segment::a(1401, 5001).data(100).timestamps(113, 900));
    assert!(bench.pass(1, Segment::a(1301, 5001).data(100).timestamps(114, 900)).resent, "newer");
    bench.pass(1, Segment::a(1601, 5001).data(100).timestamps(114, 900));
    assert!(bench.pass(1, Segment::a(1501, 5001).data(100).timestamps(114, 900)).reordered, "same tick, new");
    assert!(
        bench.pass(1, Segment::a(1501, 5001).data(100).timestamps(114, 900)).resent,
        "same tick, seen before"
    );
}

#[test]
fn losses_are_told_apart_by_what_the_sender_can_know() {
    let hole = |bench: &mut Bench| {
        bench.pass(1, Segment::a(1101, 5001).data(100));
    };
    let late = Segment::a(1001, 5001).data(100);
    let mut bench = Bench::connected(false);
    hole(&mut bench);
    bench.pass(1, Segment::b(5001, 1001));
    bench.pass(1, Segment::b(5001, 1001));
    assert!(bench.pass(1, late).reordered, "two duplicate acknowledgements");
    let mut bench = Bench::connected(false);
    hole(&mut bench);
    for _ in 0..3 {
        bench.pass(1, Segment::b(5001, 1001));
    }
    assert!(bench.pass(1, late).resent, "three");
    let mut bench = Bench::connected(false);
    hole(&mut bench);
    bench.pass(1, Segment::b(5001, 1001).sack(1101, 1201));
    assert!(bench.pass(1, late).resent, "SACK");
    let mut bench = Bench::connected(false);
    hole(&mut bench);
    bench.pass(1, Segment::b(5001, 1001).sack(901, 1001));
    assert!(bench.pass(1, late).reordered, "D-SACK tells of no hole");
    let mut bench = Bench::connected(false);
    hole(&mut bench);
    assert!(bench.pass(250, late).resent, "long ago");
}

#[test]
fn handshakes_only_if_asked_for() {
    let handshake = |handshakes, again, watched| {
        let mut bench = Bench::new(|settings| settings.handshakes = handshakes);
        pass(
            &mut bench.tracker,
            &echo([172, 16, 0, 1], [172, 16, 0, 2], false, 1, 1),
            bench.now - watched * MS,
        );
        bench.pass(0, Segment::opens(A, B, 1000));
        if again {
            assert!(bench.pass(2, Segment::opens(A, B, 1000)).resent);
        }
        let first = bench.pass(7, Segment::b(5000, 1001).syn()).sample;
        let second = bench.pass(3, Segment::a(1001, 5001)).sample;
        [first, second].map(|sample| sample.map(|sample| (sample.rtt / MS, sample.method)))
    };
    assert_eq!(handshake(false, false, 1000), [None, None]);
    assert_eq!(handshake(true, false, 1000), [Some((7, Method::Handshake)), Some((3, Method::Handshake))]);
    assert_eq!(handshake(true, true, 1000), [None, Some((3, Method::Handshake))], "Karn");
    // The SYN comes before a second has passed, the SYN-ACK after it.
    let second = Some((3, Method::Handshake));
    assert_eq!(handshake(true, false, 995), [None, second], "the first SYN may have come before");
}

#[test]
fn a_handshake_whose_flow_may_have_been_pushed_out_is_not_measured() {
    let mut bench = Bench::new(|settings| (settings.handshakes, settings.flows) = (true, 8));
    let mut rtt = |after: u64, segment: Segment| bench.rtt(after, segment);
    rtt(0, Segment::opens(A, B, 1000));
    for port in 1..100 {
        rtt(10, Segment::opens(([10, 0, 9, 9], port), B, 1000));
    }
    rtt(10, Segment::opens(A, B, 1000)); // again, which nobody knows any more
    assert_eq!(rtt(7, Segment::b(5000, 1001).syn()), None);
    let other = (A.0, 40_001);
    rtt(32_000, Segment::opens(other, B, 9000)); // the flood's flows are past their time
    assert_eq!(rtt(7, Segment::new(B, other, 5000, 9001).syn()), Some(7));
}

#[test]
fn ports_used_again_begin_a_new_flow() {
    let mut bench = Bench::connected(true);
    bench.pass(1, Segment::a(1001, 5001).data(10).timestamps(101, 900));
    assert_eq!(bench.rtt(4, Segment::b(5001, 1011).timestamps(901, 101)), Some(4));
    bench.pass(1, Segment::a(1011, 5001).fin().timestamps(101, 901));
    bench.pass(1, Segment::b(5001, 1012).fin().timestamps(901, 101));
    // Sequence numbers and the TSval's clock start anew, lower than before.
    bench.pass(1, Segment::opens(A, B, 77).timestamps(5, 0));
    assert_eq!(bench.tracker.counters().created, 2);
    bench.pass(1, Segment::b(99, 78).syn().timestamps(7, 5));
    bench.pass(1, Segment::a(78, 100).data(10).timestamps(6, 7));
    let sample = bench.pass(5, Segment::b(100, 88).timestamps(8, 6)).sample.unwrap();
    assert_eq!((sample.rtt, sample.least), (5 * MS, 5 * MS), "the old flow's least is forgotten");
}

#[test]
fn a_forged_syn_does_not_make_old_tsvals_new() {
    let mut bench = Bench::connected(true);
    bench.pass(1, Segment::a(1001, 5001).data(10).timestamps(101, 900));
    bench.pass(1, Segment::opens(A, B, 4242).timestamps(50, 0));
    bench.pass(1, Segment::a(1011, 5001).data(10).timestamps(101, 900));
    assert_eq!(bench.rtt(1, Segment::b(5001, 1021).timestamps(901, 101)), None);
    bench.pass(150, Segment::a(1021, 5001).data(10).timestamps(250, 900));
    assert_eq!(bench.rtt(1, Segment::b(5001, 1031).timestamps(902, 250)), Some(1), "and the flow goes on");
}

#[test]
fn echoes_are_measured_one_at_a_time() {
    let mut bench = Bench::new(|_| {});
    let mut ping = |after: u64, reply, id, seq| {
        bench.now += after * MS;
        let (from, to) = if reply { (B.0, A.0) } else { (A.0, B.0) };
        let brought = pass(&mut bench.tracker, &echo(from, to, reply, id, seq), bench.now);
        brought.sample.map(|sample| (sample.rtt / MS, sample.method))
    };
    assert_eq!(ping(0, true, 1, 1), None, "a reply to nothing");
    ping(1, false, 1, 1);
    assert_eq!(ping(1, true, 2, 1), None, "somebody else's");
    assert_eq!(ping(1, true, 1, 1), Some((2, Method::Echo)));
    assert_eq!(ping(1, true, 1, 1), None, "only once");
    ping(1000, false, 1, 2); // lost
    ping(1000, false, 1, 3);
    assert_eq!(ping(1, true, 1, 3), None, "gives up number 2");
    ping(1000, false, 1, 4);
    ping(1, false, 1, 4);
    assert_eq!(ping(1, true, 1, 4), None, "sent twice");
    ping(1000, false, 1, u16::MAX);
    ping(11_000, false, 1, 0);
    assert_eq!(ping(3, true, 1, 0), Some((3, Method::Echo)), "wraps, or begins anew");
}

#[test]
fn a_stamp_is_the_time_of_leaving_and_needs_it() {
    let mut bench = Bench::connected(true);
    let data = Segment::a(1001, 5001).data(10).timestamps(101, 900).bytes();
    let (ticket, _) = arrive(&mut bench.tracker, &data, bench.now);
    assert!(ticket.wants_stamp());
    bench.now += 50 * MS;
    depart(&mut bench.tracker, ticket, &data, bench.now);
    depart(&mut bench.tracker, ticket, &data, bench.now + 5 * MS); // a second time changes nothing
    assert_eq!(bench.rtt(9, Segment::b(5001, 1011).timestamps(901, 101)), Some(9));
    let data = Segment::a(1011, 5001).data(10).timestamps(103, 900).bytes();
    let (ticket, _) = arrive(&mut bench.tracker, &data, bench.now);
    assert_eq!(
        bench.rtt(9, Segment::b(5001, 1021).timestamps(902, 103)),
        None,
        "answered before it left: a lie"
    );
    depart(&mut bench.tracker, ticket, &data, bench.now);
    assert_eq!(bench.rtt(9, Segment::b(5001, 1021).timestamps(902, 103)), None);
}

#[test]
fn the_first_piece_of_a_datagram_counts_the_rest_is_nothing() {
    let mut bench = Bench::connected(true);
    let mut piece = Segment::a(1001, 5001).data(16).timestamps(101, 900).bytes();
    piece[6] = 0x20;
    assert_eq!(pass(&mut bench.tracker, &piece, bench.now).sample, None);
    (piece[6], piece[7]) = (0, 4);
    assert_eq!(arrive(&mut bench.tracker, &piece, bench.now).0.flow(), None);
    assert_eq!(bench.rtt(9, Segment::b(5001, 1101).timestamps(901, 101)), Some(9));
}

#[test]
fn something_sent_again_before_the_first_stamp_delays_it_no_further() {
    let mut bench = Bench::connected(false);
    bench.pass(1, Segment::a(1101, 5001).data(100)); // a hole before it: no stamp
    assert!(bench.pass(250, Segment::a(1001, 5001).data(100)).resent);
    bench.pass(1, Segment::b(5001, 1201));
    bench.pass(1, Segment::a(1201, 5001).data(100));
    assert_eq!(bench.rtt(9, Segment::b(5001, 1301)), Some(9));
}
