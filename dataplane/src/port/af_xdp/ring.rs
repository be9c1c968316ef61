//! One side of a ring that is shared with the kernel: one producer, one consumer, no lock (kernel: `net/xdp/xsk_queue.h`).
//!
//! ```text
//!   consumer ──┐            ┌── producer        free-running 32-bit indices, each written by one side only;
//!   ┌───┬───┬──▼─┬───┬───┬──▼─┬───┬───┐         entry i lies at i mod size
//!   │   │   │ ▒▒ │ ▒ │ ▒ │    │   │   │         ▒ is the consumer's to read, the rest the producer's to write
//!   └───┴───┴────┴───┴───┴────┴───┴───┘
//! ```
//! **Invariant.** A [`Ring`]'s pointers lie, aligned, in memory that it keeps alive. An entry between the two indices is touched by the consumer alone, the
//! others by the producer alone: an index is moved with release once the entries are done with, and read with acquire before entries are touched. So each
//! side must be one value, in one thread at a time, which [`Producer`] and [`Consumer`] are, and the kernel on its side.

use std::{
    any::Any,
    io,
    ptr::NonNull,
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::net::xdp::{XdpRingFlags, XdpRingOffset};

/// Where the parts of a ring are.
pub(super) struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    size: u32,
    /// Keeps the memory.
    _memory: Box<dyn Any + Send>,
}

// SAFETY: the memory is kept by the ring and is no thread's own; entries are plain data.
unsafe impl<T: Send> Send for Ring<T> {}

impl<T: Copy> Ring<T> {
    /// A ring of `size` entries in `length` bytes from `base` on, its parts at these offsets. Refused if they don't lie there.
    ///
    /// # Safety
    /// `memory` keeps the bytes readable and writable; but for the kernel, or whoever stands for it on the other side, nobody else touches them.
    /// Whatever the bytes are, they are a `T`.
    pub(super) unsafe fn new(
        base: NonNull<u8>,
        length: usize,
        offsets: &XdpRingOffset,
        size: u32,
        memory: Box<dyn Any + Send>,
    ) -> io::Result<Ring<T>> {
        let wrong = || io::Error::from(io::ErrorKind::InvalidData);
        let place = |offset: u64, bytes: usize, align: usize| {
            let offset = usize::try_from(offset).ok()?;
            let inside = offset.checked_add(bytes)? <= length;
            // SAFETY: inside the memory, which is one block.
            let place = inside.then(|| unsafe { base.add(offset) })?;
            place.addr().get().is_multiple_of(align).then_some(place)
        };
        let index = |offset| place(offset, size_of::<AtomicU32>(), align_of::<AtomicU32>());
        let parts = || {
            let entries = place(offsets.desc, size_of::<T>().checked_mul(size as usize)?, align_of::<T>())?;
            Some((index(offsets.producer)?, index(offsets.consumer)?, index(offsets.flags?)?, entries))
        };
        let (producer, consumer, flags, entries) =
            parts().filter(|_| size.is_power_of_two()).ok_or_else(wrong)?;
        Ok(Ring {
            producer: producer.cast(),
            consumer: consumer.cast(),
            flags: flags.cast(),
            entries: entries.cast(),
            size,
            _memory: memory,
        })
    }

    #[inline(always)]
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: the module's invariant.
        unsafe { self.producer.as_ref() }
    }

    #[inline(always)]
    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: the module's invariant.
        unsafe { self.consumer.as_ref() }
    }

    /// Entry `index`, any number.
    #[inline(always)]
    fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: a number below the size, a power of two.
        unsafe { self.entries.add((index & (self.size - 1)) as usize) }
    }
}

/// The side that puts entries in.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// Of the next entry; what the other side sees is older until [`Producer::publish`].
    next: u32,
    /// The consumer's index when it was last looked at.
    consumed: u32,
}

impl<T: Copy> Producer<T> {
    /// The producer's side of this ring, of which there is one.
    pub(super) fn new(ring: Ring<T>) -> Producer<T> {
        let next = ring.producer().load(Ordering::Relaxed);
        let consumed = ring.consumer().load(Ordering::Acquire);
        Producer { ring, next, consumed }
    }

    #[inline(always)]
    fn free(&self) -> u32 {
        // Never below 0, even if the other side writes nonsense.
        self.ring.size.saturating_sub(self.next.wrapping_sub(self.consumed))
    }

    /// Entries that there is room for; looks at the other side only if it knows of fewer than `wanted`.
    #[inline(always)]
    pub(super) fn room(&mut self, wanted: u32) -> u32 {
        if self.free() < wanted {
            self.consumed = self.ring.consumer().load(Ordering::Acquire);
        }
        self.free()
    }

    /// Puts an entry in if there is known to be room; the other side sees it from [`Producer::publish`] on.
    #[inline(always)]
    pub(super) fn push(&mut self, entry: T) -> bool {
        let fits = self.free() > 0;
        if fits {
            // SAFETY: a free entry, which is the producer's.
            unsafe { self.ring.entry(self.next).write(entry) };
            self.next = self.next.wrapping_add(1);
        }
        fits
    }

    /// Shows the other side what was put in.
    #[inline(always)]
    pub(super) fn publish(&mut self) {
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// The other side has taken all.
    #[inline(always)]
    pub(super) fn is_empty(&mut self) -> bool {
        self.room(self.ring.size) == self.ring.size
    }

    /// The kernel wants to be called when there is something in the ring.
    #[inline(always)]
    pub(super) fn needs_wakeup(&self) -> bool {
        // SAFETY: the module's invariant.
        let flags = unsafe { self.ring.flags.as_ref() }.load(Ordering::Relaxed);
        flags & XdpRingFlags::XDP_RING_NEED_WAKEUP.bits() != 0
    }
}

/// The side that takes entries out.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// Of the next entry; what the other side sees is older until [`Consumer::release`].
    next: u32,
    /// The producer's index when it was last looked at.
    produced: u32,
}

impl<T: Copy> Consumer<T> {
    /// The consumer's side of this ring, of which there is one.
    pub(super) fn new(ring: Ring<T>) -> Consumer<T> {
        let next = ring.consumer().load(Ordering::Relaxed);
        Consumer { ring, next, produced: next }
    }

    /// Takes the next entry. Looks at the other side only when all that it knew of is taken.
    #[inline(always)]
    pub(super) fn pop(&mut self) -> Option<T> {
        if self.next == self.produced {
            self.produced = self.ring.producer().load(Ordering::Acquire);
            if self.next == self.produced {
                return None;
            }
        }
        // SAFETY: an entry that has been published, which is the consumer's; whatever it is, it is a `T`.
        let entry = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        Some(entry)
    }

    /// Gives the entries that were taken back to the other side, to be written again.
    #[inline(always)]
    pub(super) fn release(&mut self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc, thread};

    use proptest::prelude::*;

    use super::*;

    /// Ordinary memory that is laid out as the kernel's rings are: indices on lines of their own, entries behind.
    struct Fake(Arc<Block>);
    struct Block(NonNull<[u64]>);

    // SAFETY: only an address; what is there is touched through the rings.
    unsafe impl Send for Block {}
    // SAFETY: as above.
    unsafe impl Sync for Block {}

    impl Drop for Block {
        fn drop(&mut self) {
            // SAFETY: leaked below, freed once.
            drop(unsafe { Box::from_raw(self.0.as_ptr()) });
        }
    }

    const OFFSETS: XdpRingOffset = XdpRingOffset { producer: 0, consumer: 64, flags: Some(128), desc: 192 };

    impl Fake {
        fn new(size: u32, begin: u32) -> Fake {
            let words = vec![0u64; 24 + size as usize].into_boxed_slice();
            let fake = Fake(Arc::new(Block(NonNull::from(Box::leak(words)))));
            let ring = fake.ring(size);
            ring.producer().store(begin, Ordering::Relaxed);
            ring.consumer().store(begin, Ordering::Relaxed);
            fake
        }

        fn ring(&self, size: u32) -> Ring<u64> {
            let base = self.0.0.cast();
            // SAFETY: the block is so long and kept by the ring; each test has one producer and one consumer.
            unsafe { Ring::new(base, 192 + 8 * size as usize, &OFFSETS, size, Box::new(self.0.clone())) }
                .unwrap()
        }

        fn ends(size: u32, begin: u32) -> (Producer<u64>, Consumer<u64>) {
            let fake = Fake::new(size, begin);
            (Producer::new(fake.ring(size)), Consumer::new(fake.ring(size)))
        }
    }

    #[test]
    fn a_ring_that_does_not_lie_in_its_memory_is_refused() {
        let fake = Fake::new(8, 0);
        let refused = |offsets: XdpRingOffset, size, length| {
            let base = fake.0.0.cast();
            // SAFETY: never longer than the block.
            unsafe { Ring::<u64>::new(base, length, &offsets, size, Box::new(())) }.is_err()
        };
        assert!(!refused(OFFSETS, 8, 256));
        assert!(refused(OFFSETS, 8, 255) && refused(OFFSETS, 6, 256) && refused(OFFSETS, 16, 256));
        assert!(refused(XdpRingOffset { flags: None, ..OFFSETS }, 8, 256), "older than Linux 5.4");
        assert!(refused(XdpRingOffset { producer: 2, ..OFFSETS }, 8, 256), "not aligned");
        assert!(refused(XdpRingOffset { consumer: 253, ..OFFSETS }, 8, 256));
        assert!(refused(XdpRingOffset { desc: u64::MAX, ..OFFSETS }, 8, 256));
    }

    #[test]
    fn what_is_not_published_is_not_seen_and_what_is_not_released_is_not_free() {
        let (mut producer, mut consumer) = Fake::ends(4, u32::MAX - 1);
        assert!(producer.is_empty());
        assert!((0..4).all(|entry| producer.push(entry)) && !producer.push(4), "full");
        assert_eq!((consumer.pop(), producer.room(1)), (None, 0));
        producer.publish();
        assert_eq!((consumer.pop(), consumer.pop()), (Some(0), Some(1)));
        assert_eq!(producer.room(1), 0);
        assert!(!producer.is_empty());
        consumer.release();
        // It knows of room for two, and does not look for more than is wanted.
        assert_eq!(producer.room(1), 2);
        assert_eq!((consumer.pop(), consumer.pop(), consumer.pop()), (Some(2), Some(3), None));
        consumer.release();
        assert_eq!((producer.room(2), producer.room(3)), (2, 4));
        assert!(producer.is_empty());
    }

    #[test]
    fn the_kernels_flag_is_seen() {
        let fake = Fake::new(4, 0);
        let producer = Producer::new(fake.ring(4));
        assert!(!producer.needs_wakeup());
        // SAFETY: the module's invariant.
        unsafe { producer.ring.flags.as_ref() }.store(0b11, Ordering::Relaxed);
        assert!(producer.needs_wakeup());
    }

    #[test]
    fn entries_go_whole_and_in_order_from_thread_to_thread() {
        const COUNT: u64 = if cfg!(miri) { 200 } else { 200_000 };
        let (mut producer, mut consumer) = Fake::ends(16, u32::MAX - 70);
        let reader = thread::spawn(move || {
            let mut expected = 0;
            while expected < COUNT {
                while let Some(entry) = consumer.pop() {
                    assert_eq!(entry, expected);
                    expected += 1;
                }
                consumer.release();
                thread::yield_now();
            }
        });
        let mut next = 0;
        while next < COUNT {
            for _ in 0..producer.room(5).min(5) {
                assert!(producer.push(next));
                next += 1;
            }
            producer.publish();
            thread::yield_now();
        }
        reader.join().unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]
        #[test]
        fn a_ring_is_a_bounded_queue_across_the_end_of_the_indices(
            log in 0..5u32,
            begin in prop_oneof![Just(0), Just(u32::MAX), (u32::MAX - 40)..=u32::MAX],
            steps in proptest::collection::vec((0..20u32, 0..20u32), 0..40),
        ) {
            let size = 1 << log;
            let (mut producer, mut consumer) = Fake::ends(size, begin);
            let (mut queue, mut next) = (VecDeque::new(), 0);
            for (puts, takes) in steps {
                let room = producer.room(size);
                prop_assert_eq!(room as usize, size as usize - queue.len());
                for _ in 0..puts {
                    let fits = queue.len() < size as usize;
                    prop_assert_eq!(producer.push(next), fits);
                    if fits {
                        queue.push_back(next);
                        next += 1;
                    }
                }
                producer.publish();
                for _ in 0..takes {
                    prop_assert_eq!(consumer.pop(), queue.pop_front());
                }
                consumer.release();
                prop_assert_eq!(producer.is_empty(), queue.is_empty());
            }
        }
    }
}
