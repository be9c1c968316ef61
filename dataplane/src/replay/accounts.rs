//! What is counted of a capture: in all, and for each customer and side, or for each network if there are no customers.

use std::rc::Rc;

use hdrhistogram::Histogram;
use prefix_trie::PrefixMap;
use rustc_hash::FxHashMap;

use crate::prefixes::{self, Named, Prefix};

/// Networks that are counted apart if no prefixes are named: what is mostly one site. IPv4 lengths count the 96 bits of the mapping.
const SITE4: u8 = 96 + 24;
const SITE6: u8 = 48;
/// IPv4 addresses as 128 bits have these above them.
const MAPPED: u128 = 0xffff << 32;
/// Addresses whose owner is remembered: as many as a busy link shows within milliseconds, in 2 MiB.
const REMEMBERED: usize = 1 << 16;
/// Digits that quantiles are good to: within 1 %, in some ten kilobytes an owner that has samples.
const DIGITS: u8 = 2;

/// Which way, seen from a customer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Beyond the customer's side: packets to the customer, and the round trips that they begin.
    Lan,
    /// Beyond the other side: packets from the customer, and the round trips that they begin.
    Wan,
}

/// What is counted of the packets that go one way.
#[derive(Clone, Debug, Default)]
pub struct Account {
    /// Packets.
    pub packets: u64,
    /// Their frames' bytes.
    pub bytes: u64,
    /// TCP segments among them that had been sent before.
    pub retransmissions: u64,
    /// TCP segments among them that others had overtaken.
    pub reordered: u64,
    /// Round trips that they began, in nanoseconds.
    rtts: Option<Box<Rtts>>,
}

#[derive(Clone, Debug)]
struct Rtts {
    least: u64,
    largest: u64,
    spread: Histogram<u32>,
}

impl Account {
    /// How many round trips there are.
    pub fn samples(&self) -> u64 {
        self.rtts.as_ref().map_or(0, |rtts| rtts.spread.len())
    }

    /// The shortest and the longest round trip, in nanoseconds.
    pub fn extremes(&self) -> Option<(u64, u64)> {
        self.rtts.as_ref().map(|rtts| (rtts.least, rtts.largest))
    }

    /// The round trip that a part `q` (0 to 1) of them does not exceed, in nanoseconds.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        self.rtts.as_ref().map(|rtts| rtts.spread.value_at_quantile(q).clamp(rtts.least, rtts.largest))
    }

    fn sample(&mut self, rtt: u64) {
        if self.rtts.is_none() {
            let Ok(spread) = Histogram::new(DIGITS) else { return };
            self.rtts = Some(Box::new(Rtts { least: rtt, largest: rtt, spread }));
        }
        let Some(rtts) = &mut self.rtts else { return };
        rtts.least = rtts.least.min(rtt);
        rtts.largest = rtts.largest.max(rtt);
        // Grows by itself, to hold any 64 bits at most.
        let _ = rtts.spread.record(rtt);
    }
}

/// All accounts.
pub struct Accounts {
    owners: Owners,
    /// Every packet and sample once.
    pub all: Account,
    /// By owner: beyond its side, and beyond the other side.
    sides: Vec<[Account; 2]>,
}

impl Accounts {
    /// Accounts of customers, whose names may repeat; of networks, if `customers` is `None`.
    pub fn new(customers: Option<Vec<Named>>) -> Accounts {
        let owners = Owners::new(customers);
        let sides = vec![<[Account; 2]>::default(); owners.names.len()];
        Accounts { owners, all: Account::default(), sides }
    }

    /// A packet of `bytes` bytes passes.
    #[inline]
    pub fn pass(&mut self, source: u128, destination: u128, bytes: u32) {
        self.both(source, destination, |account| {
            account.packets += 1;
            account.bytes += u64::from(bytes);
        });
    }

    /// The packet that has just [passed](Accounts::pass) had been sent before.
    pub fn retransmission(&mut self, source: u128, destination: u128) {
        self.both(source, destination, |account| account.retransmissions += 1);
    }

    /// The packet that has just [passed](Accounts::pass) was overtaken by others.
    pub fn reordered(&mut self, source: u128, destination: u128) {
        self.both(source, destination, |account| account.reordered += 1);
    }

    /// A reply from `source` to `destination` ends a round trip, which went the other way.
    pub fn sample(&mut self, source: u128, destination: u128, rtt: u64) {
        self.both(destination, source, |account| account.sample(rtt));
    }

    /// The customers that a reply from `source` to `destination` is a sample of: beyond whose side, and beyond whose other side. `None` if
    /// it is networks that are counted.
    pub fn customers(&mut self, source: u128, destination: u128) -> Option<[Option<Rc<str>>; 2]> {
        let owners = &mut self.owners;
        owners.named.then(|| {
            let mut customer = |address| {
                let owner = owners.of(address)?;
                Some(Rc::clone(&owners.names[owner as usize]))
            };
            [customer(source), customer(destination)]
        })
    }

    #[inline]
    fn both(&mut self, source: u128, destination: u128, count: impl Fn(&mut Account)) {
        count(&mut self.all);
        if let Some(owner) = self.owners.of(destination) {
            count(self.side(owner, Side::Lan));
        }
        // A network is counted as where packets go; counted as where they come from too, each would be there twice.
        if self.owners.named
            && let Some(owner) = self.owners.of(source)
        {
            count(self.side(owner, Side::Wan));
        }
    }

    #[inline]
    fn side(&mut self, owner: u32, side: Side) -> &mut Account {
        let owner = owner as usize;
        if self.sides.len() <= owner {
            self.sides.resize_with(owner + 1, Default::default);
        }
        &mut self.sides[owner][side as usize]
    }

    /// The accounts that have counted something, by names: customers in the order of their file, both sides of each, and networks with the
    /// most packets first.
    pub fn rows(&self) -> Vec<(String, Option<Side>, &Account)> {
        let mut rows = Vec::new();
        for (owner, [lan, wan]) in self.sides.iter().enumerate() {
            if self.owners.named && (lan.packets > 0 || wan.packets > 0) {
                rows.push((self.owners.name(owner), Some(Side::Lan), lan));
                rows.push((self.owners.name(owner), Some(Side::Wan), wan));
            } else if lan.packets > 0 {
                rows.push((self.owners.name(owner), None, lan));
            }
        }
        if !self.owners.named {
            rows.sort_by(|(one, _, a), (other, _, b)| b.packets.cmp(&a.packets).then_with(|| one.cmp(other)));
        }
        rows
    }
}

/// Whose an address is.
struct Owners {
    /// Customers, not networks.
    named: bool,
    prefixes: PrefixMap<Prefix, u32>,
    networks: FxHashMap<Prefix, u32>,
    names: Vec<Rc<str>>,
    /// Networks by number.
    numbered: Vec<Prefix>,
    /// Addresses and their owners, each in the place that its hash says.
    remembered: Box<[(u128, Option<u32>)]>,
}

impl Owners {
    fn new(customers: Option<Vec<Named>>) -> Owners {
        let mut it = Owners {
            named: customers.is_some(),
            prefixes: PrefixMap::new(),
            networks: FxHashMap::default(),
            names: Vec::new(),
            numbered: Vec::new(),
            remembered: Vec::new().into(),
        };
        let mut numbers = FxHashMap::default();
        for Named { prefix, name } in customers.into_iter().flatten() {
            let number = *numbers.entry(name).or_insert_with_key(|name: &String| {
                it.names.push(name.as_str().into());
                it.names.len() as u32 - 1
            });
            it.prefixes.insert(prefix, number);
        }
        // What is in no place yet is an address that is in none: `::` is nobody's but for a prefix of length 0.
        let nobody = it.find(0);
        it.remembered = vec![(0, nobody); REMEMBERED].into();
        it
    }

    #[inline]
    fn of(&mut self, address: u128) -> Option<u32> {
        // A multiplicative hash: 2⁶⁴ divided by the golden ratio (Knuth 6.4).
        let folded = (address as u64) ^ ((address >> 64) as u64);
        let place =
            (folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - REMEMBERED.trailing_zeros())) as usize;
        let (remembered, owner) = self.remembered[place];
        if remembered == address {
            return owner;
        }
        let owner = self.find(address);
        self.remembered[place] = (address, owner);
        owner
    }

    #[cold]
    fn find(&mut self, address: u128) -> Option<u32> {
        if self.named {
            return self.prefixes.get_lpm(&(address, 128)).map(|(_, number)| *number);
        }
        let length = if address & !u128::from(u32::MAX) == MAPPED { SITE4 } else { SITE6 };
        let network = (prefixes::masked(address, length), length);
        let numbered = &mut self.numbered;
        Some(*self.networks.entry(network).or_insert_with(|| {
            numbered.push(network);
            numbered.len() as u32 - 1
        }))
    }

    fn name(&self, owner: usize) -> String {
        if self.named { self.names[owner].to_string() } else { prefixes::text(self.numbered[owner]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u128 {
        prefixes::bits(text.parse().unwrap())
    }

    fn accounts(file: &str) -> Accounts {
        Accounts::new(Some(prefixes::read(std::path::Path::new("prefixes.txt"), file).unwrap()))
    }

    #[test]
    fn the_longest_prefix_owns_an_address() {
        let mut it = accounts("10.0.0.0/8 a\n10.1.0.0/16 b\n10.1.1.1 a\n2001:db8::/32 c\n").owners;
        let mut of = |text| it.of(at(text)).map(|owner| it.name(owner as usize));
        for _ in 0..2 {
            assert_eq!(of("10.2.0.1").as_deref(), Some("a"));
            assert_eq!(of("10.1.0.1").as_deref(), Some("b"));
            assert_eq!(of("10.1.1.1").as_deref(), Some("a"));
            assert_eq!(of("2001:db8:1::1").as_deref(), Some("c"));
            assert_eq!(of("192.0.2.1"), None);
            assert_eq!(of("::"), None);
        }
        let mut all = accounts("::/0 all\n").owners;
        assert_eq!(all.of(0), Some(0));
    }

    #[test]
    fn a_sample_belongs_to_the_side_that_it_is_beyond() {
        let mut it = accounts("10.0.0.0/24 alice\n10.0.1.0/24 bob\n");
        let (alice, bob, server) = (at("10.0.0.1"), at("10.0.1.1"), at("192.0.2.1"));
        it.pass(server, alice, 1500);
        it.pass(alice, server, 60);
        it.retransmission(server, alice);
        it.reordered(alice, server);
        // A reply of alice's ends a round trip beyond her side, one of the server's a round trip beyond the other.
        it.sample(alice, server, 1_000);
        it.sample(server, alice, 20_000);
        it.sample(alice, bob, 3_000);
        let names = |pair: [Option<&str>; 2]| Some(pair.map(|name| name.map(Rc::from)));
        assert_eq!(it.customers(alice, bob), names([Some("alice"), Some("bob")]));
        assert_eq!(it.customers(server, bob), names([None, Some("bob")]));
        let counted: Vec<_> = it
            .rows()
            .into_iter()
            .map(|(name, side, account)| {
                let Account { packets, bytes, retransmissions, reordered, .. } = *account;
                (format!("{name} {side:?}"), [packets, bytes, retransmissions, reordered, account.samples()])
            })
            .collect();
        let expected = [("alice Some(Lan)", [1, 1500, 1, 0, 2]), ("alice Some(Wan)", [1, 60, 0, 1, 1])];
        assert_eq!(counted, expected.map(|(name, counts)| (name.to_owned(), counts)));
        assert_eq!(it.rows()[0].2.extremes(), Some((1_000, 3_000)));
        assert_eq!((it.all.packets, it.all.samples(), it.all.extremes()), (2, 3, Some((1_000, 20_000))));
    }

    #[test]
    fn networks_are_counted_as_where_packets_go() {
        let mut it = Accounts::new(None);
        for _ in 0..3 {
            it.pass(at("10.0.0.1"), at("192.0.2.1"), 100);
        }
        it.pass(at("192.0.2.1"), at("10.0.0.1"), 40);
        it.pass(at("192.0.2.1"), at("10.0.0.99"), 40);
        it.pass(at("2001:db8:1:2::1"), at("2001:db8:1:3::1"), 40);
        it.sample(at("192.0.2.1"), at("10.0.0.1"), 5);
        assert_eq!(it.customers(at("192.0.2.1"), at("10.0.0.1")), None);
        let rows: Vec<_> =
            it.rows().into_iter().map(|(name, _, it)| (name, it.packets, it.samples())).collect();
        let expected = [("192.0.2.0/24", 3, 1), ("10.0.0.0/24", 2, 0), ("2001:db8:1::/48", 1, 0)];
        assert_eq!(rows, expected.map(|(name, packets, samples)| (name.to_owned(), packets, samples)));
    }

    #[test]
    fn quantiles_are_within_a_hundredth() {
        let mut account = Account::default();
        assert_eq!((account.quantile(0.5), account.extremes(), account.samples()), (None, None, 0));
        (1..=1_000).for_each(|number| account.sample(number * 1_000_003));
        for (q, exact) in [(0.5, 500_001_500_f64), (0.9, 900_002_700.0), (0.99, 990_002_970.0)] {
            let off = (account.quantile(q).unwrap() as f64 - exact).abs() / exact;
            assert!(off < 0.01, "{q} is off by {off}");
        }
        assert_eq!(account.quantile(0.0), Some(1_000_003));
        assert_eq!(account.quantile(1.0), Some(1_000_003_000));
        // A single sample is what it is.
        let mut one = Account::default();
        one.sample(123_456_789);
        assert_eq!(one.quantile(0.5), Some(123_456_789));
        one.sample(0);
        one.sample(u64::MAX);
        assert_eq!((one.samples(), one.extremes()), (3, Some((0, u64::MAX))));
    }
}
