//! Whose an address is: longest-prefix match from addresses to customers.
//!
//! The same tables as the [FIB](crate::fib)'s, with customers in the place of next hops: wait-free readers, one writer, changes that take effect prefix
//! by prefix, each at once and without a moment in which a longer or shorter match shows through that was not there before or after.

use std::sync::{
    Arc,
    atomic::{AtomicU32, Ordering::Relaxed},
};

use crate::{
    adjacency::AdjacencyIndex,
    fib::{Address, Fib, FibError, FibLimits, FibWriter, Leaf, NextHop, Prefix, Prefix6},
    quiescence::Quiescence,
};

/// Most customers that there may be room for. The segment reserves address space for all that there is room for: 5 KiB each and thread.
pub const MOST: usize = 1 << 21;

/// Prefixes a customer, on average, that there is room for; those included that go while others come.
const PREFIXES: usize = 8;
/// Blocks of the tables a customer: each is 256 addresses next to one another, of which at least one is a customer's.
const BLOCKS: usize = 2;

/// A customer's number, or nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Customer(u32);

impl Customer {
    /// The address is in no prefix.
    pub const NONE: Customer = Customer(0);

    /// The customer whose counters are in this column; [`Customer::NONE`] from [`MOST`] on.
    pub const fn of_column(column: u32) -> Customer {
        if (column as usize) < MOST { Customer(column + 1) } else { Customer::NONE }
    }

    /// The column of the customer's counters.
    #[inline(always)]
    pub const fn column(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }

    /// The column of the customer's counters. Where there is room for `room` customers, those who are none have the column behind that: counting has no
    /// branch, and nobody sees it.
    #[inline(always)]
    pub(crate) fn cell(self, room: usize) -> usize {
        // Which of a packet's ends is a customer can't be foreseen.
        (self.0.wrapping_sub(1) as usize).min(room)
    }

    /// As a word of a packet.
    #[inline(always)]
    pub(crate) const fn word(self) -> u32 {
        self.0
    }

    /// From [`Self::word`].
    #[inline(always)]
    pub(crate) const fn from_word(word: u32) -> Customer {
        Customer(word)
    }
}

/// The readers' side. Clones read the same tables.
#[derive(Clone)]
pub struct Customers {
    ip4: Fib<u32>,
    ip6: Fib<u128>,
    room: usize,
    /// Who has all addresses that nobody else has: a [`Customer`]'s word.
    unknown: Arc<AtomicU32>,
}

impl Customers {
    /// How many customers there is room for: their columns are below this.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Who has all addresses that nobody else has; [`Customer::NONE`]: nobody.
    #[inline]
    pub fn unknown(&self) -> Customer {
        Customer::from_word(self.unknown.load(Relaxed))
    }

    /// Whose IPv4 addresses (host byte order) are, each into the place with its number; stops at the end of the shorter slice.
    #[inline]
    pub fn of_ip4(&self, addresses: &[u32], customers: &mut [Customer]) {
        of(&self.ip4, addresses, customers);
    }

    /// The same of IPv6 addresses.
    #[inline]
    pub fn of_ip6(&self, addresses: &[u128], customers: &mut [Customer]) {
        of(&self.ip6, addresses, customers);
    }

    /// Whose one address is.
    pub fn of(&self, address: std::net::IpAddr) -> Customer {
        owner(match address {
            std::net::IpAddr::V4(address) => self.ip4.lookup(address.to_bits()),
            std::net::IpAddr::V6(address) => self.ip6.lookup(address.to_bits()),
        })
    }
}

#[inline(always)]
fn of<A: Address>(fib: &Fib<A>, addresses: &[A], customers: &mut [Customer]) {
    // Lookups that follow one another closely share their waits for memory.
    const TOGETHER: usize = 32;
    let mut leaves = [Leaf::NONE; TOGETHER];
    for (addresses, customers) in addresses.chunks(TOGETHER).zip(customers.chunks_mut(TOGETHER)) {
        fib.lookup_mixed(addresses, &mut leaves);
        for (leaf, customer) in leaves.iter().zip(customers) {
            *customer = owner(*leaf);
        }
    }
}

#[inline(always)]
fn owner(leaf: Leaf) -> Customer {
    // No route is UNREACHABLE, number 0: nobody.
    Customer(leaf.adjacency().as_u32())
}

/// The control thread's side.
pub struct CustomersWriter {
    ip4: FibWriter<u32>,
    ip6: FibWriter<u128>,
    unknown: Arc<AtomicU32>,
}

impl Customers {
    /// Tables without customers, with room for so many (at most [`MOST`]), and their one writer. `quiescence` is the meeting point of all readers.
    pub fn new(room: usize, quiescence: Quiescence) -> Result<(Customers, CustomersWriter), FibError> {
        let room = room.clamp(1, MOST);
        let limits = FibLimits {
            routes: (room * PREFIXES) as u32,
            extension_blocks: (room * BLOCKS) as u32,
            groups: 1,
        };
        let (ip4, ip4_writer) = Fib::new(limits, quiescence.clone())?;
        let (ip6, ip6_writer) = Fib::new(limits, quiescence)?;
        let unknown = Arc::default();
        let writer = CustomersWriter { ip4: ip4_writer, ip6: ip6_writer, unknown: Arc::clone(&unknown) };
        Ok((Customers { ip4, ip6, room, unknown }, writer))
    }
}

/// What becomes of a prefix.
struct Change {
    prefix: Prefix6,
    before: Customer,
    after: Customer,
}

impl CustomersWriter {
    /// Gives a customer all addresses that nobody else has.
    pub fn set_unknown(&mut self, customer: Customer) {
        self.unknown.store(customer.word(), Relaxed);
    }

    /// Makes these prefixes, and no others, the customers'; those of IPv4 in their mapped form. The last of equal ones counts. On an error everything
    /// is as it was.
    pub fn replace(&mut self, new: impl IntoIterator<Item = (Prefix6, Customer)>) -> Result<(), FibError> {
        let mut new: Vec<(Prefix6, Customer)> = new.into_iter().collect();
        // Stable, so that of equal prefixes the last one is behind.
        new.sort_by_key(|(prefix, _)| *prefix);
        new.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                earlier.1 = later.1;
            }
            same
        });
        // What comes or changes first, then what goes: an address that only changes its customer is never nobody's.
        let mut changes = Vec::new();
        let mut stay = 0;
        for (prefix, after) in &new {
            let before = self.of(*prefix);
            stay += usize::from(before != Customer::NONE);
            if before != *after {
                changes.push(Change { prefix: *prefix, before, after: *after });
            }
        }
        if stay < self.ip4.len() + self.ip6.len() {
            let all = self.ip4.prefixes().map(Prefix6::from).chain(self.ip6.prefixes());
            let gone = all.filter(|prefix| new.binary_search_by_key(prefix, |(new, _)| *new).is_err());
            changes.extend(gone.map(|prefix| Change {
                prefix,
                before: self.of(prefix),
                after: Customer::NONE,
            }));
        }
        drop(new);
        let outcome = self.carry_out(&changes);
        self.reclaim();
        outcome
    }

    fn carry_out(&mut self, changes: &[Change]) -> Result<(), FibError> {
        for (done, change) in changes.iter().enumerate() {
            if let Err(error) = self.set(change.prefix, change.after) {
                for Change { prefix, before, .. } in changes.iter().take(done).rev() {
                    // What was there before has room.
                    let _ = self.set(*prefix, *before);
                }
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whose exactly this prefix is.
    fn of(&self, prefix: Prefix6) -> Customer {
        let hop = match prefix.ip4() {
            Some(prefix) => self.ip4.next_hop(prefix),
            None => self.ip6.next_hop(prefix),
        };
        hop.map_or(Customer::NONE, |hop| Customer(hop.as_u32()))
    }

    fn set(&mut self, prefix: Prefix6, customer: Customer) -> Result<(), FibError> {
        match prefix.ip4() {
            Some(prefix) => set(&mut self.ip4, prefix, customer),
            None => set(&mut self.ip6, prefix, customer),
        }
    }

    /// Makes reusable what no reader can come across any more; how much still waits for readers.
    pub fn reclaim(&mut self) -> usize {
        self.ip4.reclaim() + self.ip6.reclaim()
    }
}

fn set<A: Address>(fib: &mut FibWriter<A>, prefix: Prefix<A>, customer: Customer) -> Result<(), FibError> {
    if customer == Customer::NONE {
        fib.remove(prefix);
    } else {
        fib.insert(prefix, &[hop(customer)])?;
    }
    Ok(())
}

fn hop(customer: Customer) -> NextHop {
    // Customers' numbers are far below the highest adjacency's.
    AdjacencyIndex::new(customer.0).unwrap_or(AdjacencyIndex::UNREACHABLE).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fib::Prefix4;

    fn table(room: usize) -> (Customers, CustomersWriter) {
        Customers::new(room, Quiescence::new(1)).unwrap()
    }

    fn prefix(text: &str) -> Prefix6 {
        text.parse::<Prefix4>().map_or_else(|_| text.parse().unwrap(), Prefix6::from)
    }

    fn set(writer: &mut CustomersWriter, list: &[(&str, u32)]) -> Result<(), FibError> {
        writer.replace(list.iter().map(|(text, column)| (prefix(text), Customer::of_column(*column))))
    }

    fn of(customers: &Customers, address: &str) -> Option<usize> {
        customers.of(address.parse().unwrap()).column()
    }

    #[test]
    fn the_longest_prefix_decides() {
        let (customers, mut writer) = table(9);
        assert_eq!((of(&customers, "10.0.0.1"), of(&customers, "2001:db8::1")), (None, None));
        let list = [
            ("10.0.0.0/8", 0),
            ("10.1.0.0/16", 1),
            ("10.1.1.1/32", 0),
            ("192.0.2.0/25", 2),
            ("2001:db8::/32", 3),
            ("2001:db8:0:100::/56", 0),
            ("2001:db8:0:100::7/128", 4),
        ];
        set(&mut writer, &list).unwrap();
        let expected = [
            ("10.2.0.1", Some(0)),
            ("10.1.0.1", Some(1)),
            ("10.1.1.1", Some(0)),
            ("10.1.1.2", Some(1)),
            ("192.0.2.127", Some(2)),
            ("192.0.2.128", None),
            ("0.0.0.0", None),
            ("2001:db8::1", Some(3)),
            ("2001:db8:0:1ff::1", Some(0)),
            ("2001:db8:0:200::1", Some(3)),
            ("2001:db8:0:100::7", Some(4)),
            ("2001:db8:0:100::8", Some(0)),
            ("2001:db9::1", None),
            // No host has such an address on the wire; whoever sends from one is not the IPv4 customer.
            ("::ffff:10.2.0.1", None),
        ];
        for (address, column) in expected {
            assert_eq!(of(&customers, address), column, "{address}");
        }
        let four: Vec<u32> = (0..100).map(|at| 0x0a01_0100 + at).collect();
        let mut found = vec![Customer::NONE; 100];
        customers.of_ip4(&four, &mut found);
        assert!((0..100).all(|at| found[at].column() == Some(usize::from(at != 1))));
        let six: Vec<u128> = (0..100).map(|at| 0x2001_0db8_0000_0100 << 64 | at).collect();
        customers.of_ip6(&six, &mut found);
        assert!((0..100).all(|at| found[at].column() == Some(if at == 7 { 4 } else { 0 })));
    }

    #[test]
    fn a_new_list_takes_the_place_of_the_old_one() {
        let (customers, mut writer) = table(9);
        set(&mut writer, &[("0.0.0.0/0", 7), ("10.0.0.0/24", 1), ("10.0.1.0/30", 2), ("2001:db8::/56", 3)])
            .unwrap();
        let found = |addresses: [&str; 5]| addresses.map(|it| of(&customers, it));
        let addresses = ["8.8.8.8", "10.0.0.1", "10.0.1.3", "10.0.1.4", "2001:db8::1"];
        assert_eq!(found(addresses), [Some(7), Some(1), Some(2), Some(7), Some(3)]);
        set(&mut writer, &[("10.0.0.0/24", 9), ("10.0.0.0/24", 3), ("10.0.1.0/24", 2), ("::/0", 4)]).unwrap();
        assert_eq!(found(addresses), [None, Some(3), Some(2), Some(2), Some(4)], "the last of equal ones");
        set(&mut writer, &[]).unwrap();
        assert_eq!(found(addresses), [None; 5]);
    }

    #[test]
    fn a_list_that_does_not_fit_changes_nothing() {
        let (customers, mut writer) = table(1);
        let list = [("10.0.0.0/24", 0), ("10.0.1.0/25", 0), ("2001:db8::/56", 0)];
        set(&mut writer, &list).unwrap();
        let many: Vec<String> = (0..5).map(|at| format!("10.9.{at}.0/25")).collect();
        let mut refused: Vec<(&str, u32)> = many.iter().map(|text| (text.as_str(), 0)).collect();
        refused.extend([("10.0.0.0/24", 5), ("2001:db9::/48", 0)]);
        assert!(matches!(set(&mut writer, &refused), Err(FibError::Full { .. })));
        let found =
            ["10.0.0.1", "10.0.1.1", "10.9.0.1", "2001:db8::1", "2001:db9::1"].map(|it| of(&customers, it));
        assert_eq!(found, [Some(0), Some(0), None, Some(0), None]);
        set(&mut writer, &[]).unwrap();
        assert_eq!((writer.ip4.len(), writer.ip6.len()), (0, 0));
    }

    #[test]
    fn columns_and_customers_are_the_same_thing() {
        assert_eq!((Customer::NONE.column(), Customer::NONE.cell(9)), (None, 9));
        assert_eq!((Customer::of_column(5).cell(9), Customer::of_column(0).column()), (5, Some(0)));
        assert_eq!(Customer::of_column(MOST as u32), Customer::NONE);
        let last = Customer::of_column(MOST as u32 - 1);
        assert_eq!(Customer::from_word(last.word()), last);
        assert!(AdjacencyIndex::new(last.0).is_some());
    }
}
