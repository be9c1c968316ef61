//! From what the files ask for to what can be kept: guarantees that fit into what is above them, weights, and what nobody will ever reach.

use super::{
    Both, DIRECTIONS, Direction, Rates,
    customers::Customer,
    rates::{self, Asked},
    report::Warnings,
    tree::Tree,
};

/// The rates of everything.
pub(super) struct Settled {
    pub(super) link: Both<Rates>,
    pub(super) nodes: Vec<Both<Rates>>,
    pub(super) customers: Vec<Both<Rates>>,
}

/// Settles the rates. A node guarantees what is guaranteed below it, and never more than its rate: where more is asked for, all guarantees below it shrink
/// in the same proportion.
pub(super) fn settle(
    tree: &Tree,
    customers: &[Customer],
    link: Both<u64>,
    warnings: &mut Warnings,
) -> Settled {
    let mut nodes: Vec<Both<u64>> = vec![Both::default(); tree.nodes.len()];
    let mut of_customers: Vec<Both<u64>> = vec![Both::default(); customers.len()];
    for direction in DIRECTIONS {
        let mut one = Guarantees::asked(tree, customers, direction);
        one.fit(tree, customers, link[direction], direction, warnings);
        for (node, min) in nodes.iter_mut().zip(one.nodes) {
            node[direction] = min;
        }
        for (customer, min) in of_customers.iter_mut().zip(one.customers) {
            customer[direction] = min;
        }
        unreachable(tree, customers, link[direction], direction, warnings);
    }
    let of_node = |(asked, min): (&Asked, Both<u64>)| asked.rates(min, asked.max);
    let of_customer = |(asked, min): (&Asked, Both<u64>)| asked.rates(min, asked.min);
    Settled {
        // Nothing is above the link that could take anything from it.
        link: link.map(|max| Rates { min: max, max, weight: 1 }),
        nodes: tree.nodes.iter().map(|node| &node.asked).zip(nodes).map(of_node).collect(),
        customers: customers.iter().map(|it| &it.asked).zip(of_customers).map(of_customer).collect(),
    }
}

/// The guarantees of one direction, bits a second.
struct Guarantees {
    link_sum: u64,
    /// By node: what is guaranteed below it together.
    sums: Vec<u64>,
    nodes: Vec<u64>,
    customers: Vec<u64>,
}

impl Guarantees {
    /// What the files ask for; a node guarantees no less than what is guaranteed below it, and no more than its rate.
    fn asked(tree: &Tree, customers: &[Customer], direction: Direction) -> Guarantees {
        let mut it = Guarantees {
            link_sum: 0,
            sums: vec![0; tree.nodes.len()],
            nodes: vec![0; tree.nodes.len()],
            customers: customers.iter().map(|customer| customer.asked.min[direction]).collect(),
        };
        for (customer, min) in customers.iter().zip(&it.customers) {
            let sum = customer.node.map_or(&mut it.link_sum, |node| &mut it.sums[node]);
            *sum = sum.saturating_add(*min);
        }
        // From the leaves up: nodes stand behind their parents.
        for (at, node) in tree.nodes.iter().enumerate().rev() {
            it.nodes[at] = node.asked.min[direction].max(it.sums[at]).min(node.asked.max[direction]);
            let min = it.nodes[at];
            let sum = node.parent.map_or(&mut it.link_sum, |parent| &mut it.sums[parent]);
            *sum = sum.saturating_add(min);
        }
        it
    }

    /// Shrinks what does not fit.
    fn fit(
        &mut self,
        tree: &Tree,
        customers: &[Customer],
        link: u64,
        way: Direction,
        warnings: &mut Warnings,
    ) {
        let word: &str = way.into();
        let mut shrinks = |what: &str, sum: u64, max: u64| {
            if sum > max {
                warnings.say("guarantees", || {
                    format!(
                        "{what}: {} {word} are guaranteed below it, more than its {}: each guarantee there shrinks to {:.0} %",
                        rates::text(sum),
                        rates::text(max),
                        max as f64 / sum as f64 * 100.0
                    )
                });
            }
        };
        shrinks("the link", self.link_sum, link);
        for (node, sum) in tree.nodes.iter().zip(&self.sums) {
            shrinks(&format!("node `{}`", node.name), *sum, node.asked.max[way]);
        }
        for (at, node) in tree.nodes.iter().enumerate() {
            let (have, sum) = self.above(node.parent, link);
            self.nodes[at] = shrunk(self.nodes[at], have, sum);
        }
        for (at, customer) in customers.iter().enumerate() {
            let (have, sum) = self.above(customer.node, link);
            self.customers[at] = shrunk(self.customers[at], have, sum);
        }
    }

    /// What a node (or the link) guarantees, and what is asked of it.
    fn above(&self, node: Option<usize>, link: u64) -> (u64, u64) {
        node.map_or((link, self.link_sum), |node| (self.nodes[node], self.sums[node]))
    }
}

fn shrunk(min: u64, have: u64, sum: u64) -> u64 {
    if sum <= have {
        return min;
    }
    // At most `min`, since `have` is less than `sum`.
    u64::try_from(u128::from(min) * u128::from(have) / u128::from(sum)).unwrap_or(min)
}

/// Says whose rate is above what they hang on.
fn unreachable(tree: &Tree, customers: &[Customer], link: u64, way: Direction, warnings: &mut Warnings) {
    let word: &str = way.into();
    // By node: the least rate on the way from the link, and whose it is.
    let mut least: Vec<(u64, &str)> = Vec::with_capacity(tree.nodes.len());
    for node in &tree.nodes {
        let own = (node.asked.max[way], node.name.as_str());
        let above = node.parent.map_or((link, "the link"), |parent| least[parent]);
        least.push(if above.0 < own.0 { above } else { own });
    }
    for customer in customers {
        let max = customer.asked.max[way];
        let (least, whose) = customer.node.map_or((link, "the link"), |node| least[node]);
        if max > least {
            warnings.say("customers that never reach their rate", || {
                format!(
                    "customer `{}` may have {} {word}, and `{whose}` above has {}: more is never reached",
                    customer.id,
                    rates::text(max),
                    rates::text(least)
                )
            });
        }
    }
}
