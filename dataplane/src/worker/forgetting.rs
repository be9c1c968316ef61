//! What a worker forgets, a few numbers at a time, so that no packet waits for a long list.

use std::sync::Arc;

use weir_graph::node::Forget;

/// Customers, and nodes of the tree, of one piece: each has up to a hundred places in the segment, and those in which nobody has counted yet are pages that
/// have to come first. With more, a reload that takes thousands away would hold packets up for milliseconds.
const CUSTOMERS: usize = 4;
/// Routes, and next hops, of one piece: each has one place.
const ROUTES: usize = 64;

/// A list under way. Allocates once.
pub(super) struct Forgetting {
    gone: Option<Arc<Forget>>,
    /// Pieces done.
    at: usize,
    piece: Forget,
}

impl Forgetting {
    pub(super) fn new() -> Forgetting {
        let piece = Forget {
            routes: Vec::with_capacity(ROUTES),
            routes6: Vec::with_capacity(ROUTES),
            adjacencies: Vec::with_capacity(ROUTES),
            customers: Vec::with_capacity(CUSTOMERS),
            tree_nodes: Vec::with_capacity(CUSTOMERS),
        };
        Forgetting { gone: None, at: 0, piece }
    }

    /// Whether there is anything left to forget.
    pub(super) fn is_under_way(&self) -> bool {
        self.gone.is_some()
    }

    /// Takes a list, when the one before it is done.
    pub(super) fn begin(&mut self, gone: Arc<Forget>) {
        (self.gone, self.at) = (Some(gone), 0);
    }

    /// The next piece of the list.
    pub(super) fn next(&mut self) -> Option<&Forget> {
        let Forget { routes, routes6, adjacencies, customers, tree_nodes } = self.gone.as_deref()?;
        let mut more = false;
        let mut cut = |from: &[u32], into: &mut Vec<u32>, size: usize| {
            into.clear();
            into.extend(from.chunks(size).nth(self.at).into_iter().flatten());
            more |= from.len() > (self.at + 1) * size;
        };
        cut(routes, &mut self.piece.routes, ROUTES);
        cut(routes6, &mut self.piece.routes6, ROUTES);
        cut(adjacencies, &mut self.piece.adjacencies, ROUTES);
        cut(customers, &mut self.piece.customers, CUSTOMERS);
        cut(tree_nodes, &mut self.piece.tree_nodes, CUSTOMERS);
        self.at += 1;
        if !more {
            self.gone = None;
        }
        Some(&self.piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_once_and_few_at_a_time() {
        let list = |count: u32| (0..count).collect::<Vec<_>>();
        for (customers, routes, nodes) in [(0, 0, 0), (4, 64, 0), (5, 1, 9), (1000, 200, 3), (0, 65, 0)] {
            let all = Forget {
                routes: list(routes),
                routes6: list(routes + 1),
                adjacencies: list(routes / 2),
                customers: list(customers),
                tree_nodes: list(nodes),
            };
            let mut forgetting = Forgetting::new();
            forgetting.begin(Arc::new(all.clone()));
            let mut seen = Forget::default();
            while let Some(piece) = forgetting.next() {
                assert!(piece.customers.len() <= CUSTOMERS && piece.tree_nodes.len() <= CUSTOMERS);
                assert!(piece.routes6.len() <= ROUTES);
                assert!(piece.routes.len() <= ROUTES && piece.adjacencies.len() <= ROUTES);
                seen.routes.extend(&piece.routes);
                seen.routes6.extend(&piece.routes6);
                seen.adjacencies.extend(&piece.adjacencies);
                seen.customers.extend(&piece.customers);
                seen.tree_nodes.extend(&piece.tree_nodes);
            }
            assert_eq!(seen, all);
            assert!(!forgetting.is_under_way());
        }
    }
}
