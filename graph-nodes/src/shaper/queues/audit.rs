//! Everything counted anew, for tests and fuzzing.

use super::{
    super::{
        Leaf, TINS,
        flows::{State, owner},
        sets::NONE,
    },
    Queues,
};

/// Says what is wrong unless both are equal.
fn equal<T: Copy + PartialEq + std::fmt::Debug>(what: &str, counted: T, kept: T) -> Result<(), String> {
    if counted == kept { Ok(()) } else { Err(format!("{what}: counted {counted:?}, kept {kept:?}")) }
}

impl Queues {
    /// Counts all packets, flows and hosts, and compares with what is kept; takes time in proportion to all memory.
    ///
    /// # Errors
    /// What differs.
    pub fn audit(&self) -> Result<(), String> {
        let (mut packets, mut frames) = (0usize, 0usize);
        let mut listed = 0usize;
        let mut bulk_ends = 0usize;
        let mut places = 0usize;
        for (number, state) in self.leaves.iter().enumerate() {
            if !self.is_set_up(Leaf(number as u32)) {
                equal("a leaf that isn't set up has packets", (0, 0), (state.packets, state.backlogged))?;
                continue;
            }
            let mut of_leaf = (0u32, 0u32);
            for which in 0..TINS {
                let at = state.tins[which];
                if at == NONE {
                    equal("a tin that is not in use has packets", false, state.backlogged & 1 << which != 0)?;
                    continue;
                }
                let tin = &self.tins.tins[at as usize];
                equal("tin's leaf", (number as u32, which as u8), (tin.leaf, tin.number))?;
                equal("backlogged", tin.packets != 0, state.backlogged & 1 << which != 0)?;
                let (mut of_tin, mut flows, mut unresponsive) = ((0u32, 0u32), (0u16, 0u16), 0u32);
                let lists = tin.lists.iter().map(|list| (list, false));
                for (list, sparse) in lists.chain([(&tin.sparse, true)]) {
                    let mut next = list.head;
                    while next != NONE {
                        let flow = &self.flows.flows[next as usize];
                        equal("flow's leaf and tin", owner(number as u32, which as u8), flow.owner)?;
                        equal("sparse list", sparse, flow.state == State::Sparse)?;
                        if flow.state == State::Waiting {
                            equal("packets of a waiting flow", 0, flow.packets)?;
                        }
                        flows.0 += u16::from(flow.state == State::Sparse);
                        flows.1 += u16::from(flow.state == State::Bulk);
                        if flow.state == State::Bulk {
                            bulk_ends += flow.ends.iter().filter(|&&end| end != NONE).count();
                        }
                        unresponsive += u32::from(flow.unresponsive);
                        equal("unresponsive", flow.memory.blue.is_active(), flow.unresponsive)?;
                        equal("calm", flow.memory.codel.is_calm(), flow.calm)?;
                        let (mut of_flow, mut acks) = ((0u32, 0u32), 0u16);
                        let (mut packet, mut place) = (&flow.first, NONE);
                        while of_flow.0 < flow.packets {
                            of_flow = (of_flow.0 + 1, of_flow.1 + packet.length());
                            frames += self.settings.frames(packet.length());
                            acks += u16::from(packet.is_ack());
                            if of_flow.0 < flow.packets {
                                place = packet.next;
                                packet = self.packets.place(place);
                                places += 1;
                            } else if flow.packets > 1 {
                                equal("a flow's last packet", place, flow.tail)?;
                            }
                        }
                        equal("a flow's ACKs", acks, flow.acks)?;
                        equal("flow", of_flow, (flow.packets, flow.bytes))?;
                        of_tin = (of_tin.0 + of_flow.0, of_tin.1 + of_flow.1);
                        listed += 1;
                        next = flow.next;
                    }
                }
                equal("tin", of_tin, (tin.packets, tin.bytes))?;
                equal("tin's flows", flows, (tin.sparse_flows, tin.bulk_flows))?;
                equal("tin's unresponsive flows", unresponsive, tin.rare.unresponsive)?;
                of_leaf = (of_leaf.0 + of_tin.0, of_leaf.1 + of_tin.1);
            }
            equal("leaf", of_leaf, (state.packets, state.bytes))?;
            let view = self.leaf(Leaf(number as u32));
            let out = view.counters.dequeued + view.counters.dropped() + u64::from(state.packets);
            equal("leaf's in and out", view.counters.enqueued, out)?;
            packets += state.packets as usize;
        }
        equal("packets", packets, self.queued)?;
        equal("places of packets", places, self.packets.used())?;
        equal("frames", frames, self.frames)?;
        equal("frames within the limit", true, frames <= self.settings.packets)?;
        let kept = self.flows.flows.iter().filter(|flow| !matches!(flow.state, State::Free | State::Idle));
        equal("flows in lists", listed, kept.count())?;
        let named = self.flows.flows.iter().filter(|flow| flow.state != State::Free);
        let named = named.flat_map(|flow| flow.ends).filter(|&end| end != NONE).count();
        equal("hosts", (named, bulk_ends), self.hosts.sums())?;
        let totals = self.totals;
        let out = totals.dequeued + totals.dropped.iter().sum::<u64>() + packets as u64;
        equal("in and out", totals.arrived, out)
    }
}
