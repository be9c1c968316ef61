//! What a lookup costs, in clocks of the time-stamp counter, and how fast routes load.
//!
//! Lookups go through vectors of 256 destinations, as the packet path does, over 2^20 random ones, so that no answer is in the caches for
//! having been asked before. Three tables:
//! * `default`: the default route alone;
//! * `500k`: 500,000 random /24 all over the address space, every destination in one of them: nearly every lookup a cache line of its own;
//! * `1m`: a million prefixes with the length mix of the internet's table, at random places (the real ones lie closer together), plus 5 %
//!   longer than /24, which the real one does not have; destinations as in `500k`.
//!
//! Clocks are the minimum to look at on a busy machine: criterion prints the estimate between its bounds.

// The bench's own set-up may panic.
#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::collections::HashSet;
use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput};
use weir_graph::adjacency::AdjacencyIndex;
use weir_graph::fib::{Fib, FibLimits, FibWriter, Leaf, NextHop, Prefix4};
use weir_graph::quiescence::Quiescence;

/// Packets in a full vector.
const VECTOR: usize = 256;
const DESTINATIONS: usize = 1 << 20;

/// Prefixes of each length in a million: the shape of the internet's table as the public BGP reports of recent years show it (six in ten
/// are /24, another three in ten /20 to /23), and 50,000 longer ones for the extension blocks.
const LENGTHS: [(u8, usize); 20] = [
    (8, 16),
    (10, 40),
    (11, 100),
    (12, 300),
    (13, 600),
    (14, 1_200),
    (15, 2_000),
    (16, 13_500),
    (17, 8_200),
    (18, 13_800),
    (19, 25_000),
    (20, 44_000),
    (21, 51_000),
    (22, 108_000),
    (23, 98_000),
    (24, 584_244),
    (27, 10_000),
    (29, 10_000),
    (30, 10_000),
    (32, 20_000),
];

/// Clocks of the time-stamp counter.
struct Clocks;

fn clocks() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 processor has the time-stamp counter, and Linux lets programs read it.
    return unsafe { std::arch::x86_64::_rdtsc() };
    #[cfg(not(target_arch = "x86_64"))]
    compile_error!("this bench reads the x86-64 time-stamp counter");
}

impl Measurement for Clocks {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        clocks()
    }

    fn end(&self, start: u64) -> u64 {
        clocks() - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, value: &u64) -> f64 {
        *value as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Clocks {
    fn scale_values(&self, _: f64, _: &mut [f64]) -> &'static str {
        "clocks a vector"
    }

    fn scale_throughputs(&self, _: f64, throughput: &Throughput, values: &mut [f64]) -> &'static str {
        let &Throughput::Elements(elements) = throughput else { return "clocks" };
        for value in values {
            *value /= elements as f64;
        }
        "clocks a lookup"
    }

    fn scale_for_machines(&self, _: &mut [f64]) -> &'static str {
        "clocks"
    }
}

/// Marsaglia's xorshift64: repeatable, and good enough to spread addresses.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 32) as u32
    }
}

fn random_prefixes(lengths: &[(u8, usize)]) -> Vec<Prefix4> {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut prefixes = HashSet::new();
    for &(length, count) in lengths {
        let wanted = prefixes.len() + count;
        while prefixes.len() < wanted {
            prefixes.insert(Prefix4::containing(random.next(), length).unwrap());
        }
    }
    let mut prefixes: Vec<_> = prefixes.into_iter().collect();
    for place in (1..prefixes.len()).rev() {
        prefixes.swap(place, random.next() as usize % (place + 1));
    }
    prefixes
}

fn empty() -> (Fib, FibWriter) {
    Fib::new(FibLimits::default(), Quiescence::new(1)).unwrap()
}

fn next_hop(number: usize) -> [NextHop; 1] {
    [AdjacencyIndex::new(16 + number as u32 % 64).unwrap().into()]
}

fn load(writer: &mut FibWriter, prefixes: &[Prefix4]) {
    for (number, &prefix) in prefixes.iter().enumerate() {
        writer.insert(prefix, &next_hop(number)).unwrap();
    }
}

fn lookups(group: &mut BenchmarkGroup<'_, Clocks>, name: &str, prefixes: &[Prefix4]) {
    let (fib, mut writer) = empty();
    load(&mut writer, prefixes);
    let mut random = Random(7);
    let destinations: Vec<u32> = (0..DESTINATIONS)
        .map(|_| {
            let prefix = prefixes[random.next() as usize % prefixes.len()];
            prefix.address() | random.next() & (prefix.last_address() - prefix.address())
        })
        .collect();
    let mut vectors = destinations.chunks_exact(VECTOR).cycle();
    let mut leaves = [Leaf::NONE; VECTOR];
    group.bench_function(format!("one by one/{name}"), |bench| {
        bench.iter(|| {
            for &destination in vectors.next().unwrap() {
                black_box(fib.lookup(destination));
            }
        });
    });
    group.bench_function(format!("prefetched/{name}"), |bench| {
        bench.iter(|| {
            let vector = vectors.next().unwrap();
            for &destination in vector {
                fib.prefetch(destination);
            }
            for (&destination, leaf) in vector.iter().zip(&mut leaves) {
                *leaf = fib.lookup(destination);
            }
            black_box(&leaves);
        });
    });
    group.bench_function(format!("many/{name}"), |bench| {
        bench.iter(|| {
            fib.lookup_many(vectors.next().unwrap(), &mut leaves);
            black_box(&leaves);
        });
    });
}

fn main() {
    let default = vec![Prefix4::DEFAULT];
    let half_million = random_prefixes(&[(24, 500_000)]);
    let million = random_prefixes(&LENGTHS);

    let mut criterion: Criterion<Clocks> =
        Criterion::default().with_measurement(Clocks).configure_from_args();
    let mut group = criterion.benchmark_group("lookup");
    group.throughput(Throughput::Elements(VECTOR as u64));
    group.warm_up_time(Duration::from_secs(1)).measurement_time(Duration::from_secs(2));
    lookups(&mut group, "default", &default);
    lookups(&mut group, "500k", &half_million);
    lookups(&mut group, "1m", &million);
    group.finish();

    let mut criterion: Criterion<WallTime> = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("routes");
    group.sample_size(10).measurement_time(Duration::from_secs(5));
    for (name, prefixes) in [("500k", &half_million), ("1m", &million)] {
        group.throughput(Throughput::Elements(prefixes.len() as u64));
        group.bench_function(format!("load/{name}"), |bench| {
            bench.iter_batched(
                empty,
                |(fib, mut writer)| {
                    load(&mut writer, prefixes);
                    (fib, writer)
                },
                BatchSize::PerIteration,
            );
        });
        let (_fib, mut writer) = empty();
        load(&mut writer, prefixes);
        group.bench_function(format!("replace/{name}"), |bench| {
            let mut turn = 0;
            bench.iter(|| {
                turn += 1;
                for &prefix in prefixes {
                    writer.insert(prefix, &next_hop(turn)).unwrap();
                }
            });
        });
        group.bench_function(format!("remove/{name}"), |bench| {
            let full = || {
                let (fib, mut writer) = empty();
                load(&mut writer, prefixes);
                (fib, writer)
            };
            bench.iter_batched(
                full,
                |(fib, mut writer)| {
                    for &prefix in prefixes {
                        writer.remove(prefix);
                    }
                    (fib, writer)
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
    criterion.final_summary();
}
