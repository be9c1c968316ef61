//! Who is counted and held to rates, and how that changes while packets flow.
//!
//! ```text
//!   customers, plan ──▶ Roster: columns, addresses ──▶ Shaping: Orders ──▶ workers: Plan, then Forget
//! ```
//! The order matters: customers get their columns before anybody is told of their rates, and what is gone is forgotten behind the orders that have
//! taken it away.

use std::sync::Arc;

use weir_graph::{counters::Counters, node::Forget};

use crate::{
    customers::{Listed, Roster, RosterError},
    shaper::Plan,
    shaping::{self, Shaping, ShapingError},
    worker::{Message, WorkerHandle},
};

/// Why nothing has changed. Every text says what to do.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // the texts say it
pub enum SubscribersError {
    #[error(transparent)]
    Customers(#[from] RosterError),
    #[error(transparent)]
    Shaping(#[from] ShapingError),
}

/// The control thread's side of all that goes by customer.
pub struct Subscribers {
    /// `None`: round-trip times are not measured, and nothing is counted by customer.
    roster: Option<Roster>,
    /// `None`: nothing is shaped.
    shaping: Option<Shaping>,
    /// What is carried out now.
    plan: Option<Arc<Plan>>,
    workers: Vec<WorkerHandle>,
}

impl Subscribers {
    /// Nobody yet. The workers' vectors must be registered.
    pub fn new(roster: Option<Roster>, shaping: Option<Shaping>, workers: Vec<WorkerHandle>) -> Subscribers {
        Subscribers { roster, shaping, plan: None, workers }
    }

    /// Makes these the customers, and no others, where nobody is shaped.
    pub fn list(
        &mut self,
        customers: Arc<[Listed]>,
        counters: &mut Counters,
    ) -> Result<(), SubscribersError> {
        let Some(roster) = &mut self.roster else { return Ok(()) };
        let customers = roster.replace(customers, counters)?;
        self.forget(Forget { customers, ..Forget::default() });
        Ok(())
    }

    /// Makes this the plan, and its customers the customers. On an error everything is as it was.
    pub fn shape(&mut self, plan: &Arc<Plan>, counters: &mut Counters) -> Result<(), SubscribersError> {
        let Some((shaping, roster)) = self.shaping.as_mut().zip(self.roster.as_mut()) else { return Ok(()) };
        let customers = roster.replace(shaping::customers(plan), counters)?;
        roster.set_unknown(plan.unknown());
        let change = match shaping.change(plan, roster, counters) {
            Ok(change) => change,
            Err(error) => {
                // There was room for those before.
                if let Some(before) = &self.plan {
                    let _ = roster.replace(shaping::customers(before), counters);
                    roster.set_unknown(before.unknown());
                }
                return Err(error.into());
            }
        };
        for (handle, orders) in self.workers.iter().zip(change.orders) {
            handle.send(Message::Plan(orders));
        }
        self.forget(Forget { customers, tree_nodes: change.gone, ..Forget::default() });
        self.plan = Some(plan.clone());
        Ok(())
    }

    /// Makes reusable what no worker can come across any more; how much still waits for the workers.
    pub fn reclaim(&mut self) -> usize {
        let orders = self.shaping.as_mut().is_some_and(Shaping::reclaim);
        self.roster.as_mut().map_or(0, Roster::reclaim) + usize::from(orders)
    }

    /// Has the workers let counters begin anew.
    fn forget(&self, gone: Forget) {
        if gone != Forget::default() {
            let gone = Arc::new(gone);
            for handle in &self.workers {
                handle.send(Message::Forget(gone.clone()));
            }
        }
    }
}
