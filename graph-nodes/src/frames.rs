//! Frames: the memory that packets live in, and the pools of free ones.
//!
//! ```text
//!  base                    base + chunk                          base + count × chunk
//!  ├── frame 0 ────────────┼── frame 1 ────────────┼─ … ─────────┤
//!  │ headroom │ packet │   │
//!             ▲ start (from the frame's first byte)
//! ```
//! A packet that is larger than a frame's room lies in several (`frames/chain.rs`).
//!
//! **Invariant of this module.** A frame's number is owned by exactly one value at any time: a [`FrameId`], a [`Packet`] or the
//! kernel (a ring). Both can be moved to another worker ([`exchange`](crate::exchange)). `FrameId`s are minted once, by [`Frames::new`]; a port that hands one to the kernel forgets it and mints it
//! again with [`FrameId::returned`] when the kernel gives it back. So `&mut Packet` is exclusive access to its frame's bytes.
//! The numbers of one [`Frames`] mean nothing to another: a process has one, and a test or bench that makes several keeps each one's packets,
//! pools and graph to itself.

mod chain;

use std::{
    any::Any,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
};

use chain::Links;
pub use chain::{Chain, HEADERS, MOST_FRAMES, Part, Parts};

use crate::{
    memory::{Zeroed, Zeros, zeroed},
    packet::{Packet, PortIndex, flags},
    ring::Consumer,
};

/// Bytes that are free in front of a packet that a port has received, or that is made here: XDP_PACKET_HEADROOM (linux/bpf.h).
pub const HEADROOM: u16 = 256;

/// Ownership of one free frame.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a frame that is dropped is leaked: give it back to a pool"]
pub struct FrameId(u32);

impl FrameId {
    /// The frame's number.
    #[inline(always)]
    pub fn index(&self) -> u32 {
        self.0
    }

    /// Gives the frame up to the ring that its number goes into.
    #[inline(always)]
    pub fn into_index(self) -> u32 {
        let FrameId(index) = self;
        index
    }

    /// Takes ownership of a frame that a ring has given back.
    ///
    /// # Safety
    /// The frame was handed to that ring as a `FrameId` or a `Packet`, the ring has given it back once, and this is called once for it.
    #[inline(always)]
    pub unsafe fn returned(index: u32) -> FrameId {
        FrameId(index)
    }
}

/// All frames of the process: one block of memory cut into chunks of equal, power-of-two size.
pub struct Frames {
    base: NonNull<u8>,
    count: u32,
    chunk_shift: u32,
    links: Links,
    /// By frame: the number in its trace of a packet that is traced.
    traces: Box<[AtomicU16]>,
    /// Keeps the memory mapped.
    _owner: Box<dyn Any + Send + Sync>,
}

// SAFETY: the memory behind `base` is reached only through a Packet, which one thread owns (module invariant).
unsafe impl Send for Frames {}
// SAFETY: as above; `&Frames` alone gives no access to any byte.
unsafe impl Sync for Frames {}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames")
            .field("count", &self.count)
            .field("chunk", &self.chunk())
            .finish_non_exhaustive()
    }
}

impl Frames {
    /// Frames over memory that `owner` keeps alive, and the one `FrameId` of each.
    ///
    /// # Safety
    /// `base` points to `count << chunk_shift` readable and writable bytes, valid while `owner` lives, that nothing but these frames'
    /// owners (see the module's invariant) and the kernel touch.
    pub unsafe fn new(
        base: NonNull<u8>,
        count: u32,
        chunk_shift: u32,
        owner: Box<dyn Any + Send + Sync>,
    ) -> (Arc<Frames>, Vec<FrameId>) {
        assert!((11..=15).contains(&chunk_shift), "a chunk is 2 KiB to 32 KiB");
        assert!(count < u32::MAX >> 1);
        let (links, traces) = (Links::new(count), (0..count).map(|_| AtomicU16::new(0)).collect());
        let frames = Arc::new(Frames { base, count, chunk_shift, links, traces, _owner: owner });
        (frames, (0..count).map(FrameId).collect())
    }

    /// Frames in ordinary memory: tests, benches and fuzzing. 2 KiB chunks, the layout that AF_XDP gives.
    pub fn in_memory(count: u32) -> (Arc<Frames>, Vec<FrameId>) {
        Frames::in_memory_of(count, 11)
    }

    /// As [`Frames::in_memory`], of 2^`chunk_shift` bytes each.
    pub fn in_memory_of(count: u32, chunk_shift: u32) -> (Arc<Frames>, Vec<FrameId>) {
        #[repr(C, align(4096))]
        #[derive(Clone, Copy)]
        struct Page([u8; 4096]);
        let pages = ((count as usize) << chunk_shift).div_ceil(4096);
        // SAFETY: bytes may be 0.
        unsafe impl Zeroed for Page {}
        let memory: Zeros<Page> = zeroed(pages);
        // SAFETY: `pages` × 4 KiB from there on live as long as `memory`, which goes along and gives nobody else a reference.
        unsafe { Frames::new(memory.start().cast(), count, chunk_shift, Box::new(memory)) }
    }

    /// Number of frames.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes of one frame.
    #[inline(always)]
    pub fn chunk(&self) -> usize {
        1 << self.chunk_shift
    }

    /// A packet of `len` bytes at offset `start` of a frame. `None`, and the frame back, if that does not lie inside a frame.
    #[inline(always)]
    pub fn packet(
        &self,
        frame: FrameId,
        start: usize,
        len: usize,
        rx_port: PortIndex,
    ) -> Result<Packet, FrameId> {
        if start <= self.chunk() && len <= self.chunk() - start {
            // Both fit: a chunk is at most 32 KiB.
            Ok(Packet::new(frame.0, start as u16, len as u16, rx_port))
        } else {
            Err(frame)
        }
    }

    /// Notes which packet of its trace this is, from now on.
    pub(crate) fn set_trace(&self, packet: &mut Packet, number: u16) {
        packet.flags |= flags::TRACED;
        if let Some(trace) = self.traces.get(packet.frame() as usize) {
            trace.store(number, Ordering::Relaxed);
        }
    }

    /// The number of a traced packet.
    pub(crate) fn trace(&self, packet: &Packet) -> u16 {
        self.traces.get(packet.frame() as usize).map_or(0, |trace| trace.load(Ordering::Relaxed))
    }

    /// Lets the trace that follows `from` follow this packet too.
    #[inline(always)]
    pub(crate) fn trace_with(&self, packet: &mut Packet, from: &Packet) {
        if from.is_traced() {
            self.set_trace(packet, self.trace(from));
        }
    }

    /// Where a byte of a frame is: a number below the count, and an offset of a chunk at the most.
    #[inline(always)]
    fn byte(&self, frame: u32, offset: u16) -> *mut u8 {
        // SAFETY: `frame < count` (checked by the callers) and the offset ≤ chunk, so this stays in, or one past, the block.
        unsafe { self.base.as_ptr().add(((frame as usize) << self.chunk_shift) + usize::from(offset)) }
    }

    /// The packet's bytes: those in its first frame, where all headers are.
    #[inline(always)]
    pub fn bytes<'p>(&'p self, packet: &'p Packet) -> &'p [u8] {
        if packet.frame() >= self.count {
            return &[]; // a hole
        }
        // SAFETY: the packet owns its frame, and start + head ≤ chunk (checked at construction; only ever shortened, or begun earlier).
        unsafe {
            std::slice::from_raw_parts(self.byte(packet.frame(), packet.start()), usize::from(packet.head))
        }
    }

    /// As [`Frames::bytes`], to change.
    #[inline(always)]
    pub fn bytes_mut<'p>(&'p self, packet: &'p mut Packet) -> &'p mut [u8] {
        if packet.frame() >= self.count {
            return &mut []; // a hole
        }
        // SAFETY: as in `bytes`; `&mut Packet` is exclusive.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.byte(packet.frame(), packet.start()),
                usize::from(packet.head),
            )
        }
    }

    /// Asks the processor for the first cache line of the packet.
    #[inline(always)]
    pub fn prefetch(&self, packet: &Packet) {
        #[cfg(target_arch = "x86_64")]
        if packet.frame() < self.count {
            // SAFETY: a prefetch has no effect that a program can see.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(self.byte(packet.frame(), packet.start()).cast());
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = packet;
    }
}

/// The free frames of one worker.
#[derive(Debug)]
pub struct FramePool {
    frames: Arc<Frames>,
    free: Vec<FrameId>,
}

impl FramePool {
    /// A pool that starts with these frames. It can take back every frame of the process without allocating.
    pub fn new(frames: Arc<Frames>, free: Vec<FrameId>) -> FramePool {
        let mut all = Vec::with_capacity(frames.count() as usize);
        all.extend(free);
        FramePool { frames, free: all }
    }

    /// The memory that the frames are in.
    #[inline(always)]
    pub fn frames(&self) -> &Arc<Frames> {
        &self.frames
    }

    /// Frames that are free now.
    #[inline(always)]
    pub fn available(&self) -> usize {
        self.free.len()
    }

    /// Takes a free frame; `None` when all are in use.
    #[inline(always)]
    pub fn take(&mut self) -> Option<FrameId> {
        self.free.pop()
    }

    /// Gives a frame back.
    #[inline(always)]
    pub fn put(&mut self, frame: FrameId) {
        debug_assert!(self.free.len() < self.frames.count() as usize, "a frame was given back twice");
        self.free.push(frame);
    }

    /// Takes in what another worker gives back, and says how many.
    #[inline(always)]
    pub(crate) fn take_in(&mut self, returned: &mut Consumer<FrameId>) -> usize {
        returned.take(&mut self.free)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_outside_its_frame_is_refused() {
        let (frames, mut ids) = Frames::in_memory(2);
        let id = ids.pop().unwrap();
        let id = frames.packet(id, 256, 2048 - 255, 0).unwrap_err();
        let id = frames.packet(id, 2049, 0, 0).unwrap_err();
        let packet = frames.packet(id, 256, 2048 - 256, 0).unwrap();
        assert_eq!(frames.bytes(&packet).len(), 1792);
    }

    #[test]
    fn frames_do_not_overlap_and_a_pool_conserves_them() {
        let (frames, ids) = Frames::in_memory(4);
        let mut pool = FramePool::new(frames.clone(), ids);
        let mut packets: Vec<Packet> = (0..4).map(|port| pool.allocate(1792, port).unwrap()).collect();
        assert!(pool.allocate(1, 0).is_none(), "all in use");
        for (value, packet) in packets.iter_mut().enumerate() {
            frames.bytes_mut(packet).fill(value as u8);
        }
        for (value, packet) in packets.iter().enumerate() {
            assert!(frames.bytes(packet).iter().all(|byte| usize::from(*byte) == value));
        }
        packets.into_iter().for_each(|packet| pool.recycle(packet));
        assert_eq!(pool.available(), 4);
    }

    #[test]
    fn a_hole_has_no_bytes() {
        let (frames, ids) = Frames::in_memory(1);
        let mut pool = FramePool::new(frames.clone(), ids);
        let mut place = pool.allocate(64, 0).unwrap();
        let packet = place.take();
        assert!(
            place.is_hole() && frames.bytes(&place).is_empty() && frames.bytes_mut(&mut place).is_empty()
        );
        pool.recycle(packet);
    }
}
