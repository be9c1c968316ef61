//! Judges what a tracker said about a world, twice.
//!
//! * [`truth`]: is each sample the time from the first departure of exactly that TSval, or that segment, to the first arrival that answers it?
//!   Knows nothing of the tracker's rules.
//! * [`promised`]: which samples must there be? The rules of `weir_graph::rtt`, written over numbers that do not wrap and
//!   a memory without limits.

use weir_graph::rtt::{Method, Settings};

use super::packet::{Packet, Purpose};
use super::play::{Made, Outcome};
use super::world::{Moment, World};

/// Checks every sample against everything that was ever sent, before `start` too.
pub fn truth(world: &World, outcome: &Outcome) -> Result<(), String> {
    for made in &outcome.samples {
        let answer = &world.packets[made.answer];
        let arrived = answer.arrived.ok_or("an answer that never came")?;
        match made.method {
            Method::Timestamp => timestamp(world, made, answer, arrived)?,
            Method::Sequence | Method::Handshake => sequence(world, made, answer, arrived)?,
            Method::Echo => return Err("an echo among TCP".into()),
        }
    }
    Ok(())
}

fn timestamp(world: &World, made: &Made, answer: &Packet, arrived: u64) -> Result<(), String> {
    let tsval = answer.fact.tsecr;
    let first = world
        .packets
        .iter()
        .filter(|packet| packet.side != answer.side && packet.fact.tsval == Some(tsval))
        .filter(|packet| packet.arrived.is_some())
        .min_by_key(|packet| packet.arrived)
        .ok_or("answers nothing")?;
    let departed = first.departed.ok_or("the first with this TSval never left")?;
    if first.fact.length == 0 {
        return Err(format!("{made:?}: stamped {:?}", first.fact));
    }
    let echoes = world.packets.iter().filter(|packet| {
        packet.side == answer.side && packet.fact.tsecr == tsval && packet.fact.acknowledgement.is_some()
    });
    let earliest = echoes.filter_map(|packet| packet.arrived).min();
    if (Some(arrived), made.rtt) != (earliest, arrived - departed) {
        return Err(format!("{made:?}: left at {departed}, first echo at {earliest:?}, this one {arrived}"));
    }
    Ok(())
}

fn sequence(world: &World, made: &Made, answer: &Packet, arrived: u64) -> Result<(), String> {
    let acknowledged = answer.fact.acknowledgement.ok_or("no acknowledgement")?;
    let of_sender =
        |packet: &&Packet| packet.side != answer.side && packet.fact.connection == answer.fact.connection;
    let stamped = world
        .packets
        .iter()
        .filter(of_sender)
        .find(|packet| {
            packet.departed == Some(arrived - made.rtt)
                && packet.fact.length + u64::from(packet.fact.purpose == Purpose::Syn) > 0
                && packet.fact.sequence < acknowledged
        })
        .ok_or_else(|| format!("{made:?}: nothing left then"))?;
    // Behind the data: a FIN on top of it is not waited for.
    let end = stamped.fact.sequence + stamped.fact.length.max(1);
    if acknowledged < end {
        return Err(format!("{made:?}: does not acknowledge {:?}", stamped.fact));
    }
    let overlaps = |packet: &&Packet| {
        packet.fact.sequence < end && packet.fact.end() > stamped.fact.sequence && packet.arrived.is_some()
    };
    if world
        .packets
        .iter()
        .filter(of_sender)
        .filter(overlaps)
        .filter(|packet| packet.fact.length > 0 || packet.fact.purpose == Purpose::Syn)
        .any(|packet| !std::ptr::eq(packet, stamped) && packet.arrived < Some(arrived))
    {
        return Err(format!("{made:?}: {:?} passed more than once", stamped.fact));
    }
    let repaired = world.packets.iter().filter(of_sender).find(|packet| {
        packet.fact.length > 0
            && packet.fact.sequence < stamped.fact.sequence
            && packet.arrived > stamped.arrived
            && packet.arrived < Some(arrived)
    });
    if let Some(repair) = repaired {
        return Err(format!("{made:?}: {:?} came in between", repair.fact));
    }
    let earlier = world.packets.iter().find(|packet| {
        packet.arrived.is_some()
            && packet.side == answer.side
            && packet.fact.connection == answer.fact.connection
            && packet.fact.acknowledgement >= Some(end)
            && packet.arrived < Some(arrived)
    });
    if let Some(earlier) = earlier {
        return Err(format!("{made:?}: already acknowledged at {:?}", earlier.arrived));
    }
    Ok(())
}

/// What the rules remember of one direction.
#[derive(Clone, Default)]
struct Side {
    met: bool,
    settling: Option<u64>,
    newest: Option<u64>,
    sent: u64,
    acked: u64,
    recover: u64,
    closed: bool,
    finished: bool,
    stamp: Option<Stamp>,
    sampled: Option<u64>,
}

#[derive(Clone, Copy)]
struct Stamp {
    method: Method,
    answer: u64,
    packet: usize,
    time: u64,
    inside: bool,
}

impl Side {
    fn keep(&mut self, stamp: Stamp, settings: &Settings) {
        let wait = match stamp.method {
            Method::Timestamp => settings.settling,
            _ => settings.settling_sequence,
        };
        let early = |since: Option<u64>, wait| since.is_some_and(|since| stamp.time - since < wait);
        if self.stamp.is_some() || early(self.settling, wait) || early(self.sampled, settings.interval) {
            return;
        }
        (self.stamp, self.settling, self.sampled) = (Some(stamp), None, None);
    }

    fn answered(&mut self, now: u64) -> Option<(u64, Method)> {
        let stamp = self.stamp.take()?;
        if stamp.inside {
            return None;
        }
        self.sampled = Some(stamp.time);
        Some((now - stamp.time, stamp.method))
    }
}

/// The samples that the rules promise for what the point saw from `start` on.
pub fn promised(world: &World, settings: &Settings, start: u64) -> Vec<Made> {
    let mut sides: [Side; 2] = Default::default();
    // With a later start the tracker is new, and can't know whether a SYN is the first.
    let arrivals = world.moments.iter().filter(|(_, moment)| matches!(moment, Moment::Arrives(_)));
    let first = arrivals.map(|&(now, _)| now).find(|&now| now >= start && start > 0);
    let handshakes_from = first.map_or(0, |first| first + settings.settling_sequence);
    let mut samples = Vec::new();
    for &(now, moment) in world.moments.iter().filter(|&&(now, _)| now >= start) {
        match moment {
            Moment::Departs(number) => {
                let side = &mut sides[world.packets[number].side];
                if let Some(stamp) = &mut side.stamp
                    && stamp.packet == number
                {
                    (stamp.time, stamp.inside) = (now, false);
                }
            }
            Moment::Arrives(number) => {
                let settings =
                    Settings { handshakes: settings.handshakes && now >= handshakes_from, ..*settings };
                if let Some((rtt, method)) = arrives(world, &mut sides, number, now, &settings) {
                    samples.push(Made { answer: number, rtt, method });
                }
            }
        }
    }
    samples
}

fn arrives(
    world: &World,
    sides: &mut [Side; 2],
    number: usize,
    now: u64,
    settings: &Settings,
) -> Option<(u64, Method)> {
    let Packet { side, fact, .. } = &world.packets[number];
    let syn = fact.purpose == Purpose::Syn;
    let opening = syn && fact.acknowledgement.is_none();
    let (this, that) = (&sides[*side], &sides[1 - *side]);
    let again = this.met && this.sent == 1;
    let only_begun = (that.sent, that.acked) == (1, 0);
    if opening && !again && (this.met || (that.met && !only_begun)) {
        let ended = this.finished && that.finished;
        *sides = Default::default();
        if !ended {
            sides[*side].settling = Some(now);
        }
    }
    let [a, b] = sides;
    let (this, that) = if *side == 0 { (a, b) } else { (b, a) };
    if !this.met {
        this.met = true;
        (this.sent, this.acked) = (fact.sequence, fact.sequence);
        if !syn {
            this.settling = Some(now);
        }
    }
    let mut sample = None;
    if let Some(acknowledged) = fact.acknowledgement.filter(|_| that.met) {
        let holes = fact.sack.iter().any(|&(start, _)| start > acknowledged);
        if let Some(stamp) = that.stamp {
            let (done, over) = match stamp.method {
                Method::Timestamp => (
                    fact.tsval.is_some() && fact.tsecr == stamp.answer,
                    fact.tsval.is_some() && fact.tsecr > stamp.answer,
                ),
                _ => {
                    let beyond = acknowledged > that.sent;
                    let reached = acknowledged >= stamp.answer;
                    (reached && !beyond, beyond || (holes && !reached))
                }
            };
            if done {
                sample = that.answered(now);
            } else if over {
                that.stamp = None;
            }
        }
        if acknowledged <= that.sent {
            that.acked = that.acked.max(acknowledged);
        }
        if holes {
            that.recover = that.sent;
        }
        that.closed = fact.window == 0;
    }
    if syn {
        if this.newest < fact.tsval {
            this.newest = fact.tsval;
        }
        if this.sent > 0 {
            if again && this.stamp.is_some_and(|stamp| stamp.method != Method::Timestamp) {
                this.stamp = None;
            }
        } else {
            this.sent = 1;
            if settings.handshakes {
                let stamp =
                    Stamp { method: Method::Handshake, answer: 1, packet: number, time: now, inside: true };
                this.keep(stamp, settings);
            }
        }
        return sample;
    }
    let mut keep_alive = false;
    let mut in_order = false;
    if fact.end() > fact.sequence {
        if fact.sequence == this.sent {
            in_order = true;
        } else if fact.sequence > this.sent {
            this.recover = fact.end();
        } else if fact.length == 1
            && fact.end() == fact.sequence + 1
            && fact.end() == this.sent
            && this.acked == this.sent
        {
            keep_alive = true;
        } else {
            if this.stamp.is_some_and(|stamp| stamp.method != Method::Timestamp) {
                this.stamp = None;
            }
            this.recover = this.sent.max(fact.end());
        }
        this.sent = this.sent.max(fact.end());
    }
    this.finished |= fact.purpose == Purpose::Fin;
    let worthy = fact.length > 0 && !keep_alive && !this.closed;
    let stamp = |method, answer| Stamp { method, answer, packet: number, time: now, inside: true };
    match fact.tsval {
        Some(tsval) => {
            let edge = this.newest.is_some_and(|newest| tsval > newest);
            this.newest = this.newest.max(Some(tsval));
            if edge && worthy && tsval as u32 != 0 {
                this.keep(stamp(Method::Timestamp, tsval), settings);
            }
        }
        None => {
            if worthy && in_order && this.acked >= this.recover {
                this.keep(stamp(Method::Sequence, fact.sequence + fact.length), settings);
            }
        }
    }
    sample
}
