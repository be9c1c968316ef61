//! What a packet costs in weir's graph, in memory: clocks of the time-stamp counter, from `ethernet-input` to `tx`, all counters on.

use std::thread;

use clap::Parser;
use core_affinity::CoreId;
use weir_benches::{
    cases::{Case, cases, teams},
    memory::{MemoryRouter, Round, Setup},
    summary::median,
};
use weir_graph::clock::Clock;

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

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let core = arguments.core.map(|id| CoreId { id }).or(cores.last().copied());
    if let Some(core) = core
        && !core_affinity::set_for_current(core)
    {
        eprintln!("not pinned: core {} can't be used", core.id);
    }
    let hz = Clock::calibrate().hz();
    let mut documents = Vec::new();
    for Case { name, setup, size } in cases() {
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
    for case in teams().iter().filter(|case| case.name.contains(&arguments.only)) {
        eprintln!("{} …", case.name);
        let two = *cores.first_chunk().ok_or("two workers need two cores")?;
        documents.push(team(case, two, &arguments, hz)?);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&documents)?);
    }
    Ok(())
}

/// Two workers, each on a core of its own, beside one with the same traffic, and beside two routers that have nothing to do with each other: what the machine gives to two
/// programs at once, which is no more than a half more than to one where its "cores" are two threads of one. In turns.
fn team(case: &Case, cores: [CoreId; 2], arguments: &Arguments, hz: u64) -> Result<serde_json::Value> {
    let alone = Setup { workers: 1, ..case.setup };
    let (mut one, mut two) = (MemoryRouter::new(&alone)?, MemoryRouter::new(&case.setup)?);
    let mut strangers = [MemoryRouter::new(&alone)?, MemoryRouter::new(&alone)?];
    let rate = |round: Round| round.packets as f64 / round.ticks.max(1) as f64 * hz as f64 / 1e6;
    let mut rates = Vec::new();
    for _ in 0..=arguments.rounds {
        let [first, second] = &mut strangers;
        let run = |router: &mut MemoryRouter, core| router.round_on(&[core], arguments.vectors, case.size);
        let both = thread::scope(|scope| {
            let second = scope.spawn(|| run(second, cores[1]));
            [Some(run(first, cores[0])), second.join().ok()]
        });
        rates.push([
            rate(run(&mut one, cores[1])),
            both.into_iter().flatten().map(rate).sum(),
            rate(two.round_on(&cores, arguments.vectors, case.size)),
        ]);
    }
    rates.remove(0); // it filled the caches
    let ratio = |over: usize| median(rates.iter().map(|rates| rates[2] / rates[over]));
    let (to_one, to_strangers) = (ratio(0), ratio(1));
    let [one, strangers, two] = [0, 1, 2].map(|at| median(rates.iter().map(|rates| rates[at])));
    if !arguments.json {
        println!("{}: {two:.1} Mpps", case.name);
        println!(
            "    {to_one:.2} times one worker's {one:.1}, {to_strangers:.2} times two strangers' {strangers:.1}"
        );
    }
    Ok(serde_json::json!({
        "case": case.name, "mpps": two, "mpps_one": one, "mpps_strangers": strangers,
        "ratio_one_median": to_one, "ratio_strangers_median": to_strangers, "hz": hz,
    }))
}
