//! Puts plans into force: numbers for what they name, orders for the workers, and what readers see of it all.
//!
//! ```text
//!   Plan ──Books──▶ operations ──▶ Orders, one a worker ──Message::Plan──▶ node `shaper`
//!                       └────────▶ /shaper/…/{min,max,parent,queue}, /shaper/nodes/names      row 0, the control thread's
//! ```
//! A worker gets all nodes, and the leaves of its own customers. When every worker has carried out its orders, numbers of nodes that went with them may be
//! given to others.

use std::{collections::VecDeque, sync::Arc};

use weir_graph::{
    clock::Clock,
    counters::Counters,
    nodes::shaper::Setup,
    shaped::{self, Capacity, Planned},
    shaper::{Common, Operation, Orders, Settings},
};
use weir_stats::{Names, printable};

use crate::{
    customers::{Listed, Roster},
    shaper::{Books, BooksError, DEFAULT_LINK, Plan},
};

/// Nodes of the tree that there is room for at the least, so that a plan can grow while weir runs.
const LEAST_NODES: usize = 1 << 14;
/// Bytes of an Ethernet header, and the least MTU of a port: the largest packet, as the queue counts, has both.
const ETHERNET: u32 = 14;
const LEAST_MTU: u32 = 1500;
/// The name of what is above all nodes.
const LINK: &str = "link";

/// Why a plan can't be put into force; then everything is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ShapingError {
    /// The segment refused.
    #[error(transparent)]
    Stats(#[from] weir_stats::Error),
    /// Too many of something.
    #[error(transparent)]
    Books(#[from] BooksError),
}

/// How large everything is, from the plan that weir starts with.
#[derive(Clone, Copy, Debug)]
pub struct Sizes {
    /// Columns of the segment's vectors.
    pub capacity: Capacity,
    /// Frames that may wait, in all workers together.
    pub waiting: u32,
}

impl Sizes {
    /// Room for twice the plan's nodes, and for so many bytes of waiting packets.
    pub fn of(plan: &Plan, customers: usize, memory: u64, frame: u64) -> Sizes {
        let nodes = (2 * (plan.nodes.len() + 1)).max(LEAST_NODES);
        let waiting = u32::try_from(memory / frame).unwrap_or(u32::MAX >> 2);
        Sizes { capacity: Capacity { customers, nodes }, waiting }
    }

    /// Frames that may wait in one worker.
    pub fn waiting_each(&self, workers: usize) -> usize {
        self.waiting as usize / workers
    }

    /// What the workers know together of the tree's nodes; `None`: there is one worker.
    pub fn common(&self, workers: usize) -> Option<Arc<Common>> {
        (workers > 1).then(|| Arc::new(Common::new(2 * self.capacity.nodes, workers, DEFAULT_LINK)))
    }

    /// What each worker's shaper is made of; `frames` is how many the process has, `frame` their size in bytes, `mtu` the ports' largest.
    pub fn setup(&self, workers: usize, clock: Clock, frames: usize, frame: u32, mtu: u32) -> Setup {
        let packets = self.waiting_each(workers);
        let Capacity { customers, nodes } = self.capacity;
        let settings = Settings {
            hz: clock.hz(),
            leaves: 2 * customers,
            nodes: 2 * nodes,
            // Each has a packet at least while it is in use.
            tins: (packets / 2).max(TINS_AT_LEAST),
            flows: packets.max(TINS_AT_LEAST),
            packets,
            frame,
            mtu: mtu.max(LEAST_MTU) + ETHERNET,
        };
        Setup { settings, capacity: self.capacity, frames, common: None }
    }
}

/// Tins and flow queues that a small memory has all the same.
const TINS_AT_LEAST: usize = 1 << 10;

/// The plan's customers, as the roster wants them.
pub fn customers(plan: &Plan) -> Arc<[Listed]> {
    plan.customers
        .iter()
        .map(|it| Listed {
            name: it.id.as_str().into(),
            title: it.title.clone(),
            prefixes: it.prefixes.clone(),
        })
        .collect()
}

/// What workers are to be told of a plan.
pub struct Change {
    /// By worker.
    pub orders: Vec<Arc<Orders>>,
    /// Numbers of nodes that are gone, to be forgotten behind the orders.
    pub gone: Vec<u32>,
}

/// The control thread's side of the shaper.
pub struct Shaping {
    books: Books,
    planned: Planned,
    names: Names,
    kinds: Names,
    queues: Names,
    workers: usize,
    clock: Clock,
    /// Orders that may not have been carried out yet, by generation.
    under_way: VecDeque<(u64, Vec<Arc<Orders>>)>,
}

impl Shaping {
    /// Without a plan. Registers what the shaper publishes; before the first graph.
    pub fn new(
        counters: &mut Counters,
        sizes: Sizes,
        workers: usize,
        clock: Clock,
    ) -> Result<Shaping, ShapingError> {
        let (names, kinds, queues) =
            shaped::register(counters, sizes.capacity.nodes, crate::shaper::MAX_DISCIPLINES)?;
        let nodes = u32::try_from(sizes.capacity.nodes).unwrap_or(u32::MAX);
        Ok(Shaping {
            books: Books::new(nodes),
            planned: Planned::new(counters, sizes.capacity)?,
            names,
            kinds,
            queues,
            workers,
            clock,
            under_way: VecDeque::new(),
        })
    }

    /// Makes this the plan. Its customers are in the roster. The workers' vectors must be registered.
    pub fn change(
        &mut self,
        plan: &Arc<Plan>,
        roster: &Roster,
        counters: &mut Counters,
    ) -> Result<Change, ShapingError> {
        self.reclaim();
        let mut books = self.books.clone();
        let steps = books.change(plan, |id| roster.column(id))?;
        let nodes = books.nodes().iter().max().map_or(0, |number| *number as usize) + 1;
        shaped::grow(counters, roster.columns() as usize, nodes)?;
        let Shaping { names, kinds, queues, .. } = self;
        counters.segment().register(|batch| {
            for number in &steps.gone {
                batch.set_name(names, *number as usize, "")?;
                batch.set_name(kinds, *number as usize, "")?;
            }
            batch.set_name(names, 0, LINK)?;
            for (number, node) in books.nodes().iter().zip(&plan.nodes) {
                batch.set_name(names, *number as usize, &printable(&node.name))?;
                batch.set_name(kinds, *number as usize, &printable(&node.kind))?;
            }
            for (number, discipline) in steps.disciplines.iter().enumerate() {
                batch.set_name(queues, number, &discipline.to_string())?;
            }
            Ok(())
        })?;
        self.books = books;
        for operation in &steps.operations {
            self.planned.show(operation);
        }
        let disciplines: Vec<_> =
            steps.disciplines.iter().map(|discipline| discipline.discipline(self.clock.hz())).collect();
        let orders: Vec<Arc<Orders>> = (0..self.workers)
            .map(|worker| {
                let mine =
                    |operation: &&Operation| self.workers == 1 || is_of(operation, worker, self.workers);
                let operations = steps.operations.iter().filter(mine).copied().collect();
                Arc::new(Orders {
                    disciplines: disciplines.clone(),
                    overheads: steps.overheads.clone(),
                    operations,
                })
            })
            .collect();
        self.under_way.push_back((steps.generation, orders.clone()));
        Ok(Change { orders, gone: steps.gone })
    }

    /// Frees numbers whose orders have been carried out; whether others are still under way.
    pub fn reclaim(&mut self) -> bool {
        // A worker lets go of its orders when it has carried them out.
        let done =
            |(_, orders): &mut (u64, Vec<Arc<Orders>>)| orders.iter().all(|it| Arc::strong_count(it) == 1);
        while let Some((generation, _)) = self.under_way.pop_front_if(done) {
            self.books.carried_out(generation);
        }
        !self.under_way.is_empty()
    }
}

/// Whether a worker has to carry an operation out.
fn is_of(operation: &Operation, worker: usize, workers: usize) -> bool {
    match operation {
        Operation::Node { .. } | Operation::RemoveNode(_) => true,
        Operation::Leaf { leaf, .. } | Operation::RemoveLeaf(leaf) => {
            leaf.column() as usize % workers == worker
        }
    }
}
