//! The customers: which columns of the segment's vectors are whose, through all changes of the files that name them.
//!
//! ```text
//!   prefixes.txt ─────┐
//!                     ├──▶ [Listed] ──Roster──▶ tables address → customer    (workers look each packet up)
//!   the shaper's plan ┘                   ├───▶ /customers/names, …/titles, …/prefixes, columns of the vectors
//!                                         └───▶ columns whose customers are gone    (workers let them begin anew)
//! ```
//! A name keeps its column, and so its counts, as long as it is listed. The column of a name that is gone is given to another one only
//! after every worker has passed a quiescent point, so that no packet of the old customer counts as the new one's.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use weir_graph::{
    counters::Counters,
    customers::{Customer, Customers, CustomersWriter, MOST},
    fib::{FibError, Prefix6},
    latency,
    quiescence::{Quiescence, Ticket},
    round_trips::{COMBINED_BY_CUSTOMER, LATENCY_BY_CUSTOMER, SIMPLE_BY_CUSTOMER},
};
use weir_stats::{Description, Names, printable};

use crate::prefixes::{self, Named, Prefix};

/// A customer, as a file lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// What tells it from all others.
    pub name: Arc<str>,
    /// What people call it; empty if the file does not say.
    pub title: String,
    /// Its addresses. No prefix, and no name, is of two customers.
    pub prefixes: Vec<Prefix>,
}

/// The customers whose prefixes these are, in the order in which their names come up.
pub fn listed(named: Vec<Named>) -> Arc<[Listed]> {
    let mut places: HashMap<Arc<str>, usize> = HashMap::new();
    let mut list: Vec<Listed> = Vec::new();
    for Named { prefix, name } in named {
        match places.entry(name.into()) {
            Entry::Occupied(place) => {
                if let Some(customer) = list.get_mut(*place.get()) {
                    customer.prefixes.push(prefix);
                }
            }
            Entry::Vacant(place) => {
                let name = Arc::clone(place.key());
                place.insert(list.len());
                list.push(Listed { name, title: String::new(), prefixes: vec![prefix] });
            }
        }
    }
    list.into()
}

/// Fewest customers that there is room for, whatever the files list: half a gigabyte of address space of the segment for each of its rows.
const LEAST: usize = 1 << 17;

/// The room for customers where so many are listed at the start: as many again may come until the next one.
pub fn room(listed: usize) -> usize {
    listed.saturating_mul(2).clamp(LEAST, MOST)
}

/// Why customers could not be changed; then they are as they were.
#[derive(Debug, thiserror::Error)]
pub enum RosterError {
    /// The segment is full.
    #[error(transparent)]
    Stats(#[from] weir_stats::Error),
    /// A table is full.
    #[error(
        "the customers' prefixes are more than there is room for ({0}): restart weir, which then makes room for what is listed"
    )]
    Table(#[from] FibError),
    /// More names than columns, those that still wait for the workers included.
    #[error(
        "{customers} customers are more than the {room} that there has been room for since the start: restart weir, which then makes room \
         for twice as many as are listed, at most {MOST}"
    )]
    TooMany {
        /// How many there would be.
        customers: usize,
        /// How many there is room for.
        room: usize,
    },
}

/// What is registered here.
const DECLARED: [Description; 3] = [
    Description::names("/customers/names", "customers; empty where the number is not in use"),
    Description::names(
        "/customers/titles",
        "what people call the customer; empty where there is nothing else than the name",
    ),
    Description::names("/customers/prefixes", "the customer's prefixes"),
];

/// The control thread's books of customers.
pub struct Roster {
    table: CustomersWriter,
    quiescence: Quiescence,
    room: usize,
    books: Books,
    /// Columns whose customers went with the last change.
    gone: Vec<u32>,
    /// Columns that a worker may still count under, though their customers are gone.
    waiting: VecDeque<(Ticket, Vec<u32>)>,
    names: Names,
    titles: Names,
    prefixes: Names,
}

/// Who has which column.
#[derive(Default)]
struct Books {
    list: Arc<[Listed]>,
    /// By place in the list.
    columns: Vec<u32>,
    /// Places in the list by name.
    places: HashMap<Arc<str>, u32>,
    /// Columns that nobody has any more.
    free: Vec<u32>,
    /// Columns that somebody has or had.
    used: u32,
}

/// What new books have of the old ones.
struct Kept {
    /// By place in the new list: the place in the old one.
    places: Vec<Option<u32>>,
    /// Places in the old list whose customers are gone.
    gone: Vec<u32>,
}

impl Roster {
    /// A roster without customers and with [`room`] for so many, and what workers look addresses up in.
    pub fn new(
        room: usize,
        counters: &mut Counters,
        quiescence: Quiescence,
    ) -> Result<(Customers, Roster), RosterError> {
        let (readers, table) = Customers::new(room, quiescence.clone())?;
        let room = readers.room();
        counters.declare(&DECLARED);
        let (names, titles, prefixes) = counters.segment().register(|batch| {
            let names = batch.names("/customers/names", room)?;
            Ok((names, batch.names("/customers/titles", room)?, batch.names("/customers/prefixes", room)?))
        })?;
        let (books, gone, waiting) = (Books::default(), Vec::new(), VecDeque::new());
        Ok((readers, Roster { table, quiescence, room, books, gone, waiting, names, titles, prefixes }))
    }

    /// The column of the customer with this name.
    pub fn column(&self, name: &str) -> Option<u32> {
        self.books.column(*self.books.places.get(name)?)
    }

    /// How many columns somebody has or had: all customers' are below this.
    pub fn columns(&self) -> u32 {
        self.books.used
    }

    /// Makes these the customers, and no others. Returns the columns of those who are gone, which the workers are to forget. On an
    /// error nothing has changed. The workers' vectors must be registered.
    pub fn replace(&mut self, list: Arc<[Listed]>, counters: &mut Counters) -> Result<Vec<u32>, RosterError> {
        // Only now, when the workers have surely been told to forget these: a worker passes its quiescent point and then hears.
        if !self.gone.is_empty() {
            self.waiting.push_back((self.quiescence.ticket(), std::mem::take(&mut self.gone)));
        }
        while let Some((_, columns)) =
            self.waiting.pop_front_if(|(ticket, _)| self.quiescence.passed(*ticket))
        {
            self.books.free.extend(columns);
        }
        let (new, kept) = self.books.with(list, self.room)?;
        self.table.replace(new.prefixes())?;
        if let Err(error) = self.publish(&new, &kept, counters) {
            // There was room for these before.
            let _ = self.table.replace(self.books.prefixes());
            return Err(error.into());
        }
        let gone: Vec<u32> = kept.gone.iter().filter_map(|place| self.books.column(*place)).collect();
        self.books = new;
        self.gone.clone_from(&gone);
        Ok(gone)
    }

    /// Shows readers who has which column.
    fn publish(
        &mut self,
        new: &Books,
        kept: &Kept,
        counters: &mut Counters,
    ) -> Result<(), weir_stats::Error> {
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
        let Roster { books: old, names, titles, prefixes, .. } = self;
        counters.segment().register(|batch| {
            for (customer, column) in kept.gone.iter().filter_map(|place| old.at(*place)) {
                batch.set_name(names, column, "")?;
                if !customer.title.is_empty() {
                    batch.set_name(titles, column, "")?;
                }
                batch.set_name(prefixes, column, "")?;
            }
            for ((customer, column), before) in new.all().zip(&kept.places) {
                let before = before.and_then(|place| old.at(place)).map(|(customer, _)| customer);
                if before.is_none() {
                    batch.set_name(names, column, &printable(&customer.name))?;
                }
                if before.map_or("", |before| &before.title) != customer.title {
                    batch.set_name(titles, column, &printable(&customer.title))?;
                }
                if before.map(|before| &before.prefixes) != Some(&customer.prefixes) {
                    let texts: Vec<String> = customer.prefixes.iter().map(|it| prefixes::text(*it)).collect();
                    batch.set_name(prefixes, column, &texts.join(" "))?;
                }
            }
            Ok(())
        })
    }

    /// Gives the customer with this name all addresses that nobody else has.
    pub fn set_unknown(&mut self, name: Option<&str>) {
        let column = name.and_then(|name| self.column(name));
        self.table.set_unknown(column.map_or(Customer::NONE, Customer::of_column));
    }

    /// Makes reusable what no worker can come across any more; how much still waits for the workers.
    pub fn reclaim(&mut self) -> usize {
        self.table.reclaim()
    }
}

impl Books {
    /// The books for another list: names that stay keep their columns.
    fn with(&self, list: Arc<[Listed]>, room: usize) -> Result<(Books, Kept), RosterError> {
        let (mut free, mut used) = (self.free.clone(), self.used);
        let mut columns = Vec::with_capacity(list.len());
        let mut places = HashMap::with_capacity(list.len());
        let mut kept = Vec::with_capacity(list.len());
        let mut stays = vec![false; self.list.len()];
        for (at, customer) in (0..).zip(&*list) {
            // Most stand where they stood.
            let same = self.list.get(at as usize).is_some_and(|before| before.name == customer.name);
            let before = if same { Some(at) } else { self.places.get(&customer.name).copied() };
            let column = match before.and_then(|place| self.column(place)) {
                Some(column) => column,
                None => match free.pop() {
                    Some(column) => column,
                    None if (used as usize) < room => {
                        used += 1;
                        used - 1
                    }
                    None => return Err(RosterError::TooMany { customers: list.len(), room }),
                },
            };
            if let Some(stays) = before.and_then(|place| stays.get_mut(place as usize)) {
                *stays = true;
            }
            columns.push(column);
            kept.push(before);
            places.insert(Arc::clone(&customer.name), at);
        }
        let gone = (0..).zip(stays).filter_map(|(place, stays)| (!stays).then_some(place)).collect();
        Ok((Books { list, columns, places, free, used }, Kept { places: kept, gone }))
    }

    fn column(&self, place: u32) -> Option<u32> {
        self.columns.get(place as usize).copied()
    }

    /// The customer in this place, and the column as an index.
    fn at(&self, place: u32) -> Option<(&Listed, usize)> {
        Some((self.list.get(place as usize)?, self.column(place)? as usize))
    }

    fn all(&self) -> impl Iterator<Item = (&Listed, usize)> {
        self.list.iter().zip(self.columns.iter().map(|column| *column as usize))
    }

    /// Whose prefixes are.
    fn prefixes(&self) -> impl Iterator<Item = (Prefix6, Customer)> + '_ {
        self.all().flat_map(|(customer, column)| {
            let owner = Customer::of_column(column as u32);
            let prefixes = customer.prefixes.iter();
            // What is longer than an address is refused; files are read so that nothing is.
            prefixes.filter_map(move |(network, length)| {
                Some((Prefix6::containing(*network, *length).ok()?, owner))
            })
        })
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
            let (customers, roster) = Roster::new(room(0), &mut counters, quiescence.clone()).unwrap();
            Trial { counters, quiescence, customers, roster }
        }

        fn replace(&mut self, file: &str) -> Vec<u32> {
            let list = prefixes::read(Path::new("prefixes.txt"), file).unwrap();
            self.roster.replace(listed(list), &mut self.counters).unwrap()
        }

        fn names(&mut self, path: &str) -> Vec<String> {
            let reader = Reader::of(self.counters.segment()).unwrap();
            let Value::Names(names) = reader.read(&reader.find(path).unwrap().unwrap()).unwrap() else {
                panic!("{path}")
            };
            names
        }

        fn of(&self, address: &str) -> Option<usize> {
            self.customers.of(address.parse().unwrap()).column()
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
    fn names_of_all_letters_have_columns() {
        let mut it = Trial::new();
        it.replace("10.0.0.0/24 Bj\u{f6}rk\n2001:db8::/48 six\n2001:db8:0:1::/64 Bj\u{f6}rk\n");
        assert_eq!(it.names("/customers/names"), ["Bj_rk", "six"]);
        assert_eq!(it.names("/customers/prefixes"), ["10.0.0.0/24 2001:db8:0:1::/64", "2001:db8::/48"]);
        let found =
            ["10.0.0.1", "2001:db8::1", "2001:db8:0:1::1", "2001:db8:1::1"].map(|address| it.of(address));
        assert_eq!(found, [Some(0), Some(1), Some(0), None]);
        assert_eq!(
            (it.roster.column("six"), it.roster.column("seven"), it.roster.columns()),
            (Some(1), None, 2)
        );
    }

    #[test]
    fn titles_stand_beside_names_and_go_with_them() {
        let mut it = Trial::new();
        let customer = |name: &str, title: &str| Listed {
            name: name.into(),
            title: title.into(),
            prefixes: vec![(0xffff_0a00_0000 + name.len() as u128, 128)],
        };
        let set = |it: &mut Trial, list: &[Listed]| it.roster.replace(list.into(), &mut it.counters).unwrap();
        set(&mut it, &[customer("1", ""), customer("22", "Alice & Bob"), customer("333", "Carol")]);
        assert_eq!(it.names("/customers/titles"), ["", "Alice & Bob", "Carol"]);
        set(&mut it, &[customer("1", "Dave"), customer("333", "")]);
        assert_eq!(it.names("/customers/titles"), ["Dave", "", ""]);
        assert_eq!(it.names("/customers/names"), ["1", "", "333"]);
    }

    #[test]
    fn there_is_room_for_twice_as_many_as_at_the_start() {
        assert_eq!((room(0), room(100_000), room(1_000_000)), (LEAST, 200_000, 2_000_000));
        assert_eq!(room(usize::MAX), MOST);
        let mut counters = Counters::new(Segment::create(Options::default()).unwrap());
        let (customers, mut roster) = Roster::new(3, &mut counters, Quiescence::new(1)).unwrap();
        let list = |names: &[&str]| -> Arc<[Listed]> {
            let customer = |(at, name): (usize, &&str)| Listed {
                name: (*name).into(),
                title: String::new(),
                prefixes: vec![(0xffff_0a00_0000 + at as u128, 128)],
            };
            names.iter().enumerate().map(customer).collect()
        };
        roster.replace(list(&["a", "b"]), &mut counters).unwrap();
        let error = roster.replace(list(&["c", "d", "e", "f"]), &mut counters).unwrap_err().to_string();
        assert!(error.starts_with("4 customers are more than the 3 that there has been room for"), "{error}");
        assert_eq!(customers.of("10.0.0.1".parse().unwrap()).column(), Some(1));
        assert_eq!((roster.column("a"), roster.column("c"), roster.columns()), (Some(0), None, 2));
        roster.replace(list(&["b", "a", "c"]), &mut counters).unwrap();
        assert_eq!(customers.of("10.0.0.2".parse().unwrap()).column(), Some(2));
    }
}
