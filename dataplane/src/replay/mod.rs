//! `weir replay`: the round-trip times in captures, offline.
//!
//! ```text
//!  capture ─┐
//!  capture ─┼─ merge ─▶ link ─▶ ip ─▶ point: the measuring core ─▶ lines, or accounts ─▶ table
//!  capture ─┘  by time                                               books ──┘
//! ```
//! A capture is taken at one point: each packet arrives there and departs at the moment of its capture. Packets go through the measuring core
//! in vectors, as in a worker's graph.

#![forbid(unsafe_code)]

mod accounts;
mod books;
pub mod capture;
mod ip;
mod lines;
pub mod link;
mod merge;
mod point;
mod progress;
mod table;

use std::{
    collections::BTreeMap,
    fmt,
    io::{self, BufWriter, IsTerminal as _, Write},
    path::PathBuf,
    time::Duration,
};

use weir_graph::{
    rtt::{Carried, Observed},
    wire::ip4::TCP,
};

use self::{
    accounts::Accounts,
    capture::{Capture, Fault, Record},
    ip::{Datagram, Transport},
    link::{Contents, LinkType},
    merge::Merge,
    point::{Passing, Point},
};
pub use self::{
    lines::Form,
    point::{FLOWS, MOST_FLOWS},
    progress::Progress,
};
use crate::{config::Problems, prefixes};

/// Bytes of output that are gathered before they are written.
const OUTPUT: usize = 1 << 16;

/// What to replay, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// Files; `-` is the standard input.
    pub captures: Vec<PathBuf>,
    /// Lines of which form; `None`: the table.
    pub form: Option<Form>,
    /// A file that names prefixes.
    pub prefixes: Option<PathBuf>,
    /// At most one sample for each flow and direction in this time.
    pub interval: Duration,
    /// Measure SYN and SYN-ACK too.
    pub handshakes: bool,
    /// Flows that are followed at the same time, [`MOST_FLOWS`] at most.
    pub flows: usize,
}

/// Why a replay did not begin, or did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The prefixes are not all right.
    #[error(transparent)]
    Prefixes(#[from] Problems),
    /// Captures that can't be read at all.
    #[error("{}", listed(.0))]
    Captures(Vec<Fault>),
    /// Nowhere to print to.
    #[error("can't print")]
    Output(#[from] io::Error),
}

/// How a replay has ended.
#[derive(Debug, Default)]
pub struct End {
    /// Packets in all captures.
    pub packets: u64,
    /// Samples.
    pub samples: u64,
    /// What has ended captures before their end.
    pub faults: Vec<Fault>,
    /// What a reader of the output should know.
    pub notes: Vec<String>,
}

/// Faults, one a line.
pub fn listed(faults: &[Fault]) -> impl fmt::Display {
    faults.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n")
}

/// Replays captures, and prints to `out` what the options ask for.
pub fn run(options: &Options, out: &mut impl Write) -> Result<End, Refusal> {
    let lines_on_terminal = options.form.is_some() && io::stdout().is_terminal();
    let progress = Progress::new(&options.captures, lines_on_terminal);
    let mut captures = Vec::new();
    let mut faults = Vec::new();
    for path in &options.captures {
        match Capture::open(path, progress.read()) {
            Ok(capture) => captures.push(capture),
            Err(fault) => faults.push(fault),
        }
    }
    if !faults.is_empty() {
        return Err(Refusal::Captures(faults));
    }
    measure(captures, options, &progress, out)
}

/// [`run`], of captures that have been opened already.
pub fn measure(
    captures: Vec<Capture>,
    options: &Options,
    progress: &Progress,
    out: &mut impl Write,
) -> Result<End, Refusal> {
    let customers = options.prefixes.as_deref().map(prefixes::load).transpose()?;
    let mut replay = Replay {
        merge: Merge::new(captures),
        point: Point::new(options, Accounts::new(customers)),
        aside: Aside::default(),
    };
    let mut out = BufWriter::with_capacity(OUTPUT, out);
    replay.run(progress, &mut out)?;
    if options.form.is_none() {
        table::write(replay.point.accounts(), options.prefixes.is_some(), &mut out)?;
    }
    out.flush()?;
    Ok(replay.end())
}

struct Replay {
    merge: Merge,
    point: Point,
    aside: Aside,
}

/// Packets that were not measured, and why.
#[derive(Default)]
struct Aside {
    packets: u64,
    /// Without a time.
    timeless: u64,
    /// On links that nobody knows.
    unknown: BTreeMap<LinkType, u64>,
    /// TCP whose headers were not captured whole, or lie about their lengths.
    headless: u64,
}

impl Replay {
    fn run(&mut self, progress: &Progress, out: &mut impl Write) -> io::Result<()> {
        while let Some(record) = self.merge.next() {
            self.aside.packets += 1;
            progress.packet(self.aside.packets);
            if let Some(passing) = self.aside.sort(&record) {
                self.point.pass(&passing, out)?;
            }
        }
        self.point.flush(out)?;
        progress.finish(self.aside.packets);
        Ok(())
    }

    fn end(self) -> End {
        let Aside { packets, timeless, unknown, headless } = self.aside;
        let mut notes = Vec::new();
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                let packets = if count == 1 { "packet" } else { "packets" };
                notes.push(format!("{count} {packets} {what}"));
            }
        };
        note(timeless, "without a time (simple packet blocks of pcapng) not measured");
        for (LinkType(number), count) in unknown {
            note(count, &format!("of link type {number} not measured: this is none that weir knows"));
        }
        note(
            headless,
            "not measured: the TCP header was not captured whole, or contradicts itself; 128 bytes of each packet hold it",
        );
        note(
            self.point.crowded(),
            "met more flows than can be followed, and one of these was given up; name a larger number with --flows",
        );
        End { packets, samples: self.point.samples(), faults: self.merge.into_faults(), notes }
    }
}

impl Aside {
    /// What of a packet is measured and counted.
    #[inline]
    fn sort(&mut self, record: &Record<'_>) -> Option<Passing> {
        let Some(time) = record.time else {
            self.timeless += 1;
            return None;
        };
        let at = match link::contents(record.link, record.bytes, record.length) {
            Contents::Ip(at) => at,
            Contents::Other => return None,
            Contents::Unknown => {
                *self.unknown.entry(record.link).or_default() += 1;
                return None;
            }
        };
        let datagram = Datagram::new(record.bytes.get(at..)?, record.length.saturating_sub(at as u32))?;
        let Datagram { source, destination, transport } = datagram;
        let observed = transport.and_then(|transport| {
            let Transport { protocol, bytes, length, piece } = transport;
            let observed = u16::try_from(length).ok().and_then(|rest| {
                let length = record.length.min(u32::from(u16::MAX)) as u16;
                Observed::carried(Carried { source, destination, protocol, body: bytes, rest, length, piece })
            });
            self.headless += u64::from(observed.is_none() && protocol == TCP);
            observed
        });
        Some(Passing { time, source, destination, frame: record.length, observed })
    }
}

#[cfg(test)]
#[path = "../../tests/captures/mod.rs"]
mod captures;
