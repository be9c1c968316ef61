//! The tree: who is below whom.

use weir_stats::{Kind, ReadError};

use crate::rtt::pass::PART;

use super::source::{CUSTOMERS, KINDS, NODES, Source};

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// What it is called.
    pub name: String,
    /// What it is: site, ap, …; may be empty.
    pub kind: String,
    /// The node above.
    pub parent: Option<usize>,
    /// The nodes below, one level down.
    pub children: Vec<usize>,
    /// Nodes above.
    pub depth: usize,
    /// Customers below, at any depth.
    pub customers: usize,
}

/// Nodes by number, and the customers of each. Whatever the segment says, it is a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// `None` where the number is not in use.
    nodes: Vec<Option<Node>>,
    /// The nodes in use, those above before those below.
    order: Vec<usize>,
    /// Customers, those of a node beside one another and in ascending order.
    members: Vec<usize>,
    /// Where a node's customers begin, with an end.
    starts: Vec<usize>,
    /// The node of each customer.
    parents: Vec<Option<usize>>,
}

/// What is printed or drawn in the place of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A node.
    Node(usize),
    /// A customer.
    Customer(usize),
}

impl Tree {
    /// Reads it.
    pub fn of(source: &Source) -> Result<Tree, ReadError> {
        let (names, mut kinds) = (source.texts(NODES)?, source.texts(KINDS)?);
        kinds.resize(names.len(), String::new());
        let parents = |path, count: usize| {
            let vector = source.vector(path, Kind::Simple);
            let mut all = Vec::with_capacity(count);
            for first in (0..count).step_by(PART) {
                let numbers = source.numbers(vector, &(first..count.min(first + PART)), 1)?;
                all.extend(numbers.into_iter().map(|it| usize::try_from(it).ok()?.checked_sub(1)));
            }
            Ok::<_, ReadError>(all)
        };
        let above = parents("/shaper/nodes/parent", names.len())?;
        let customers = parents("/shaper/customers/parent", source.count(CUSTOMERS)?)?;
        Ok(Tree::new(names.into_iter().zip(kinds).zip(above), customers))
    }

    /// A tree of nodes with names, kinds and parents, and of each customer's node.
    pub fn new(
        nodes: impl Iterator<Item = ((String, String), Option<usize>)>,
        parents: Vec<Option<usize>>,
    ) -> Tree {
        let nodes = nodes.map(|((name, kind), parent)| {
            let node = Node { name, kind, parent, children: Vec::new(), depth: 0, customers: 0 };
            (!node.name.is_empty()).then_some(node)
        });
        let mut tree = Tree { nodes: nodes.collect(), parents, ..Tree::default() };
        tree.arrange();
        tree.gather();
        tree
    }

    /// Puts the nodes into their order. A circle, which a segment that changes just now may show, is cut open.
    fn arrange(&mut self) {
        let used = |tree: &Tree, number: usize| tree.nodes.get(number).is_some_and(Option::is_some);
        let mut roots = Vec::new();
        for number in 0..self.nodes.len() {
            let Some(parent) = self.nodes[number].as_ref().map(|node| node.parent) else { continue };
            match parent.filter(|parent| used(self, *parent)) {
                Some(parent) => self.child(parent, number),
                None => roots.push(number),
            }
        }
        let mut seen = vec![false; self.nodes.len()];
        let mut next = 0;
        loop {
            for root in roots.drain(..) {
                self.descend(root, &mut seen);
            }
            let Some(left) = (next..seen.len()).find(|number| !seen[*number] && used(self, *number)) else {
                break;
            };
            let parent = self.nodes[left].as_ref().and_then(|node| node.parent);
            if let Some(parent) = parent.and_then(|parent| self.nodes[parent].as_mut()) {
                parent.children.retain(|child| *child != left);
            }
            roots.push(left);
            next = left;
        }
    }

    fn child(&mut self, parent: usize, number: usize) {
        if let Some(node) = &mut self.nodes[parent] {
            node.children.push(number);
        }
    }

    /// Takes a root and all below it into the order.
    fn descend(&mut self, root: usize, seen: &mut [bool]) {
        let mut open = vec![(root, None)];
        while let Some((number, parent)) = open.pop() {
            let depth = parent.and_then(|parent| self.node(parent)).map_or(0, |node| node.depth + 1);
            let Some(node) = self.nodes[number].as_mut().filter(|_| !seen[number]) else { continue };
            (node.parent, node.depth) = (parent, depth);
            seen[number] = true;
            self.order.push(number);
            open.extend(node.children.iter().map(|child| (*child, Some(number))));
        }
    }

    /// Gathers the customers by node, and counts them.
    fn gather(&mut self) {
        let Tree { nodes, parents, .. } = self;
        let is_node = |node: &usize| nodes.get(*node).is_some_and(Option::is_some);
        parents.iter_mut().for_each(|parent| *parent = parent.filter(is_node));
        let mut starts = vec![0; nodes.len() + 1];
        parents.iter().flatten().for_each(|node| starts[node + 1] += 1);
        for node in 0..nodes.len() {
            if let Some(node) = &mut nodes[node] {
                node.customers = 0;
            }
            starts[node + 1] += starts[node];
        }
        let mut ends = starts.clone();
        self.members = vec![0; starts.last().copied().unwrap_or(0)];
        for (customer, node) in parents.iter().enumerate().filter_map(|(it, node)| Some((it, (*node)?))) {
            self.members[ends[node]] = customer;
            ends[node] += 1;
        }
        self.starts = starts;
        for at in (0..self.order.len()).rev() {
            let number = self.order[at];
            let own = self.members(number).len();
            let Some(node) = &mut self.nodes[number] else { continue };
            node.customers += own;
            let (all, parent) = (node.customers, node.parent);
            if let Some(parent) = parent.and_then(|parent| self.nodes[parent].as_mut()) {
                parent.customers += all;
            }
        }
    }

    /// How many numbers there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// A node; `None` where the number is not in use.
    pub fn node(&self, number: usize) -> Option<&Node> {
        self.nodes.get(number)?.as_ref()
    }

    /// The nodes in use, those above before those below.
    pub fn order(&self) -> &[usize] {
        &self.order
    }

    /// The customers at a node, in ascending order.
    pub fn members(&self, node: usize) -> &[usize] {
        let ends = self.starts.get(node).zip(self.starts.get(node + 1));
        ends.and_then(|(start, end)| self.members.get(*start..*end)).unwrap_or_default()
    }

    /// The node of a customer; `None` for one who is not shaped.
    pub fn above(&self, customer: usize) -> Option<usize> {
        self.parents.get(customer).copied().flatten()
    }

    /// The customers at a node and below it, in ascending order; all who are shaped if there is no node.
    pub fn customers(&self, node: Option<usize>) -> Vec<usize> {
        let Some(node) = node else {
            return (0..self.parents.len()).filter(|it| self.parents[*it].is_some()).collect();
        };
        let mut all = Vec::new();
        let mut open = vec![node];
        while let Some(number) = open.pop() {
            all.extend_from_slice(self.members(number));
            open.extend(self.node(number).map(|node| &node.children[..]).unwrap_or_default());
        }
        all.sort_unstable();
        all
    }

    /// A node and those above it, upwards.
    pub fn path(&self, node: usize) -> impl Iterator<Item = &Node> {
        std::iter::successors(self.node(node), |node| self.node(node.parent?))
    }

    /// What is to be seen, line by line, with its depth: the node, or all, and what is below it as long as it is open. Beside
    /// one another the larger loads come first, and nodes before customers.
    pub fn walk(
        &self,
        top: Option<usize>,
        is_open: impl Fn(usize) -> bool,
        has_customers: impl Fn(usize) -> bool,
        load: impl Fn(Item) -> f64,
    ) -> Vec<(Item, usize)> {
        let sorted = |mut items: Vec<Item>, depth: usize| {
            // The first one last: it is taken from the end.
            items.sort_by_cached_key(|item| Descending(load(*item)));
            items.reverse();
            items.into_iter().map(move |item| (item, depth))
        };
        let roots = match top {
            Some(node) => vec![node],
            None => self
                .order
                .iter()
                .copied()
                .filter(|it| self.node(*it).is_some_and(|it| it.depth == 0))
                .collect(),
        };
        let mut open: Vec<(Item, usize)> = sorted(roots.into_iter().map(Item::Node).collect(), 0).collect();
        let mut lines = Vec::new();
        while let Some((item, depth)) = open.pop() {
            lines.push((item, depth));
            let Item::Node(number) = item else { continue };
            let Some(node) = self.node(number) else { continue };
            if has_customers(number) {
                open.extend(sorted(
                    self.members(number).iter().copied().map(Item::Customer).collect(),
                    depth + 1,
                ));
            }
            if is_open(number) {
                open.extend(sorted(node.children.iter().copied().map(Item::Node).collect(), depth + 1));
            }
        }
        lines
    }
}

/// A number, the largest first.
#[derive(PartialEq)]
struct Descending(f64);

impl Eq for Descending {}

impl PartialOrd for Descending {
    fn partial_cmp(&self, other: &Descending) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Descending {
    fn cmp(&self, other: &Descending) -> std::cmp::Ordering {
        other.0.total_cmp(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(nodes: &[(&str, Option<usize>)], customers: &[Option<usize>]) -> Tree {
        let nodes = nodes.iter().map(|(name, parent)| (((*name).to_owned(), String::new()), *parent));
        Tree::new(nodes, customers.to_vec())
    }

    fn lines(tree: &Tree, top: Option<usize>, customers: bool) -> Vec<String> {
        let load = |item| match item {
            Item::Node(number) | Item::Customer(number) => (number % 3) as f64,
        };
        let lines = tree.walk(top, |_| true, |_| customers, load);
        let text = |(item, depth)| match item {
            Item::Node(number) => format!("{}{}", "-".repeat(depth), tree.node(number).unwrap().name),
            Item::Customer(number) => format!("{}{number}", "-".repeat(depth)),
        };
        lines.into_iter().map(text).collect()
    }

    #[test]
    fn what_is_below_is_added_up() {
        let nodes = [
            ("west", Some(3)),
            ("", None),
            ("ap1", Some(0)),
            ("net", None),
            ("east", Some(3)),
            ("ap2", Some(0)),
        ];
        let tree = tree(&nodes, &[Some(2), Some(5), None, Some(0), Some(2), Some(1), Some(77), Some(4)]);
        assert_eq!(lines(&tree, None, false), ["net", "-east", "-west", "--ap1", "--ap2"]);
        assert_eq!(
            lines(&tree, Some(0), true),
            ["west", "-ap1", "--4", "--0", "-ap2", "--1", "-3"],
            "beside one another by load, then by number"
        );
        let counts = [0, 2, 3, 4, 5].map(|node| tree.node(node).unwrap().customers);
        assert_eq!(counts, [4, 2, 5, 1, 1]);
        assert_eq!(tree.customers(Some(0)), [0, 1, 3, 4]);
        assert_eq!(tree.customers(None), [0, 1, 3, 4, 7], "those of nodes that are not there are nobody's");
        assert_eq!(tree.path(5).map(|node| &*node.name).collect::<Vec<_>>(), ["ap2", "west", "net"]);
        assert_eq!(
            (tree.above(4), tree.above(2), tree.above(5), tree.above(99)),
            (Some(2), None, None, None)
        );
        assert_eq!(tree.order().len(), 5);
    }

    #[test]
    fn circles_are_cut_open() {
        let nodes = [
            ("a", Some(2)),
            ("b", Some(0)),
            ("c", Some(1)),
            ("own", Some(3)),
            ("d", Some(1)),
            ("far", Some(99)),
        ];
        let tree = tree(&nodes, &[Some(2), Some(3)]);
        assert_eq!(lines(&tree, None, false), ["far", "a", "-b", "--c", "--d", "own"]);
        assert_eq!(tree.node(0).unwrap().customers, 1);
        assert_eq!(tree.path(2).count(), 3);
        assert_eq!(tree.customers(Some(0)), [0]);
    }

    #[test]
    fn a_tree_may_be_deep_or_empty() {
        let nodes: Vec<(String, Option<usize>)> =
            (0..100_000_usize).map(|number| (format!("n{number}"), number.checked_sub(1))).collect();
        let nodes = nodes.iter().map(|(name, parent)| ((name.clone(), String::new()), *parent));
        let tree = Tree::new(nodes, vec![Some(99_999)]);
        assert_eq!((tree.node(0).unwrap().customers, tree.node(99_999).unwrap().depth), (1, 99_999));
        assert!(
            Tree::new(std::iter::empty(), vec![Some(0)]).walk(None, |_| true, |_| true, |_| 0.0).is_empty()
        );
    }
}
