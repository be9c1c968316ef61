//! TCP as a router sees it: flows whose data and acknowledgements take turns, with timestamps that tick once a millisecond.

use weir_graph::{clock::Clock, wire::ip4};

use crate::packets::Random;

/// Bytes of an IP and a TCP header with timestamps.
pub const HEADERS: usize = 52;
/// Flows of one sender's address.
const FLOWS_AN_ADDRESS: usize = 16;

/// Where the addresses of senders begin.
pub const SENDERS: u32 = 10 << 24;

/// The addresses that so many flows' data comes from.
pub fn senders(flows: usize) -> u32 {
    flows.div_ceil(FLOWS_AN_ADDRESS) as u32
}

/// Flows with no more than what their packets need.
pub struct TcpFlows {
    /// The address of the first sender.
    senders: u32,
    flows: Vec<State>,
    random: Random,
    /// Ticks a millisecond.
    tick: u64,
}

#[derive(Clone, Copy, Default)]
struct State {
    sequence: u32,
    /// TSval of the newest data.
    tsval: u32,
    /// The next packet is the answer.
    answer: bool,
}

impl TcpFlows {
    /// So many flows, which have sent nothing yet: a piece of them by its number, pieces being as large.
    pub fn new(flows: usize, piece: u32, clock: Clock) -> TcpFlows {
        TcpFlows {
            senders: SENDERS + piece * senders(flows),
            flows: vec![State::default(); flows],
            random: Random(0x5eed + u64::from(piece)),
            tick: (clock.hz() / 1000).max(1),
        }
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.flows.len()
    }

    /// A flow at random.
    pub fn any(&mut self) -> usize {
        self.random.below(self.flows.len() as u32) as usize
    }

    /// Writes the headers of a flow's next packet: `payload` bytes of data, or the answer to them.
    pub fn write(&mut self, flow: usize, payload: u16, now: u64, headers: &mut [u8; HEADERS]) {
        let tsval = (now / self.tick) as u32;
        let Some(state) = self.flows.get_mut(flow) else { return };
        let (mut source, mut destination) =
            (self.senders + (flow / FLOWS_AN_ADDRESS) as u32, 0xc0a8_0001_u32);
        let (mut from, mut to) = (1024 + (flow % FLOWS_AN_ADDRESS) as u16, 443_u16);
        let (sequence, acknowledgement, echo, data);
        if state.answer {
            (source, destination, from, to) = (destination, source, to, from);
            (sequence, acknowledgement, echo, data) = (1_u32, state.sequence, state.tsval, 0);
        } else {
            (sequence, acknowledgement, echo, data) = (state.sequence, 1_u32, 0_u32, payload);
            state.sequence = state.sequence.wrapping_add(u32::from(payload));
            state.tsval = tsval;
        }
        state.answer = !state.answer;
        if let Some(mut header) = ip4::Ip4Mut::new(headers) {
            header.set_lengths(ip4::LENGTH, HEADERS as u16 + data);
            header.set_ttl_protocol(64, ip4::TCP);
            header.set_addresses(source, destination);
        }
        ip4::write_checksum(&mut headers[..ip4::LENGTH]);
        headers[20..22].copy_from_slice(&from.to_be_bytes());
        headers[22..24].copy_from_slice(&to.to_be_bytes());
        headers[24..28].copy_from_slice(&sequence.to_be_bytes());
        headers[28..32].copy_from_slice(&acknowledgement.to_be_bytes());
        headers[32..36].copy_from_slice(&[0x80, 0x10, 0x20, 0]);
        headers[40..44].copy_from_slice(&[1, 1, 8, 10]);
        headers[44..48].copy_from_slice(&tsval.to_be_bytes());
        headers[48..52].copy_from_slice(&echo.to_be_bytes());
    }
}
