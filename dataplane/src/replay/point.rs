//! The point that a capture was taken at: each packet arrives at the measuring core and departs from it at the moment of its capture.
//!
//! In `weir run` the nodes `tcp-rtt-match` and `tcp-rtt-stamp` do the same with the packets of a worker: [`Tracker::arrive`] where they come in,
//! [`Tracker::depart`] where they leave. Their packets live in frames, have no times of their own, and are IPv4 only; those of a capture are none
//! of this, so here the core is called directly, with the same two passes over a vector: ask for memory first, then work.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use weir_graph::{
    clock::Clock,
    node::VECTOR,
    rtt::{Kind, Method, Observed, Sample, Settings, Sink, TableHash, Tracker},
};

use super::{
    Options,
    accounts::Accounts,
    books::{Books, Direction},
    lines::{Form, Line, Passed},
};
use crate::prefixes;

/// Ticks of a capture's clock a second.
const SECOND: u64 = 1_000_000_000;
/// Flows that are followed at the same time unless more are asked for: as in `weir run`, 16 MiB.
pub const FLOWS: usize = 1 << 17;
/// Flows that may be asked for: as in `weir run`, 2 GiB.
pub const MOST_FLOWS: usize = 1 << 24;
/// The second stage of fetching ahead is so many packets before the work: what a cache line takes to come, at some 20 ns a packet.
const AHEAD: usize = 8;
/// The seed of the flows' hash. The same in each run, so that a full table gives up the same flows.
const SEED: u64 = 0;

/// A packet as it passes the point.
#[derive(Clone, Copy, Debug)]
pub struct Passing {
    /// When, in nanoseconds since 1970.
    pub time: u64,
    /// Source address.
    pub source: u128,
    /// Destination address.
    pub destination: u128,
    /// Bytes of its frame on the wire.
    pub frame: u32,
    /// What is measured of it, if anything is.
    pub observed: Option<Observed>,
}

/// The point, and what is kept of what passes.
pub struct Point {
    tracker: Tracker,
    /// Packets that wait until a vector of them is full, with the hashes of their flows.
    vector: Vec<(Passing, Observed, u64)>,
    output: Output,
}

/// Where samples go.
struct Output {
    accounts: Accounts,
    form: Option<Form>,
    /// Kept only if lines say what has passed.
    books: Option<Books>,
    samples: u64,
}

impl Point {
    /// A point that nothing has passed yet.
    pub fn new(options: &Options, accounts: Accounts) -> Point {
        let mut settings = Settings::new(Clock::with_hz(SECOND), options.flows);
        // Longer ones than 64 bits hold are longer than any capture.
        settings.interval = u64::try_from(options.interval.as_nanos()).unwrap_or(u64::MAX);
        settings.handshakes = options.handshakes;
        let books = options.form.is_some_and(Form::says_what_passed).then(Books::default);
        Point {
            tracker: Tracker::new(settings, TableHash::with_seed(SEED)),
            vector: Vec::with_capacity(VECTOR),
            output: Output { accounts, form: options.form, books, samples: 0 },
        }
    }

    /// A packet passes. Lines go to `out`, if there are to be any.
    #[inline]
    pub fn pass(&mut self, passing: &Passing, out: &mut impl Write) -> io::Result<()> {
        self.output.accounts.pass(passing.source, passing.destination, passing.frame);
        if let Some(observed) = passing.observed {
            let hash = self.tracker.hash(&observed);
            self.tracker.prefetch(hash);
            self.vector.push((*passing, observed, hash));
            if self.vector.len() == VECTOR {
                return self.flush(out);
            }
        }
        Ok(())
    }

    /// Measures what waits.
    pub fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        let Point { tracker, vector, output } = self;
        for (.., hash) in vector.iter_mut().take(AHEAD) {
            *hash = tracker.prefetch_flow(*hash);
        }
        for index in 0..vector.len() {
            if let Some((.., ahead)) = vector.get_mut(index + AHEAD) {
                *ahead = tracker.prefetch_flow(*ahead);
            }
            let (passing, observed, hash) = &vector[index];
            let mut taking = output.take(passing, observed);
            let ticket = tracker.arrive(observed, *hash, passing.time, &mut taking);
            if let Some(line) = taking.line {
                output.print(&line, out)?;
            }
            tracker.depart(ticket, observed, passing.time);
            if let Some(books) = &mut output.books
                && ticket.wants_stamp()
            {
                books.stamp(direction(observed), passing.time);
            }
        }
        if let Some((last, ..)) = vector.last() {
            tracker.age(last.time);
        }
        vector.clear();
        Ok(())
    }

    /// What has been counted.
    pub fn accounts(&self) -> &Accounts {
        &self.output.accounts
    }

    /// Samples until now.
    pub fn samples(&self) -> u64 {
        self.output.samples
    }

    /// Flows that were given up, or not followed at all, for want of room.
    pub fn crowded(&self) -> u64 {
        let counters = self.tracker.counters();
        counters.evicted + counters.refused
    }
}

impl Output {
    #[inline]
    fn take<'o>(&'o mut self, passing: &'o Passing, observed: &'o Observed) -> Taking<'o> {
        if let Some(books) = &mut self.books {
            books.pass(direction(observed), passing.frame, observed.payload);
        }
        Taking { output: self, passing, observed, line: None }
    }

    #[cold]
    fn print(&mut self, line: &Line, out: &mut impl Write) -> io::Result<()> {
        match self.form {
            Some(form) => form.write(line, out),
            None => Ok(()),
        }
    }
}

/// Takes what a packet brings.
struct Taking<'o> {
    output: &'o mut Output,
    passing: &'o Passing,
    observed: &'o Observed,
    line: Option<Line>,
}

impl Sink for Taking<'_> {
    fn sample(&mut self, sample: Sample) {
        let Passing { time, source, destination, .. } = *self.passing;
        self.output.samples += 1;
        self.output.accounts.sample(source, destination, sample.rtt);
        if self.output.form.is_none() {
            return;
        }
        let passed = match &mut self.output.books {
            Some(books) => books.passed(direction(self.observed), time.saturating_sub(sample.rtt)),
            None => Passed::default(),
        };
        self.line = Some(Line {
            time,
            rtt: sample.rtt,
            least: sample.least,
            source: (prefixes::address(source), self.observed.source_port()),
            destination: (prefixes::address(destination), self.observed.destination_port()),
            protocol: protocol(self.observed),
            method: match sample.method {
                Method::Timestamp => "timestamp",
                Method::Sequence => "sequence",
                Method::Echo => "echo",
                Method::Handshake => "handshake",
            },
            passed,
            customers: self.output.accounts.customers(source, destination),
        });
    }

    fn retransmission(&mut self) {
        self.output.accounts.retransmission(self.passing.source, self.passing.destination);
    }

    fn reordered(&mut self) {
        self.output.accounts.reordered(self.passing.source, self.passing.destination);
    }
}

fn direction(observed: &Observed) -> Direction {
    Direction {
        source: (observed.source(), observed.source_port()),
        destination: (observed.destination(), observed.destination_port()),
        echo: observed.kind() != Kind::Tcp,
    }
}

fn protocol(observed: &Observed) -> &'static str {
    match (observed.kind(), prefixes::address(observed.source())) {
        (Kind::Tcp, _) => "TCP",
        (_, IpAddr::V4(_)) => "ICMP",
        (_, IpAddr::V6(_)) => "ICMPv6",
    }
}
