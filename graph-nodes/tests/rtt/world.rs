//! Two TCP hosts, simulated packet by packet, and a measuring point between them. What happens is decided by a seed, and everything is known.
//!
//! ```text
//!   A ── leg: delay, loss, reordering ──▶ point: queue, drops ──▶ leg ──▶ B      and back
//! ```
//! Numbers are kept as they are meant, not as they stand on the wire: sequence numbers count from 0 (the SYN) in each connection, TSvals are ticks
//! of the host's clock in 64 bits. So what judges by them shares no modular arithmetic with what is judged. Times are microseconds.

use std::collections::BTreeMap;

use super::packet::{Fact, Packet, Purpose};

/// SplitMix64.
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `end`, which may be 0.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }
}

/// What a world is like.
#[derive(Clone, Debug)]
pub struct Recipe {
    pub seed: u64,
    pub timestamps: bool,
    pub sack: bool,
    /// Microseconds a TSval tick, of each host.
    pub tick: [u64; 2],
    /// One-way delays from A to the point, and from the point to B.
    pub delay: [u64; 2],
    /// Percent of packets lost on a leg, before or behind the point as seen from A.
    pub loss: [u64; 2],
    /// Percent of packets overtaken on a leg, and by how much at most.
    pub reordered: [u64; 2],
    pub lateness: u64,
    /// Longest stay inside the point, and percent of packets dropped there.
    pub queue: u64,
    pub dropped: u64,
    /// Receivers wait for a second segment or this long.
    pub delayed_ack: u64,
    /// Keep-alives and closed windows happen.
    pub probes: bool,
    /// The connection is closed and the same ports are used again.
    pub reuse: bool,
    /// End of time.
    pub end: u64,
}

impl Recipe {
    /// Anything that `seed` says.
    pub fn any(seed: u64) -> Recipe {
        let mut rng = Rng(seed);
        let rough = rng.chance(70);
        let percent = |rng: &mut Rng, most| if rough && rng.chance(60) { rng.below(most) } else { 0 };
        Recipe {
            seed: rng.next(),
            timestamps: rng.chance(50),
            sack: rng.chance(50),
            tick: [rng.pick(&[1, 1000, 4000, 10_000]), rng.pick(&[1, 1000, 4000, 10_000])],
            delay: [100 + rng.below(30_000), 100 + rng.below(60_000)],
            loss: [percent(&mut rng, 6), percent(&mut rng, 6)],
            reordered: [percent(&mut rng, 10), percent(&mut rng, 10)],
            lateness: 100 + rng.below(20_000),
            queue: rng.pick(&[0, 500, 20_000]),
            dropped: percent(&mut rng, 4),
            delayed_ack: rng.pick(&[0, 10_000, 40_000]),
            probes: rng.chance(30),
            reuse: rng.chance(30),
            end: 6_000_000,
        }
    }
}

/// What the point sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The packet with this number comes in.
    Arrives(usize),
    /// It leaves.
    Departs(usize),
}

#[derive(Clone, Copy)]
enum Event {
    Connect,
    Write(usize, u64),
    Close(usize),
    KeepAlive(usize),
    Window(usize, bool),
    Timeout(usize, u64),
    DelayedAck(usize, u64),
    AtPoint(usize),
    Leaves(usize),
    Delivered(usize),
}

/// One host's end of the connection.
#[derive(Clone, Default)]
struct End {
    open: bool,
    acked: u64,
    next: u64,
    most_sent: u64,
    written: u64,
    closing: bool,
    peer_window: bool,
    duplicates: u32,
    recover: u64,
    timeout: u64,
    timer: u64,
    received: u64,
    beyond: Vec<(u64, u64)>,
    duplicate: Option<(u64, u64)>,
    recent: u64,
    last_ack: u64,
    pending: u32,
    ack_timer: u64,
    window_closed: bool,
}

/// See the module.
pub struct World {
    recipe: Recipe,
    rng: Rng,
    now: u64,
    events: BTreeMap<(u64, u64), Event>,
    serial: u64,
    ends: [End; 2],
    connection: u64,
    /// When the last packet in order comes to the end of a leg: by side of the sender, before and behind the point.
    leg_end: [[u64; 2]; 2],
    last_departure: [u64; 2],
    tick_base: [u64; 2],
    segment: u64,
    window: u64,
    /// All packets that were ever sent.
    pub packets: Vec<Packet>,
    /// What the point saw, in order.
    pub moments: Vec<(u64, Moment)>,
}

const RETRY: u64 = 300_000;

impl World {
    /// Lets it all happen.
    pub fn run(recipe: &Recipe) -> World {
        let mut rng = Rng(recipe.seed);
        // Close to where 32 bits wrap, now and then.
        let tick_base = [0, 1].map(|side| {
            let ticks = recipe.end / recipe.tick[side];
            if rng.chance(50) { (1 << 32) - rng.below(ticks) } else { rng.next() >> 33 }
        });
        let (segment, window) = (rng.pick(&[100, 536, 1400]), 1 + rng.below(16));
        let mut world = World {
            recipe: recipe.clone(),
            rng,
            now: 0,
            events: BTreeMap::new(),
            serial: 0,
            ends: Default::default(),
            connection: 0,
            leg_end: [[0; 2]; 2],
            last_departure: [0; 2],
            tick_base,
            segment,
            window,
            packets: Vec::new(),
            moments: Vec::new(),
        };
        let end = recipe.end;
        world.plan(0, if recipe.reuse { end / 3 } else { end });
        if recipe.reuse {
            let quiet = world.rng.pick(&[200_000, 600_000]);
            world.plan(end * 2 / 3 + quiet, end);
        }
        while let Some((&(time, serial), _)) = world.events.iter().next() {
            if time > end {
                break;
            }
            world.now = time;
            if let Some(event) = world.events.remove(&(time, serial)) {
                world.happens(event);
            }
        }
        world
    }

    /// One connection's life: what its applications do, and when.
    fn plan(&mut self, from: u64, to: u64) {
        self.at(from, Event::Connect);
        let open = from + RETRY / 2;
        let most = to - open - 100_000;
        for _ in 0..4 + self.rng.below(40) {
            let (when, side) = (open + self.rng.below(most), usize::from(self.rng.chance(40)));
            let bytes = if self.rng.chance(50) { 1 + self.rng.below(300) } else { self.rng.below(30_000) };
            self.at(when, Event::Write(side, bytes));
        }
        if self.recipe.probes {
            for _ in 0..4 {
                let (when, side) = (open + self.rng.below(most), usize::from(self.rng.chance(50)));
                self.at(when, Event::KeepAlive(side));
                let when = open + self.rng.below(most);
                self.at(when, Event::Window(side, true));
                let length = self.rng.below(400_000);
                self.at(when + length, Event::Window(side, false));
            }
        }
        if to < self.recipe.end {
            self.at(to, Event::Close(0));
            self.at(to + 1000, Event::Close(1));
        }
    }

    fn at(&mut self, time: u64, event: Event) {
        self.serial += 1;
        self.events.insert((time, self.serial), event);
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Connect => {
                self.connection += 1;
                let end = End { peer_window: true, timeout: RETRY, ..End::default() };
                self.ends = [end.clone(), end];
                self.ends[0].open = true;
                (self.ends[0].next, self.ends[0].most_sent) = (1, 1);
                (self.ends[0].written, self.ends[1].written) = (1, 1);
                self.send(0, 0, 0, Purpose::Syn, false);
                self.arm(0);
            }
            Event::Write(side, bytes) => {
                if !self.ends[side].closing {
                    self.ends[side].written += bytes;
                    self.push(side);
                }
            }
            Event::Close(side) => {
                self.ends[side].closing = true;
                self.push(side);
            }
            Event::KeepAlive(side) => {
                let end = &self.ends[side];
                if end.open && end.acked > 0 && end.acked == end.written && end.acked == end.most_sent {
                    let length = u64::from(end.acked > 1 && self.rng.chance(50));
                    let sequence = self.ends[side].next - 1;
                    self.send(side, sequence, length, Purpose::KeepAlive, false);
                }
            }
            Event::Window(side, closed) => {
                self.ends[side].window_closed = closed;
                if !closed && self.ends[side].open && self.ends[side].received > 0 {
                    self.acknowledge(side);
                }
            }
            Event::Timeout(side, timer) => {
                if timer == self.ends[side].timer {
                    self.times_out(side);
                }
            }
            Event::DelayedAck(side, timer) => {
                if timer == self.ends[side].ack_timer && self.ends[side].pending > 0 {
                    self.acknowledge(side);
                }
            }
            Event::AtPoint(number) => self.at_point(number),
            Event::Leaves(number) => {
                self.packets[number].departed = Some(self.now);
                self.moments.push((self.now, Moment::Departs(number)));
                if let Some(when) = self.leg(self.packets[number].side, 1) {
                    self.at(when, Event::Delivered(number));
                }
            }
            Event::Delivered(number) => self.receives(number),
        }
    }

    /// When a packet of `side` comes to the end of its first or second leg, `None` if it never does.
    fn leg(&mut self, side: usize, leg: usize) -> Option<u64> {
        let place = side ^ leg;
        if self.rng.chance(self.recipe.loss[place]) {
            return None;
        }
        let delay = self.recipe.delay[place] + self.rng.below(self.recipe.delay[place] / 8);
        let last = &mut self.leg_end[side][leg];
        let when = (self.now + delay).max(*last + 1);
        if self.rng.chance(self.recipe.reordered[place]) {
            return Some(when + 1 + self.rng.below(self.recipe.lateness));
        }
        *last = when;
        Some(when)
    }

    fn at_point(&mut self, number: usize) {
        let side = self.packets[number].side;
        if self.packets[number].fact.connection != self.connection {
            return; // the old connection's last packets are lost when its ports are used again
        }
        self.packets[number].arrived = Some(self.now);
        self.moments.push((self.now, Moment::Arrives(number)));
        if self.rng.chance(self.recipe.dropped) {
            return;
        }
        let stay = self.rng.below(self.recipe.queue + 1);
        let when = (self.now + stay).max(self.last_departure[side] + 1);
        self.last_departure[side] = when;
        self.at(when, Event::Leaves(number));
    }

    fn tick(&self, side: usize) -> u64 {
        self.tick_base[side] + self.now / self.recipe.tick[side]
    }

    fn send(&mut self, side: usize, sequence: u64, length: u64, purpose: Purpose, resent: bool) {
        let (tick, recipe) = (self.tick(side), &self.recipe);
        let end = &mut self.ends[side];
        let mut sack = Vec::new();
        if recipe.sack {
            sack.extend(end.duplicate.take());
            sack.extend(end.beyond.iter().rev().copied());
            sack.truncate(3);
        }
        let fact = Fact {
            connection: self.connection,
            sequence,
            length,
            purpose,
            resent,
            // A SYN that opens acknowledges nothing; everything else does.
            acknowledgement: (end.received > 0).then_some(end.received),
            tsval: recipe.timestamps.then_some(tick),
            tsecr: end.recent,
            sack,
            window: if end.window_closed { 0 } else { 1000 },
        };
        end.last_ack = end.received;
        end.pending = 0;
        end.ack_timer += 1;
        let number = self.packets.len();
        self.packets.push(Packet::new(side, fact, &mut self.rng));
        if let Some(when) = self.leg(side, 0) {
            self.at(when, Event::AtPoint(number));
        }
    }

    fn acknowledge(&mut self, side: usize) {
        let sequence = self.ends[side].most_sent;
        self.send(side, sequence, 0, Purpose::Ack, false);
    }

    fn arm(&mut self, side: usize) {
        let end = &mut self.ends[side];
        end.timer += 1;
        let (timer, after) = (end.timer, end.timeout);
        self.at(self.now + after, Event::Timeout(side, timer));
    }

    /// The sequence number behind the FIN, or behind the data if there is none yet.
    fn goal(&self, side: usize) -> u64 {
        self.ends[side].written + u64::from(self.ends[side].closing)
    }

    /// Sends the segment at `sequence`, as long as data and the window allow; its length.
    fn send_at(&mut self, side: usize, sequence: u64) -> u64 {
        let end = &self.ends[side];
        let resent = sequence < end.most_sent;
        let (length, purpose) = if sequence == 0 {
            (0, Purpose::Syn)
        } else if sequence < end.written {
            (self.segment.min(end.written - sequence), Purpose::Data)
        } else {
            (0, Purpose::Fin)
        };
        self.send(side, sequence, length, purpose, resent);
        length + u64::from(purpose != Purpose::Data)
    }

    /// Sends what may be sent.
    fn push(&mut self, side: usize) {
        let goal = self.goal(side);
        let mut sent = false;
        loop {
            let end = &self.ends[side];
            if !end.open
                || end.acked == 0
                || !end.peer_window
                || end.next >= goal
                || end.next >= end.acked + self.window * self.segment
            {
                break;
            }
            let taken = self.send_at(side, end.next);
            let end = &mut self.ends[side];
            end.next += taken;
            end.most_sent = end.most_sent.max(end.next);
            sent = true;
        }
        let end = &self.ends[side];
        if sent || (end.open && !end.peer_window && end.next < goal) {
            self.arm(side);
        }
    }

    /// Go-back-N with backoff, or a probe of a closed window.
    fn times_out(&mut self, side: usize) {
        let goal = self.goal(side);
        let end = &mut self.ends[side];
        if !end.open || (end.acked >= end.most_sent && (end.peer_window || end.next >= goal)) {
            return;
        }
        if !end.peer_window && end.acked == end.most_sent && end.acked > 0 {
            // One byte beyond the window (RFC 9293 §3.8.6.1), or none below it (Linux).
            if end.next < end.written && self.rng.chance(50) {
                let (sequence, resent) = (end.next, end.most_sent > end.next);
                end.most_sent = end.most_sent.max(sequence + 1);
                self.send(side, sequence, 1, Purpose::Probe, resent);
            } else {
                let sequence = end.next - 1;
                self.send(side, sequence, 0, Purpose::Probe, false);
            }
        } else {
            // SYNs do not back off (Linux's tcp_syn_linear_timeouts).
            end.timeout = if end.acked == 0 { RETRY } else { (end.timeout * 2).min(1_500_000) };
            (end.next, end.duplicates, end.recover) = (end.acked, 0, end.most_sent);
            let sequence = end.next;
            let taken = self.send_at(side, sequence);
            let end = &mut self.ends[side];
            end.next += taken;
            end.most_sent = end.most_sent.max(end.next);
        }
        self.arm(side);
    }

    fn receives(&mut self, number: usize) {
        let packet = &self.packets[number];
        let (side, fact) = (1 - packet.side, packet.fact.clone());
        if fact.connection != self.connection {
            return;
        }
        let end = &mut self.ends[side];
        if fact.purpose == Purpose::Syn && !end.open {
            // SYN at the listener: SYN-ACK.
            (end.open, end.received, end.last_ack, end.recent) = (true, 1, 1, fact.tsval.unwrap_or(0));
            (end.next, end.most_sent) = (1, 1);
            self.send(side, 0, 0, Purpose::Syn, false);
            self.arm(side);
            return;
        }
        if let Some(tsval) = fact.tsval {
            // RFC 7323 §4.3.
            if end.received == 0 || (tsval >= end.recent && fact.sequence <= end.last_ack) {
                end.recent = tsval;
            }
        }
        end.peer_window = fact.window > 0;
        if let Some(acknowledgement) = fact.acknowledgement {
            self.acknowledged(side, acknowledgement, &fact);
        }
        self.data(side, &fact);
        self.push(side);
    }

    fn acknowledged(&mut self, side: usize, acknowledgement: u64, fact: &Fact) {
        let end = &mut self.ends[side];
        if acknowledgement > end.acked {
            end.acked = acknowledgement;
            end.next = end.next.max(acknowledgement);
            (end.duplicates, end.timeout) = (0, RETRY);
            end.timer += 1;
            let partial = acknowledgement < end.recover && end.next >= end.most_sent;
            if end.acked < end.most_sent {
                self.arm(side);
            }
            if partial {
                self.send_at(side, acknowledgement);
            }
        } else if acknowledgement == end.acked
            && end.acked < end.most_sent
            && fact.length == 0
            && fact.purpose == Purpose::Ack
            && end.acked > 0
        {
            end.duplicates += 1;
            if end.duplicates == 3 && end.acked >= end.recover {
                end.recover = end.most_sent;
                self.send_at(side, acknowledgement);
            }
        }
    }

    fn data(&mut self, side: usize, fact: &Fact) {
        let delay = self.recipe.delayed_ack;
        let end = &mut self.ends[side];
        let (start, stop) = (fact.sequence, fact.end());
        if fact.purpose == Purpose::KeepAlive || (fact.purpose == Purpose::Probe && end.window_closed) {
            self.acknowledge(side);
            return;
        }
        if start == stop {
            if fact.purpose == Purpose::Probe {
                self.acknowledge(side);
            }
            return;
        }
        if start > end.received {
            end.beyond.push((start, stop));
            end.beyond.sort_unstable();
            let mut merged: Vec<(u64, u64)> = Vec::new();
            for &(start, stop) in &end.beyond {
                match merged.last_mut() {
                    Some(last) if start <= last.1 => last.1 = last.1.max(stop),
                    _ => merged.push((start, stop)),
                }
            }
            end.beyond = merged;
            self.acknowledge(side);
        } else if stop <= end.received {
            end.duplicate = Some((start, stop));
            self.acknowledge(side);
        } else {
            let filled = !end.beyond.is_empty();
            end.received = stop;
            while let Some(&(start, stop)) = end.beyond.first() {
                if start > end.received {
                    break;
                }
                end.received = end.received.max(stop);
                end.beyond.remove(0);
            }
            end.pending += 1;
            if filled || end.pending >= 2 || delay == 0 || fact.purpose != Purpose::Data {
                self.acknowledge(side);
            } else {
                end.ack_timer += 1;
                let timer = end.ack_timer;
                self.at(self.now + delay, Event::DelayedAck(side, timer));
            }
        }
    }
}
