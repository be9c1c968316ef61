//! What the customers do: greedy TCP, the kernel's, and a ping beside it.

use std::thread;

use anyhow::{Result, anyhow};
use weir_tests::clients::Stream;
use weir_tests::lab::Host;
use weir_tests::pings::Pings;

use crate::scene::Scene;

/// It fills queues until packets are lost, as most of what customers do.
const CONGESTION: &str = "cubic";
/// Seconds between two pings.
const PING: &str = "0.02";

/// Greedy flows, until this is dropped.
pub struct Flows(Vec<Stream>);

impl Flows {
    /// Starts so many flows for each customer, down and up, all at once: one after the other would wait in the queue that the first have filled.
    pub fn start(scene: &Scene, [down, up]: [usize; 2]) -> Result<Flows> {
        let ways = |(customer, server)| {
            let down = std::iter::repeat_n((server, customer), down);
            down.chain(std::iter::repeat_n((customer, server), up))
        };
        let ends: Vec<(&Host, &Host)> = scene.customers.iter().zip(&scene.servers).flat_map(ways).collect();
        thread::scope(|scope| {
            let one = |(from, to)| scope.spawn(move || Stream::start_with(from, to, CONGESTION));
            let starting: Vec<_> = ends.into_iter().map(one).collect();
            let streams = starting
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a client panicked"))));
            Ok(Flows(streams.collect::<Result<_>>()?))
        })
    }
}

impl Drop for Flows {
    fn drop(&mut self) {
        // each waits for a moment until its ends look up
        thread::scope(|scope| {
            self.0.drain(..).for_each(|stream| drop(scope.spawn(move || drop(stream))));
        });
    }
}

/// Every customer's pings to their server, until they are dropped.
pub fn ping(scene: &Scene) -> Result<Vec<Pings>> {
    let pings = scene.customers.iter().zip(&scene.servers);
    pings.map(|(customer, server)| Pings::start(customer, server, PING)).collect()
}
