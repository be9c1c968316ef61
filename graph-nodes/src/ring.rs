//! A ring between two threads: one puts in, the other takes out, neither ever waits.
//!
//! ```text
//!             head                    published       tail
//!   ─┬───┬───┬─▼─┬───┬───┬───┬───┬───┬───▼───┬───┬───┬─▼─┬───┬───┬─      slot of index n: n mod capacity
//!    │   │   │ ▓ │ ▓ │ ▓ │ ▓ │ ▓ │ ▓ │   ░   │ ░ │ ░ │   │   │   │
//!   ─┴───┴───┴───┴───┴───┴───┴───┴───┴───────┴───┴───┴───┴───┴───┴─
//!              the consumer's             the producer's
//! ```
//! What has been pushed is seen by the consumer only once it is published: once a vector, so that the line with the shared index moves between
//! the cores once a vector too. Each side keeps its own copy of the other's index and looks at the shared one only when it has run out.
//!
//! **Invariant of this module.** Slots `head..published` hold values that the consumer alone may read; all others belong to the
//! producer alone, which has initialised `published..tail` of them. `published` only grows by the producer's release store after those slots were
//! written, `head` only by the consumer's release store after they were read; each side reads the other's index with acquire. There is
//! one producer and one consumer: both are `!Clone` and their methods take `&mut self`.

#[cfg(all(test, loom))]
use loom::{
    cell::UnsafeCell,
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize},
};
use std::{mem::MaybeUninit, sync::atomic::Ordering};
#[cfg(not(all(test, loom)))]
use std::{
    sync::Arc,
    sync::atomic::{AtomicBool, AtomicUsize},
};

#[cfg(not(all(test, loom)))]
use cell::UnsafeCell;

/// Alone on its pair of cache lines: x86 prefetches lines in pairs, and some aarch64 cores have lines of 128 bytes.
#[repr(align(128))]
struct Line<T>(T);

struct Shared<T> {
    /// Where the consumer's part ends; the producer's index.
    published: Line<AtomicUsize>,
    /// Where it begins; the consumer's index.
    head: Line<AtomicUsize>,
    /// The producer will publish nothing more.
    closed: Line<AtomicBool>,
    slots: Box<[UnsafeCell<MaybeUninit<T>>]>,
}

// SAFETY: a slot is read and written by one side at a time (module invariant), and values go to the other thread by being moved.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above; `&Shared` alone gives no access to a slot outside this module.
unsafe impl<T: Send> Sync for Shared<T> {}

/// The end that puts values in.
pub(crate) struct Producer<T> {
    shared: Arc<Shared<T>>,
    tail: usize,
    /// As the consumer knows it.
    published: usize,
    /// The consumer's index when it was last looked at.
    head: usize,
}

/// The end that takes values out.
pub(crate) struct Consumer<T> {
    shared: Arc<Shared<T>>,
    head: usize,
}

/// A ring for `capacity` values, a power of two. Values that are never taken out are forgotten, so they must be such that have nothing to drop.
pub(crate) fn ring<T: Send>(capacity: usize) -> (Producer<T>, Consumer<T>) {
    const { assert!(!std::mem::needs_drop::<T>()) };
    assert!(capacity.is_power_of_two(), "a ring's capacity is a power of two");
    let shared = Arc::new(Shared {
        published: Line(AtomicUsize::new(0)),
        head: Line(AtomicUsize::new(0)),
        closed: Line(AtomicBool::new(false)),
        slots: (0..capacity).map(|_| UnsafeCell::new(MaybeUninit::uninit())).collect(),
    });
    let producer = Producer { shared: shared.clone(), tail: 0, published: 0, head: 0 };
    (producer, Consumer { shared, head: 0 })
}

impl<T> Shared<T> {
    #[inline(always)]
    fn slot(&self, index: usize) -> &UnsafeCell<MaybeUninit<T>> {
        // SAFETY: the capacity is a power of two (checked by `ring`), so the masked index is below it.
        unsafe { self.slots.get_unchecked(index & (self.slots.len() - 1)) }
    }
}

impl<T: Send> Producer<T> {
    /// Puts a value in, to be published later; the value back if the ring is full.
    #[inline(always)]
    pub(crate) fn push(&mut self, value: T) -> Result<(), T> {
        let capacity = self.shared.slots.len();
        if self.tail.wrapping_sub(self.head) == capacity {
            self.head = self.shared.head.0.load(Ordering::Acquire);
            if self.tail.wrapping_sub(self.head) == capacity {
                return Err(value);
            }
        }
        self.shared.slot(self.tail).with_mut(|slot| {
            // SAFETY: the index is in `published..head + capacity`: the slot is the producer's.
            unsafe { slot.cast::<T>().write(value) };
        });
        self.tail = self.tail.wrapping_add(1);
        Ok(())
    }

    /// Shows the consumer what has been pushed. `true` if there was anything.
    #[inline(always)]
    pub(crate) fn publish(&mut self) -> bool {
        if self.tail == self.published {
            return false;
        }
        self.published = self.tail;
        self.shared.published.0.store(self.tail, Ordering::Release);
        true
    }

    /// Says that nothing more will be published.
    pub(crate) fn close(&mut self) {
        self.shared.closed.0.store(true, Ordering::Release);
    }
}

impl<T: Send> Consumer<T> {
    /// Takes out all that has been published, oldest first, and says how many.
    #[inline(always)]
    pub(crate) fn take(&mut self, sink: &mut Vec<T>) -> usize {
        let published = self.shared.published.0.load(Ordering::Acquire);
        let count = published.wrapping_sub(self.head);
        if count == 0 {
            return 0;
        }
        let (shared, head) = (&self.shared, self.head);
        sink.reserve(count); // the only thing that could panic, before anything has been read
        sink.extend((0..count).map(|at| {
            shared.slot(head.wrapping_add(at)).with(|slot| {
                // SAFETY: the index is in `head..published`: the slot is the consumer's and initialised, and it is read once, for `head`
                // moves behind it below.
                unsafe { slot.cast::<T>().read() }
            })
        }));
        self.head = published;
        shared.head.0.store(published, Ordering::Release);
        count
    }

    /// Nothing is there to be taken now.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> bool {
        self.shared.published.0.load(Ordering::Acquire) == self.head
    }

    /// Nothing is there, and nothing will ever come.
    pub(crate) fn is_closed(&self) -> bool {
        // In this order: what was published before the closing is seen by whoever sees the closing.
        self.shared.closed.0.load(Ordering::Acquire) && self.is_empty()
    }
}

/// The standard cell with loom's interface, so that the code above is what loom checks.
#[cfg(not(all(test, loom)))]
mod cell {
    pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

    impl<T> UnsafeCell<T> {
        pub(super) fn new(value: T) -> UnsafeCell<T> {
            UnsafeCell(std::cell::UnsafeCell::new(value))
        }

        #[inline(always)]
        pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
            read(self.0.get())
        }

        #[inline(always)]
        pub(super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
            write(self.0.get())
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_what_is_published_is_seen_and_a_full_ring_gives_back() {
        let (mut producer, mut consumer) = ring::<u32>(4);
        let mut taken = Vec::new();
        assert!(!producer.publish() && consumer.is_empty());
        for value in 0..4 {
            producer.push(value).unwrap();
        }
        assert_eq!(producer.push(4), Err(4));
        assert!(consumer.is_empty() && consumer.take(&mut taken) == 0);
        assert!(producer.publish());
        assert_eq!((consumer.take(&mut taken), &*taken), (4, &[0, 1, 2, 3][..]));
        assert_eq!(producer.push(4), Ok(()));
        producer.publish();
        producer.close();
        assert!(!consumer.is_closed(), "there is one left");
        consumer.take(&mut taken);
        assert!(consumer.is_closed());
    }

    #[test]
    fn indices_are_alone_on_their_lines() {
        assert!(size_of::<Line<AtomicUsize>>() == 128 && align_of::<Shared<u8>>() == 128);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 4 } else { 256 }))]
        #[test]
        fn it_is_a_queue(steps in proptest::collection::vec(0..4u8, 0..if cfg!(miri) { 100 } else { 400 })) {
            let (mut producer, mut consumer) = ring::<u32>(8);
            // As far as published and as far as pushed.
            let (mut queue, mut pushed, mut number) = (std::collections::VecDeque::new(), Vec::new(), 0);
            // Indices wrap around.
            for index in [&mut producer.tail, &mut producer.published, &mut producer.head, &mut consumer.head] {
                *index = usize::MAX - 4;
            }
            producer.shared.published.0.store(usize::MAX - 4, Ordering::Relaxed);
            producer.shared.head.0.store(usize::MAX - 4, Ordering::Relaxed);
            for step in steps {
                match step {
                    0 | 1 => {
                        let fits = queue.len() + pushed.len() < 8;
                        prop_assert_eq!(producer.push(number).is_ok(), fits);
                        if fits {
                            pushed.push(number);
                        }
                        number += 1;
                    }
                    2 => {
                        prop_assert_eq!(producer.publish(), !pushed.is_empty());
                        queue.extend(pushed.drain(..));
                    }
                    _ => {
                        let mut taken = Vec::new();
                        prop_assert_eq!(consumer.is_empty(), queue.is_empty());
                        consumer.take(&mut taken);
                        prop_assert_eq!(taken, queue.drain(..).collect::<Vec<_>>());
                    }
                }
            }
        }
    }

    #[test]
    fn two_threads_lose_nothing_and_keep_the_order() {
        const VALUES: u64 = if cfg!(miri) { 300 } else { 1_000_000 };
        let (mut producer, mut consumer) = ring::<[u64; 4]>(64);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let mut value = 0;
                while value < VALUES {
                    while value < VALUES && producer.push([value, !value, value, !value]).is_ok() {
                        value += 1;
                        if value % 7 == 0 {
                            break;
                        }
                    }
                    producer.publish();
                    std::hint::spin_loop();
                }
                producer.close();
            });
            let (mut taken, mut expected) = (Vec::new(), 0);
            while !consumer.is_closed() {
                consumer.take(&mut taken);
                for value in taken.drain(..) {
                    assert_eq!(value, [expected, !expected, expected, !expected]);
                    expected += 1;
                }
                std::thread::yield_now();
            }
            assert_eq!(expected, VALUES);
        });
    }
}

#[cfg(all(test, loom))]
mod loom_tests {
    use loom::thread;

    use super::*;

    #[test]
    fn loom_values_arrive_once_whole_and_in_order() {
        loom::model(|| {
            let (mut producer, mut consumer) = ring::<u32>(2);
            let giver = thread::spawn(move || {
                for value in 0..3 {
                    while producer.push(value).is_err() {
                        producer.publish();
                        thread::yield_now();
                    }
                    if value != 0 {
                        producer.publish();
                    }
                }
            });
            let mut taken = Vec::new();
            while taken.len() < 3 {
                consumer.take(&mut taken);
                thread::yield_now();
            }
            assert_eq!(taken, [0, 1, 2]);
            giver.join().unwrap();
        });
    }
}
