//! Multipath groups: equal sets of next hops share one, counted by reference.
//!
//! A group is up to 256 buckets that hold adjacency indices; a packet takes bucket `flow hash & (buckets - 1)`. Where the weights,
//! divided by their greatest common divisor, add up to a power of two ≤ 256, there are as many buckets and the shares are exact.
//! Otherwise there are 256, dealt out by largest remainder: every next hop gets at least one, and as long as each is due at least one,
//! its share of the flows is off by less than 1/256.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use super::memory::{Pages, Zeroed};
use super::{FibError, NextHop};
use crate::adjacency::AdjacencyIndex;

/// The most buckets a group has, and the most next hops: `rtnetlink` packs weights into a byte, so that finer shares cannot be asked for.
pub const MAX_BUCKETS: usize = 256;
const LOG2_MAX_BUCKETS: u32 = MAX_BUCKETS.ilog2();

/// Where a route's packets go: the 25 bits of a leaf. Bits 0..24: an adjacency, or, with bit 24 set, a group: its number in bits 0..20
/// and the binary logarithm of its bucket count (1 to 8) in bits 20..24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Target(pub(super) u32);

impl Target {
    pub(super) const MULTIPATH: u32 = 1 << 24;
    const GROUP_BITS: u32 = 20;
    pub(super) const MAX_GROUPS: u32 = 1 << Self::GROUP_BITS;

    /// The bucket that this multipath target gives a packet with this hash, as an index into the buckets of all groups.
    #[inline]
    pub(super) const fn bucket(self, flow_hash: u32) -> usize {
        let group = self.0 & (Self::MAX_GROUPS - 1);
        let log2 = self.0 >> Self::GROUP_BITS & 15;
        ((group << LOG2_MAX_BUCKETS) | (flow_hash & ((1 << log2) - 1))) as usize
    }

    /// The one next hop.
    pub(super) const fn adjacency(self) -> Option<AdjacencyIndex> {
        if self.0 & Self::MULTIPATH == 0 { Some(AdjacencyIndex::from_low_bits(self.0)) } else { None }
    }

    const fn group(self) -> Option<u32> {
        if self.0 & Self::MULTIPATH == 0 { None } else { Some(self.0 & (Self::MAX_GROUPS - 1)) }
    }
}

/// The buckets of all groups; group *g* has those from 256 *g* on.
pub(super) type Buckets = Zeroed<AtomicU32>;

/// Buckets for `groups` groups.
pub(super) fn buckets(groups: u32) -> io::Result<Buckets> {
    Zeroed::new((groups as usize) << LOG2_MAX_BUCKETS, Pages::Ordinary)
}

/// The writer's books of the groups.
#[derive(Default)]
pub(super) struct Groups {
    by_members: HashMap<Arc<[NextHop]>, u32>,
    records: Vec<Record>,
    free: Vec<u32>,
    /// The next hops at hand, in normal form; kept for its allocation.
    scratch: Vec<NextHop>,
}

struct Record {
    members: Arc<[NextHop]>,
    references: u32,
    target: Target,
}

impl Groups {
    /// The target of these next hops, with one reference more. `None`: every group is in use.
    pub(super) fn acquire(
        &mut self,
        next_hops: &[NextHop],
        buckets: &Buckets,
    ) -> Result<Option<Target>, FibError> {
        match next_hops {
            [] => return Err(FibError::NoNextHops),
            [only] if only.weight > 0 => return Ok(Some(Target(only.adjacency.as_u32()))),
            _ => self.normalise(next_hops)?,
        }
        if let [only] = *self.scratch {
            return Ok(Some(Target(only.adjacency.as_u32())));
        }
        if let Some(&group) = self.by_members.get(&*self.scratch)
            && let Some(record) = self.records.get_mut(group as usize)
        {
            record.references += 1;
            return Ok(Some(record.target));
        }
        let limit = (buckets.len() >> LOG2_MAX_BUCKETS).min(Target::MAX_GROUPS as usize);
        let group = match self.free.pop() {
            Some(group) => group,
            None if self.records.len() < limit => self.records.len() as u32,
            None => return Ok(None),
        };
        let members: Arc<[NextHop]> = self.scratch.as_slice().into();
        let plan = plan(&members);
        let log2 = plan.len().ilog2();
        let first = (group as usize) << LOG2_MAX_BUCKETS;
        for (bucket, adjacency) in buckets.range(first, first + MAX_BUCKETS - 1).iter().zip(&plan) {
            // Relaxed: the leaf that leads here is published by a release store.
            bucket.store(adjacency.as_u32(), Relaxed);
        }
        let target = Target(Target::MULTIPATH | log2 << Target::GROUP_BITS | group);
        self.by_members.insert(Arc::clone(&members), group);
        let record = Record { members, references: 1, target };
        match self.records.get_mut(group as usize) {
            Some(place) => *place = record,
            None => self.records.push(record),
        }
        Ok(Some(target))
    }

    /// Gives a reference back. The group's number, if it was the last one: retire it, then [`Self::reuse`] it.
    pub(super) fn release(&mut self, target: Target) -> Option<u32> {
        let group = target.group()?;
        let record = self.records.get_mut(group as usize)?;
        record.references -= 1;
        if record.references > 0 {
            return None;
        }
        self.by_members.remove(&record.members);
        Some(group)
    }

    /// No reader is left at `group`.
    pub(super) fn reuse(&mut self, group: u32) {
        self.free.push(group);
    }

    /// The next hops behind `target`, by adjacency.
    pub(super) fn next_hops(&self, target: Target) -> Vec<NextHop> {
        match target.group().and_then(|group| self.records.get(group as usize)) {
            Some(record) => record.members.to_vec(),
            None => vec![NextHop { adjacency: AdjacencyIndex::from_low_bits(target.0), weight: 1 }],
        }
    }

    /// Sorts by adjacency, merges what is named twice, and reduces the weights.
    fn normalise(&mut self, next_hops: &[NextHop]) -> Result<(), FibError> {
        if let Some(zero) = next_hops.iter().find(|hop| hop.weight == 0) {
            return Err(FibError::ZeroWeight { adjacency: zero.adjacency });
        }
        let members = &mut self.scratch;
        members.clear();
        members.extend_from_slice(next_hops);
        members.sort_unstable_by_key(|hop| hop.adjacency);
        members.dedup_by(|again, first| {
            let same = again.adjacency == first.adjacency;
            if same {
                first.weight = first.weight.saturating_add(again.weight);
            }
            same
        });
        if members.len() > MAX_BUCKETS {
            return Err(FibError::TooManyNextHops { count: members.len() });
        }
        let divisor = members.iter().fold(0, |divisor, hop| greatest_common_divisor(divisor, hop.weight));
        for hop in members {
            hop.weight /= divisor.max(1);
        }
        Ok(())
    }
}

const fn greatest_common_divisor(mut a: u32, mut b: u32) -> u32 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The adjacency of every bucket. `members` are in normal form, 2 to 256 of them.
fn plan(members: &[NextHop]) -> Vec<AdjacencyIndex> {
    let total: u64 = members.iter().map(|hop| u64::from(hop.weight)).sum();
    let count =
        if total <= MAX_BUCKETS as u64 && total.is_power_of_two() { total } else { MAX_BUCKETS as u64 };
    // Whole buckets first, at least one each; then one more to, or one less from, those whose due is furthest away.
    let mut shares: Vec<u64> =
        members.iter().map(|hop| (u64::from(hop.weight) * count / total).max(1)).collect();
    let mut given: u64 = shares.iter().sum();
    // How far a share is below its due, in units of 1/total of a bucket.
    let lacks =
        |share: u64, hop: &NextHop| i128::from(u64::from(hop.weight) * count) - i128::from(share * total);
    while given != count {
        let by_lack = |&(index, &share): &(usize, &u64)| lacks(share, &members[index]);
        let (index, step) = if given < count {
            (shares.iter().enumerate().max_by_key(by_lack), 1)
        } else {
            (shares.iter().enumerate().filter(|&(_, &share)| share > 1).min_by_key(by_lack), -1)
        };
        // There is one: with 256 members or fewer, more than 256 buckets given means that somebody has two.
        let Some((index, _)) = index else { break };
        shares[index] = shares[index].wrapping_add_signed(step);
        given = given.wrapping_add_signed(step);
    }
    let runs = members.iter().zip(shares);
    runs.flat_map(|(hop, share)| std::iter::repeat_n(hop.adjacency, share as usize)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(weights: &[u32]) -> Vec<NextHop> {
        let hop =
            |(index, &weight)| NextHop { adjacency: AdjacencyIndex::from_low_bits(index as u32), weight };
        weights.iter().enumerate().map(hop).collect()
    }

    fn counts(weights: &[u32]) -> Vec<usize> {
        let plan = plan(&hops(weights));
        assert!(plan.len().is_power_of_two() && plan.len() <= MAX_BUCKETS);
        hops(weights)
            .iter()
            .map(|hop| plan.iter().filter(|&&bucket| bucket == hop.adjacency).count())
            .collect()
    }

    #[test]
    fn weights_that_add_up_to_a_power_of_two_are_exact() {
        assert_eq!(counts(&[1, 1]), [1, 1]);
        assert_eq!(counts(&[3, 1]), [3, 1]);
        assert_eq!(counts(&[1; 256]), [1; 256]);
    }

    #[test]
    #[cfg_attr(miri, ignore = "long sums, no unsafe code")]
    fn other_weights_are_off_by_less_than_a_bucket() {
        for weights in [&[1, 1, 1][..], &[1, 2], &[100, 7, 1], &[1; 255], &[5, 4, 3, 2, 1], &[255, 1, 1, 254]]
        {
            let total: u32 = weights.iter().sum();
            for (count, weight) in counts(weights).into_iter().zip(weights) {
                let due = 256.0 * f64::from(*weight) / f64::from(total);
                assert!(
                    (count as f64 - due).abs() < 1.0 || due < 1.0 && count == 1,
                    "{weights:?}: {count} for {due}"
                );
            }
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "long sums, no unsafe code")]
    fn the_smallest_weight_gets_a_bucket() {
        assert_eq!(counts(&[1, 1_000_000]), [1, 255]);
        let mut weights = [1; 256];
        weights[0] = u32::MAX;
        assert_eq!(counts(&weights), [1; 256]);
    }

    #[test]
    fn equal_sets_share_a_group() {
        let buckets = buckets(1).unwrap();
        let mut groups = Groups::default();
        let [a, b] = [2, 4].map(|weight| hops(&[weight, weight, weight]));
        let first = groups.acquire(&a, &buckets).unwrap().unwrap();
        let reversed: Vec<_> = b.into_iter().rev().collect();
        assert_eq!(groups.acquire(&reversed, &buckets).unwrap(), Some(first));
        assert_eq!(groups.acquire(&hops(&[1, 2]), &buckets).unwrap(), None, "there is room for one");
        assert_eq!(groups.release(first), None);
        assert_eq!(groups.release(first), Some(0));
        assert_eq!(groups.acquire(&hops(&[1, 2]), &buckets).unwrap(), None, "not before it may be reused");
        groups.reuse(0);
        assert!(groups.acquire(&hops(&[1, 2]), &buckets).unwrap().is_some());
    }

    #[test]
    fn a_next_hop_named_twice_is_one_with_both_weights() {
        let buckets = buckets(1).unwrap();
        let mut groups = Groups::default();
        let [hop, other] = hops(&[1, 1])[..] else { unreachable!() };
        assert_eq!(groups.acquire(&[hop, hop], &buckets).unwrap(), Some(Target(0)), "one next hop, no group");
        let target = groups.acquire(&[hop, other, hop, hop], &buckets).unwrap().unwrap();
        assert_eq!(groups.next_hops(target), hops(&[3, 1]));
    }
}
