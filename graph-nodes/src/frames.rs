//! Frames: the memory that packets live in, and the pools of free ones.
//!
//! ```text
//!  base                    base + chunk                          base + count × chunk
//!  ├── frame 0 ────────────┼── frame 1 ────────────┼─ … ─────────┤
//!  │ headroom │ packet │   │
//!             ▲ start (from the frame's first byte)
//! ```
//! **Invariant of this module.** A frame's number is owned by exactly one value at any time: a [`FrameId`], a [`Packet`] or the
//! kernel (a ring). Both can be moved to another worker ([`exchange`](crate::exchange)). `FrameId`s are minted once, by [`Frames::new`]; a port that hands one to the kernel forgets it and mints it
//! again with [`FrameId::returned`] when the kernel gives it back. So `&mut Packet` is exclusive access to its frame's bytes.
//! The numbers of one [`Frames`] mean nothing to another: a process has one, and a test or bench that makes several keeps each one's packets,
//! pools and graph to itself.

use std::{any::Any, ptr::NonNull, sync::Arc};

use crate::{
    packet::{Packet, PortIndex},
    ring::Consumer,
};

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
    headroom: u16,
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
    /// `headroom` is where a fresh packet starts; at most half a chunk.
    ///
    /// # Safety
    /// `base` points to `count << chunk_shift` readable and writable bytes, valid while `owner` lives, that nothing but these frames'
    /// owners (see the module's invariant) and the kernel touch.
    pub unsafe fn new(
        base: NonNull<u8>,
        count: u32,
        chunk_shift: u32,
        headroom: u16,
        owner: Box<dyn Any + Send + Sync>,
    ) -> (Arc<Frames>, Vec<FrameId>) {
        assert!((11..=15).contains(&chunk_shift), "a chunk is 2 KiB to 32 KiB");
        assert!(count < u32::MAX >> 1 && u32::from(headroom) <= 1 << (chunk_shift - 1));
        let frames = Arc::new(Frames { base, count, chunk_shift, headroom, _owner: owner });
        (frames, (0..count).map(FrameId).collect())
    }

    /// Frames in ordinary memory: tests, benches, fuzzing and offline replay. 2 KiB chunks, the layout that AF_XDP gives.
    pub fn in_memory(count: u32) -> (Arc<Frames>, Vec<FrameId>) {
        const CHUNK_SHIFT: u32 = 11;
        #[repr(C, align(4096))]
        #[derive(Clone, Copy)]
        struct Page([u8; 4096]);
        let pages = ((count as usize) << CHUNK_SHIFT).div_ceil(4096);
        let memory: Box<[Page]> = vec![Page([0; 4096]); pages].into_boxed_slice();
        let memory = NonNull::from(Box::leak(memory));
        /// Frees the leaked pages.
        struct Owner(NonNull<[Page]>);
        // SAFETY: the pointer is only used in drop.
        unsafe impl Send for Owner {}
        // SAFETY: as above.
        unsafe impl Sync for Owner {}
        impl Drop for Owner {
            fn drop(&mut self) {
                // SAFETY: made by Box::leak above, freed once, and `Frames` drops its owner last.
                drop(unsafe { Box::from_raw(self.0.as_ptr()) });
            }
        }
        // SAFETY: the leaked block is `pages` × 4 KiB long and is freed by Owner only.
        unsafe { Frames::new(memory.cast(), count, CHUNK_SHIFT, 256, Box::new(Owner(memory))) }
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

    /// Where a fresh packet starts in its frame.
    pub fn headroom(&self) -> u16 {
        self.headroom
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

    /// The frame of a packet that nobody needs any more.
    #[inline(always)]
    pub fn free(&self, packet: Packet) -> FrameId {
        debug_assert!(!packet.is_hole());
        FrameId(packet.into_frame())
    }

    #[inline(always)]
    fn address(&self, packet: &Packet) -> *mut u8 {
        // SAFETY: `frame < count` (checked by the callers) and start ≤ chunk, so this stays in, or one past, the block.
        unsafe {
            self.base
                .as_ptr()
                .add(((packet.frame() as usize) << self.chunk_shift) + usize::from(packet.start()))
        }
    }

    /// The packet's bytes.
    #[inline(always)]
    pub fn bytes<'p>(&'p self, packet: &'p Packet) -> &'p [u8] {
        if packet.frame() >= self.count {
            return &[]; // a hole
        }
        // SAFETY: the packet owns its frame, and start + len ≤ chunk (checked at construction; only ever shortened).
        unsafe { std::slice::from_raw_parts(self.address(packet), usize::from(packet.len())) }
    }

    /// The packet's bytes, to change.
    #[inline(always)]
    pub fn bytes_mut<'p>(&'p self, packet: &'p mut Packet) -> &'p mut [u8] {
        if packet.frame() >= self.count {
            return &mut []; // a hole
        }
        // SAFETY: as in `bytes`; `&mut Packet` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.address(packet), usize::from(packet.len())) }
    }

    /// Asks the processor for the first cache line of the packet.
    #[inline(always)]
    pub fn prefetch(&self, packet: &Packet) {
        #[cfg(target_arch = "x86_64")]
        if packet.frame() < self.count {
            // SAFETY: a prefetch has no effect that a program can see.
            unsafe {
                use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                _mm_prefetch::<_MM_HINT_T0>(self.address(packet).cast());
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

    /// Gives the frame of a packet back.
    #[inline(always)]
    pub fn recycle(&mut self, packet: Packet) {
        let frame = self.frames.free(packet);
        self.put(frame);
    }

    /// A fresh packet of `len` bytes (at most a chunk less the headroom), contents undefined; `None` if no frame is free or `len` is too long.
    pub fn allocate(&mut self, len: usize, rx_port: PortIndex) -> Option<Packet> {
        let frame = self.take()?;
        match self.frames.packet(frame, usize::from(self.frames.headroom()), len, rx_port) {
            Ok(packet) => Some(packet),
            Err(frame) => {
                self.put(frame);
                None
            }
        }
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
        assert!(pool.allocate(1793, 0).is_none(), "does not fit a chunk");
        assert_eq!(pool.available(), 4, "and is not lost");
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
