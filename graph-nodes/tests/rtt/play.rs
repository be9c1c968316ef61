//! Plays what the point saw to a `Tracker`, and keeps what it says.

use weir_graph::clock::Clock;
use weir_graph::rtt::{Direction, Method, Observed, Sample, Settings, Sink, TableHash, Ticket, Tracker};

use super::segment::echo;
use super::world::{Moment, World};

/// Ticks are microseconds.
pub const HZ: u64 = 1_000_000;

/// What one packet brought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Brought {
    pub sample: Option<Sample>,
    pub resent: bool,
    pub reordered: bool,
}

impl Sink for Brought {
    fn sample(&mut self, sample: Sample) {
        assert_eq!(self.sample, None, "one sample a packet");
        self.sample = Some(sample);
    }

    fn retransmission(&mut self) {
        assert!(!self.resent && !self.reordered, "one loss a packet");
        self.resent = true;
    }

    fn reordered(&mut self) {
        assert!(!self.resent && !self.reordered, "one loss a packet");
        self.reordered = true;
    }
}

/// What passes before a world begins.
const BEFORE: u64 = 5 * HZ;

pub fn settings(flows: usize) -> Settings {
    Settings::new(Clock::with_hz(HZ), flows)
}

pub fn tracker(settings: Settings) -> Tracker {
    Tracker::new(settings, TableHash::with_seed(7))
}

/// A datagram comes in; what it brings.
pub fn arrive(tracker: &mut Tracker, datagram: &[u8], now: u64) -> (Ticket, Brought) {
    let mut brought = Brought::default();
    let Some(observed) = Observed::ip4(datagram) else { return (Ticket::NONE, brought) };
    let hash = tracker.hash(&observed);
    tracker.prefetch(hash);
    let hash = tracker.prefetch_flow(hash);
    let ticket = tracker.arrive(&observed, hash, now, &mut brought);
    tracker.age(now);
    (ticket, brought)
}

/// It leaves.
pub fn depart(tracker: &mut Tracker, ticket: Ticket, datagram: &[u8], now: u64) {
    if let Some(observed) = Observed::ip4(datagram) {
        tracker.depart(Ticket::from_word(ticket.word()), &observed, now);
    }
}

/// Comes in and leaves at once.
pub fn pass(tracker: &mut Tracker, datagram: &[u8], now: u64) -> Brought {
    let (ticket, brought) = arrive(tracker, datagram, now);
    depart(tracker, ticket, datagram, now);
    brought
}

/// A sample: the number of the packet that made it, the round trip, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    pub answer: usize,
    pub rtt: u64,
    pub method: Method,
}

/// What came of a world.
#[derive(Debug, Default)]
pub struct Outcome {
    pub samples: Vec<Made>,
    pub resent: Vec<usize>,
    pub reordered: Vec<usize>,
}

/// Shows the tracker what the point saw from `start` on. If that is everything, the tracker has known another flow for long.
pub fn play(world: &World, settings: Settings, start: u64) -> Outcome {
    let mut tracker = tracker(settings);
    let mut tickets = vec![Ticket::NONE; world.packets.len()];
    let mut least = [u64::MAX; 2];
    let mut outcome = Outcome::default();
    if start == 0 {
        pass(&mut tracker, &echo([172, 16, 0, 1], [172, 16, 0, 2], false, 1, 1), 0);
    }
    let mut created = tracker.counters().created;
    for &(now, moment) in world.moments.iter().filter(|&&(now, _)| now >= start) {
        let now = now + BEFORE;
        match moment {
            Moment::Departs(number) => {
                depart(&mut tracker, tickets[number], &world.packets[number].datagram, now);
            }
            Moment::Arrives(answer) => {
                let packet = &world.packets[answer];
                let (ticket, brought) = arrive(&mut tracker, &packet.datagram, now);
                tickets[answer] = ticket;
                if tracker.counters().created != created {
                    // Another flow, another least.
                    created = tracker.counters().created;
                    least = [u64::MAX; 2];
                }
                if let Some(Sample { rtt, least: told, method, direction, .. }) = brought.sample {
                    let least = &mut least[direction as usize];
                    *least = rtt.min(*least);
                    assert_eq!(told, *least);
                    let to_lower = packet.side == 1;
                    assert_eq!(direction == Direction::Forward, to_lower, "the first host is the lower end");
                    outcome.samples.push(Made { answer, rtt, method });
                }
                if brought.resent {
                    outcome.resent.push(answer);
                }
                if brought.reordered {
                    outcome.reordered.push(answer);
                }
            }
        }
    }
    outcome
}
