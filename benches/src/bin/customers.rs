//! What customers cost, in memory: clocks of the time-stamp counter to find whose an address is, seconds to load and to change a list, bytes a customer.
//!
//! Each customer has an address of IPv4 and a /56 of IPv6. Lists are given to the control thread's roster as a config's are, with all vectors of the segment
//! that have a column a customer. Lookups go through vectors of 256 addresses of random customers, as the node `classify` does.

use std::sync::Arc;
use std::time::Instant;

use clap::Parser;
use weir::customers::{Listed, Roster, room};
use weir_benches::summary::median;
use weir_graph::{
    clock::{Clock, now},
    counters::Counters,
    customers::{Customer, Customers},
    latency,
    node::VECTOR,
    quiescence::Quiescence,
    round_trips::{COMBINED_BY_CUSTOMER, CUSTOMER_BYTES, LATENCY_BY_CUSTOMER, SIMPLE_BY_CUSTOMER},
};
use weir_stats::{Options, Segment};

/// What customers cost, in memory
#[derive(Parser)]
struct Arguments {
    /// Rounds of lookups; the least and the median are shown
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Vectors in a round
    #[arg(long, default_value_t = 400)]
    vectors: usize,
    /// Customers of the largest case
    #[arg(long, default_value_t = 1_000_000)]
    customers: u32,
    /// The core to run on; default: the last one
    #[arg(long)]
    core: Option<usize>,
}

/// Where a customer's addresses are.
#[derive(Clone, Copy)]
enum Places {
    /// One next to the other, as a provider hands them out.
    Dense,
    /// /56 anywhere in a /32, addresses anywhere in a /8: what is left after years.
    Scattered,
}

impl Places {
    /// A customer's number among 2²⁴, no two alike.
    fn at(self, customer: u32) -> u32 {
        match self {
            Places::Dense => customer,
            // Odd, so that it is a permutation; the golden ratio's, so that neighbours are far apart.
            Places::Scattered => customer.wrapping_mul(0x009e_3779) & 0x00ff_ffff,
        }
    }

    fn ip4(self, customer: u32) -> u32 {
        10 << 24 | self.at(customer)
    }

    fn ip6(self, customer: u32) -> u128 {
        0x2001_0db8 << 96 | u128::from(self.at(customer)) << 72
    }

    fn customer(self, number: u32, name: u32) -> Listed {
        Listed {
            name: format!("customer-{name}").into(),
            title: String::new(),
            prefixes: vec![(0xffff_0000_0000 | u128::from(self.ip4(number)), 128), (self.ip6(number), 56)],
        }
    }
}

/// Resident bytes of this process.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split_whitespace().nth(1).and_then(|pages| pages.parse::<f64>().ok());
    pages.unwrap_or(0.0) * rustix::param::page_size() as f64
}

/// xorshift64 (Marsaglia 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (((self.0 >> 32) * u64::from(limit)) >> 32) as u32
    }
}

/// Least and median clocks of a lookup; `lookup` fills in whose the vector's addresses are.
fn clocks(
    arguments: &Arguments,
    mut fill: impl FnMut(&mut Random),
    mut lookup: impl FnMut(&mut [Customer]),
) -> (f64, f64) {
    let mut random = Random(0x5eed);
    let mut found = [Customer::NONE; VECTOR];
    let mut rounds = Vec::new();
    for _ in 0..arguments.rounds.max(1) {
        let mut ticks = 0;
        for _ in 0..arguments.vectors {
            fill(&mut random);
            let begin = now();
            lookup(&mut found);
            ticks += now() - begin;
            std::hint::black_box(&found);
        }
        rounds.push(ticks as f64 / (arguments.vectors * VECTOR).max(1) as f64);
    }
    (rounds.iter().copied().fold(f64::INFINITY, f64::min), median(rounds))
}

fn lookups(arguments: &Arguments, customers: &Customers, count: u32, places: Places) {
    let ip4 = std::cell::RefCell::new([0; VECTOR]);
    let ip6 = std::cell::RefCell::new([0; VECTOR]);
    let (least, median) = clocks(
        arguments,
        |random| ip4.borrow_mut().iter_mut().for_each(|address| *address = places.ip4(random.below(count))),
        |found| customers.of_ip4(&*ip4.borrow(), found),
    );
    println!("    IPv4: {median:.1} clocks a lookup (least {least:.1})");
    let (least, median) = clocks(
        arguments,
        |random| {
            ip6.borrow_mut().iter_mut().for_each(|address| *address = places.ip6(random.below(count)) | 7);
        },
        |found| customers.of_ip6(&*ip6.borrow(), found),
    );
    println!("    IPv6: {median:.1} clocks a lookup (least {least:.1})");
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = Arguments::parse();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = arguments.core.map(|id| core_affinity::CoreId { id }).or(cores.last().copied());
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        eprintln!("not pinned: core {} can't be used", core.id);
    }
    println!("time-stamp counter: {} Hz", Clock::calibrate().hz());
    for (count, places, name) in [
        (1_000, Places::Dense, "side by side"),
        (1_000, Places::Scattered, "scattered"),
        (100_000, Places::Dense, "side by side"),
        (arguments.customers, Places::Dense, "side by side"),
        (arguments.customers, Places::Scattered, "scattered"),
    ] {
        let room = room(count as usize);
        let size = Options::default().size + (room * CUSTOMER_BYTES) as u64;
        let mut counters = Counters::new(Segment::create(Options { size, ..Options::default() })?);
        for vector in COMBINED_BY_CUSTOMER {
            counters.combined(vector, 0, room + 1)?;
        }
        for vector in SIMPLE_BY_CUSTOMER {
            counters.simple(vector, 0, room + 1)?;
        }
        for vector in LATENCY_BY_CUSTOMER {
            counters.simple(vector, 0, (room + 1) * latency::WIDTH)?;
        }
        let quiescence = Quiescence::new(1);
        let (customers, mut roster) = Roster::new(room, &mut counters, quiescence)?;
        let empty = resident();
        let list: Arc<[Listed]> = (0..count).map(|customer| places.customer(customer, customer)).collect();
        let listed = resident();
        let begin = Instant::now();
        roster.replace(list.clone(), &mut counters)?;
        let load = begin.elapsed();
        let loaded = resident();
        // One in a hundred is another customer, with other addresses.
        let changed: Arc<[Listed]> = (0..count)
            .map(|at| {
                let other = if at % 100 == 7 { count + at } else { at };
                places.customer(other, other)
            })
            .collect();
        let begin = Instant::now();
        let gone = roster.replace(changed, &mut counters)?.len();
        let change = begin.elapsed();
        roster.replace(list, &mut counters)?;
        println!("{count} customers, {name}: loaded in {load:.2?}, {gone} of them changed in {change:.2?}");
        println!(
            "    {:.0} bytes a customer: the list {:.0}, tables, books and names {:.0}",
            (loaded - empty) / f64::from(count),
            (listed - empty) / f64::from(count),
            (loaded - listed) / f64::from(count),
        );
        lookups(&arguments, &customers, count, places);
    }
    Ok(())
}
