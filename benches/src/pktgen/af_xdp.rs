//! The generator in user space: packets are made here, in the frames of weir's own AF_XDP rings, and sent by a queue of the device.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use weir::port::Port as _;
use weir::port::af_xdp::{AfXdpPort, Chunk, FRAMES_PER_QUEUE, Memory};
use weir_graph::frames::{FramePool, HEADROOM};
use weir_graph::packet::Packet;

use crate::pktgen::pace::{Amount, DEBT, Nanoseconds, Pace, now};
use crate::pktgen::shape::Shape;
use crate::pktgen::{Device, Sent};

/// What is nearer is waited for by looking at the clock.
const SPIN: Duration = Duration::from_micros(100);
/// Until the user's wish to stop is heard.
const LONGEST_SLEEP: Duration = Duration::from_millis(10);
/// How long a device may take to send what is in its ring.
const PATIENCE: Duration = Duration::from_secs(2);

/// A generator on one queue of one device.
pub struct AfXdp {
    shape: Shape,
    pool: FramePool,
    port: AfXdpPort,
    /// The next packet.
    number: u64,
    positions: Vec<u32>,
    ready: Vec<Packet>,
    _memory: Memory,
}

impl AfXdp {
    /// A generator of this shape on queue `queue` of a device of the calling thread's network namespace.
    pub fn new(shape: &Shape, device: &Device, queue: u32) -> Result<AfXdp> {
        let (mut memory, frames) = Memory::new(FRAMES_PER_QUEUE, Chunk::of(shape.needed_mtu()))?;
        let pool = FramePool::new(memory.frames.clone(), frames);
        let port = memory.open(0, &device.name, queue)?;
        Ok(AfXdp {
            positions: vec![0; shape.positions() as usize],
            shape: shape.clone(),
            pool,
            port,
            number: 0,
            ready: Vec::new(),
            _memory: memory,
        })
    }

    /// Sends until the amount is reached or `stop` is set, and returns what has been sent now; numbers go on from call to call.
    pub fn send(&mut self, pace: Pace, amount: Amount, stop: &AtomicBool) -> Result<Sent> {
        let (begin, mut due) = (Instant::now(), Nanoseconds::of(now()));
        let mut sent = Sent::default();
        while !stop.load(Ordering::Relaxed) && !amount.is_reached(&sent) {
            sent.time = begin.elapsed();
            if let Some(gap) = pace.gap {
                let at = now();
                let wait = Duration::from_nanos(due.whole.saturating_sub(at));
                if wait > SPIN {
                    thread::sleep((wait - SPIN / 2).min(LONGEST_SLEEP));
                    continue;
                }
                while now() < due.whole {
                    std::hint::spin_loop();
                }
                if at.saturating_sub(due.whole) > DEBT.as_nanos() as u64 {
                    due = Nanoseconds::of(at);
                }
                due = due.plus(gap);
            }
            let left = amount.packets.map_or(u64::MAX, |packets| packets - sent.packets);
            self.burst(left.min(pace.burst.into()), &mut sent)?;
        }
        let end = Instant::now();
        while self.port.frames().transmit > 0 {
            self.port.kick()?;
            self.port.reap(&mut self.pool);
            ensure!(end.elapsed() < PATIENCE, "the device does not send what is in its ring: is it up?");
        }
        Ok(sent)
    }

    /// Makes and sends `count` packets.
    fn burst(&mut self, count: u64, sent: &mut Sent) -> Result<()> {
        let begin = Instant::now();
        for _ in 0..count {
            while self.pool.available() == 0 {
                self.turn(begin)?;
            }
            let frame = self.pool.take().context("the pool is empty")?;
            let length = self.shape.length(self.number);
            let packet = self.pool.frames().packet(frame, usize::from(HEADROOM), length, 0);
            let Ok(mut packet) = packet else {
                anyhow::bail!("a packet of {length} bytes does not fit into a frame")
            };
            let bytes = self.pool.frames().bytes_mut(&mut packet);
            self.shape.write(self.number, now(), &mut self.positions, bytes);
            self.number += 1;
            self.ready.push(packet);
        }
        while !self.ready.is_empty() {
            self.turn(begin)?;
            let moved = self.port.send(&mut self.ready);
            sent.packets += moved.packets;
            sent.bytes += moved.bytes;
        }
        self.port.kick()?;
        self.port.reap(&mut self.pool);
        Ok(())
    }

    /// Has the device send, and takes back what it has sent.
    fn turn(&mut self, begin: Instant) -> Result<()> {
        self.port.kick()?;
        self.port.reap(&mut self.pool);
        ensure!(begin.elapsed() < PATIENCE, "the device does not send: is it up?");
        Ok(())
    }
}
