//! Time of a vector in weir's graph, and in each of its nodes, for criterion: `cargo bench -p weir-benches --bench graph -- "1 route"` runs the cases whose names contain
//! that, and says what has changed since it ran last.
//!
//! Times are those of the time-stamp counter around the graphs alone, or what the nodes' own statistics say; making the packets is not in them.

// The bench's own set-up may panic, and criterion's macros document nothing.
#![allow(clippy::expect_used, missing_docs)]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use weir_benches::cases::{Case, cases};
use weir_benches::memory::MemoryRouter;
use weir_graph::clock::Clock;

fn graph(criterion: &mut Criterion) {
    let clock = Clock::calibrate();
    for case in cases() {
        let mut router = None;
        let mut group = criterion.benchmark_group(case.name);
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        group.throughput(Throughput::Elements((case.size * case.setup.workers) as u64));
        group.bench_function("whole", |bencher| {
            let router = router.get_or_insert_with(|| warm(&case));
            bencher.iter_custom(|vectors| clock.duration(router.round(vectors as usize, case.size).ticks));
        });
        // A case that the filter leaves out has no router; of the others each node has its own figure.
        let Some(router) = &mut router else { continue };
        group.throughput(Throughput::Elements(case.size as u64));
        for (at, (name, ..)) in router.nodes().into_iter().enumerate().filter(|(_, (.., seen))| *seen > 0) {
            group.bench_function(BenchmarkId::new("node", name), |bencher| {
                bencher.iter_custom(|vectors| {
                    let before = router.nodes()[at].1;
                    black_box(router.round(vectors as usize, case.size));
                    clock.duration(router.nodes()[at].1 - before)
                });
            });
        }
    }
}

/// A router whose caches, and tables of flows, are full.
fn warm(case: &Case) -> MemoryRouter {
    /// Vectors that fill the caches; flows get four packets each, on average.
    const VECTORS: usize = 400;
    let mut router = MemoryRouter::new(&case.setup).expect("a router in memory");
    router.round(VECTORS.max(4 * case.setup.flows / case.size), case.size);
    router
}

criterion_group!(benches, graph);
criterion_main!(benches);
