//! The bare loop: receive, send, kick, reap over weir's own AF_XDP ports, and nothing else. What is slower than this is weir's graph and
//! its worker, not the kernel.

use std::array;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use core_affinity::CoreId;
use weir::port::Port as _;
use weir::port::af_xdp::{AfXdpPort, Chunk, FRAMES_PER_QUEUE, Memory, OpenError};
use weir_graph::frames::FramePool;
use weir_graph::node::VECTOR;
use weir_graph::packet::{Packet, PortIndex};
use weir_xdp::{OwnAddresses, Redirect};

use crate::pktgen::Device;
use crate::scene::{Kind, Scene};

/// Has the bare loop forward between the router's two ports on the forwarder's first core while `work` runs. Returns what `work` does, and
/// how many packets the loop has sent.
pub(super) fn forward<T>(scene: &Scene, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let core = *scene.forwarders.first().context("no core is left for a forwarder")?;
    let stop = AtomicBool::new(false);
    let (ready, readiness) = mpsc::channel();
    thread::scope(|scope| {
        let stop = &stop;
        // the sender ends with the loop, so that nobody waits for a loop that could not begin
        let forwarder = scope.spawn(move || scene.lab.router.run(|| run(scene, core, &ready, stop)));
        let outcome = readiness.recv().ok().map(|()| work());
        stop.store(true, Ordering::Relaxed);
        let sent = forwarder.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))??;
        Ok((outcome.context("the bare loop did not begin")??, sent))
    })
}

/// Forwards until told to stop; in a thread in the router's namespace.
fn run(
    Scene { lab, kind, .. }: &Scene,
    core: CoreId,
    ready: &mpsc::Sender<()>,
    stop: &AtomicBool,
) -> Result<u64> {
    ensure!(core_affinity::set_for_current(core), "cannot use core {}", core.id);
    let (mut memory, frames) = Memory::new(2 * FRAMES_PER_QUEUE, Chunk::of(1500))?;
    let mut pool = FramePool::new(memory.frames.clone(), frames);
    let own = OwnAddresses::new(1)?;
    let (mut ports, mut redirects) = (Vec::new(), Vec::new());
    for (index, host) in lab.hosts.iter().enumerate() {
        let mut port = open(&mut memory, index as PortIndex, &host.port)?;
        port.reap(&mut pool); // fills its ring
        let device = Device::named(&host.port)?.index;
        let redirect = match kind {
            Kind::Route => Redirect::attach(device, 1, &own),
            Kind::Bridge => Redirect::bridge(device, 1, None, &own),
        }?;
        redirect.bind(0, port.socket())?;
        ports.push(port);
        redirects.push(redirect);
    }
    ready.send(())?;

    let mut sent = 0;
    let mut waiting: [Vec<Packet>; 2] = array::from_fn(|_| Vec::with_capacity(VECTOR));
    while !stop.load(Ordering::Relaxed) {
        for (from, to) in [(0, 1), (1, 0)] {
            if waiting[from].is_empty() {
                ports[from].receive(&mut waiting[from], VECTOR);
            }
            if !waiting[from].is_empty() {
                sent += ports[to].send(&mut waiting[from]).packets;
            }
            ports[to].kick()?;
        }
        for port in &mut ports {
            port.reap(&mut pool);
        }
    }
    Ok(sent)
}

/// Opens a port. The kernel gives the queue back a moment after the socket of an earlier loop was closed.
fn open(memory: &mut Memory, index: PortIndex, device: &str) -> Result<AfXdpPort> {
    const PATIENCE: Duration = Duration::from_secs(2);
    let begin = Instant::now();
    loop {
        match memory.open(index, device, 0) {
            Err(OpenError::Socket { source, .. })
                if source.kind() == ErrorKind::ResourceBusy && begin.elapsed() < PATIENCE =>
            {
                thread::sleep(Duration::from_millis(10));
            }
            outcome => return Ok(outcome?),
        }
    }
}
