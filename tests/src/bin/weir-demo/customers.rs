//! The customers: who they are, what they pay for, and how far away they live.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use weir_tests::delay::DelayLine;
use weir_tests::lab::{Host, Lab};
use weir_tests::plans;

/// What is known of a customer before anything is measured. Rates are in Mbit/s, down and up.
pub struct Customer {
    pub name: &'static str,
    /// The round trip that its line takes, in milliseconds.
    pub round_trip: u64,
    pub min: [f64; 2],
    pub max: [f64; 2],
}

/// From the nearest to the farthest.
pub const CUSTOMERS: [Customer; 3] = [
    Customer { name: "alice", round_trip: 5, min: [10.0, 4.0], max: [20.0, 5.0] },
    Customer { name: "bob", round_trip: 20, min: [4.0, 2.0], max: [10.0, 10.0] },
    Customer { name: "carol", round_trip: 60, min: [2.0, 1.0], max: [5.0, 1.0] },
];

/// The customers' hosts, in the same order, and their lines.
pub struct Customers {
    // before the hosts: a line ends before its host goes
    pub lines: Vec<DelayLine>,
    pub hosts: Vec<Host>,
}

impl Customers {
    /// Puts them behind the tower, each at the end of a line of its own.
    pub fn settle(lab: &Lab, tower: &Host) -> Result<Customers> {
        let mut hosts = lab.behind(tower, 11, &CUSTOMERS.map(|it| it.name))?;
        let lines = hosts.iter_mut().zip(&CUSTOMERS);
        let lines = lines.map(|(host, customer)| DelayLine::insert(host, each_way(customer.round_trip)));
        Ok(Customers { lines: lines.collect::<Result<_>>()?, hosts })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'static Customer, &Host)> {
        CUSTOMERS.iter().zip(&self.hosts)
    }

    /// The file that tells weir who has which addresses, where nobody has a plan.
    pub fn prefixes(&self) -> String {
        self.iter().fold(String::new(), |mut text, (customer, host)| {
            let _ = writeln!(text, "{}/32 {}", host.address, customer.name);
            text
        })
    }

    /// Their plans, below the node `tower`.
    pub fn plans(&self) -> Vec<plans::Customer<'_>> {
        let plan = |(&Customer { name, min, max, .. }, host)| plans::Customer {
            host,
            id: name,
            node: "tower",
            min,
            max,
        };
        self.iter().map(plan).collect()
    }
}

/// How long a frame is held in a line of this round trip.
pub fn each_way(round_trip: u64) -> Duration {
    Duration::from_millis(round_trip) / 2
}
