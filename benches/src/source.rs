//! Where the packets of a router in memory come from: frames that are used in turn, like those of a ring, so that their headers come from the second-level cache,
//! not from the first.

use std::collections::VecDeque;
use std::sync::Arc;

use weir_graph::{
    clock,
    frames::{FrameId, Frames, HEADROOM},
    graph::Graph,
    packet::Packet,
    wire::ethernet,
};

use crate::packets::Destinations;
use crate::tcp::{HEADERS, TcpFlows};

/// Bytes of Ethernet's header.
const LINK: usize = ethernet::LENGTH;
/// Bytes of data in a TCP segment that has any.
const PAYLOAD: u16 = 6;
/// Bytes of a TCP packet.
const TCP_LENGTH: usize = LINK + HEADERS + PAYLOAD as usize;
/// From a neighbour to the port, IPv4.
const LINK_HEADER: [u8; LINK] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 8, 8, 0];

/// One worker's packets.
pub(crate) struct Source {
    frames: Arc<Frames>,
    /// Packets that are ready to be received, oldest first.
    waiting: VecDeque<Packet>,
    /// How many there may be.
    frames_in_turn: usize,
    kind: Kind,
    time: Time,
}

/// What a source's packets are.
pub(crate) enum Kind {
    /// UDP to one of the routes' addresses.
    Udp(Destinations),
    /// TCP of one of the flows.
    Tcp(TcpFlows),
}

/// How time goes on for a router.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Time {
    /// As it does.
    Real,
    /// It stands still while a vector is forwarded, and goes on between them; nanoseconds.
    Virtual(u64),
}

impl Time {
    /// A beginning later than any time-stamp counter of our days, by which a graph would go if it were ahead.
    pub(crate) const VIRTUAL: Time = Time::Virtual(1 << 62);
    /// Nanoseconds that virtual time goes on by for each packet.
    const STEP: u64 = 1000;

    /// Ticks of the router's clock.
    pub(crate) fn now(self) -> u64 {
        self.or(clock::now())
    }

    /// The same, with the clock read already.
    pub(crate) fn or(self, real: u64) -> u64 {
        match self {
            Time::Real => real,
            Time::Virtual(now) => now,
        }
    }

    /// So many packets later.
    pub(crate) fn pass(&mut self, packets: usize) {
        if let Time::Virtual(now) = self {
            *now += packets as u64 * Time::STEP;
        }
    }
}

impl Source {
    /// Packets in these frames.
    pub(crate) fn new(frames: Arc<Frames>, ids: Vec<FrameId>, kind: Kind, time: Time) -> Source {
        let (waiting, frames_in_turn) = (VecDeque::with_capacity(2 * ids.len()), ids.len());
        let mut source = Source { frames, waiting, frames_in_turn, kind, time };
        ids.into_iter().for_each(|id| source.make(id));
        source
    }

    /// The graph receives the next packets, so many if there are. Free frames become packets to be received: fresh bytes, nothing known about them.
    pub(crate) fn feed(&mut self, graph: &mut Graph, count: usize) {
        self.time.pass(count);
        let (pool, input) = graph.receive();
        while self.waiting.len() < self.frames_in_turn
            && let Some(frame) = pool.take()
        {
            self.make(frame);
        }
        input.extend(self.waiting.drain(..count.min(self.waiting.len())));
    }

    /// Frees the frames of what has been sent by a port, as the kernel does. Says how many.
    pub(crate) fn take_back(&mut self, graph: &mut Graph, port: usize) -> u64 {
        let (pool, sent) = graph.transmit(port);
        let count = sent.len() as u64;
        sent.drain(..).for_each(|packet| pool.recycle(packet));
        count
    }

    fn make(&mut self, frame: FrameId) {
        let length = match &self.kind {
            Kind::Udp(destinations) => destinations.kind().length(),
            Kind::Tcp(_) => TCP_LENGTH,
        };
        // Every one of these lengths fits into a frame.
        let Ok(mut packet) = self.frames.packet(frame, usize::from(HEADROOM), length, 0) else { return };
        let frame = self.frames.bytes_mut(&mut packet);
        match &mut self.kind {
            Kind::Udp(destinations) => destinations.write(frame),
            Kind::Tcp(flows) => {
                frame.fill(0);
                frame[..LINK].copy_from_slice(&LINK_HEADER);
                if let Some(headers) = frame.get_mut(LINK..).and_then(|rest| rest.first_chunk_mut()) {
                    let flow = flows.any();
                    flows.write(flow, PAYLOAD, self.time.now(), headers);
                }
            }
        }
        self.waiting.push_back(packet);
    }
}
