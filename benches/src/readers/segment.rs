//! The segment of a provider's box: 100,000 customers, each counted by one of two workers, in the shapes that weir's own
//! vectors have. Nothing forwards here: the numbers are made up, the memory is real.

use anyhow::{Context as _, Result};
use weir_stats::{Bounds, CombinedRow, Description, Segment, SimpleRow};

const BY_CUSTOMER: &str = "customer=/customers/names";
const BY_CUSTOMER_AND_BIN: &str = "customer=/customers/names,le=/rtt/bins";
const BY_PORT: &str = "interface=/if/names";
const BY_NODE: &str = "node=/sys/node/names";

const PORTS: usize = 8;
const NODES: [&str; 20] = [
    "ethernet-input",
    "ip4-input",
    "ip4-lookup",
    "ip4-rewrite",
    "ip4-options",
    "ip4-fragment",
    "ip4-icmp-error",
    "ip6-input",
    "ip6-lookup",
    "ip6-rewrite",
    "ip6-icmp-error",
    "glean",
    "l2-cross-connect",
    "tcp-rtt-match",
    "tcp-rtt-stamp",
    "shaper",
    "vlan-input",
    "pppoe-input",
    "tx",
    "drop",
];
const REASONS: [&str; 10] = [
    "too-short",
    "bad-version",
    "bad-checksum",
    "ttl-expired",
    "no-route",
    "ring-full",
    "port-down",
    "martian-source",
    "queue-full",
    "shutdown",
];

static DESCRIPTIONS: [Description; 20] = [
    Description::names("/customers/names", "customers"),
    Description::names("/rtt/bins", "bounds of the histograms"),
    Description::combined("/customers/{direction}", BY_CUSTOMER, "to (down) or from (up) the customer"),
    Description::simple("/customers/retransmissions/{direction}", "packets", BY_CUSTOMER, "sent again"),
    Description::simple("/customers/reordered/{direction}", "packets", BY_CUSTOMER, "too late"),
    histograms("/rtt/customers/{side}", "round trips beyond the customer's (lan) or the other side (wan)"),
    histograms("/delay/customers/{direction}", "waited inside"),
    Description::names("/if/names", "ports"),
    Description::combined("/if/rx", BY_PORT, "received"),
    Description::combined("/if/tx", BY_PORT, "sent"),
    Description::simple("/if/drops", "packets", BY_PORT, "dropped"),
    Description::simple("/if/punt", "packets", BY_PORT, "passed to the kernel"),
    Description::link("/interfaces/{interface}/{counter}", "packets", "the port's column"),
    Description::names("/sys/node/names", "nodes"),
    Description::simple("/sys/node/calls", "calls", BY_NODE, "times that the node ran"),
    Description::simple("/sys/node/vectors", "packets", BY_NODE, "packets that the node was given"),
    Description::simple("/sys/node/clocks", "ticks", BY_NODE, "ticks that the node has taken"),
    Description::link("/nodes/{node}/{counter}", "", "the node's column"),
    Description::simple("/node/errors", "packets", "/err/{node}/{reason}", "dropped"),
    Description::link("/err/{node}/{reason}", "packets", "the reason's column"),
];

const fn histograms(path: &'static str, help: &'static str) -> Description {
    Description::simple(path, "microseconds", BY_CUSTOMER_AND_BIN, help)
}

/// 16 µs to 16 s, eight bins an octave: no bin is wider than an eighth of its values.
fn bounds() -> Vec<u64> {
    (0..20).flat_map(|octave| (1..=8).map(move |bin| (16 << octave) + bin * (2 << octave) - 1)).collect()
}

/// What goes on being counted.
#[derive(Debug)]
pub struct Traffic {
    customers: Vec<CombinedRow>,
    ports: Vec<CombinedRow>,
    nodes: Vec<SimpleRow>,
    count: usize,
    random: Random,
}

/// xorshift64*: the same numbers in each run.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }
}

/// Fills a segment that has rows for two workers.
pub fn fill(segment: &mut Segment, customers: usize) -> Result<Traffic> {
    let mut random = Random(0x5eed);
    let bounds = bounds();
    let width = bounds.len() + 2;
    let mut traffic = segment.register(|batch| {
        let mut names = batch.names("/customers/names", customers)?;
        for customer in 0..customers {
            batch.set_name(&mut names, customer, &format!("customer-{customer:06}"))?;
        }
        let mut bins = batch.names("/rtt/bins", width)?;
        for (at, name) in Bounds::names(&bounds).iter().enumerate() {
            batch.set_name(&mut bins, at, name)?;
        }
        let mut ports = batch.names("/if/names", PORTS)?;
        for port in 0..PORTS {
            batch.set_name(&mut ports, port, &format!("eth{port}"))?;
        }
        let mut nodes = batch.names("/sys/node/names", NODES.len())?;
        for (at, node) in NODES.iter().enumerate() {
            batch.set_name(&mut nodes, at, node)?;
        }
        let mut up = batch.combined("/customers/up", customers, customers)?;
        let mut down = batch.combined("/customers/down", customers, customers)?;
        let mut port_rows = Vec::new();
        for counter in ["rx", "tx"] {
            let mut vector = batch.combined(&format!("/if/{counter}"), PORTS, PORTS)?;
            for port in 0..PORTS {
                batch.symlink(&format!("/interfaces/eth{port}/{counter}"), vector.id(), port)?;
            }
            port_rows.extend((1..3).filter_map(|row| vector.take_row(row)));
        }
        for counter in ["drops", "punt"] {
            let vector = batch.simple(&format!("/if/{counter}"), PORTS, PORTS)?;
            for port in 0..PORTS {
                batch.symlink(&format!("/interfaces/eth{port}/{counter}"), vector.id(), port)?;
            }
        }
        let mut node_rows = Vec::new();
        for counter in ["calls", "vectors", "clocks"] {
            let mut vector = batch.simple(&format!("/sys/node/{counter}"), NODES.len(), NODES.len())?;
            for (column, node) in NODES.iter().enumerate() {
                batch.symlink(&format!("/nodes/{node}/{counter}"), vector.id(), column)?;
            }
            node_rows.extend((1..3).filter_map(|row| vector.take_row(row)));
        }
        let errors = batch.simple("/node/errors", NODES.len() * REASONS.len(), 256)?;
        for (node, reason) in
            (0..NODES.len()).flat_map(|node| (0..REASONS.len()).map(move |reason| (node, reason)))
        {
            let path = format!("/err/{}/{}", NODES[node], REASONS[reason]);
            batch.symlink(&path, errors.id(), node * REASONS.len() + reason)?;
        }
        let mut customer_rows = Vec::new();
        for row in 1..3 {
            customer_rows.extend([up.take_row(row), down.take_row(row)].into_iter().flatten());
        }
        for path in ["retransmissions/up", "retransmissions/down", "reordered/up", "reordered/down"] {
            let mut vector = batch.simple(&format!("/customers/{path}"), customers, customers)?;
            for mut counts in (1..3).filter_map(|row| vector.take_row(row)) {
                (0..customers).for_each(|customer| counts.set(customer, customer as u64 % 1000));
            }
        }
        let random = Random(0x5eed);
        Ok(Traffic { customers: customer_rows, ports: port_rows, nodes: node_rows, count: customers, random })
    })?;
    for path in ["/rtt/customers/lan", "/rtt/customers/wan", "/delay/customers/up", "/delay/customers/down"] {
        let mut matrix =
            segment.register(|batch| batch.simple(path, customers * width, customers * width))?;
        for worker in 0..2 {
            let mut row = matrix.take_row(worker + 1).context("the row is free")?;
            for customer in (worker..customers).step_by(2) {
                measured(&mut row, customer * width, &bounds, &mut random);
            }
        }
    }
    segment.describe(&DESCRIPTIONS)?;
    for customer in 0..customers {
        for row in traffic.customers.chunks_mut(2).nth(customer % 2).into_iter().flatten() {
            row.add(customer, 1 + customer as u64 * 7, 64 + customer as u64 * 4200);
        }
    }
    Ok(traffic)
}

/// One customer's histogram: some sixteen bins around a middle of its own, as the round trips of a real line are.
fn measured(row: &mut SimpleRow, start: usize, bounds: &[u64], random: &mut Random) {
    let middle = 30 + random.below(90);
    let mut sum = 0;
    for distance in 0..16 {
        let bin = middle + distance - 4;
        let count = 1 + random.below(1 + (1000 >> distance.abs_diff(4)));
        row.set(start + bin, count as u64);
        sum += count as u64 * bounds[bin];
    }
    row.set(start + bounds.len() + 1, sum);
}

impl Traffic {
    /// Counts on, as `turns` vectors would.
    pub fn flow(&mut self, turns: usize) {
        for _ in 0..turns {
            let customer = self.random.below(self.count);
            for row in self.customers.chunks_mut(2).nth(customer % 2).into_iter().flatten() {
                row.add(customer, 64, 64 * 800);
            }
            for row in &mut self.ports {
                row.add(self.random.below(PORTS), 64, 64 * 800);
            }
            for row in &mut self.nodes {
                row.add(self.random.below(NODES.len()), 64);
            }
        }
    }
}
