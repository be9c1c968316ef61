//! Packets from the frames that a ring hands out: nearly always one each, otherwise several, all but the last of which say that more follow.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use weir_graph::{
    frames::{Chain, FrameId, FramePool, Frames},
    packet::{Packet, PortIndex},
};

/// What a port has received of a packet whose last frame has not come yet.
enum Rest {
    /// The next frame begins a packet.
    Nothing,
    /// It goes on with this one.
    Packet(Chain),
    /// It belongs to a packet that can't be.
    Lost,
}

/// One queue's packets.
pub(super) struct Assembly {
    index: PortIndex,
    frames: Arc<Frames>,
    rest: Rest,
    /// Frames that have come for nothing.
    spare: Vec<FrameId>,
    lost: Lost,
}

/// Packets of one queue that were too large; written by the queue's worker only.
#[derive(Clone, Default)]
pub(super) struct Lost(Arc<AtomicU64>);

impl Lost {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self, packets: u64) {
        self.0.store(self.count() + packets, Ordering::Relaxed);
    }
}

impl Assembly {
    /// For a port whose rings have room for `ring` frames each.
    pub(super) fn new(index: PortIndex, frames: Arc<Frames>, ring: usize) -> Assembly {
        let spare = Vec::with_capacity(2 * ring);
        Assembly { index, frames, rest: Rest::Nothing, spare, lost: Lost::default() }
    }

    /// The count of packets that were too large.
    pub(super) fn lost(&self) -> &Lost {
        &self.lost
    }

    /// Frames that are here: of a packet that is not whole yet, or for nothing.
    #[inline]
    pub(super) fn held(&self) -> usize {
        self.spare.len() + if let Rest::Packet(chain) = &self.rest { chain.frames() } else { 0 }
    }

    /// Takes a frame with `len` bytes at `start`, behind which there are more if it is `continued`. A packet that is whole goes to `packets`.
    #[inline(always)]
    pub(super) fn take(
        &mut self,
        frame: FrameId,
        start: usize,
        len: usize,
        continued: bool,
        packets: &mut Vec<Packet>,
    ) {
        if continued || !matches!(self.rest, Rest::Nothing) {
            self.take_part(frame, start, len, continued, packets);
            return;
        }
        match self.frames.packet(frame, start, len, self.index) {
            Ok(packet) => packets.push(packet),
            // The kernel never describes bytes outside a frame.
            Err(frame) => self.lose(frame),
        }
    }

    #[cold]
    fn take_part(
        &mut self,
        frame: FrameId,
        start: usize,
        len: usize,
        continued: bool,
        packets: &mut Vec<Packet>,
    ) {
        let Assembly { index, frames, rest, spare, .. } = self;
        let longer = match std::mem::replace(rest, Rest::Lost) {
            Rest::Nothing => frames.packet(frame, start, len, *index).map(Chain::new),
            // A frame with no bytes adds nothing.
            Rest::Packet(chain) if len == 0 => {
                spare.push(frame);
                Ok(chain)
            }
            Rest::Packet(mut chain) => match chain.push(frames, frame, start, len) {
                Ok(()) => Ok(chain),
                Err(frame) => {
                    spare.extend(frames.parts(chain.into_packet()).map(|part| part.frame));
                    Err(frame)
                }
            },
            Rest::Lost => {
                spare.push(frame);
                if !continued {
                    *rest = Rest::Nothing;
                }
                return;
            }
        };
        match longer {
            Ok(chain) if continued => *rest = Rest::Packet(chain),
            Ok(chain) => {
                packets.push(chain.finish(frames, |frame| spare.push(frame)));
                *rest = Rest::Nothing;
            }
            Err(frame) => {
                if !continued {
                    *rest = Rest::Nothing;
                }
                self.lose(frame);
            }
        }
    }

    /// A packet is too large: this is the frame that does not fit.
    #[cold]
    fn lose(&mut self, frame: FrameId) {
        self.spare.push(frame);
        self.lost.add(1);
    }

    /// Gives frames that have come for nothing back.
    #[inline]
    pub(super) fn reclaim(&mut self, pool: &mut FramePool) {
        self.spare.drain(..).for_each(|frame| pool.put(frame));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_graph::frames::{HEADERS, HEADROOM, MOST_FRAMES};

    use super::*;

    /// A packet as a ring hands it out: the bytes of each frame.
    fn packet() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let part = prop_oneof![4 => 1..=1792usize, 1 => 0..20usize, 1 => Just(1792)];
        proptest::collection::vec(
            part.prop_flat_map(|len| proptest::collection::vec(any::<u8>(), len)),
            1..22,
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 3 } else { 256 }))]
        #[test]
        fn frames_cut_anywhere_make_whole_packets_and_none_is_lost(
            wire in proptest::collection::vec((packet(), 0..=256usize), 1..12),
            turn in 1..6usize,
        ) {
            const FRAMES: usize = 64;
            let (frames, ids) = Frames::in_memory(FRAMES as u32);
            let mut pool = FramePool::new(frames.clone(), ids);
            let mut assembly = Assembly::new(3, frames.clone(), FRAMES);
            let (mut packets, mut expected, mut lost) = (Vec::new(), Vec::new(), 0);
            let mut handed = 0;
            for (parts, start) in wire {
                let used = parts.iter().filter(|part| !part.is_empty()).count();
                // The first frame may have nothing in it, and then counts all the same.
                let count = used + usize::from(parts[0].is_empty() && used > 0);
                if count > MOST_FRAMES {
                    lost += 1;
                } else {
                    expected.push(parts.concat());
                }
                let last = parts.len() - 1;
                for (at, part) in parts.iter().enumerate() {
                    let mut bytes = pool.allocate(part.len(), 0).unwrap();
                    frames.bytes_mut(&mut bytes).copy_from_slice(part);
                    // Where a driver puts it is its own business.
                    let shift = if start + part.len() <= 2048 { start as i16 - HEADROOM as i16 } else { 0 };
                    if shift < 0 {
                        prop_assert!(bytes.move_start(shift));
                        frames.bytes_mut(&mut bytes)[..part.len()].copy_from_slice(part);
                        pool.truncate(&mut bytes, part.len() as u16);
                    }
                    for part in frames.parts(bytes) {
                        assembly.take(part.frame, part.start.into(), part.len.into(), at < last, &mut packets);
                    }
                    handed += 1;
                    // Frames come back at any time.
                    if handed % turn == 0 {
                        assembly.reclaim(&mut pool);
                    }
                    let held: usize = packets.iter().map(|packet| frames.count_of(packet)).sum();
                    prop_assert_eq!(pool.available() + assembly.held() + held, FRAMES);
                }
                prop_assert!(matches!(assembly.rest, Rest::Nothing));
                for packet in packets.drain(..) {
                    let mut bytes = vec![0; usize::from(packet.len())];
                    frames.read(&packet, 0, &mut bytes);
                    let head = frames.bytes(&packet).len();
                    prop_assert!(packet.is_one_frame() || head >= HEADERS, "{} bytes of headers", head);
                    prop_assert_eq!(Some(bytes), (!expected.is_empty()).then(|| expected.remove(0)));
                    prop_assert_eq!(packet.rx_port, 3);
                    pool.recycle(packet);
                }
                prop_assert!(expected.is_empty());
                assembly.reclaim(&mut pool);
            }
            prop_assert_eq!(assembly.lost().count(), lost);
            prop_assert_eq!((pool.available(), assembly.held()), (FRAMES, 0));
        }
    }

    #[test]
    fn bytes_outside_a_frame_are_refused_and_the_frame_stays() {
        let (frames, mut ids) = Frames::in_memory(2);
        let (mut assembly, mut packets) = (Assembly::new(0, frames, 2), Vec::new());
        assembly.take(ids.pop().unwrap(), 2000, 49, false, &mut packets);
        assembly.take(ids.pop().unwrap(), 2049, 0, true, &mut packets);
        assert!(packets.is_empty());
        assert_eq!((assembly.held(), assembly.lost().count()), (2, 2));
    }
}
