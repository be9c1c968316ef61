//! What weir has counted, read from its segment as any reader does.

use std::fmt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use weir_stats::{Entry, Pair, Reader, Value};

/// Packets and bytes received, by worker and port.
const RECEIVED: &str = "/if/rx";
/// Packets and bytes sent, by worker and port.
const SENT: &str = "/if/tx";
/// Packets dropped, by worker and reason.
const DROPPED: &str = "/node/errors";
/// Packets that nodes made themselves (ICMP errors, fragments), by worker and node.
const CREATED: &str = "/sys/node/created";
/// Packets that nodes hold now (they wait for a neighbour), by worker and node.
const HELD: &str = "/sys/node/held";

/// Where each worker's frames are, and how many it has; by worker and place.
const FRAMES: &str = "/workers/frames";

/// How long the last packets may take through weir, and held ones to be given up for an unresolved neighbour.
const QUIET: Duration = Duration::from_secs(10);

/// weir's segment.
#[derive(Debug)]
pub struct Counters {
    reader: Reader,
}

/// Where packets have gone, over all workers, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Taken from the ports' rings.
    pub received: u64,
    /// Made by weir itself.
    pub created: u64,
    /// Given to the ports' rings.
    pub sent: u64,
    /// Dropped, for any reason.
    pub dropped: u64,
    /// Held back, to be sent or dropped later.
    pub held: u64,
    /// Frames of all workers, by where they are.
    pub frames: u64,
    /// Frames of all workers, by what came and went.
    pub all_frames: u64,
}

impl Balance {
    /// Whether every packet and every frame is accounted for.
    pub fn holds(&self) -> bool {
        self.received + self.created == self.sent + self.dropped + self.held && self.frames == self.all_frames
    }
}

impl Counters {
    /// Maps the segment behind a stats socket.
    pub fn connect(socket: &Path) -> Result<Counters> {
        let reader =
            Reader::connect(socket).with_context(|| format!("no segment at {}", socket.display()))?;
        Ok(Counters { reader })
    }

    /// The reader itself.
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Packets received by all workers on all ports.
    pub fn received(&self) -> Result<u64> {
        Ok(self.by_row(RECEIVED)?.iter().sum())
    }

    /// Packets received by each worker.
    pub fn received_by_worker(&self) -> Result<Vec<u64>> {
        self.by_worker(RECEIVED)
    }

    /// What each worker has counted in a vector, or in a node's or event's column.
    pub fn by_worker(&self, path: &str) -> Result<Vec<u64>> {
        // the first row is the control thread's
        Ok(self.by_row(path)?.split_off(1))
    }

    /// Frames of all workers, as soon as all have said how many they have.
    pub fn frames(&self) -> Result<u64> {
        let begun = Instant::now();
        loop {
            let Value::Simple(rows) = self.value(FRAMES)? else { bail!("{FRAMES} holds no numbers") };
            let own: Vec<u64> = rows.iter().skip(1).filter_map(|row| row.last().copied()).collect();
            if own.iter().all(|frames| *frames > 0) {
                return Ok(own.iter().sum());
            }
            ensure!(begun.elapsed() < QUIET, "a worker does not say how many frames it has: {own:?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// The packets of one drop reason, such as `("ip4-input", "ttl-expired")`.
    pub fn drops(&self, node: &str, reason: &str) -> Result<u64> {
        Ok(self.by_row(&format!("/err/{node}/{reason}"))?.iter().sum())
    }

    /// The times that one event of a node has come, such as `("l2-cross-connect", "tag-stack")`.
    pub fn events(&self, node: &str, event: &str) -> Result<u64> {
        Ok(self.by_row(&format!("/events/{node}/{event}"))?.iter().sum())
    }

    /// All sums at one moment.
    pub fn balance(&self) -> Result<Balance> {
        let sum = |path| Ok::<u64, anyhow::Error>(self.by_row(path)?.iter().sum());
        // the last column is the total of the others
        let all_frames = self.columns(FRAMES)?.last().map_or(0, |total| total.packets);
        Ok(Balance {
            received: sum(RECEIVED)?,
            created: sum(CREATED)?,
            sent: sum(SENT)?,
            dropped: sum(DROPPED)?,
            held: sum(HELD)?,
            frames: sum(FRAMES)? - all_frames,
            all_frames,
        })
    }

    /// Waits until weir is quiet, and checks that every packet that it received or made was sent, dropped for a reason that
    /// has a name, or is held, and that every frame is where its worker says.
    pub fn conserve(&self) -> Result<()> {
        let begun = Instant::now();
        let mut before = self.balance()?;
        loop {
            thread::sleep(Duration::from_millis(50));
            let balance = self.balance()?;
            if balance == before && balance.holds() {
                return Ok(());
            }
            if begun.elapsed() > QUIET {
                bail!("packets or frames are not conserved: {balance:?}");
            }
            before = balance;
        }
    }

    /// A vector's columns, each summed over all workers; a vector without bytes has none.
    pub fn columns(&self, path: &str) -> Result<Vec<Pair>> {
        let rows = match self.value(path)? {
            Value::Simple(rows) => rows
                .into_iter()
                .map(|row| row.into_iter().map(|packets| Pair { packets, bytes: 0 }).collect())
                .collect(),
            Value::Combined(rows) => rows,
            _ => bail!("{path} holds no packets"),
        };
        let mut sums: Vec<Pair> = Vec::new();
        for row in rows {
            sums.resize(sums.len().max(row.len()), Pair::default());
            for (sum, pair) in sums.iter_mut().zip(row) {
                sum.packets += pair.packets;
                sum.bytes += pair.bytes;
            }
        }
        Ok(sums)
    }

    /// The names of a vector's columns.
    pub fn names(&self, path: &str) -> Result<Vec<String>> {
        match self.value(path)? {
            Value::Names(names) => Ok(names),
            _ => bail!("{path} holds no names"),
        }
    }

    /// The packets in each row of a vector.
    fn by_row(&self, path: &str) -> Result<Vec<u64>> {
        packets(&self.value(path)?).with_context(|| format!("{path} holds no packets"))
    }

    fn value(&self, path: &str) -> Result<Value> {
        let entry = self.reader.find(path)?.with_context(|| format!("the segment has no {path}"))?;
        self.reader.read(&entry).with_context(|| format!("cannot read {path}"))
    }
}

/// The packets in each row.
fn packets(value: &Value) -> Option<Vec<u64>> {
    match value {
        Value::Simple(rows) => Some(rows.iter().map(|row| row.iter().sum()).collect()),
        Value::Combined(rows) => {
            Some(rows.iter().map(|row| row.iter().map(|pair| pair.packets).sum()).collect())
        }
        Value::Symlink { value, .. } => packets(value),
        _ => None,
    }
}

/// Everything that is not zero, for the message of a test that failed.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wanted = |entry: &Entry| !entry.name.starts_with("/nodes/");
        let Ok(snapshot) = self.reader.snapshot(wanted) else {
            return writeln!(f, "(the segment cannot be read)");
        };
        for (entry, value) in snapshot.values {
            let Some(rows) = packets(&value) else { continue };
            if rows.iter().any(|packets| *packets != 0) {
                writeln!(f, "{:>12} {}", rows.iter().sum::<u64>(), entry.name)?;
            }
        }
        Ok(())
    }
}
