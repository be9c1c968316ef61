//! The hash of a flow: the same for both directions, and not to be foreseen by senders.

use std::hash::{BuildHasher, RandomState};

use super::observed::Observed;

/// A secret hash over a flow's addresses, ports and kind.
///
/// ```text
///  63        48 47          32 31                    0
///  ├─ hint ─────┼─ tag ────────┼─ bucket ─────────────┤
/// ```
/// The tag's upper bits are not hash but kind: `1`, echo, IPv6 (`Observed::kind_bits`); so that one comparison of sixteen bits finds an occupied place of
/// the right kind. The hint is 0, or where in the bucket the flow seems to be.
///
/// Folded multiplication (the idea of wyhash) with secret words: a sender who can't see buckets can't find addresses and ports that meet in one of
/// them. Which worker a flow belongs to is not decided here but by [`flow_hash`](crate::flow_hash), under other keys.
#[derive(Clone, Copy)]
pub struct TableHash([u64; 7]);

/// Bits of the tag: what it is, and what of it is hash.
pub(super) const TAG_OCCUPIED: u16 = 1 << 15;
pub(super) const TAG_ECHO: u16 = 1 << 14;
pub(super) const TAG_IP6: u16 = 1 << 13;
const TAG_HASH: u16 = TAG_IP6 - 1;

impl TableHash {
    /// A hash of its own, seeded by the operating system.
    pub fn random() -> TableHash {
        TableHash::from_words(|| RandomState::new().hash_one(0u8))
    }

    /// The same hash for the same seed: for tests and benches, and whoever knows the seed can foresee it.
    pub fn with_seed(seed: u64) -> TableHash {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut state = seed;
        TableHash::from_words(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }

    fn from_words(mut word: impl FnMut() -> u64) -> TableHash {
        let mut words = [0; 7].map(|_: u64| word());
        // Factors: not even, least of all 0.
        words[2] |= 1;
        words[6] |= 1;
        TableHash(words)
    }

    /// The hash of the flow that `observed` belongs to.
    #[inline(always)]
    pub fn of(&self, observed: &Observed) -> u64 {
        let TableHash(secret) = self;
        let (word, last) = observed.ends().words();
        let mut hash = fold(word ^ secret[0], u64::from(last) ^ secret[1]);
        if observed.is_ip6() {
            let [middle, low, high] = observed.ends().upper();
            hash ^= fold(low ^ secret[3], high ^ secret[4]);
            hash ^= fold(middle ^ secret[5], secret[6]);
        }
        let hash = fold(hash, secret[2]);
        let tag = observed.kind_bits() | (hash >> 32) as u16 & TAG_HASH;
        hash & 0xffff_ffff | u64::from(tag) << 32
    }
}

impl std::fmt::Debug for TableHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TableHash(secret)")
    }
}

/// The 128-bit product's halves, one over the other.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

const HINT_SHIFT: u32 = 48;
/// There is a hint.
const HINT: u64 = 1 << 63;

/// The hash, for a flow that seems to be at `way` of its bucket.
#[inline(always)]
pub(super) fn with_hint(hash: u64, way: usize) -> u64 {
    hash | HINT | (way as u64) << HINT_SHIFT
}

/// Where the flow seems to be, in the lower bits.
#[inline(always)]
pub(super) fn hint(hash: u64) -> Option<usize> {
    (hash & HINT != 0).then_some((hash >> HINT_SHIFT) as usize)
}

/// The tag that is part of a hash.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u16 {
    (hash >> 32) as u16
}
