//! The generator in the kernel: an XDP program that makes each packet, run over live frames. No packet is touched from user space.
//!
//! The frames leave by the device as if it had sent them back (XDP_TX): a veth's other end must be ready for frames of XDP (a program there, or GRO), a card's driver must
//! be able to send them.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use libbpf_rs::{MapCore as _, MapFlags, MapHandle};

use crate::pktgen::object::Loaded;
use crate::pktgen::pace::{Amount, DEBT, Pace, now};
use crate::pktgen::shape::Shape;
use crate::pktgen::{Device, Sent};

/// Packets of one call of the kernel, at most: a call takes it some 16 ms before the first packet (it waits until no processor runs the program that was there before), so they are
/// few.
const CALL: u32 = 1 << 20;
/// The same where packets are paced.
const CALL_TIME: Duration = Duration::from_secs(1);
/// The program waits for a packet's time with the processor to itself: not longer than this.
const LONGEST_WAIT: Duration = Duration::from_millis(5);
const KEY: [u8; 4] = 0u32.to_ne_bytes();

/// A generator of live frames on one device.
pub struct Live {
    program: Loaded,
    progress: MapHandle,
    device: Device,
    frame: Vec<u8>,
}

/// `struct progress` of the XDP program, in its order.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    number: u64,
    due: u64,
    due_fraction: u32,
    step: u32,
    gap: u64,
    gap_fraction: u32,
    burst: u32,
    left: u32,
    debt: u64,
    lasting: u64,
    first_at: u64,
    last_at: u64,
    bytes: u64,
    failed: u64,
}

impl Live {
    /// A generator of this shape. The device is one of the network namespace of whoever will call [`Live::send`].
    pub fn new(shape: &Shape, device: &Device) -> Result<Live> {
        let words = shape.words();
        let program = Loaded::generator(|object| {
            for mut map in object.maps_mut() {
                if map.name() == ".rodata.shape" {
                    map.set_initial_value(&words)?;
                } else if map.name() == "positions" {
                    map.set_max_entries(shape.positions())?;
                }
            }
            Ok(())
        })?;
        let progress = program.map("progress")?;
        Ok(Live { program, progress, device: device.clone(), frame: vec![0; shape.longest()] })
    }

    /// Sends until the amount is reached or `stop` is set, of which it hears within about a second (a signal to its thread is heard at once), and returns what has been sent now;
    /// numbers go on from call to call.
    pub fn send(&self, pace: Pace, amount: Amount, stop: &AtomicBool) -> Result<Sent> {
        let gap = pace.gap.unwrap_or_default();
        ensure!(
            gap.whole <= LONGEST_WAIT.as_nanos() as u64,
            "live frames go at {} bursts a second at least: `--backend af-xdp` is for less",
            1000 / LONGEST_WAIT.as_millis()
        );
        let before = self.progress()?;
        self.set_progress(&Progress {
            due: now(),
            due_fraction: 0,
            gap: gap.whole,
            gap_fraction: gap.fraction,
            burst: pace.burst,
            left: 0,
            debt: DEBT.as_nanos() as u64,
            lasting: amount.time.map_or(u64::MAX, |time| time.as_nanos() as u64),
            first_at: 0,
            ..before
        })?;
        let bursts = CALL_TIME.as_nanos() as u64 / gap.whole.max(1);
        let call = u64::from(CALL).min(u64::from(pace.burst).saturating_mul(bursts));
        loop {
            let progress = self.progress()?;
            ensure!(progress.failed == before.failed, "the XDP program could not make a packet");
            let time = Duration::from_nanos(progress.last_at.saturating_sub(progress.first_at));
            let sent =
                Sent { packets: progress.number - before.number, bytes: progress.bytes - before.bytes, time };
            if stop.load(Ordering::Relaxed) || (progress.first_at > 0 && amount.is_reached(&sent)) {
                return Ok(sent);
            }
            let count = amount.packets.map_or(u64::MAX, |packets| packets - sent.packets).min(call);
            self.run(count as u32, pace.burst)?;
        }
    }

    fn run(&self, count: u32, batch: u32) -> Result<()> {
        match self.program.run_live(&self.frame, &self.device, count, batch) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error).context(
                "the kernel does not run programs over live frames: Linux 5.18 or newer is needed, and root; `--backend af-xdp` does without",
            ),
        }
    }

    fn progress(&self) -> Result<Progress> {
        let bytes = self.progress.lookup(&KEY, MapFlags::ANY)?.context("the generator has no progress")?;
        let words: Vec<u32> =
            bytes.as_chunks().0.iter().map(|word: &[u8; 4]| u32::from_ne_bytes(*word)).collect();
        let word = |at: usize| words.get(at).copied().unwrap_or(0);
        let long = |at: usize| {
            let [low, high] = [word(at), word(at + 1)].map(u64::from);
            if cfg!(target_endian = "little") { low | high << 32 } else { high | low << 32 }
        };
        Ok(Progress {
            number: long(0),
            due: long(2),
            due_fraction: word(4),
            step: word(5),
            gap: long(6),
            gap_fraction: word(8),
            burst: word(9),
            left: word(10),
            debt: long(12),
            lasting: long(14),
            first_at: long(16),
            last_at: long(18),
            bytes: long(20),
            failed: long(22),
        })
    }

    fn set_progress(&self, progress: &Progress) -> Result<()> {
        let longs = |values: &[u64]| values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>();
        let words = |values: &[u32]| values.iter().flat_map(|value| value.to_ne_bytes()).collect::<Vec<u8>>();
        let value = [
            longs(&[progress.number, progress.due]),
            words(&[progress.due_fraction, progress.step]),
            longs(&[progress.gap]),
            words(&[progress.gap_fraction, progress.burst, progress.left, 0]),
            longs(&[progress.debt, progress.lasting, progress.first_at, progress.last_at]),
            longs(&[progress.bytes, progress.failed]),
        ]
        .concat();
        Ok(self.progress.update(&KEY, &value, MapFlags::ANY)?)
    }
}

#[cfg(test)]
impl Live {
    /// The next packet, sent nowhere.
    pub(super) fn run_once(&self) -> Result<Vec<u8>> {
        self.set_progress(&Progress { lasting: u64::MAX, ..self.progress()? })?;
        let (verdict, frame) = self.program.run_once(&self.frame)?;
        ensure!(verdict == libbpf_rs::libbpf_sys::XDP_TX, "the program says {verdict}");
        Ok(frame)
    }
}
