//! Whose an address is: longest-prefix match from addresses to customers.
//!
//! The same table as the [FIB](crate::fib), with customers in the place of next hops: wait-free readers, one writer, changes that take effect prefix
//! by prefix, each at once and without a moment in which a longer or shorter match shows through that was not there before or after.

use std::collections::BTreeMap;

use crate::{
    adjacency::AdjacencyIndex,
    fib::{Fib, FibError, FibLimits, FibWriter, Leaf, NextHop, Prefix4},
    quiescence::Quiescence,
};

/// Most prefixes, and so most customers. Each customer that packets are counted for costs some pages of the segment; address space is taken for all.
pub const MAX_PREFIXES: usize = 1 << 17;

/// Where the packets of those who are no customers are counted, so that counting has no branch: behind all columns, and never shown.
pub(crate) const NOBODY: usize = MAX_PREFIXES;
/// Columns that vectors by customer have room for.
pub(crate) const CELLS: usize = NOBODY + 1;

/// A customer's number, or nobody's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Customer(u32);

impl Customer {
    /// The address is in no prefix.
    pub const NONE: Customer = Customer(0);

    /// The customer whose counters are in this column; [`Customer::NONE`] from [`MAX_PREFIXES`] on.
    pub const fn of_column(column: u32) -> Customer {
        if (column as usize) < MAX_PREFIXES { Customer(column + 1) } else { Customer::NONE }
    }

    /// The column of the customer's counters.
    #[inline(always)]
    pub const fn column(self) -> Option<usize> {
        (self.0 as usize).checked_sub(1)
    }

    /// The column of the customer's counters; of nobody's, [`NOBODY`].
    #[inline(always)]
    pub(crate) const fn cell(self) -> usize {
        // No branch: which of a packet's ends is a customer can't be foreseen.
        let column = self.0.wrapping_sub(1) as usize;
        if column < NOBODY { column } else { NOBODY }
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

/// The readers' side. Clones read the same table.
#[derive(Clone)]
pub struct Customers(Fib);

impl Customers {
    /// Whose IPv4 addresses (host byte order) are, each into the place with its number; stops at the end of the shorter slice.
    #[inline]
    pub fn of_many(&self, addresses: &[u32], customers: &mut [Customer]) {
        // Lookups that follow one another closely share their waits for memory.
        const TOGETHER: usize = 32;
        let mut leaves = [Leaf::NONE; TOGETHER];
        for (addresses, customers) in addresses.chunks(TOGETHER).zip(customers.chunks_mut(TOGETHER)) {
            self.0.lookup_mixed(addresses, &mut leaves);
            for (leaf, customer) in leaves.iter().zip(customers) {
                *customer = owner(*leaf);
            }
        }
    }

    /// Whose an IPv4 address (host byte order) is.
    #[inline(always)]
    pub fn of(&self, address: u32) -> Customer {
        owner(self.0.lookup(address))
    }
}

#[inline(always)]
fn owner(leaf: Leaf) -> Customer {
    // No route is UNREACHABLE, number 0: nobody.
    Customer(leaf.adjacency().as_u32())
}

/// The control thread's side.
pub struct CustomersWriter {
    fib: FibWriter,
    prefixes: BTreeMap<Prefix4, Customer>,
}

impl Customers {
    /// A table without customers, and its one writer. `quiescence` is the meeting point of all readers.
    pub fn new(quiescence: Quiescence) -> Result<(Customers, CustomersWriter), FibError> {
        // Twice: what goes may still be read while what comes is there already.
        let most = 2 * MAX_PREFIXES as u32;
        let (fib, writer) =
            Fib::new(FibLimits { routes: most, extension_blocks: most, groups: 1 }, quiescence)?;
        Ok((Customers(fib), CustomersWriter { fib: writer, prefixes: BTreeMap::new() }))
    }
}

impl CustomersWriter {
    /// Makes these prefixes, and no others, the customers'. The last of equal ones counts. On an error everything is as it was.
    pub fn replace(&mut self, new: impl IntoIterator<Item = (Prefix4, Customer)>) -> Result<(), FibError> {
        let new: BTreeMap<Prefix4, Customer> = new.into_iter().collect();
        let outcome = self.change(&new);
        match outcome {
            Ok(()) => self.prefixes = new,
            Err(_) => {
                // Every prefix that is put back was there before, so there is room for it.
                let before = std::mem::take(&mut self.prefixes);
                new.keys().filter(|prefix| !before.contains_key(prefix)).for_each(|prefix| {
                    self.fib.remove(*prefix);
                });
                for (prefix, customer) in &before {
                    let _ = self.fib.insert(*prefix, &[hop(*customer)]);
                }
                self.prefixes = before;
            }
        }
        self.fib.reclaim();
        outcome
    }

    /// What comes or changes first, then what goes: an address that only changes its customer is never nobody's.
    fn change(&mut self, new: &BTreeMap<Prefix4, Customer>) -> Result<(), FibError> {
        for (prefix, customer) in new {
            if self.prefixes.get(prefix) != Some(customer) {
                self.fib.insert(*prefix, &[hop(*customer)])?;
            }
        }
        for prefix in self.prefixes.keys().filter(|prefix| !new.contains_key(prefix)) {
            self.fib.remove(*prefix);
        }
        Ok(())
    }

    /// Makes reusable what no reader can come across any more; how much still waits for readers.
    pub fn reclaim(&mut self) -> usize {
        self.fib.reclaim()
    }
}

fn hop(customer: Customer) -> NextHop {
    // Customers' numbers are far below the highest adjacency's.
    AdjacencyIndex::new(customer.0).unwrap_or(AdjacencyIndex::UNREACHABLE).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> (Customers, CustomersWriter) {
        Customers::new(Quiescence::new(1)).unwrap()
    }

    fn prefix(text: &str) -> Prefix4 {
        text.parse().unwrap()
    }

    fn of(customers: &Customers, address: &str) -> Option<usize> {
        customers.of(address.parse::<std::net::Ipv4Addr>().unwrap().to_bits()).column()
    }

    #[test]
    fn the_longest_prefix_decides() {
        let (customers, mut writer) = table();
        assert_eq!(of(&customers, "10.0.0.1"), None);
        let list = [("10.0.0.0/8", 0), ("10.1.0.0/16", 1), ("10.1.1.1/32", 0), ("192.0.2.0/25", 2)];
        writer.replace(list.map(|(text, column)| (prefix(text), Customer::of_column(column)))).unwrap();
        let expected = [
            ("10.2.0.1", Some(0)),
            ("10.1.0.1", Some(1)),
            ("10.1.1.1", Some(0)),
            ("10.1.1.2", Some(1)),
            ("192.0.2.127", Some(2)),
            ("192.0.2.128", None),
            ("0.0.0.0", None),
        ];
        for (address, column) in expected {
            assert_eq!(of(&customers, address), column, "{address}");
        }
    }

    #[test]
    fn a_new_list_takes_the_place_of_the_old_one() {
        let (customers, mut writer) = table();
        let set = |writer: &mut CustomersWriter, list: &[(&str, u32)]| {
            writer
                .replace(list.iter().map(|(text, column)| (prefix(text), Customer::of_column(*column))))
                .unwrap();
        };
        set(&mut writer, &[("0.0.0.0/0", 7), ("10.0.0.0/24", 1), ("10.0.1.0/30", 2)]);
        assert_eq!((of(&customers, "8.8.8.8"), of(&customers, "10.0.1.3")), (Some(7), Some(2)));
        set(&mut writer, &[("10.0.0.0/24", 3), ("10.0.1.0/24", 2)]);
        let found: Vec<_> =
            ["8.8.8.8", "10.0.0.1", "10.0.1.3", "10.0.1.4"].map(|it| of(&customers, it)).into();
        assert_eq!(found, [None, Some(3), Some(2), Some(2)]);
        set(&mut writer, &[]);
        assert_eq!(of(&customers, "10.0.0.1"), None);
    }

    #[test]
    fn columns_and_customers_are_the_same_thing() {
        assert_eq!((Customer::NONE.column(), Customer::NONE.cell()), (None, NOBODY));
        assert_eq!(Customer::of_column(5).cell(), 5);
        assert_eq!(Customer::of_column(0).column(), Some(0));
        assert_eq!(Customer::of_column(MAX_PREFIXES as u32), Customer::NONE);
        let last = Customer::of_column(MAX_PREFIXES as u32 - 1);
        assert_eq!(Customer::from_word(last.word()), last);
        assert!(AdjacencyIndex::new(last.0).is_some());
    }
}
