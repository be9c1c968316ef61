//! The FIB against an independent longest-prefix match, the crate `prefix-trie`: any sequence of inserts, replacements and removals of nested
//! prefixes, compared at the boundaries of all prefixes after each step.

// Helpers outside the test functions unwrap as well.
#![allow(clippy::unwrap_used)]

use std::fmt::LowerHex;

use prefix_trie::PrefixMap;
use proptest::collection::vec;
use proptest::prelude::*;
use weir_graph::adjacency::AdjacencyIndex;
use weir_graph::fib::{Address, Fib, FibLimits, Leaf, NextHop, Prefix};
use weir_graph::quiescence::Quiescence;

#[derive(Clone, Debug)]
enum Step<A: Address> {
    Insert(Prefix<A>, Vec<NextHop>),
    Remove(Prefix<A>),
    /// Of those that are there, the one with this number (modulo their count).
    RemoveSome(usize),
    ReplaceSome(usize, Vec<NextHop>),
    /// The reader passes a quiescent point, the writer takes back what it may.
    Reclaim,
}

/// Prefixes that lie in one another: few addresses, all lengths. Short ones are rare: painting them takes long.
fn prefix4() -> BoxedStrategy<Prefix<u32>> {
    const BASES: [u32; 5] = [0x0a00_0000, 0x0a00_00ff, 0x0a00_01ff, 0xc0a8_5780, 0xffff_ffff];
    // Miri walks a /16 in seconds.
    let lengths = if cfg!(miri) {
        prop_oneof![1 => Just(0_u8), 10 => 22..=32_u8].boxed()
    } else {
        prop_oneof![2 => Just(0_u8), 1 => 1..=8_u8, 6 => 9..=20_u8, 40 => 21..=32_u8].boxed()
    };
    let address = (prop::sample::select(&BASES[..]), prop_oneof![Just(0_u32), 0..1024_u32]);
    (address, lengths)
        .prop_map(|((base, bits), length)| Prefix::containing(base ^ bits, length).unwrap())
        .boxed()
}

/// The same of IPv6: what branches does so anywhere in the address.
fn prefix6() -> BoxedStrategy<Prefix<u128>> {
    const BASES: [u128; 4] =
        [0x2001_0db8 << 96, 0x2001_0db8_0000_00ff << 64, 0x2001_0db9 << 96 | 0xfeff_ffff, u128::MAX];
    let lengths = if cfg!(miri) {
        prop_oneof![1 => Just(0_u8), 10 => 22..=128_u8].boxed()
    } else {
        prop_oneof![2 => Just(0_u8), 1 => 1..=8_u8, 6 => 9..=20_u8, 80 => 21..=128_u8].boxed()
    };
    let bits = prop_oneof![Just(0_u128), (0..4_u128, 0..104_u32).prop_map(|(bits, shift)| bits << shift)];
    ((prop::sample::select(&BASES[..]), bits), lengths)
        .prop_map(|((base, bits), length)| Prefix::containing(base ^ bits, length).unwrap())
        .boxed()
}

fn next_hops() -> impl Strategy<Value = Vec<NextHop>> {
    let hop = (0..20_u32, 1..5_u32)
        .prop_map(|(index, weight)| NextHop { adjacency: AdjacencyIndex::new(index).unwrap(), weight });
    prop_oneof![3 => vec(hop.clone(), 1), 1 => vec(hop, 2..5)]
}

fn step<A: Address>(prefix: BoxedStrategy<Prefix<A>>) -> impl Strategy<Value = Step<A>> {
    prop_oneof![
        10 => (prefix.clone(), next_hops()).prop_map(|(prefix, hops)| Step::Insert(prefix, hops)),
        2 => prefix.prop_map(Step::Remove),
        5 => any::<usize>().prop_map(Step::RemoveSome),
        3 => (any::<usize>(), next_hops()).prop_map(|(which, hops)| Step::ReplaceSome(which, hops)),
        2 => Just(Step::Reclaim),
    ]
}

fn steps<A: Address>(prefix: BoxedStrategy<Prefix<A>>) -> impl Strategy<Value = Vec<Step<A>>> {
    vec(step(prefix), if cfg!(miri) { 12..14 } else { 1..80 })
}

/// What the oracle keeps for a route: its index and next hops.
type Expected = (u32, Vec<AdjacencyIndex>);

fn compare<A: Address + LowerHex>(
    fib: &Fib<A>,
    oracle: &PrefixMap<(A, u8), Expected>,
    addresses: &[A],
) -> Result<(), TestCaseError>
where
    (A, u8): prefix_trie::Prefix,
{
    let mut leaves = vec![Leaf::NONE; addresses.len()];
    fib.lookup_many(addresses, &mut leaves);
    let mut mixed = vec![Leaf::NONE; addresses.len()];
    fib.lookup_mixed(addresses, &mut mixed);
    prop_assert_eq!(&mixed, &leaves);
    for (&address, &many) in addresses.iter().zip(&leaves) {
        let leaf = fib.lookup(address);
        prop_assert_eq!(leaf, many);
        match oracle.get_lpm(&(address, A::BITS)) {
            None => prop_assert_eq!(leaf, Leaf::NONE, "{:#x}", address),
            Some(((_, length), (route, hops))) => {
                prop_assert_eq!(leaf.route(), *route, "{:#x}", address);
                prop_assert_eq!(leaf.prefix_length(), length, "{:#x}", address);
                prop_assert_eq!(leaf.is_multipath(), hops.len() > 1);
                for hash in [0, 1, 2, 77, 255, u32::MAX] {
                    prop_assert!(hops.contains(&fib.resolve(leaf, hash)), "{:#x}", address);
                }
            }
        }
    }
    Ok(())
}

/// After each step all is as the oracle says.
fn follow<A: Address + LowerHex>(steps: Vec<Step<A>>, random: Vec<A>) -> Result<(), TestCaseError>
where
    (A, u8): prefix_trie::Prefix,
{
    let quiescence = Quiescence::new(1);
    let reader = quiescence.reader(0).unwrap();
    // Few blocks and groups, so that they are reused; enough that none is missing.
    let limits = FibLimits { routes: 200, extension_blocks: 100, groups: 100 };
    let (fib, mut writer) = Fib::new(limits, quiescence).unwrap();
    let mut oracle: PrefixMap<(A, u8), Expected> = PrefixMap::new();
    let mut addresses = random;
    for step in steps {
        let there: Vec<(A, u8)> = oracle.keys().collect();
        let nth = |which: usize| {
            let (address, length) = *there.get(which.checked_rem(there.len())?)?;
            Prefix::new(address, length).ok()
        };
        let (insert, remove) = match step {
            Step::Insert(prefix, hops) => (Some((prefix, hops)), None),
            Step::ReplaceSome(which, hops) => (nth(which).map(|prefix| (prefix, hops)), None),
            Step::Remove(prefix) => (None, Some(prefix)),
            Step::RemoveSome(which) => (None, nth(which)),
            Step::Reclaim => {
                writer.reclaim();
                reader.quiescent();
                prop_assert_eq!(writer.reclaim(), 0);
                (None, None)
            }
        };
        if let Some((prefix, hops)) = insert {
            let key = (prefix.address(), prefix.length());
            let index = writer.insert(prefix, &hops).unwrap().as_u32();
            let mut members: Vec<_> = hops.iter().map(|hop| hop.adjacency).collect();
            members.sort_unstable();
            members.dedup();
            let got: Vec<_> = writer.get(prefix).unwrap().next_hops.iter().map(|hop| hop.adjacency).collect();
            prop_assert_eq!(&got, &members);
            if let Some((before, _)) = oracle.insert(key, (index, members)) {
                prop_assert_eq!(before, index, "a replaced route keeps its index");
            } else {
                addresses.extend([prefix.address(), prefix.last_address()]);
                addresses.extend(neighbours(prefix));
            }
        }
        if let Some(prefix) = remove {
            let expected = oracle.remove(&(prefix.address(), prefix.length()));
            let removed = writer.remove(prefix).map(|index| index.as_u32());
            prop_assert_eq!(removed, expected.map(|(index, _)| index));
            prop_assert_eq!(writer.get(prefix), None);
        }
        compare(&fib, &oracle, &addresses)?;
        prop_assert_eq!(writer.len(), oracle.len());
    }
    for &address in &addresses {
        let books = writer.lookup_prefix(address);
        let books = books.map(|(prefix, index)| ((prefix.address(), prefix.length()), index.as_u32()));
        prop_assert_eq!(books, oracle.get_lpm(&(address, A::BITS)).map(|(key, (index, _))| (key, *index)));
    }
    for route in writer.iter() {
        let key = (route.prefix.address(), route.prefix.length());
        prop_assert_eq!(oracle.remove(&key).map(|(index, _)| index), Some(route.index.as_u32()));
    }
    prop_assert_eq!(oracle.len(), 0, "iter() visits every route");
    Ok(())
}

/// The addresses before and behind a prefix.
fn neighbours<A: Address>(prefix: Prefix<A>) -> [A; 2] {
    let one = 1 << (128 - u32::from(A::BITS));
    [prefix.address().high().wrapping_sub(one), prefix.last_address().high().wrapping_add(one)]
        .map(A::of_high)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 2 } else { 96 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_step_leaves_the_longest_match(steps in steps(prefix4()), random in vec(any::<u32>(), 8)) {
        follow(steps, random)?;
    }

    #[test]
    fn every_step_leaves_the_longest_match_of_ip6(steps in steps(prefix6()), random in vec(any::<u128>(), 8)) {
        follow(steps, random)?;
    }
}
