//! The hash of a flow: the same for both directions, and not to be foreseen by senders.

use std::hash::{BuildHasher, RandomState};

use super::observed::Observed;

/// A secret hash over a flow's addresses, ports and kind.
///
/// ```text
///  63        48 47          32 31                    0
///  ├─ not used ─┼─ tag ────────┼─ bucket ─────────────┤
/// ```
/// The tag's upper bits are not hash but kind: `1`, echo, IPv6; so that one comparison of sixteen bits finds an occupied place of the right kind.
///
/// Folded multiplication (the idea of wyhash) with secret words: a sender who can't see buckets can't find addresses and ports that meet in one of
/// them. Which worker a flow belongs to is not decided here but by [`flow_hash`](crate::flow_hash), under other keys.
#[derive(Clone, Copy)]
pub struct FlowHash([u64; 5]);

/// Bits of the tag.
pub(super) const TAG_OCCUPIED: u16 = 1 << 15;
const TAG_ECHO_SHIFT: u32 = 14;
pub(super) const TAG_ECHO: u16 = 1 << TAG_ECHO_SHIFT;
const TAG_IP6_SHIFT: u32 = 13;
pub(super) const TAG_IP6: u16 = 1 << TAG_IP6_SHIFT;
const TAG_HASH: u16 = TAG_IP6 - 1;

impl FlowHash {
    /// A hash of its own, seeded by the operating system.
    pub fn random() -> FlowHash {
        FlowHash::from_words(|| RandomState::new().hash_one(0u8))
    }

    /// The same hash for the same seed: for tests and benches, and whoever knows the seed can foresee it.
    pub fn with_seed(seed: u64) -> FlowHash {
        // SplitMix64 (Steele, Lea, Flood 2014).
        let mut state = seed;
        FlowHash::from_words(|| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }

    fn from_words(mut word: impl FnMut() -> u64) -> FlowHash {
        let mut words = [0; 5].map(|_: u64| word());
        words[4] |= 1; // a factor: not even, least of all 0
        FlowHash(words)
    }

    /// The hash of the flow that `observed` belongs to.
    #[inline(always)]
    pub fn of(&self, observed: &Observed) -> u64 {
        let FlowHash(secret) = self;
        let place = Place::of(observed);
        let mut hash = fold(place.low as u64 ^ secret[0], place.high as u64 ^ secret[1]);
        if observed.is_ip6() {
            hash ^= fold((place.low >> 64) as u64 ^ secret[2], (place.high >> 64) as u64 ^ secret[3]);
        }
        let kind = u64::from(place.kind_bits());
        let hash = fold(hash ^ u64::from(place.ports) ^ kind << 32, secret[4]);
        let tag = u64::from(TAG_OCCUPIED | place.kind_bits() | (hash >> 32) as u16 & TAG_HASH);
        hash & !(0xffff << 32) | tag << 32
    }
}

impl std::fmt::Debug for FlowHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FlowHash(secret)")
    }
}

/// The 128-bit product's halves, one over the other.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// The tag that is part of a hash.
#[inline(always)]
pub(super) fn tag(hash: u64) -> u16 {
    (hash >> 32) as u16
}

/// A flow's key in the order that does not depend on the packet's direction: the lower end first.
pub(super) struct Place {
    pub(super) low: u128,
    pub(super) high: u128,
    /// The lower end's port in the upper half.
    pub(super) ports: u32,
    echo: bool,
    ip6: bool,
}

impl Place {
    #[inline(always)]
    pub(super) fn of(observed: &Observed) -> Place {
        let (source, destination) = (u32::from(observed.source_port), u32::from(observed.destination_port));
        // Without a branch: which end is the lower one is as good as random.
        let backward = observed.direction() as u128;
        let crossed = (observed.source ^ observed.destination) & backward.wrapping_neg();
        let ports = (source << 16 | destination).rotate_left(16 * backward as u32);
        let (low, high) = (observed.source ^ crossed, observed.destination ^ crossed);
        Place { low, high, ports, echo: observed.is_echo(), ip6: observed.is_ip6() }
    }

    /// The tag's bits that tell the kind.
    #[inline(always)]
    pub(super) fn kind_bits(&self) -> u16 {
        u16::from(self.echo) << TAG_ECHO_SHIFT | u16::from(self.ip6) << TAG_IP6_SHIFT
    }

    /// The addresses' last words, which are all of an IPv4 address.
    #[inline(always)]
    pub(super) fn words(&self) -> [u32; 2] {
        [self.low as u32, self.high as u32]
    }

    /// What stands above them.
    #[inline]
    pub(super) fn upper_words(&self) -> [[u32; 3]; 2] {
        [self.low, self.high]
            .map(|address| [(address >> 96) as u32, (address >> 64) as u32, (address >> 32) as u32])
    }
}
