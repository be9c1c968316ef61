//! Which number is whose through all changes of the plan, and what the workers are to be told.
//!
//! ```text
//!   name of a node ───Books──▶ number 1, 2, … (0 is the link)      TreeNode::of(number, direction)
//!   id of a customer ─Roster─▶ column                              Leaf::of(column, direction)
//!   Queueing, overhead ─Books─▶ number below 256
//! ```
//! A name keeps its number as long as the plan has it. The number of one that is gone is given to another only when the caller says that every worker
//! has carried out the step with which it went ([`Books::carried_out`]): until then a worker may still count under it.

use std::{collections::VecDeque, sync::Arc};

use weir_graph::shaper::{Direction, Leaf, Operation, Overhead, Rates, TreeNode};

use super::{Both, DIRECTIONS, Difference, MAX_DISCIPLINES, Plan, Queueing, difference};

/// The link's number.
const LINK: u32 = 0;

/// Why a plan can't be taken over; then everything is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BooksError {
    /// More nodes than numbers, those that still wait for the workers included.
    #[error("{0} nodes are more than there is room for: leave some out, or start weir again")]
    TooManyNodes(usize),
    /// Too many different disciplines or overheads at a time.
    #[error(
        "more than {MAX_DISCIPLINES} different {0} are in use, those of the plan until now included: let customers share some"
    )]
    TooManyWays(&'static str),
    /// The caller does not know this customer.
    #[error("customer {0} has no column")]
    NoColumn(String),
}

/// What the workers are to be told, and in this order: the lists first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// What has changed.
    pub difference: Difference,
    /// All disciplines by number; numbers that nobody uses keep the last that was theirs.
    pub disciplines: Vec<Queueing>,
    /// All overheads by number.
    pub overheads: Vec<Overhead>,
    /// Changes of the tree. They change nothing that stays as it is.
    pub operations: Vec<Operation>,
    /// Numbers of nodes that are gone.
    pub gone: Vec<u32>,
    /// What [`Books::carried_out`] is to be told when every worker has carried these out.
    pub generation: u64,
}

/// The numbers.
#[derive(Clone)]
pub struct Books {
    /// What the workers have been told so far.
    plan: Option<Arc<Plan>>,
    /// By node of the plan.
    nodes: Vec<u32>,
    /// By customer of the plan.
    columns: Vec<u32>,
    disciplines: Numbers<Queueing>,
    overheads: Numbers<Overhead>,
    free: Vec<u32>,
    /// Numbers that somebody has or had, the link's included.
    used: u32,
    most: u32,
    /// Numbers that a worker may still count under, by generation.
    waiting: VecDeque<(u64, Vec<u32>)>,
    generation: u64,
}

/// Things that have a number as long as the plan names them.
#[derive(Clone)]
struct Numbers<T> {
    all: Vec<T>,
    /// By number: whether the plan names it.
    used: Vec<bool>,
}

impl Books {
    /// Books of a plan without anything; nodes get numbers below `most`.
    pub fn new(most: u32) -> Books {
        Books {
            plan: None,
            nodes: Vec::new(),
            columns: Vec::new(),
            disciplines: Numbers { all: Vec::new(), used: Vec::new() },
            overheads: Numbers { all: Vec::new(), used: Vec::new() },
            free: Vec::new(),
            used: LINK + 1,
            most,
            waiting: VecDeque::new(),
            generation: 0,
        }
    }

    /// The number of each node of the plan.
    pub fn nodes(&self) -> &[u32] {
        &self.nodes
    }

    /// Takes another plan over: what the workers have to be told. `column` says in which column a customer is, and keeps to it as long as the
    /// customer stays. On an error nothing has changed.
    pub fn change(
        &mut self,
        plan: &Arc<Plan>,
        column: impl Fn(&str) -> Option<u32>,
    ) -> Result<Steps, BooksError> {
        let old = self.plan.clone();
        let before = old.as_deref().unwrap_or(&EMPTY);
        let mut new = self.clone();
        let difference = difference(before, plan);
        new.nodes = vec![LINK; plan.nodes.len()];
        for (was, is) in &difference.nodes.stay {
            new.nodes[*is] = self.nodes[*was];
        }
        for is in &difference.nodes.new {
            new.nodes[*is] = new.allocate()?;
        }
        new.columns = Vec::with_capacity(plan.customers.len());
        for customer in &plan.customers {
            let Some(column) = column(&customer.id) else {
                return Err(BooksError::NoColumn(customer.id.clone()));
            };
            new.columns.push(column);
        }
        let ways = || BooksError::TooManyWays("ways of queueing");
        let disciplines = new.disciplines.take(&plan.disciplines).ok_or_else(ways)?;
        let overheads = new.overheads.take(&plan.overheads).ok_or(BooksError::TooManyWays("overheads"))?;
        let ways_before = Ways {
            disciplines: self.disciplines.of(&before.disciplines),
            overheads: self.overheads.of(&before.overheads),
        };
        let (was, is) = (
            Numbered { plan: before, books: self, ways: ways_before },
            Numbered { plan, books: &new, ways: Ways { disciplines, overheads } },
        );
        let operations = operations(&was, &is, &difference, old.is_none());

        let gone: Vec<u32> = difference.nodes.gone.iter().map(|was| self.nodes[*was]).collect();
        new.generation += 1;
        if !gone.is_empty() {
            new.waiting.push_back((new.generation, gone.clone()));
        }
        new.plan = Some(plan.clone());
        let (disciplines, overheads) = (new.disciplines.all.clone(), new.overheads.all.clone());
        let generation = new.generation;
        *self = new;
        Ok(Steps { difference, disciplines, overheads, operations, gone, generation })
    }

    /// Every worker has carried out all steps up to this generation's.
    pub fn carried_out(&mut self, generation: u64) {
        while let Some((_, numbers)) = self.waiting.pop_front_if(|(waiting, _)| *waiting <= generation) {
            self.free.extend(numbers);
        }
    }

    fn allocate(&mut self) -> Result<u32, BooksError> {
        if let Some(number) = self.free.pop() {
            return Ok(number);
        }
        if self.used >= self.most {
            return Err(BooksError::TooManyNodes(self.used as usize));
        }
        self.used += 1;
        Ok(self.used - 1)
    }
}

impl<T: Clone + PartialEq> Numbers<T> {
    /// The number of each of these, which are those that the plan names from now on. Numbers that it named until now are given to nobody else:
    /// somebody's queue may not have changed over yet.
    fn take(&mut self, list: &[T]) -> Option<Vec<u8>> {
        let before = std::mem::replace(&mut self.used, vec![false; self.all.len()]);
        for value in list {
            if let Some(at) = self.all.iter().position(|known| known == value) {
                self.used[at] = true;
            }
        }
        for value in list {
            if self.all.contains(value) {
                continue;
            }
            match (0..before.len()).find(|at| !before[*at] && !self.used[*at]) {
                Some(at) => {
                    self.all[at] = value.clone();
                    self.used[at] = true;
                }
                None if self.all.len() < MAX_DISCIPLINES => {
                    self.all.push(value.clone());
                    self.used.push(true);
                }
                None => return None,
            }
        }
        Some(self.of(list))
    }

    /// The number of each of these, which are all known.
    fn of(&self, list: &[T]) -> Vec<u8> {
        let number = |value: &T| self.all.iter().position(|known| known == value).unwrap_or_default();
        // Numbers are below 256.
        list.iter().map(|value| u8::try_from(number(value)).unwrap_or_default()).collect()
    }
}

/// The numbers of a plan's disciplines and overheads.
struct Ways {
    disciplines: Vec<u8>,
    overheads: Vec<u8>,
}

/// A plan with all its numbers.
struct Numbered<'a> {
    plan: &'a Plan,
    books: &'a Books,
    ways: Ways,
}

impl Numbered<'_> {
    fn number(&self, node: Option<usize>) -> u32 {
        node.map_or(LINK, |node| self.books.nodes[node])
    }

    fn node(&self, at: usize, direction: Direction) -> Operation {
        let node = &self.plan.nodes[at];
        Operation::Node {
            node: TreeNode::of(self.books.nodes[at], direction),
            parent: Some(TreeNode::of(self.number(node.parent), direction)),
            rates: node.rates[direction],
        }
    }

    fn leaf(&self, at: usize, direction: Direction) -> Operation {
        let customer = &self.plan.customers[at];
        Operation::Leaf {
            leaf: Leaf::of(self.books.columns[at], direction),
            parent: TreeNode::of(self.number(customer.node), direction),
            rates: customer.rates[direction],
            discipline: self.ways.disciplines[usize::from(customer.discipline[direction])],
            overhead: self.ways.overheads[usize::from(customer.overhead)],
        }
    }
}

/// Leaves that go; the link, nodes from the top down; leaves that come or change; nodes that go, from the bottom up. So nothing ever hangs on what is
/// not there, and a column is free before somebody else gets it.
fn operations(was: &Numbered<'_>, is: &Numbered<'_>, difference: &Difference, first: bool) -> Vec<Operation> {
    let mut all = Vec::new();
    let mut comes: Vec<usize> = difference.customers.new.clone();
    let mut goes: Vec<u32> = difference.customers.gone.iter().map(|at| was.books.columns[*at]).collect();
    let mut changes: Vec<(usize, usize)> = difference.customers.changed.clone();
    let elsewhere = |(a, b): &(usize, usize)| was.books.columns[*a] != is.books.columns[*b];
    for (a, b) in difference.customers.stay.iter().filter(|pair| elsewhere(pair)) {
        goes.push(was.books.columns[*a]);
        comes.push(*b);
    }
    changes.retain(|pair| !elsewhere(pair));
    for column in goes {
        all.extend(DIRECTIONS.map(|direction| Operation::RemoveLeaf(Leaf::of(column, direction))));
    }
    for direction in DIRECTIONS {
        let rates = is.plan.link[direction];
        if first || was.plan.link[direction] != rates {
            all.push(Operation::Node { node: TreeNode::of(LINK, direction), parent: None, rates });
        }
    }
    // The new plan's order has every node behind its parent.
    let mut nodes: Vec<(Option<usize>, usize)> = difference.nodes.new.iter().map(|at| (None, *at)).collect();
    nodes.extend(difference.nodes.changed.iter().map(|(a, b)| (Some(*a), *b)));
    nodes.sort_unstable_by_key(|(_, at)| *at);
    for (old, new) in nodes {
        for direction in DIRECTIONS {
            let operation = is.node(new, direction);
            if old.is_none_or(|old| was.node(old, direction) != operation) {
                all.push(operation);
            }
        }
    }
    for at in comes {
        all.extend(DIRECTIONS.map(|direction| is.leaf(at, direction)));
    }
    for (old, new) in changes {
        for direction in DIRECTIONS {
            let operation = is.leaf(new, direction);
            if was.leaf(old, direction) != operation {
                all.push(operation);
            }
        }
    }
    for at in difference.nodes.gone.iter().rev() {
        let number = was.books.nodes[*at];
        all.extend(DIRECTIONS.map(|direction| Operation::RemoveNode(TreeNode::of(number, direction))));
    }
    all
}

/// Before the first plan there is nothing.
static EMPTY: Plan = Plan {
    link: Both { down: NOTHING, up: NOTHING },
    nodes: Vec::new(),
    customers: Vec::new(),
    disciplines: Vec::new(),
    overheads: Vec::new(),
    unknown: None,
};
const NOTHING: Rates = Rates { min: 0, max: 0, weight: 1 };

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use weir_graph::shaper::{Settings, Shaper};

    use super::*;
    use crate::shaper::{PlanCustomer, PlanNode};

    /// What a worker would have made of the operations: every rule of theirs is checked.
    #[derive(Default)]
    struct Model {
        nodes: BTreeMap<u32, (Option<u32>, Rates)>,
        leaves: BTreeMap<u32, (u32, Rates, u8, u8)>,
    }

    impl Model {
        fn carry_out(&mut self, operation: Operation) {
            match operation {
                Operation::Node { node, parent, rates } => {
                    if let Some(parent) = parent {
                        assert!(self.nodes.contains_key(&parent.0), "{operation:?}: no parent");
                        assert_ne!(parent, node);
                    }
                    self.nodes.insert(node.0, (parent.map(|parent| parent.0), rates));
                    self.assert_no_circle(node.0);
                }
                Operation::RemoveNode(node) => {
                    assert!(self.nodes.remove(&node.0).is_some(), "{operation:?}: no such node");
                    assert!(self.nodes.values().all(|(parent, _)| *parent != Some(node.0)), "{operation:?}");
                    assert!(self.leaves.values().all(|(parent, ..)| *parent != node.0), "{operation:?}");
                }
                Operation::Leaf { leaf, parent, rates, discipline, overhead } => {
                    assert!(self.nodes.contains_key(&parent.0), "{operation:?}: no parent");
                    self.leaves.insert(leaf.0, (parent.0, rates, discipline, overhead));
                }
                Operation::RemoveLeaf(leaf) => {
                    assert!(self.leaves.remove(&leaf.0).is_some(), "{operation:?}: no such leaf");
                }
            }
        }

        fn assert_no_circle(&self, from: u32) {
            let mut at = from;
            for _ in 0..=self.nodes.len() {
                match self.nodes[&at].0 {
                    None => return,
                    Some(parent) => at = parent,
                }
            }
            panic!("node {from} hangs below itself");
        }

        fn assert_is(&self, plan: &Plan, books: &Books, steps: &Steps, column: impl Fn(&str) -> u32) {
            let number = |node: Option<usize>| node.map_or(LINK, |node| books.nodes()[node]);
            let (mut nodes, mut leaves) = (BTreeMap::new(), BTreeMap::new());
            for direction in DIRECTIONS {
                nodes.insert(TreeNode::of(LINK, direction).0, (None, plan.link[direction]));
                for (at, node) in plan.nodes.iter().enumerate() {
                    let parent = TreeNode::of(number(node.parent), direction).0;
                    let entry = (Some(parent), node.rates[direction]);
                    nodes.insert(TreeNode::of(books.nodes()[at], direction).0, entry);
                }
                for it in &plan.customers {
                    let discipline = plan.disciplines[usize::from(it.discipline[direction])];
                    let overhead = plan.overheads[usize::from(it.overhead)];
                    let leaf = Leaf::of(column(&it.id), direction).0;
                    let (parent, rates, discipline_number, overhead_number) = self.leaves[&leaf];
                    assert_eq!(steps.disciplines[usize::from(discipline_number)], discipline);
                    assert_eq!(steps.overheads[usize::from(overhead_number)], overhead);
                    assert_eq!(parent, TreeNode::of(number(it.node), direction).0);
                    assert_eq!(rates, it.rates[direction]);
                    leaves.insert(leaf, (parent, rates, discipline_number, overhead_number));
                }
            }
            assert_eq!(self.nodes, nodes);
            assert_eq!(self.leaves, leaves);
        }
    }

    fn queueing(number: u8) -> Queueing {
        Queueing { rtt: std::time::Duration::from_millis(u64::from(number)), ..Queueing::default() }
    }

    fn overhead(number: u8) -> Overhead {
        Overhead { bytes: number.into(), ..Overhead::RAW }
    }

    fn rates() -> impl Strategy<Value = Both<Rates>> {
        let one = || (0..3u64, 1..3u32).prop_map(|(min, weight)| Rates { min, max: 9, weight });
        (one(), one()).prop_map(|(down, up)| Both { down, up })
    }

    /// Any plan of a few names, so that two of them have much in common; each time in another order.
    fn plan() -> impl Strategy<Value = Plan> {
        let node = (0..8u8, any::<prop::sample::Index>(), any::<bool>(), rates());
        let ways = (0..3u8, 0..3u8, 0..3u8);
        let customer = (0..12u8, any::<prop::sample::Index>(), any::<bool>(), rates(), ways, any::<bool>());
        let (nodes, customers) = (prop::collection::vec(node, 0..8), prop::collection::vec(customer, 0..12));
        (rates(), nodes, customers, 0..200u8).prop_map(|(link, nodes, customers, first)| {
            let mut plan = Plan {
                link,
                nodes: Vec::new(),
                customers: Vec::new(),
                disciplines: (first..first + 3).map(queueing).collect(),
                overheads: (first..first + 3).map(overhead).collect(),
                unknown: None,
            };
            let mut names = BTreeSet::new();
            for (name, parent, is_top, rates) in nodes {
                if names.insert(name) {
                    let parent = (!is_top && !plan.nodes.is_empty()).then(|| parent.index(plan.nodes.len()));
                    let (name, kind, path) = (format!("n{name}"), String::new(), String::new());
                    plan.nodes.push(PlanNode { name, parent, rates, kind, path });
                }
            }
            let mut ids = BTreeSet::new();
            for (id, node, is_top, rates, (down, up, overhead), other) in customers {
                if ids.insert(id) {
                    let node = (!is_top && !plan.nodes.is_empty()).then(|| node.index(plan.nodes.len()));
                    plan.customers.push(PlanCustomer {
                        id: format!("c{id}"),
                        title: String::new(),
                        prefixes: vec![(u128::from(other), 128)],
                        node,
                        rates,
                        discipline: Both { down, up },
                        overhead,
                    });
                }
            }
            plan
        })
    }

    /// A worker's, which knows all numbers of disciplines and overheads.
    fn shaper() -> Shaper {
        let settings = Settings {
            hz: 1_000_000_000,
            leaves: 32,
            nodes: 200,
            tins: 8,
            flows: 8,
            packets: 8,
            frame: 2048,
            mtu: 1514,
        };
        let disciplines = vec![Queueing::default().discipline(settings.hz); MAX_DISCIPLINES];
        Shaper::new(settings, &disciplines, &[Overhead::RAW; MAX_DISCIPLINES])
    }

    fn column(id: &str) -> u32 {
        id.trim_start_matches('c').parse().unwrap()
    }

    proptest! {
        #[test]
        fn operations_make_the_one_plan_of_the_other(plans in prop::collection::vec(plan(), 1..6), slow in any::<bool>()) {
            let (mut books, mut model) = (Books::new(100), Model::default());
            let mut shaper = shaper();
            let mut numbers: BTreeMap<u32, u64> = BTreeMap::new();
            for plan in plans {
                let before = (books.plan.clone(), books.nodes.clone());
                let plan = Arc::new(plan);
                let steps = books.change(&plan, |id| Some(column(id))).unwrap();
                for operation in &steps.operations {
                    model.carry_out(*operation);
                    shaper.apply(operation, 0, &mut |_| {}).unwrap();
                }
                model.assert_is(&plan, &books, &steps, column);
                // Names keep their numbers, and numbers that wait for the workers are nobody's.
                if let Some(old) = before.0 {
                    for (was, is) in &steps.difference.nodes.stay {
                        prop_assert_eq!(before.1[*was], books.nodes()[*is]);
                        prop_assert_eq!(&old.nodes[*was].name, &plan.nodes[*is].name);
                    }
                }
                for number in books.nodes() {
                    prop_assert!(!numbers.contains_key(number), "number {} still waits for the workers", number);
                }
                numbers.extend(steps.gone.iter().map(|number| (*number, steps.generation)));
                if !slow {
                    books.carried_out(steps.generation);
                    numbers.clear();
                }
                let again = books.change(&plan, |id| Some(column(id))).unwrap();
                prop_assert_eq!(again.operations, []);
                prop_assert!(again.difference.is_empty());
            }
        }
    }

    fn small(names: &[&str]) -> Arc<Plan> {
        let rates = Both::same(Rates { min: 0, max: 9, weight: 1 });
        let node = |name: &&str| PlanNode {
            name: (*name).to_owned(),
            parent: None,
            rates,
            kind: String::new(),
            path: String::new(),
        };
        Arc::new(Plan { link: rates, nodes: names.iter().map(node).collect(), ..EMPTY.clone() })
    }

    #[test]
    fn a_number_is_given_away_when_all_workers_have_heard() {
        let mut books = Books::new(4);
        let first = books.change(&small(&["a", "b", "c"]), |_| None).unwrap();
        assert_eq!(books.nodes(), [1, 2, 3]);
        let second = books.change(&small(&["c", "a"]), |_| None).unwrap();
        assert_eq!((books.nodes(), &second.gone[..]), (&[3, 1][..], &[2][..]));
        assert_eq!(second.operations.len(), 2, "b goes, in both directions");
        books.carried_out(first.generation);
        let refused = books.change(&small(&["c", "a", "d"]), |_| None).unwrap_err();
        assert_eq!(refused, BooksError::TooManyNodes(4));
        assert_eq!(books.nodes(), [3, 1], "nothing has changed");
        books.carried_out(second.generation);
        books.change(&small(&["c", "a", "d"]), |_| None).unwrap();
        assert_eq!(books.nodes(), [3, 1, 2]);
    }

    #[test]
    fn one_direction_alone_may_change() {
        let mut books = Books::new(4);
        let mut plan = (*small(&["a"])).clone();
        books.change(&Arc::new(plan.clone()), |_| None).unwrap();
        plan.nodes[0].rates.up.max = 8;
        let rates = plan.nodes[0].rates.up;
        let steps = books.change(&Arc::new(plan), |_| None).unwrap();
        let (node, parent) = (TreeNode::of(1, Direction::Up), Some(TreeNode::of(0, Direction::Up)));
        assert_eq!(steps.operations, [Operation::Node { node, parent, rates }]);
        assert_eq!(steps.difference.to_string(), "1 node changed");
    }

    #[test]
    fn disciplines_keep_their_numbers_and_a_customer_without_a_column_is_refused() {
        let mut books = Books::new(4);
        let mut plan = (*small(&[])).clone();
        plan.disciplines = (0..200).map(queueing).collect();
        plan.overheads = vec![Overhead::RAW];
        books.change(&Arc::new(plan.clone()), |_| None).unwrap();
        plan.disciplines = (150..210).map(queueing).collect();
        let steps = books.change(&Arc::new(plan.clone()), |_| None).unwrap();
        assert_eq!((steps.disciplines[150], steps.disciplines[209]), (queueing(150), queueing(209)));
        // Those of the plan before last are free, those of the last are not.
        let others = |it| Queueing { managed: false, ..queueing(it) };
        plan.disciplines = (0..197).map(others).collect();
        let refused = books.change(&Arc::new(plan.clone()), |_| None);
        assert!(matches!(refused, Err(BooksError::TooManyWays("ways of queueing"))));
        plan.disciplines.pop();
        assert_eq!(books.change(&Arc::new(plan.clone()), |_| None).unwrap().disciplines[0], others(0));
        plan.disciplines = vec![queueing(255)];
        assert!(
            books.change(&Arc::new(plan.clone()), |_| None).unwrap().disciplines.contains(&queueing(255))
        );
        plan.customers.push(PlanCustomer {
            id: "c7".to_owned(),
            title: String::new(),
            prefixes: Vec::new(),
            node: None,
            rates: plan.link,
            discipline: Both::default(),
            overhead: 0,
        });
        let refused = books.change(&Arc::new(plan), |_| None);
        assert_eq!(refused, Err(BooksError::NoColumn("c7".to_owned())));
    }
}
