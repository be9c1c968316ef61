//! The ACK filter: a pure ACK that has just been queued takes the place of earlier ones.

use super::{
    super::{Arrival, Cause, Dropped, Lead, Leaf, PureAck, sets::NONE},
    Queues,
};

/// Packets of a flow that are looked at; with more before the ACK, none is filtered.
const LOOKED_AT: u32 = 64;

impl Queues {
    /// Whether the leaf's discipline filters ACKs: only then need the caller look for pure ones.
    #[inline]
    pub fn filters_acks(&self, leaf: Leaf) -> bool {
        let state = &self.leaves[leaf.0 as usize];
        self.disciplines[usize::from(state.discipline)].discipline.ack_filter
    }

    /// After [`Queues::enqueue`] of a pure ACK: earlier ones of its connection that it supersedes, but for the last of them, are handed to `dropped`.
    ///
    /// That one stays with it, as CAKE does it: acknowledgements then still come in pairs at the least, as a receiver with delayed ACKs sends
    /// them. `arrival` and `lead` are those of the call before; nothing happens unless the leaf filters ACKs.
    pub fn filter_acks(
        &mut self,
        leaf: Leaf,
        arrival: &Arrival,
        lead: Lead,
        ack: &PureAck,
        dropped: &mut impl FnMut(Dropped),
    ) {
        if !self.filters_acks(leaf) {
            return;
        }
        let state = &self.leaves[leaf.0 as usize];
        let which = self.disciplines[usize::from(state.discipline)].tin_of[usize::from(arrival.dscp & 63)];
        let at = state.tins[usize::from(which)];
        let number = match lead.0 {
            number if self.flows.is(number, leaf.0, which, arrival.flow) => number,
            // A shared queue is not looked for.
            _ => self.flows.look_up(leaf.0, which, arrival.flow),
        };
        if at == NONE || !self.flows.is(number, leaf.0, which, arrival.flow) {
            return;
        }
        let flow = &mut self.flows.flows[number as usize];
        // It may have been dropped at once.
        let last = if flow.packets == 1 { &mut flow.first } else { self.packets.place_mut(flow.tail) };
        if flow.packets == 0 || last.handle != arrival.packet || last.is_ack() {
            return;
        }
        last.set_ack();
        flow.acks += 1;
        if flow.packets == 1 {
            self.packets.acks.set_first(number, ack);
            return;
        }
        self.packets.acks.set(flow.tail, ack);
        if flow.acks == 1 || flow.packets > LOOKED_AT {
            return;
        }
        self.filter(leaf.0, at, number, ack, dropped);
    }

    fn filter(&mut self, leaf: u32, at: u32, number: u32, ack: &PureAck, dropped: &mut impl FnMut(Dropped)) {
        // What stands before other ECN bits of the connection stays, and before data, which has some too: who counts marked bytes (RFC 8257 §3.2) takes
        // each byte's from the first acknowledgement of it.
        let mut superseded = [NONE; LOOKED_AT as usize];
        let mut count = 0;
        let flow = &self.flows.flows[number as usize];
        let (mut packet, mut earlier) = (&flow.first, self.packets.acks.first(number));
        for index in 0..flow.packets as usize - 1 {
            match earlier {
                Some(earlier) if packet.is_ack() => {
                    if earlier.same_connection(ack) {
                        if !earlier.same_ecn(ack) {
                            count = 0;
                        } else if ack.supersedes(earlier) {
                            superseded[count] = index as u32;
                            count += 1;
                        }
                    }
                }
                _ => count = 0,
            }
            earlier = self.packets.acks.of(packet.next);
            packet = self.packets.place(packet.next);
        }
        // From the last to the first, so that the places before are as they were.
        for &index in superseded[..count.saturating_sub(1)].iter().rev() {
            let flow = &mut self.flows.flows[number as usize];
            let place = flow.take_at(number, index, &mut self.packets);
            let packets = flow.packets;
            self.forget(leaf, at, number, packets, place.length());
            self.drop(leaf, at, &place, Cause::AckFilter, dropped);
        }
        self.debug_check();
    }
}
