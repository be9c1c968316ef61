//! Traces that clients of the control socket have asked for: records come from the workers, steps go to the client.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, TryRecvError};
use weir_graph::trace::{TraceOrder, TraceRecord};

use crate::{
    control::{Replies, Reply},
    trace_text::Namer,
    worker::{Message, WorkerHandle},
};

/// Records of one worker that may wait; what a worker can't put there is lost.
const RECORDS: usize = 4096;
/// A packet that has not reached its end so long after the last step is not waited for: longer than `glean` holds one.
const QUIET: Duration = Duration::from_secs(5);
/// A trace whose packets have all ended waits so long for what they have caused (an ICMP error).
const AFTER: Duration = Duration::from_millis(20);

/// One client's trace.
pub struct Trace {
    reply: Replies,
    /// By worker.
    records: Vec<Receiver<TraceRecord>>,
    /// By worker: the records that it has said to have lost.
    lost: Vec<u64>,
    /// Numbers of packets that are followed, and of those that have not reached their end yet.
    followed: BTreeSet<u16>,
    open: BTreeSet<u16>,
    count: usize,
    last: Instant,
}

/// Tells the workers that nothing is to be followed any more.
pub fn stop<'a>(workers: impl Iterator<Item = &'a WorkerHandle>) {
    for worker in workers {
        let (nobody, _) = crossbeam_channel::bounded(0);
        worker.send(Message::Trace(TraceOrder { count: 0, node: 0 }, nobody));
    }
}

impl Trace {
    /// Tells the workers to follow `count` packets each; the first `count` of all are shown.
    pub fn start(count: u16, node: usize, reply: Replies, workers: &[WorkerHandle]) -> Trace {
        let order = |worker: &WorkerHandle| {
            let (sender, receiver) = crossbeam_channel::bounded(RECORDS);
            worker.send(Message::Trace(TraceOrder { count, node }, sender));
            receiver
        };
        Trace {
            reply,
            records: workers.iter().map(order).collect(),
            lost: vec![0; workers.len()],
            followed: BTreeSet::new(),
            open: BTreeSet::new(),
            count: usize::from(count),
            last: Instant::now(),
        }
    }

    /// Passes on what has come. `false`: the trace is over.
    pub fn fetch(&mut self, namer: &Namer) -> bool {
        // A worker follows one trace at a time: a newer one has taken this one's place.
        let mut replaced = false;
        // A packet may go from one worker to another, so what has come is put in order. Until a round finds nothing: a step that was found may have
        // one before it that came, from another worker, just after that one's records had been taken.
        let mut steps: Vec<(usize, TraceRecord)> = Vec::new();
        loop {
            let before = steps.len();
            for (worker, records) in self.records.iter().enumerate() {
                let record = || match records.try_recv() {
                    Ok(record) => Some(record),
                    Err(TryRecvError::Empty) => None,
                    Err(TryRecvError::Disconnected) => {
                        replaced = true;
                        None
                    }
                };
                steps.extend(std::iter::from_fn(record).map(|record| (worker, record)));
            }
            if steps.len() == before {
                break;
            }
        }
        steps.sort_by_key(|(_, record)| record.ticks);
        for (worker, record) in &steps {
            self.reply.lose(record.lost - std::mem::replace(&mut self.lost[*worker], record.lost));
            if !self.followed.contains(&record.packet) {
                if self.followed.len() == self.count {
                    continue;
                }
                self.followed.insert(record.packet);
                self.open.insert(record.packet);
            }
            let step = namer.step(*worker, record);
            if step.is_last() {
                self.open.remove(&record.packet);
            }
            self.last = Instant::now();
            self.reply.send(Reply::Step(step));
        }
        let complete = self.followed.len() == self.count;
        let quiet = self.last.elapsed();
        let over = complete && (quiet > QUIET || (self.open.is_empty() && quiet > AFTER));
        !over && !replaced && !self.reply.is_gone()
    }
}
