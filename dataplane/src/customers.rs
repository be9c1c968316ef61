//! The customers: which columns of the segment's vectors are whose, through all changes of the file that names them.
//!
//! ```text
//!   prefixes.txt ──prefixes──▶ [Named] ──Roster──▶ table address → customer    (workers look each packet up)
//!                                          ├─────▶ /customers/names, /customers/prefixes, columns of the vectors
//!                                          └─────▶ columns whose customers are gone    (workers let them begin anew)
//! ```
//! A name keeps its column, and so its counts, as long as it stands in the file. The column of a name that is gone is given to another one only
//! after every worker has passed a quiescent point, so that no packet of the old customer counts as the new one's.

use std::collections::{HashMap, VecDeque};

use weir_graph::{
    counters::Counters,
    customers::{Customer, Customers, CustomersWriter, MAX_PREFIXES},
    fib::{FibError, Prefix4},
    latency,
    quiescence::{Quiescence, Ticket},
    round_trips::{COMBINED_BY_CUSTOMER, LATENCY_BY_CUSTOMER, SIMPLE_BY_CUSTOMER},
};
use weir_stats::{Names, printable};

use crate::prefixes::{self, Named};

/// Why customers could not be changed; then they are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The segment is full.
    #[error(transparent)]
    Stats(#[from] weir_stats::Error),
    /// The table is full.
    #[error("the customers' table: {0}")]
    Table(#[from] FibError),
    /// More names than columns, those that still wait for the workers included.
    #[error("{0} customers are more than there is room for: name at most {MAX_PREFIXES}")]
    TooMany(usize),
}

/// The control thread's books of customers.
pub struct Roster {
    table: CustomersWriter,
    quiescence: Quiescence,
    books: Books,
    /// Columns whose customers went with the last change.
    gone: Vec<u32>,
    /// Columns that a worker may still count under, though their customers are gone.
    waiting: VecDeque<(Ticket, Vec<u32>)>,
    names: Names,
    prefixes: Names,
}

/// Who has which column.
#[derive(Clone, Default)]
struct Books {
    columns: HashMap<String, u32>,
    entries: Vec<(Prefix4, Customer)>,
    /// By column: the customer's prefixes, separated by spaces.
    prefixes: HashMap<u32, String>,
    /// Columns that nobody has any more.
    free: Vec<u32>,
    /// Columns that somebody has or had.
    used: u32,
}

impl Roster {
    /// A roster without customers, and what workers look addresses up in.
    pub fn new(counters: &mut Counters, quiescence: Quiescence) -> Result<(Customers, Roster), RosterError> {
        let (readers, table) = Customers::new(quiescence.clone())?;
        let (names, prefixes) = counters.segment().register(|batch| {
            let names = batch.names("/customers/names", MAX_PREFIXES)?;
            Ok((names, batch.names("/customers/prefixes", MAX_PREFIXES)?))
        })?;
        let (books, waiting) = (Books::default(), VecDeque::new());
        Ok((readers, Roster { table, quiescence, books, gone: Vec::new(), waiting, names, prefixes }))
    }

    /// Makes these the customers, and no others. Returns the columns of those who are gone, which the workers are to forget. On an
    /// error nothing has changed. The workers' vectors must be registered.
    pub fn replace(&mut self, list: &[Named], counters: &mut Counters) -> Result<Vec<u32>, RosterError> {
        // Only now, when the workers have surely been told to forget these: a worker passes its quiescent point and then hears.
        if !self.gone.is_empty() {
            self.waiting.push_back((self.quiescence.ticket(), std::mem::take(&mut self.gone)));
        }
        while let Some((_, columns)) =
            self.waiting.pop_front_if(|(ticket, _)| self.quiescence.passed(*ticket))
        {
            self.books.free.extend(columns);
        }
        let new = self.books.with(list)?;
        self.table.replace(new.entries.iter().copied())?;
        if let Err(error) = self.publish(&new, counters) {
            // There was room for these before.
            let _ = self.table.replace(self.books.entries.iter().copied());
            return Err(error.into());
        }
        let before = std::mem::replace(&mut self.books, new).columns;
        let is_gone = |(name, column)| (!self.books.columns.contains_key(&name)).then_some(column);
        let gone: Vec<u32> = before.into_iter().filter_map(is_gone).collect();
        self.gone.clone_from(&gone);
        Ok(gone)
    }

    /// Shows readers who has which column.
    fn publish(&mut self, new: &Books, counters: &mut Counters) -> Result<(), weir_stats::Error> {
        let columns = new.used as usize;
        for vector in COMBINED_BY_CUSTOMER {
            counters.grow_combined(vector, columns)?;
        }
        for vector in SIMPLE_BY_CUSTOMER {
            counters.grow_simple(vector, columns)?;
        }
        for vector in LATENCY_BY_CUSTOMER {
            counters.grow_simple(vector, columns * latency::WIDTH)?;
        }
        let Roster { books: old, names, prefixes, .. } = self;
        counters.segment().register(|batch| {
            for (_, column) in old.columns.iter().filter(|(name, _)| !new.columns.contains_key(*name)) {
                batch.set_name(names, *column as usize, "")?;
                batch.set_name(prefixes, *column as usize, "")?;
            }
            for (name, column) in &new.columns {
                if !old.columns.contains_key(name) {
                    batch.set_name(names, *column as usize, &printable(name))?;
                }
                let text = new.prefixes.get(column).map_or("", String::as_str);
                if old.prefixes.get(column).map(String::as_str) != Some(text) {
                    batch.set_name(prefixes, *column as usize, text)?;
                }
            }
            Ok(())
        })
    }

    /// Makes reusable what no worker can come across any more; how much still waits for the workers.
    pub fn reclaim(&mut self) -> usize {
        self.table.reclaim()
    }
}

impl Books {
    /// The books for another list: names that stay keep their columns.
    fn with(&self, list: &[Named]) -> Result<Books, RosterError> {
        let mut new = Books { free: self.free.clone(), used: self.used, ..Books::default() };
        for Named { prefix, name } in list {
            let column = match new.columns.get(name).or_else(|| self.columns.get(name)) {
                Some(column) => *column,
                None => new.allocate()?,
            };
            new.columns.insert(name.clone(), column);
            let text = new.prefixes.entry(column).or_default();
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(&prefixes::text(*prefix));
            if let Some(prefix) = prefixes::ip4(*prefix) {
                new.entries.push((prefix, Customer::of_column(column)));
            }
        }
        Ok(new)
    }

    fn allocate(&mut self) -> Result<u32, RosterError> {
        if let Some(column) = self.free.pop() {
            return Ok(column);
        }
        if self.used as usize >= MAX_PREFIXES {
            return Err(RosterError::TooMany(self.used as usize + 1));
        }
        self.used += 1;
        Ok(self.used - 1)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_stats::{Options, Reader, Segment, Value};

    use super::*;

    struct Trial {
        counters: Counters,
        quiescence: Quiescence,
        customers: Customers,
        roster: Roster,
    }

    impl Trial {
        fn new() -> Trial {
            let segment = Segment::create(Options::default()).unwrap();
            let mut counters = Counters::new(segment);
            let quiescence = Quiescence::new(1);
            let (customers, roster) = Roster::new(&mut counters, quiescence.clone()).unwrap();
            Trial { counters, quiescence, customers, roster }
        }

        fn replace(&mut self, file: &str) -> Vec<u32> {
            let list = prefixes::read(Path::new("prefixes.txt"), file).unwrap();
            self.roster.replace(&list, &mut self.counters).unwrap()
        }

        fn names(&mut self, path: &str) -> Vec<String> {
            let reader = Reader::of(self.counters.segment()).unwrap();
            let Value::Names(names) = reader.read(&reader.find(path).unwrap().unwrap()).unwrap() else {
                panic!("{path}")
            };
            names
        }

        fn of(&self, address: &str) -> Option<usize> {
            self.customers.of(address.parse::<std::net::Ipv4Addr>().unwrap().to_bits()).column()
        }
    }

    #[test]
    fn who_stays_keeps_the_column_whatever_comes_and_goes() {
        let mut it = Trial::new();
        assert_eq!(it.replace("10.0.0.0/24 alice\n10.0.1.0/24 bob\n10.0.2.0/24 alice\n"), Vec::<u32>::new());
        assert_eq!(it.names("/customers/names"), ["alice", "bob"]);
        assert_eq!(it.names("/customers/prefixes"), ["10.0.0.0/24 10.0.2.0/24", "10.0.1.0/24"]);
        assert_eq!((it.of("10.0.2.1"), it.of("10.0.1.1"), it.of("10.0.3.1")), (Some(0), Some(1), None));
        assert_eq!(it.replace("10.0.3.0/24 carol\n10.0.9.0/24 bob\n"), [0]);
        assert_eq!(it.names("/customers/names"), ["", "bob", "carol"]);
        assert_eq!(it.names("/customers/prefixes"), ["", "10.0.9.0/24", "10.0.3.0/24"]);
        assert_eq!((it.of("10.0.2.1"), it.of("10.0.9.1"), it.of("10.0.3.1")), (None, Some(1), Some(2)));
    }

    #[test]
    fn a_column_is_given_away_only_when_no_worker_can_count_under_it() {
        let mut it = Trial::new();
        let reader = it.quiescence.reader(0).unwrap();
        reader.online();
        it.replace("10.0.0.0/24 alice\n");
        assert_eq!(it.replace("10.0.1.0/24 bob\n"), [0]);
        assert_eq!(it.of("10.0.1.1"), Some(1), "a worker may still have packets of alice's");
        it.replace("10.0.1.0/24 bob\n10.0.2.0/24 carol\n");
        assert_eq!(it.of("10.0.2.1"), Some(2));
        reader.quiescent();
        it.replace("10.0.1.0/24 bob\n10.0.2.0/24 carol\n10.0.3.0/24 dave\n");
        assert_eq!(it.of("10.0.3.1"), Some(0));
        assert_eq!(it.names("/customers/names"), ["dave", "bob", "carol"]);
    }

    #[test]
    fn a_hundred_thousand_customers_change_in_part() {
        let mut it = Trial::new();
        let list = |turn: u32| -> String {
            (0..100_000u32)
                .map(|at| {
                    let address = std::net::Ipv4Addr::from(0x0a00_0000 + at * 16);
                    // One in a hundred is another customer after the change.
                    let name = if at % 100 == 7 { at + turn * 1_000_000 } else { at };
                    format!("{address}/28 customer-{name}\n")
                })
                .collect()
        };
        let begin = std::time::Instant::now();
        it.replace(&list(0));
        let first = begin.elapsed();
        assert_eq!(it.replace(&list(1)).len(), 1000);
        println!("100,000 customers in {first:?}, 1,000 of them changed in {:?}", begin.elapsed() - first);
        assert_eq!(it.of("10.0.0.1"), Some(0));
        assert_eq!(it.of("10.24.105.255"), Some(99_999));
        let names = it.names("/customers/names");
        assert_eq!(names.len(), 101_000);
        assert_eq!((names[7].as_str(), names[8].as_str()), ("", "customer-8"));
        assert!(names[100_000..].iter().all(|name| name.starts_with("customer-1")));
    }

    #[test]
    fn names_of_all_letters_have_columns_and_ip6_counts_nothing_yet() {
        let mut it = Trial::new();
        it.replace("10.0.0.0/24 Bj\u{f6}rk\n2001:db8::/48 six\n");
        assert_eq!(it.names("/customers/names"), ["Bj_rk", "six"]);
        assert_eq!(it.names("/customers/prefixes")[1], "2001:db8::/48");
        assert_eq!(it.of("10.0.0.1"), Some(0));
    }
}
