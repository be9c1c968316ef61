//! The short way for what nearly every packet is: a segment with timestamps that continues its flow as it should, while nothing is lost.
//!
//! It knows no rules of its own: for the packets that it takes it does what the long way in `tracker.rs` does, and to all others it has done nothing. Which
//! packets it takes, it asks in branches that hardly ever go the other way. What is as good as random from packet to packet, the direction, data or
//! acknowledgement, whether the sender's clock has ticked, is computed instead: a branch guessed wrong costs more than the arithmetic.

use super::{
    Direction, Method, Sink,
    half::{HOLE, OUTSTANDING, PROBING, RECOVERING, SEEN, TSVAL},
    observed::Observed,
    table::Class,
    tracker::{OTHER_CLOCK, Ticket, Tracker},
};

impl Tracker {
    /// [`Tracker::arrive`] of a usual packet; `None`, and nothing touched, if it or its flow is not.
    #[inline(always)]
    pub(super) fn usual(
        &mut self,
        observed: &Observed,
        hash: u64,
        now: u64,
        sink: &mut impl Sink,
    ) -> Option<Ticket> {
        if !observed.is_plain() {
            return None;
        }
        let likely = self.table.likely(hash, observed, now)?;
        let [forward, backward] = likely.halves;
        let (this, that, theirs) = match observed.direction() {
            Direction::Forward => (forward, backward, Direction::Backward),
            Direction::Backward => (backward, forward, Direction::Forward),
        };
        let length = u32::from(observed.payload);
        let newer = observed.tsval.wrapping_sub(this.tsval) as i32;
        let settled = this.are(SEEN | TSVAL | PROBING, SEEN | TSVAL)
            & that.are(SEEN | RECOVERING | HOLE | PROBING, SEEN)
            & (likely.class != Class::Unconfirmed);
        let goes_on = (observed.sequence == this.sent) | (length == 0);
        if !(settled & goes_on & (newer >= -OTHER_CLOCK)) {
            return None;
        }
        if that.has(OUTSTANDING) {
            if that.method() != Method::Timestamp {
                return None;
            }
            match observed.tsecr.wrapping_sub(that.stamp()) as i32 {
                0 => self.settings.sample(that, theirs, likely.slot, now, sink),
                1.. => that.cancel(),
                _ => {}
            }
        }
        *likely.seen = likely.seen_now;
        let acknowledgement = observed.acknowledgement;
        let advances = (acknowledgement.wrapping_sub(that.acked) as i32 > 0)
            & (that.sent.wrapping_sub(acknowledgement) as i32 >= 0);
        that.acked = if advances { acknowledgement } else { that.acked };
        this.sent = this.sent.wrapping_add(length);
        this.tsval = if newer > 0 { observed.tsval } else { this.tsval };
        let worthy = (newer > 0) & (length != 0) & (observed.tsval != 0);
        let kept = worthy && {
            let waits = [self.settings.stale, self.settings.interval, self.settings.settling];
            this.keep(Method::Timestamp, observed.tsval, now, waits)
        };
        Some(Ticket::new(likely.slot, kept))
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::super::{Carried, Counters, Sample, Settings, TableHash};
    use super::*;

    const SECOND: u64 = 1 << 20;

    fn settings() -> Settings {
        Settings {
            hz: SECOND,
            flows: 8,
            interval: SECOND / 10,
            handshakes: true,
            stale: 10 * SECOND,
            settling: SECOND / 10,
            settling_sequence: SECOND,
            unconfirmed: 30 * SECOND,
            established: 300 * SECOND,
            closing: 2 * SECOND,
            echo: 30 * SECOND,
        }
    }

    #[derive(Default, Debug, PartialEq)]
    struct Told {
        samples: Vec<Sample>,
        again: usize,
        late: usize,
    }

    impl Sink for Told {
        fn sample(&mut self, sample: Sample) {
            self.samples.push(sample);
        }

        fn retransmission(&mut self) {
            self.again += 1;
        }

        fn reordered(&mut self) {
            self.late += 1;
        }
    }

    /// What a sender does next: mostly what is usual.
    #[derive(Clone, Copy, Debug)]
    struct Step {
        flow: u8,
        backward: bool,
        payload: u16,
        /// From where the sender is, and its clock.
        skip: i32,
        tick: i32,
        /// How far behind the newest the acknowledgement and TSecr are.
        behind: [u32; 2],
        flags: u8,
        window: u16,
        timestamps: bool,
        ip6: bool,
        wait: u64,
        leaves: bool,
    }

    fn step() -> impl Strategy<Value = Step> {
        let rare = |usual: i32, others: std::ops::Range<i32>| prop_oneof![12 => Just(usual), 1 => others];
        let flags = prop_oneof![60 => Just(0x10u8), 1 => Just(2), 1 => Just(0x12), 1 => Just(0x11), 1 => Just(0x14), 1 => Just(0)];
        let behind = [
            prop_oneof![8 => Just(0u32), 1 => 0..3000u32, 1 => Just(u32::MAX)],
            prop_oneof![4 => Just(0u32), 1 => 0..3u32, 1 => Just(u32::MAX)],
        ];
        let wait = prop_oneof![8 => 0..SECOND / 20, 2 => 0..SECOND, 1 => 0..40 * SECOND];
        (
            (0..2u8, any::<bool>(), prop_oneof![Just(0u16), Just(1000), Just(1)]),
            (rare(0, -3000..3000), prop_oneof![6 => 0..2i32, 1 => -3..3i32, 1 => Just(-70_000)], behind),
            (
                flags,
                prop_oneof![20 => Just(99u16), 1 => Just(0)],
                prop::bool::weighted(0.95),
                prop::bool::weighted(0.2),
            ),
            (wait, prop::bool::weighted(0.9)),
        )
            .prop_map(
                |(
                    (flow, backward, payload),
                    (skip, tick, behind),
                    (flags, window, timestamps, ip6),
                    (wait, leaves),
                )| {
                    Step {
                        flow,
                        backward,
                        payload,
                        skip,
                        tick,
                        behind,
                        flags,
                        window,
                        timestamps,
                        ip6,
                        wait,
                        leaves,
                    }
                },
            )
    }

    /// A TCP datagram's facts.
    fn observed(step: &Step, [sequence, acknowledgement, tsval, tsecr]: [u32; 4]) -> Observed {
        let mut body = vec![0; 20];
        let ports = [1000 + u16::from(step.flow), 80];
        let ports = if step.backward { [ports[1], ports[0]] } else { ports };
        body[0..2].copy_from_slice(&ports[0].to_be_bytes());
        body[2..4].copy_from_slice(&ports[1].to_be_bytes());
        body[4..8].copy_from_slice(&sequence.to_be_bytes());
        body[8..12].copy_from_slice(&acknowledgement.to_be_bytes());
        body[12] = if step.timestamps { 0x80 } else { 0x50 };
        body[13] = step.flags;
        body[14..16].copy_from_slice(&step.window.to_be_bytes());
        if step.timestamps {
            body.extend([1, 1, 8, 10]);
            body.extend(tsval.to_be_bytes());
            body.extend(tsecr.to_be_bytes());
        }
        let rest = body.len() as u16 + step.payload;
        // The last words are the same whatever the version.
        let upper = if step.ip6 { 0x2001_0db8u128 << 96 } else { 0xffff << 32 };
        let [source, destination] = if step.backward { [2, 1] } else { [1, 2] }.map(|word| upper | word);
        Observed::carried(Carried {
            source,
            destination,
            protocol: 6,
            body: &body,
            rest,
            length: rest + 20,
            piece: false,
        })
        .unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 2 } else { 400 }, ..ProptestConfig::default() })]

        #[test]
        fn the_short_way_leads_where_the_long_way_does(steps in vec(step(), 1..300)) {
            let mut both = [(); 2].map(|()| (Tracker::new(settings(), TableHash::with_seed(1)), Told::default()));
            let mut senders = [[[0u32; 2]; 2]; 4];
            let mut now = SECOND;
            for step in &steps {
                now += step.wait;
                let flow = usize::from(step.flow) * 2 + usize::from(step.ip6);
                let [this, that] = [step.backward, !step.backward].map(usize::from);
                let [next, clock] = senders[flow][this];
                let [sequence, tsval] = [next.wrapping_add_signed(step.skip), clock.wrapping_add_signed(step.tick)];
                let [acknowledgement, tsecr] =
                    [0, 1].map(|which| senders[flow][that][which].wrapping_sub(step.behind[which]));
                senders[flow][this] = [sequence.wrapping_add(u32::from(step.payload)), tsval];
                let observed = observed(step, [sequence, acknowledgement, tsval, tsecr]);
                let [first, second] = &mut both;
                let hash = first.0.hash(&observed);
                let hint = if step.leaves { first.0.prefetch_flow(hash) } else { hash };
                let short = first.0.arrive(&observed, hint, now, &mut first.1);
                let long = second.0.unusual(&observed, hash, now, &mut second.1);
                prop_assert_eq!(short, long);
                for (tracker, _) in &mut both {
                    if step.leaves {
                        tracker.depart(short, &observed, now + 1);
                    }
                    tracker.age(now + 2);
                }
                let counters: [Counters; 2] = [both[0].0.counters(), both[1].0.counters()];
                prop_assert_eq!(counters[0], counters[1]);
                now += 2;
            }
            prop_assert_eq!(&both[0].1, &both[1].1);
        }
    }
}
