//! A bottleneck as they are without a shaper: the kernel's token bucket with one deep queue behind it, first in, first out.

use anyhow::Result;

use crate::namespace::{Namespace, succeed};

/// Bytes that the queue holds: 1,000 full frames, the length that Linux gives a device's queue.
const DEPTH: u32 = 1000 * 1514;
/// Bytes that pass at once: two full frames. `tbf` wants at least one.
const BURST: u32 = 2 * 1514;

/// A device whose sender is held to a rate, until this is dropped. What is sent past the kernel's queues, as weir does, is not held.
#[derive(Debug)]
pub struct Fifo<'a> {
    namespace: &'a Namespace,
    device: &'a str,
}

impl<'a> Fifo<'a> {
    /// Holds what leaves by the device to so many Mbit/s.
    pub fn hold(namespace: &'a Namespace, device: &'a str, rate: f64) -> Result<Fifo<'a>> {
        let bits = (rate * 1e6).round() as u64;
        let words = format!("qdisc replace dev {device} root tbf rate {bits}bit burst {BURST} limit {DEPTH}");
        succeed(namespace.command("tc").args(words.split(' ')))?;
        Ok(Fifo { namespace, device })
    }
}

impl Drop for Fifo<'_> {
    fn drop(&mut self) {
        let _ = succeed(self.namespace.command("tc").args(["qdisc", "delete", "dev", self.device, "root"]));
    }
}
