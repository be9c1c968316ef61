//! Packets of several frames: the bytes behind a frame's.
//!
//! ```text
//!   Packet ─▶ frame 7 ──links[7]──▶ frame 2 ──links[2]──▶ frame 9       the packet's length says where it ends:
//!             head bytes            len bytes             len bytes      links[9] means nothing
//!             └─ all headers        └────────── more ──────────┘
//! ```
//! **Invariant.** What `links[f]` names, while a packet says that it has more bytes behind frame *f*, is owned by that packet as *f* is. There are at least
//! one byte in each frame behind the first, and as many in all as the packet says, inside their chunks. Only the packet's owner reads or writes these links.
//!
//! A link is one word, written and read whole, relaxed: whoever is given a packet by another thread has come to see what that one wrote.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{FrameId, FramePool, Frames, HEADROOM};
use crate::packet::{Packet, PortIndex};

/// Bytes that the first frame of a packet of several has at the least, so that nodes find all headers there: 14 of Ethernet, 16 of tags, 8 of PPPoE, 60 of
/// IPv4 and 60 of TCP with all options are 158, IPv6's headers are walked as far as here.
pub const HEADERS: usize = 256;
/// Frames of a packet at the most: an skb, which is what the kernel sends in copy mode, holds one part and MAX_SKB_FRAGS (17, linux/skbuff.h) more.
pub const MOST_FRAMES: usize = 17;

/// What is behind a frame.
#[derive(Clone, Copy, Debug)]
struct Link {
    /// The frame.
    next: u32,
    /// Where the packet's bytes begin in it.
    start: u16,
    /// How many they are.
    len: u16,
}

/// The links of all frames.
pub(super) struct Links(Box<[AtomicU64]>);

impl Links {
    pub(super) fn new(frames: u32) -> Links {
        Links((0..frames).map(|_| AtomicU64::new(0)).collect())
    }

    fn load(&self, frame: u32) -> Link {
        let word = self.0.get(frame as usize).map_or(0, |link| link.load(Ordering::Relaxed));
        Link { next: (word >> 32) as u32, start: (word >> 16) as u16, len: word as u16 }
    }

    fn store(&self, frame: u32, Link { next, start, len }: Link) {
        if let Some(link) = self.0.get(frame as usize) {
            let word = u64::from(next) << 32 | u64::from(start) << 16 | u64::from(len);
            link.store(word, Ordering::Relaxed);
        }
    }
}

/// One frame of a packet that has been taken apart.
#[derive(Debug)]
pub struct Part {
    /// The frame.
    pub frame: FrameId,
    /// Where the packet's bytes begin in it.
    pub start: u16,
    /// How many they are.
    pub len: u16,
}

/// The frames of a packet that is no more, in order; see [`Frames::parts`].
#[must_use = "frames that are not taken out are leaked"]
pub struct Parts<'f> {
    frames: &'f Frames,
    next: Option<Part>,
    more: u16,
}

impl Iterator for Parts<'_> {
    type Item = Part;

    #[inline(always)]
    fn next(&mut self) -> Option<Part> {
        let part = self.next.take()?;
        if self.more != 0 {
            let Link { next, start, len } = self.frames.links.load(part.frame.0);
            self.more = self.more.saturating_sub(len);
            // The packet owned it, and owns nothing any more.
            self.next = Some(Part { frame: FrameId(next), start, len });
        }
        Some(part)
    }
}

/// A packet that is being put together, frame by frame.
#[derive(Debug)]
#[must_use = "a packet that is dropped leaks its frames"]
pub struct Chain {
    packet: Packet,
    last: u32,
    frames: usize,
}

impl Chain {
    /// A packet of one frame, so far.
    pub fn new(packet: Packet) -> Chain {
        Chain { last: packet.frame(), packet, frames: 1 }
    }

    /// Frames so far.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Puts `len` bytes at `start` of a frame behind the packet. The frame back if these don't lie inside it or are none, or if the packet becomes larger
    /// than 65,535 bytes or [`MOST_FRAMES`].
    pub fn push(&mut self, frames: &Frames, frame: FrameId, start: usize, len: usize) -> Result<(), FrameId> {
        let inside = start <= frames.chunk() && len <= frames.chunk() - start;
        let whole = usize::from(self.packet.len()) + len;
        if !inside || len == 0 || whole > usize::from(u16::MAX) || self.frames == MOST_FRAMES {
            return Err(frame);
        }
        let next = frame.into_index();
        // All fit: a chunk is at most 32 KiB.
        frames.links.store(self.last, Link { next, start: start as u16, len: len as u16 });
        self.packet.more += len as u16;
        self.last = next;
        self.frames += 1;
        Ok(())
    }

    /// The packet, as it is.
    pub fn into_packet(self) -> Packet {
        self.packet
    }

    /// The packet, its headers in the first frame: [`HEADERS`] bytes, or all there are. A frame that this empties goes to `emptied`.
    pub fn finish(self, frames: &Frames, emptied: impl FnMut(FrameId)) -> Packet {
        let mut packet = self.packet;
        if packet.more != 0 && usize::from(packet.head) < HEADERS {
            frames.pull_up(&mut packet, emptied);
        }
        packet
    }
}

/// The bytes of a stretch of a packet, frame by frame; see [`Frames::slices`].
struct Stretch<'p> {
    frames: &'p Frames,
    packet: &'p Packet,
    /// The frame that is next, and its part.
    at: Link,
    /// Bytes of the packet behind that part.
    behind: u16,
    /// Bytes to leave out.
    skip: usize,
    /// Bytes that are still wanted.
    left: usize,
}

impl<'p> Iterator for Stretch<'p> {
    type Item = &'p [u8];

    fn next(&mut self) -> Option<&'p [u8]> {
        while self.left > 0 && self.at.len > 0 {
            let Link { next, start, len } = self.at;
            self.at = if self.behind > 0 { self.frames.links.load(next) } else { Link { len: 0, ..self.at } };
            self.behind = self.behind.saturating_sub(self.at.len);
            // SAFETY: a part of the packet, which is borrowed for as long as the slice.
            let bytes = unsafe { self.frames.part(next, start, len) };
            let Some(bytes) = bytes.get(self.skip..) else {
                self.skip -= bytes.len();
                continue;
            };
            self.skip = 0;
            if bytes.is_empty() {
                continue;
            }
            let bytes = &bytes[..bytes.len().min(self.left)];
            self.left -= bytes.len();
            debug_assert!(!self.packet.is_hole());
            return Some(bytes);
        }
        None
    }
}

impl Frames {
    /// Frames that a packet takes.
    #[inline(always)]
    pub fn count_of(&self, packet: &Packet) -> usize {
        if packet.is_one_frame() { 1 } else { self.count_chain(packet) }
    }

    #[cold]
    fn count_chain(&self, packet: &Packet) -> usize {
        let (mut frame, mut more, mut count) = (packet.frame(), packet.more, 1);
        while more > 0 {
            let link = self.links.load(frame);
            (frame, more, count) = (link.next, more.saturating_sub(link.len), count + 1);
        }
        count
    }

    /// Frames that a packet of `len` bytes takes that [`FramePool::allocate`] makes.
    pub fn needed(&self, len: usize) -> usize {
        len.div_ceil(self.room()).max(1)
    }

    /// Bytes of a packet that a frame has room for behind the headroom.
    pub fn room(&self) -> usize {
        self.chunk() - usize::from(HEADROOM)
    }

    /// Takes a packet apart that is to be no more.
    #[inline(always)]
    pub fn parts(&self, packet: Packet) -> Parts<'_> {
        debug_assert!(!packet.is_hole());
        let (frame, start, len, more) = packet.give_up();
        Parts { frames: self, next: Some(Part { frame: FrameId(frame), start, len }), more }
    }

    /// A packet's bytes from `offset` on, at most `len`, frame by frame.
    pub fn slices<'p>(
        &'p self,
        packet: &'p Packet,
        offset: usize,
        len: usize,
    ) -> impl Iterator<Item = &'p [u8]> {
        let at = Link { next: packet.frame(), start: packet.start(), len: packet.head };
        Stretch { frames: self, packet, at, behind: packet.more, skip: offset, left: len }
    }

    /// Copies a packet's bytes from `offset` on to `to`, as far as there are some.
    pub fn read(&self, packet: &Packet, offset: usize, to: &mut [u8]) {
        let mut at = 0;
        for bytes in self.slices(packet, offset, to.len()) {
            to[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        }
    }

    /// Copies `from` into a packet from `offset` on, as far as it goes.
    pub fn write(&self, packet: &mut Packet, offset: usize, mut from: &[u8]) {
        let (mut skip, mut more) = (offset, packet.more);
        let mut at = Link { next: packet.frame(), start: packet.start(), len: packet.head };
        loop {
            // SAFETY: a part of the packet, which is borrowed exclusively.
            let bytes = unsafe { self.part_mut(at.next, at.start, at.len) };
            match bytes.get_mut(skip..) {
                Some(bytes) => {
                    let count = bytes.len().min(from.len());
                    bytes[..count].copy_from_slice(&from[..count]);
                    (skip, from) = (0, &from[count..]);
                }
                None => skip -= bytes.len(),
            }
            if more == 0 || from.is_empty() {
                return;
            }
            at = self.links.load(at.next);
            more = more.saturating_sub(at.len);
        }
    }

    /// Copies `len` bytes of a packet, from `at` on, into another one from `offset` on.
    pub fn copy(&self, from: &Packet, at: usize, to: &mut Packet, offset: usize, len: usize) {
        let mut offset = offset;
        for bytes in self.slices(from, at, len) {
            self.write(to, offset, bytes);
            offset += bytes.len();
        }
    }

    /// Moves bytes up into the first frame until it has [`HEADERS`], or all there are.
    #[cold]
    fn pull_up(&self, packet: &mut Packet, mut emptied: impl FnMut(FrameId)) {
        if usize::from(packet.start()) > self.chunk() - HEADERS {
            // Too far behind. The headroom is at most half a chunk, so there is room behind it.
            let (start, head) = (usize::from(packet.start()), usize::from(packet.head));
            // SAFETY: the whole frame, which the packet owns.
            let frame = unsafe { self.part_mut(packet.frame(), 0, self.chunk() as u16) };
            frame.copy_within(start..start + head, usize::from(HEADROOM));
            packet.place(HEADROOM, packet.head);
        }
        while packet.more > 0 && usize::from(packet.head) < HEADERS {
            let link = self.links.load(packet.frame());
            let count = usize::from(link.len).min(HEADERS - usize::from(packet.head)) as u16;
            // SAFETY: a part of the packet, which nobody else can reach.
            let from = unsafe { self.part(link.next, link.start, count) };
            // SAFETY: as above, of another frame: the two do not overlap. It ends inside: start + HEADERS ≤ chunk.
            let to = unsafe { self.part_mut(packet.frame(), packet.start() + packet.head, count) };
            to.copy_from_slice(from);
            packet.place(packet.start(), packet.head + count);
            packet.more -= count;
            if count == link.len {
                self.links.store(packet.frame(), self.links.load(link.next));
                emptied(FrameId(link.next));
            } else {
                let rest = Link { start: link.start + count, len: link.len - count, ..link };
                self.links.store(packet.frame(), rest);
            }
        }
    }

    /// `len` bytes at `start` of a frame; none if they don't lie inside.
    ///
    /// # Safety
    /// The frame is owned by what the result borrows, and nobody writes to these bytes meanwhile.
    #[inline(always)]
    unsafe fn part(&self, frame: u32, start: u16, len: u16) -> &[u8] {
        if !self.holds(frame, start, len) {
            return &[];
        }
        // SAFETY: inside the frame, and the caller's promise.
        unsafe { std::slice::from_raw_parts(self.byte(frame, start), usize::from(len)) }
    }

    /// As [`Frames::part`], to change.
    ///
    /// # Safety
    /// The frame is owned by what the result borrows exclusively.
    #[inline(always)]
    #[allow(clippy::mut_from_ref, reason = "exclusive by the packet, not by the frames")]
    unsafe fn part_mut(&self, frame: u32, start: u16, len: u16) -> &mut [u8] {
        if !self.holds(frame, start, len) {
            return &mut [];
        }
        // SAFETY: inside the frame, and the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.byte(frame, start), usize::from(len)) }
    }

    #[inline(always)]
    fn holds(&self, frame: u32, start: u16, len: u16) -> bool {
        frame < self.count && usize::from(start) + usize::from(len) <= self.chunk()
    }
}

impl FramePool {
    /// A fresh packet of `len` bytes, contents undefined, in as many frames as it takes; `None` if there are not so many free, or `len` is more than a packet
    /// can have.
    #[inline]
    pub fn allocate(&mut self, len: usize, rx_port: PortIndex) -> Option<Packet> {
        let (start, first) = (usize::from(HEADROOM), len.min(self.frames.room()));
        let frame = self.take()?;
        // Always inside: `first` is at most what there is room for.
        let packet = self.frames.packet(frame, start, first, rx_port).ok()?;
        if first == len { Some(packet) } else { self.allocate_more(packet, len - first) }
    }

    #[cold]
    fn allocate_more(&mut self, packet: Packet, mut more: usize) -> Option<Packet> {
        let FramePool { frames, free } = self;
        let mut chain = Chain::new(packet);
        while more > 0 {
            let count = more.min(frames.room());
            let pushed = free.pop().map(|frame| chain.push(frames, frame, usize::from(HEADROOM), count));
            match pushed {
                Some(Ok(())) => more -= count,
                refused => {
                    free.extend(refused.and_then(Result::err));
                    self.recycle(chain.into_packet());
                    return None;
                }
            }
        }
        Some(chain.into_packet())
    }

    /// Gives the frames of a packet back.
    #[inline(always)]
    pub fn recycle(&mut self, packet: Packet) {
        if packet.is_one_frame() {
            debug_assert!(!packet.is_hole());
            let (frame, ..) = packet.give_up();
            self.put(FrameId(frame));
        } else {
            self.recycle_chain(packet);
        }
    }

    #[cold]
    fn recycle_chain(&mut self, packet: Packet) {
        let FramePool { frames, free } = self;
        free.extend(frames.parts(packet).map(|part| part.frame));
    }

    /// Cuts a packet's tail, and gives the frames back that lay in it alone; a longer `len` changes nothing.
    #[inline(always)]
    pub fn truncate(&mut self, packet: &mut Packet, len: u16) {
        if packet.is_one_frame() {
            packet.place(packet.start(), packet.head.min(len));
        } else {
            self.truncate_chain(packet, len);
        }
    }

    #[cold]
    fn truncate_chain(&mut self, packet: &mut Packet, len: u16) {
        let FramePool { frames, free } = self;
        let head = packet.head.min(len);
        let mut keep = len.min(packet.len()) - head;
        let (mut frame, mut more) = (packet.frame(), packet.more);
        packet.place(packet.start(), head);
        packet.more = keep;
        while more > 0 {
            let link = frames.links.load(frame);
            more = more.saturating_sub(link.len);
            if keep == 0 {
                free.push(FrameId(link.next));
            } else {
                let len = link.len.min(keep);
                frames.links.store(frame, Link { len, ..link });
                keep -= len;
            }
            frame = link.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet of these bytes, so many at a time, each part at the place that is named with it.
    fn packet(pool: &mut FramePool, bytes: &[u8], parts: &[(usize, usize)]) -> Packet {
        let frames = pool.frames().clone();
        let (mut chain, mut rest) = (None, bytes);
        for (start, len) in parts {
            let bytes;
            (bytes, rest) = rest.split_at(*len);
            let mut part = frames.packet(pool.take().unwrap(), *start, *len, 0).unwrap();
            frames.bytes_mut(&mut part).copy_from_slice(bytes);
            chain = Some(match chain {
                None => Chain::new(part),
                Some(mut chain) => {
                    let Part { frame, start, len } = frames.parts(part).next().unwrap();
                    Chain::push(&mut chain, &frames, frame, start.into(), len.into()).unwrap();
                    chain
                }
            });
        }
        chain.unwrap().finish(&frames, |frame| pool.put(frame))
    }

    fn whole(frames: &Frames, packet: &Packet) -> Vec<u8> {
        let mut bytes = vec![0; usize::from(packet.len())];
        frames.read(packet, 0, &mut bytes);
        bytes
    }

    #[test]
    fn wherever_the_first_frame_begins_there_is_room_for_headers() {
        let (frames, ids) = Frames::in_memory(8);
        let mut pool = FramePool::new(frames.clone(), ids);
        let bytes: Vec<u8> = (0..600u16).map(|at| at as u8 ^ (at >> 8) as u8).collect();
        for start in [0, 255, 256, 1791, 1792, 1793, 2047, 2048] {
            let head = (2048 - start).min(1);
            let mut packet =
                packet(&mut pool, &bytes, &[(start, head), (2048 - 200, 200), (0, 399 - head), (7, 1)]);
            assert_eq!(frames.bytes(&packet), &bytes[..HEADERS], "{start}");
            assert_eq!(frames.count_of(&packet), 3, "one was emptied");
            assert_eq!(whole(&frames, &packet), bytes);
            for len in [600, 599, 598, 257, 256, 255, 0] {
                pool.truncate(&mut packet, len);
                assert_eq!(whole(&frames, &packet), bytes[..usize::from(len)]);
                assert_eq!(pool.available(), 8 - frames.count_of(&packet));
            }
            pool.recycle(packet);
            assert_eq!(pool.available(), 8);
        }
    }

    #[test]
    fn a_fresh_packet_has_as_many_frames_as_it_takes() {
        let (frames, ids) = Frames::in_memory(8);
        let mut pool = FramePool::new(frames.clone(), ids);
        for (len, count) in [(0, 1), (1, 1), (1792, 1), (1793, 2), (3584, 2), (3585, 3), (8 * 1792, 8)] {
            let mut packet = pool.allocate(len, 0).unwrap();
            assert_eq!((frames.count_of(&packet), frames.needed(len)), (count, count), "{len} bytes");
            frames.write(&mut packet, 0, &vec![1; len]);
            frames.write(&mut packet, len, &[2]);
            assert_eq!(whole(&frames, &packet), vec![1; len]);
            pool.recycle(packet);
            assert_eq!(pool.available(), 8);
        }
        for len in [8 * 1792 + 1, 1 << 16, usize::MAX] {
            assert!(pool.allocate(len, 0).is_none());
            assert_eq!(pool.available(), 8, "and no frame is lost");
        }
    }
}
