//! What a node has below it: which children want to send, in which order, and what it counts.
//!
//! ```text
//!  green    a ─ b ─ c                 their guarantee is due, or that of somebody below them: first come, first served
//!  yellow   0  1  2 …  63  0  1       64 buckets of virtual time, going round; the first one that has children is next
//!              │     └ f
//!              └ d ─ e
//! ```
//! Yellow is start-time fair queueing (Goyal, Vin, Cheng 1996): a child's tag grows by bytes / weight, and the least tag goes first. In buckets it
//! is exact to a bucket at any moment, which is 1/16 of a full packet of the lightest child or less, and exact in the long run.

use super::{
    common::Urgency,
    member::{GREEN, Member, YELLOW},
};
use crate::memory::Zeroed;
use crate::shaper::{Rates, sets::NONE};

const BUCKETS: u32 = 64;
/// The power of two of buckets that a packet as long as a power of two of a child with a weight of a power of two takes: all of them.
const PACKET: u8 = 6;
/// The most that a tag can lead the virtual time by: 2¹⁷ bytes at weight 1. What is beyond is from long ago: virtual time goes round.
const LEAD: i64 = 1 << 49;
/// Packets that a child may have missed, as a power of two.
const MISSED: u8 = 3;

/// How many children of a bucket are looked at to find the one that goes first.
const LOOKED_AT: usize = 8;

/// The rate that a node sends at is that of an eighth of a second.
const WINDOW: u32 = 3;

fn per_second(bytes: u64, ticks: u64, hz: u64) -> u64 {
    (u128::from(bytes) * 8 * u128::from(hz) / u128::from(ticks.max(1))).try_into().unwrap_or(u64::MAX)
}

#[derive(Clone, Copy)]
struct List {
    head: u32,
    tail: u32,
}

/// A node's children and counters: the first line is all that packets need of it whom nobody holds back. All zeros: not set up.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Branch {
    green: List,
    /// A bit for each bucket that has children.
    occupied: u64,
    /// Packets and bytes that have come below the node and were not dropped.
    came: u64,
    came_bytes: u64,
    /// Those that have left, and what they took on the link.
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) charged: u64,
    /// When the window began of the rate that it sends at.
    pub(super) since: u64,
    /// Virtual time: the greatest tag that was served here, down to where its bucket begins, lest others of the bucket lose their place in it.
    time: u64,
    /// The virtual time that all workers have come to, as far as this one knows; a worker's own is behind it where it has somebody listed who is.
    pub(super) reached: u64,
    pub(super) children: u32,
    /// A bucket is 2^`shift` of virtual time.
    shift: u8,
    /// Bytes of a full packet, as a power of two.
    packet: u8,
    /// Virtual time that passes while a worker is late, as a power of two; 0: this worker has the node alone.
    lead: u8,
    chose_green: bool,
    /// What had left when the window began, and the rate of the last one.
    charged_before: u64,
    pub(super) rate: u64,
    pub(super) rates: Rates,
    /// How many children have which logarithm of weight.
    classes: [u32; 32],
    buckets: [List; BUCKETS as usize],
}

// SAFETY: integers.
unsafe impl Zeroed for Branch {}

const _: () = assert!(size_of::<Branch>() == 768);

impl Branch {
    /// Empties a branch that nobody is below.
    pub(super) fn set_up(&mut self, mtu: u32, now: u64) {
        self.green = List { head: NONE, tail: NONE };
        self.occupied = 0;
        self.packet = (mtu.max(64).ilog2() + 1) as u8;
        self.classes = [0; 32];
        (self.packets, self.bytes, self.charged) = (0, 0, 0);
        (self.came, self.came_bytes) = (0, 0);
        (self.since, self.charged_before, self.rate) = (now, 0, 0);
        self.children = 0;
        self.shift = self.width();
    }

    /// Whether somebody is listed, who may have nothing to send by now.
    #[inline(always)]
    pub(super) fn is_wanted(&self) -> bool {
        self.green.head != NONE || self.occupied != 0
    }

    #[inline(always)]
    pub(super) fn has_green(&self) -> bool {
        self.green.head != NONE
    }

    /// Decides whose turn it is; `mtu` are the bytes of a full packet.
    #[inline]
    pub(super) fn choose(&mut self, members: &[Member], time: u64, mtu: u32) -> u32 {
        self.chose_green = self.green.head != NONE;
        if self.occupied == 0 {
            return self.green.head;
        }
        let yellow = self.first_yellow();
        if self.is_alone() && self.chose_green && self.is_urgent(&members[yellow as usize], time, mtu) {
            self.chose_green = false;
        }
        if self.chose_green { self.green.head } else { yellow }
    }

    /// Whether the choice was made among those whose guarantee is due.
    #[inline(always)]
    pub(super) fn chose_green(&self) -> bool {
        self.chose_green
    }

    /// Of a node that no other worker has: a child that its own ceiling keeps below its share, and that has waited for half of what it may make up for. Guarantees can be made up for much
    /// longer; and they lose nothing, for this child takes no more than its share of what they leave.
    #[inline]
    fn is_urgent(&self, child: &Member, time: u64, mtu: u32) -> bool {
        let behind = self.reached.wrapping_sub(child.tag) as i64;
        !child.is(GREEN)
            && behind > i64::from(child.inverse_weight) << self.packet
            && child.ceil().after(mtu / 2, child.ceil_cost).ticks() <= time
    }

    /// The virtual time has come to `time`, here or at another worker.
    #[inline(always)]
    pub(super) fn reach(&mut self, time: u64) {
        if time.wrapping_sub(self.reached) as i64 > 0 {
            self.reached = time;
        }
        if !self.is_wanted() {
            // Nobody stands in buckets that are counted from elsewhere.
            self.time = self.reached;
        }
    }

    /// Who goes first, for other workers to know; members below `nodes` are nodes.
    #[inline]
    pub(super) fn head(&self, members: &[Member], nodes: u32) -> Option<Urgency> {
        if self.has_green() {
            Some(Urgency::green())
        } else if self.occupied != 0 {
            let first = self.first_yellow();
            let is_leaf = first >= nodes;
            Some(if is_leaf { Urgency::leaf(members[first as usize].tag) } else { Urgency::node(first) })
        } else {
            None
        }
    }

    /// Whoever stands first among those that borrow; there is somebody.
    #[inline(always)]
    pub(super) fn first_yellow(&self) -> u32 {
        self.buckets[self.first() as usize].head
    }

    #[inline(always)]
    pub(super) fn has_yellow(&self) -> bool {
        self.occupied != 0
    }

    /// Where the bucket of a tag begins: whom a calendar lists first is the first to a bucket, and workers that knew better would wait for each other in a circle.
    #[inline(always)]
    pub(super) fn bucket_of(&self, tag: u64) -> u64 {
        tag >> self.shift << self.shift
    }

    /// Workers come late by as long as so much virtual time takes: what their children have missed then is not forgotten.
    #[inline(always)]
    pub(super) fn let_lag(&mut self, late: u64) {
        self.lead = (late.checked_ilog2().unwrap_or(0) as u8 + 1).min(LEAD.ilog2() as u8 - 1);
    }

    /// Other workers have a part of the node, or no more.
    pub(super) fn set_shared(&mut self, shared: bool) {
        self.lead = u8::from(shared);
    }

    #[inline(always)]
    fn is_alone(&self) -> bool {
        self.lead == 0
    }

    /// Takes out whoever was chosen.
    #[inline]
    pub(super) fn pop(&mut self, members: &mut [Member]) {
        if self.chose_green { self.pop_green(members) } else { self.pop_yellow(members) }
    }

    #[inline]
    pub(super) fn push_green(&mut self, members: &mut [Member], child: u32) {
        let member = &mut members[child as usize];
        member.flags |= GREEN;
        member.next_green = NONE;
        if self.green.head == NONE {
            self.green.head = child;
        } else {
            members[self.green.tail as usize].next_green = child;
        }
        self.green.tail = child;
    }

    #[inline]
    fn pop_green(&mut self, members: &mut [Member]) {
        let member = &mut members[self.green.head as usize];
        member.flags &= !GREEN;
        self.green.head = member.next_green;
    }

    /// A child that was green for a while, or held by its own ceiling, gets what it has missed of its share, up to eight packets or two
    /// buckets.
    #[inline]
    pub(super) fn push_yellow(&mut self, members: &mut [Member], child: u32) {
        let member = &mut members[child as usize];
        member.flags |= YELLOW;
        let ahead = member.tag.wrapping_sub(self.reached) as i64;
        let packets = i64::from(member.inverse_weight) << (self.packet + MISSED);
        let missed = packets.max(2 << self.shift).max(1 << self.lead);
        if ahead < -missed {
            member.tag = self.reached.wrapping_sub(missed as u64);
        } else if ahead > LEAD {
            member.tag = self.reached;
        }
        self.put_yellow(members, child);
    }

    /// A child that comes from elsewhere: its turn is now.
    pub(super) fn introduce(&self, child: &mut Member) {
        child.tag = self.reached;
    }

    /// A child that had nothing to send has something: it has missed nothing.
    #[inline]
    pub(super) fn welcome(&self, child: &mut Member) {
        if (child.tag.wrapping_sub(self.reached) as i64) < 0 {
            child.tag = self.reached;
        }
    }

    #[inline]
    fn put_yellow(&mut self, members: &mut [Member], child: u32) {
        let member = &mut members[child as usize];
        member.next_yellow = NONE;
        let now = self.time >> self.shift;
        let distance = self.distance(member.tag);
        let is_behind = (member.tag.wrapping_sub(self.time) as i64) < 0;
        let bucket = ((now + distance.min(u64::from(BUCKETS) - 1)) % u64::from(BUCKETS)) as usize;
        let is_alone = self.is_alone();
        let list = &mut self.buckets[bucket];
        if self.occupied & 1 << bucket == 0 {
            self.occupied |= 1 << bucket;
            list.head = child;
        } else if is_behind && is_alone {
            // Who has missed something goes first.
            member.next_yellow = list.head;
            list.head = child;
            return;
        } else if is_behind {
            // Many may be behind what others have served: who has missed more goes first.
            let tag = member.tag;
            let (mut before, mut next) = (NONE, list.head);
            for _ in 0..LOOKED_AT {
                let Some(other) =
                    members.get(next as usize).filter(|other| (other.tag.wrapping_sub(tag) as i64) < 0)
                else {
                    break;
                };
                (before, next) = (next, other.next_yellow);
            }
            members[child as usize].next_yellow = next;
            match members.get_mut(before as usize) {
                Some(before) => before.next_yellow = child,
                None => list.head = child,
            }
            if next == NONE {
                list.tail = child;
            }
            return;
        } else {
            members[list.tail as usize].next_yellow = child;
        }
        list.tail = child;
    }

    /// Takes out the first of those that borrow.
    #[inline]
    fn pop_yellow(&mut self, members: &mut [Member]) {
        let bucket = self.first();
        let list = &mut self.buckets[bucket as usize];
        let member = &mut members[list.head as usize];
        member.flags &= !YELLOW;
        list.head = member.next_yellow;
        if list.head == NONE {
            self.occupied &= !(1 << bucket);
        }
    }

    /// The first of those that borrow stands too early, for want of buckets, or because another worker has served it: puts it where it belongs.
    #[inline(always)]
    pub(super) fn settle_yellow(&mut self, members: &mut [Member], child: u32) -> bool {
        let now = self.time >> self.shift;
        let stands = u64::from(self.first()).wrapping_sub(now) % u64::from(BUCKETS);
        let member = &members[child as usize];
        if self.distance(member.tag) <= stands
            && (self.is_alone() || self.is_in_order(members, member, stands))
        {
            return true;
        }
        self.put_later(members, child, stands);
        false
    }

    /// Whether nobody who stands in the same bucket as the first one has missed more.
    #[inline(never)]
    fn is_in_order(&self, members: &[Member], first: &Member, stands: u64) -> bool {
        let next = members.get(first.next_yellow as usize);
        next.is_none_or(|next| next.tag.wrapping_sub(first.tag) as i64 >= 0 || stands != 0)
    }

    #[inline(never)]
    fn put_later(&mut self, members: &mut [Member], child: u32, stands: u64) {
        let now = self.time >> self.shift;
        self.pop_yellow(members);
        members[child as usize].flags |= YELLOW;
        if stands != 0 {
            // Nobody stands before this bucket any more.
            self.time = now.wrapping_add(stands) << self.shift;
            if self.is_alone() {
                self.reach(self.time);
            }
        }
        self.put_yellow(members, child);
    }

    /// Whoever was chosen has borrowed so many bytes.
    #[inline]
    pub(super) fn serve(&mut self, members: &mut [Member], child: u32, bytes: u32) {
        let member = &mut members[child as usize];
        let begins = self.bucket_of(member.tag);
        if !self.chose_green && begins.wrapping_sub(self.time) as i64 > 0 {
            self.time = begins;
            self.reach(begins);
        }
        member.tag = member.tag.wrapping_add(u64::from(bytes) * u64::from(member.inverse_weight));
    }

    /// Packets come below the node. True: nothing waited there.
    #[inline(always)]
    pub(super) fn come(&mut self, packets: u64, bytes: u64) -> bool {
        let begins = self.came == self.packets;
        self.came += packets;
        self.came_bytes += bytes;
        begins
    }

    /// Packets go that have not been sent.
    #[inline(always)]
    pub(super) fn go(&mut self, packets: u64, bytes: u64) {
        self.came -= packets;
        self.came_bytes -= bytes;
    }

    /// A packet from below leaves.
    #[inline(always)]
    pub(super) fn sent(&mut self, length: u32, charged: u32, time: u64, hz: u64) {
        if self.since + (hz >> WINDOW) <= time {
            self.close_window(time, hz);
        }
        self.packets += 1;
        self.bytes += u64::from(length);
        self.charged += u64::from(charged);
    }

    #[cold]
    fn close_window(&mut self, time: u64, hz: u64) {
        self.rate = per_second(self.charged - self.charged_before, time - self.since, hz);
        (self.since, self.charged_before) = (time, self.charged);
    }

    /// Packets and bytes that wait below the node.
    pub(super) fn backlog(&self) -> (u64, u64) {
        (self.came - self.packets, self.came_bytes - self.bytes)
    }

    /// What it sends now.
    pub(super) fn rate(&self, now: u64, hz: u64) -> u64 {
        let elapsed = now.saturating_sub(self.since);
        if elapsed < hz >> WINDOW {
            return self.rate;
        }
        per_second(self.charged - self.charged_before, elapsed, hz)
    }

    /// A child comes or goes; `by` is 1 or −1.
    pub(super) fn count(&mut self, members: &mut [Member], class: u8, by: i32) {
        let class = &mut self.classes[usize::from(class) % 32];
        *class = class.wrapping_add_signed(by);
        self.children = self.children.wrapping_add_signed(by);
        let shift = self.width();
        if shift == self.shift {
            return;
        }
        // Everybody who is listed stands in buckets of the old width.
        let mut chains = [NONE; BUCKETS as usize];
        let first = self.first();
        for (place, chain) in chains.iter_mut().enumerate() {
            let bucket = (first + place as u32) % BUCKETS;
            if self.occupied & 1 << bucket != 0 {
                *chain = self.buckets[bucket as usize].head;
            }
        }
        self.occupied = 0;
        self.shift = shift;
        for mut child in chains {
            while child != NONE {
                let next = members[child as usize].next_yellow;
                self.push_yellow(members, child);
                child = next;
            }
        }
    }

    /// Takes a child out of wherever it is listed. Looks for it: for a child that goes, not for packets.
    pub(super) fn unlist(&mut self, members: &mut [Member], child: u32) {
        if members[child as usize].is(GREEN) {
            members[child as usize].flags &= !GREEN;
            let green = &mut self.green;
            let next = members[child as usize].next_green;
            if green.head == child {
                green.head = next;
            } else {
                let mut before = green.head;
                while before != NONE && members[before as usize].next_green != child {
                    before = members[before as usize].next_green;
                }
                if let Some(member) = members.get_mut(before as usize) {
                    member.next_green = next;
                }
                if green.tail == child {
                    green.tail = before;
                }
            }
        }
        if members[child as usize].is(YELLOW) {
            members[child as usize].flags &= !YELLOW;
            let next = members[child as usize].next_yellow;
            for (bucket, list) in self.buckets.iter_mut().enumerate() {
                if self.occupied & 1 << bucket == 0 {
                    continue;
                }
                if list.head == child {
                    list.head = next;
                    if next == NONE {
                        self.occupied &= !(1 << bucket);
                    }
                    return;
                }
                let mut before = list.head;
                while before != NONE && members[before as usize].next_yellow != child {
                    before = members[before as usize].next_yellow;
                }
                if let Some(member) = members.get_mut(before as usize) {
                    member.next_yellow = next;
                    if list.tail == child {
                        list.tail = before;
                    }
                    return;
                }
            }
        }
    }

    /// How many are listed as green and yellow, for tests.
    pub(super) fn listed(&self, members: &[Member]) -> (Vec<u32>, Vec<u32>) {
        let chain = |head: u32, next: fn(&Member) -> u32| {
            let listed = |child: u32| (child != NONE).then_some(child);
            std::iter::successors(listed(head), move |&child| listed(next(&members[child as usize])))
        };
        let buckets = (0..BUCKETS).filter(|bucket| self.occupied & 1 << bucket != 0);
        let yellow =
            buckets.flat_map(|bucket| chain(self.buckets[bucket as usize].head, |member| member.next_yellow));
        (chain(self.green.head, |member| member.next_green).collect(), yellow.collect())
    }

    /// How many buckets a tag is ahead; 0 if it is behind.
    #[inline(always)]
    fn distance(&self, tag: u64) -> u64 {
        if (tag.wrapping_sub(self.time) as i64) < 0 {
            return 0;
        }
        // Modulo what buckets can count, so that it is right where virtual time goes round.
        (tag >> self.shift).wrapping_sub(self.time >> self.shift) & (u64::MAX >> self.shift)
    }

    #[inline(always)]
    fn first(&self) -> u32 {
        let now = (self.time >> self.shift) as u32 % BUCKETS;
        (now + self.occupied.rotate_right(now).trailing_zeros()) % BUCKETS
    }

    /// So wide that a full packet of the lightest child takes 16 to 64 buckets.
    fn width(&self) -> u8 {
        let lightest = self.classes.iter().position(|&children| children != 0).unwrap_or(0) as u8;
        (self.packet + 32 - PACKET).saturating_sub(lightest).max(1)
    }
}
