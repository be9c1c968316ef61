//! What a packet costs in weir's graph, in memory: clocks of the time-stamp counter, from `ethernet-input` to `tx`, all counters on.

use clap::Parser;
use weir_benches::memory::{MemoryRouter, Setup};
use weir_graph::{clock::Clock, node::VECTOR};

/// What a packet costs in weir's graph, in memory
#[derive(Parser)]
struct Arguments {
    /// Rounds of each case; the least and the median are shown
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// Vectors in a round
    #[arg(long, default_value_t = 400)]
    vectors: usize,
    /// The core to run on; default: the last one
    #[arg(long)]
    core: Option<usize>,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// Only cases whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// A case: its name, the router, packets in a vector.
fn cases() -> Vec<(&'static str, Setup, usize)> {
    let plain = Setup { routes: 1, workers: 1, flows: 0, measured: false };
    let routes = |routes| Setup { routes, ..plain };
    let two = Setup { routes: 1_000, workers: 2, ..plain };
    let tcp = |flows, measured| Setup { flows, measured, ..plain };
    vec![
        ("1 route", plain, VECTOR),
        ("1 route, quarter vectors", plain, VECTOR / 4),
        ("1,000 routes, random destinations", routes(1_000), VECTOR),
        ("500,000 /24 routes, random destinations", routes(500_000), VECTOR),
        ("1,000,000 /24 routes, random destinations", routes(1_000_000), VECTOR),
        ("1,000 routes, two workers in turn, half of the packets handed over", two, VECTOR),
        ("1,000 routes, two workers in turn, quarter vectors", two, VECTOR / 4),
        ("TCP, 1,000 flows", tcp(1_000, false), VECTOR),
        ("TCP, 1,000 flows, measured, 63 customers", tcp(1_000, true), VECTOR),
        ("TCP, 1,000,000 flows", tcp(1_000_000, false), VECTOR),
        ("TCP, 1,000,000 flows, measured, 62,500 customers", tcp(1_000_000, true), VECTOR),
    ]
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
    let hz = Clock::calibrate().hz();
    let mut documents = Vec::new();
    for (name, setup, size) in cases() {
        if !name.contains(&arguments.only) {
            continue;
        }
        eprintln!("{name} …");
        let mut router = MemoryRouter::new(&setup)?;
        // Fills caches, and tables of flows: each has four packets on average.
        let warm_up = arguments.vectors.max(4 * setup.flows / size);
        router.round(warm_up, size);
        let before = router.nodes();
        let mut clocks: Vec<f64> = (0..arguments.rounds)
            .map(|_| router.round(arguments.vectors, size))
            .map(|round| round.ticks as f64 / round.packets.max(1) as f64)
            .collect();
        clocks.sort_by(f64::total_cmp);
        let (least, median) = (clocks[0], clocks[clocks.len() / 2]);
        let nodes: Vec<(String, f64)> = router
            .nodes()
            .into_iter()
            .zip(before)
            .filter(|((.., vectors), (.., before))| vectors > before)
            .map(|((name, clocks, vectors), (_, clocks_before, vectors_before))| {
                (name, (clocks - clocks_before) as f64 / (vectors - vectors_before) as f64)
            })
            .collect();
        if arguments.json {
            let nodes: serde_json::Map<String, serde_json::Value> =
                nodes.into_iter().map(|(node, clocks)| (node, clocks.into())).collect();
            documents.push(serde_json::json!({
                "case": name, "clocks_least": least, "clocks_median": median, "nodes_mean": nodes, "hz": hz,
            }));
        } else {
            println!(
                "{name}: {median:.1} clocks a packet (least {least:.1}), {:.1} Mpps",
                hz as f64 / median / 1e6
            );
            let nodes: Vec<String> =
                nodes.iter().map(|(node, clocks)| format!("{node} {clocks:.1}")).collect();
            println!("    mean by node: {}", nodes.join(", "));
        }
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&documents)?);
    }
    Ok(())
}
