//! How many ICMP errors may be sent: in all, and to one source, so that one sender can't use up what all share (RFC 1812 §4.3.2.8, RFC 4443 §2.4(f)).

/// Errors a second, and how many at once (Linux: icmp_msgs_per_sec 1000, icmp_msgs_burst 50; the burst is larger here, so that several traceroutes at
/// once do not lose probes). Of each worker and version.
const RATE: u64 = 1000;
const BURST: u64 = 100;
/// The same for one source (a slot of a table of hashed sources).
const SOURCE_RATE: u64 = 100;
const SOURCE_BURST: u64 = 20;
/// Slots for sources; a power of two.
const SOURCES: usize = 256;

/// The buckets of one node.
pub(crate) struct ErrorLimit {
    all: Bucket,
    sources: [Bucket; SOURCES],
    /// Ticks between errors at [`RATE`] and at [`SOURCE_RATE`].
    interval: u64,
    source_interval: u64,
}

/// A token bucket kept as one time: when the next token would be due if all were used (the generic cell rate algorithm, ITU-T I.371).
#[derive(Clone, Copy, Default)]
struct Bucket(u64);

impl Bucket {
    fn is_open(self, now: u64, interval: u64, burst: u64) -> bool {
        self.0 <= now + interval * (burst - 1)
    }

    fn take(&mut self, now: u64, interval: u64) {
        self.0 = self.0.max(now) + interval;
    }
}

impl ErrorLimit {
    /// Full buckets; `hz` ticks are a second.
    pub(crate) fn new(hz: u64) -> ErrorLimit {
        ErrorLimit {
            all: Bucket::default(),
            sources: [Bucket::default(); SOURCES],
            interval: hz / RATE,
            source_interval: hz / SOURCE_RATE,
        }
    }

    /// Whether an error to the source with this hash may be sent.
    pub(crate) fn is_open(&self, source: u64, now: u64) -> bool {
        self.all.is_open(now, self.interval, BURST)
            && self.sources[slot(source)].is_open(now, self.source_interval, SOURCE_BURST)
    }

    /// It is sent.
    pub(crate) fn take(&mut self, source: u64, now: u64) {
        self.all.take(now, self.interval);
        self.sources[slot(source)].take(now, self.source_interval);
    }
}

fn slot(source: u64) -> usize {
    (source >> 56) as usize % SOURCES
}
