//! What the customers do in the last act: greedy TCP both ways, and a ping beside it.

use std::thread;

use anyhow::{Result, anyhow};
use weir_tests::clients::Stream;
use weir_tests::lab::Host;
use weir_tests::pings::Pings;

use crate::customers::Customers;

/// Of each customer, in each direction: one flow that fills queues until packets are lost, and one that does not wait for losses.
const CONGESTION: [&str; 2] = ["cubic", "bbr"];
/// Seconds between two pings.
const PING: &str = "0.05";

/// All of it, until it is dropped.
pub struct Load {
    /// By customer.
    each: Vec<Greedy>,
}

struct Greedy {
    /// Down and up.
    streams: [Vec<Stream>; 2],
    pings: Pings,
}

impl Load {
    /// Starts everything at once: one after the other would wait in the queue that the first have filled.
    pub fn start(internet: &Host, customers: &Customers) -> Result<Load> {
        let each = thread::scope(|scope| {
            let one = |host| scope.spawn(move || Greedy::start(internet, host));
            let starting: Vec<_> = customers.hosts.iter().map(one).collect();
            starting.into_iter().map(joined).collect::<Result<_>>()
        })?;
        Ok(Load { each })
    }

    /// Bytes that have arrived so far at the ends of a customer's flows, down and up.
    pub fn arrived(&self, customer: usize) -> [u64; 2] {
        let Some(greedy) = self.each.get(customer) else { return [0; 2] };
        greedy.streams.each_ref().map(|streams| streams.iter().map(Stream::arrived).sum())
    }

    /// Milliseconds of the customer's pings so far.
    pub fn pings(&self, customer: usize) -> Vec<f64> {
        self.each.get(customer).map(|greedy| greedy.pings.times()).unwrap_or_default()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let streams = self.each.drain(..).flat_map(|greedy| greedy.streams).flatten();
        // each waits for a moment until its ends look up
        thread::scope(|scope| streams.for_each(|stream| drop(scope.spawn(move || drop(stream)))));
    }
}

impl Greedy {
    fn start(internet: &Host, customer: &Host) -> Result<Greedy> {
        let pings = Pings::start(customer, internet, PING)?;
        let streams = thread::scope(|scope| {
            let ways = [(internet, customer), (customer, internet)].map(|(from, to)| {
                CONGESTION.map(|name| scope.spawn(move || Stream::start_with(from, to, name)))
            });
            let [down, up] =
                ways.map(|starting| starting.into_iter().map(joined).collect::<Result<Vec<Stream>>>());
            Ok::<_, anyhow::Error>([down?, up?])
        })?;
        Ok(Greedy { streams, pings })
    }
}

fn joined<T>(thread: thread::ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().unwrap_or_else(|_| Err(anyhow!("a client panicked")))
}
