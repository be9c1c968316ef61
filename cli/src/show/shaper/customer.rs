//! A customer's queues, down and up.

use std::io::{self, Write};
use std::time::Instant;

use serde::Serialize;
use weir_stats::{Kind, ReadError};

use crate::rtt::figures::{Figures, QUANTILE_NAMES};
use crate::rtt::subject;
use crate::rtt::table::{max, quantile};
use crate::shaper::WAYS;
use crate::shaper::delays::Delays;
use crate::shaper::reading::{Flow, Reading};
use crate::shaper::source::{ACK_FILTER, CUSTOMERS, PREFIXES, QUEUES, Source, TITLES};
use crate::shaper::tree::{Item, Tree};

use super::tins::{Tins, bits};
use super::{Interval, Pair, Times, ended};

/// A customer.
pub struct Customer {
    number: usize,
    name: String,
    title: String,
    prefixes: Vec<String>,
    /// The nodes above, upwards; none if the customer is not shaped.
    path: Vec<String>,
    queues: [Queue; 2],
    interval: Option<Interval>,
    at: Instant,
    delays: Delays,
    measured: Option<subject::Source>,
}

/// A customer's queue in one direction.
struct Queue {
    /// What it is, in CAKE's words.
    kind: String,
    flow: Flow,
    /// Drops by cause.
    dropped: Vec<(String, u64)>,
    /// Bits a second; `None` if they were not measured.
    bits: Option<f64>,
    delay: Option<Figures>,
    tins: Tins,
}

impl Customer {
    /// Reads all that is known of a customer.
    pub fn of(source: Source, tree: &Tree, number: usize) -> Result<Customer, ReadError> {
        let own = [number];
        let text = |path| Ok::<_, ReadError>(source.some_texts(path, &own)?.pop().unwrap_or_default());
        let kinds = source.texts(QUEUES)?;
        let reading = Reading::of(&source, tree, &[], own.to_vec(), Instant::now())?;
        let delays = Delays::of(&source, tree, &own, &own)?;
        let [down, up] = reading.flows(Item::Customer(number)).copied().unwrap_or_default();
        let queue = |way: usize, flow: Flow| {
            let range = number..number.saturating_add(1);
            let vector = source.vector(&format!("/shaper/customers/{}/queue", WAYS[way]), Kind::Simple);
            let kind = source.numbers(vector, &range, 1)?.pop().and_then(|it| kinds.get(it as usize));
            let kind = kind.cloned().unwrap_or_default();
            let dropped = source.customers[way].dropped.as_ref();
            let dropped = source.numbers(dropped, &range, source.causes.len())?;
            let delay = |measured| delays.figures(Item::Customer(number), way, measured, None);
            Ok::<_, ReadError>(Queue {
                tins: Tins::of(&source, way, number, &kind)?,
                kind,
                flow,
                dropped: source.causes.iter().cloned().zip(dropped).collect(),
                bits: None,
                delay: source.delays.as_ref().and_then(delay),
            })
        };
        let path = tree.above(number).into_iter().flat_map(|node| tree.path(node));
        Ok(Customer {
            number,
            name: text(CUSTOMERS)?,
            title: text(TITLES)?,
            prefixes: text(PREFIXES)?.split_whitespace().map(str::to_owned).collect(),
            path: path.map(|node| node.name.clone()).collect(),
            queues: [queue(0, down)?, queue(1, up)?],
            interval: None,
            at: reading.at,
            delays,
            measured: source.delays,
        })
    }

    /// Leaves of the counters what was counted since an earlier reading; all of it if that was another customer's.
    pub fn subtract(&mut self, before: &Customer) {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        self.interval = Some(ended(seconds));
        if before.name != self.name {
            return;
        }
        let less = |now: &mut u64, before: u64| *now = now.checked_sub(before).unwrap_or(*now);
        for (way, (now, before_queue)) in self.queues.iter_mut().zip(&before.queues).enumerate() {
            now.bits = Some(now.flow.since(&before_queue.flow, seconds).bits);
            now.flow.sent.iter_mut().zip(before_queue.flow.sent).for_each(|(now, before)| less(now, before));
            less(&mut now.flow.drops, before_queue.flow.drops);
            less(&mut now.flow.marks, before_queue.flow.marks);
            let dropped = now.dropped.iter_mut().zip(&before_queue.dropped);
            dropped.for_each(|((_, now), (_, before))| less(now, *before));
            now.tins.subtract(&before_queue.tins);
            now.delay = self.measured.as_ref().and_then(|measured| {
                self.delays.figures(Item::Customer(self.number), way, measured, Some(&before.delays))
            });
        }
    }

    /// Writes it for people.
    pub fn write(&self, terminal: Option<usize>, out: &mut impl Write) -> io::Result<()> {
        write!(out, "customer {}", self.name)?;
        if !self.title.is_empty() && self.title != self.name {
            write!(out, " ({})", self.title)?;
        }
        if !self.prefixes.is_empty() {
            write!(out, ": {}", self.prefixes.join(" "))?;
        }
        writeln!(out)?;
        if self.path.is_empty() {
            return writeln!(out, "is not shaped: no plan has the customer");
        }
        writeln!(out, "below {}", self.path.join(", "))?;
        if let Some(Interval { seconds, .. }) = self.interval {
            writeln!(out, "in {seconds:.1} s")?;
        }
        for (way, queue) in WAYS.iter().zip(&self.queues) {
            writeln!(out, "\n{way}")?;
            queue.write(self.measured.as_ref(), terminal, out)?;
        }
        Ok(())
    }
}

impl Queue {
    fn write(
        &self,
        measured: Option<&subject::Source>,
        terminal: Option<usize>,
        out: &mut impl Write,
    ) -> io::Result<()> {
        let Flow { sent, backlog, rate, min, max: most, drops, marks, .. } = self.flow;
        writeln!(out, "  queue {}", self.kind)?;
        writeln!(out, "  plan {} to {}, can get {}", bits(min), bits(most), bits(rate))?;
        write!(out, "  sent {} bytes {} pkt", sent[1], sent[0])?;
        if let Some(now) = self.bits {
            write!(out, ", {}", bits(now as u64))?;
        }
        let (filtered, causes): (Vec<_>, Vec<_>) =
            self.dropped.iter().filter(|(_, count)| *count > 0).partition(|(cause, _)| cause == ACK_FILTER);
        let causes = causes.into_iter();
        let causes: Vec<String> = causes.map(|(cause, count)| format!("{cause} {count}")).collect();
        let causes = if causes.is_empty() { String::new() } else { format!(": {}", causes.join(", ")) };
        write!(out, " (dropped {drops}{causes}; marked {marks}")?;
        filtered.iter().try_for_each(|(_, count)| write!(out, "; ACKs filtered {count}"))?;
        writeln!(out, ")")?;
        writeln!(out, "  backlog {}b {}p", backlog[1], backlog[0])?;
        if let Some((source, figures)) = measured.zip(self.delay.as_ref()) {
            let count = figures.count;
            let quantiles = QUANTILE_NAMES
                .iter()
                .enumerate()
                .map(|(at, name)| format!("{name} {}", quantile(figures, at, source)));
            let quantiles: Vec<String> = quantiles.collect();
            writeln!(out, "  delay {} max {} of {count} pkt", quantiles.join(" "), max(figures, source))?;
        }
        self.tins.write(terminal, out)
    }
}

impl Serialize for Customer {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'c> {
            interval: Option<Interval>,
            customer: &'c str,
            title: &'c str,
            prefixes: &'c [String],
            path: &'c [String],
            down: &'c Queue,
            up: &'c Queue,
        }
        let [down, up] = &self.queues;
        let Customer { interval, name, title, prefixes, path, .. } = self;
        Json { interval: *interval, customer: name, title, prefixes, path, down, up }.serialize(serializer)
    }
}

impl Serialize for Queue {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Json<'q> {
            queue: &'q str,
            rate_bps: u64,
            min_bps: u64,
            max_bps: u64,
            sent: Pair,
            sent_bps: Option<f64>,
            backlog: Pair,
            dropped: serde_json::Map<String, serde_json::Value>,
            marked: u64,
            delay: Option<Times>,
            tins: &'q Tins,
        }
        let Queue { kind, flow, dropped, bits, delay, tins } = self;
        Json {
            queue: kind,
            rate_bps: flow.rate,
            min_bps: flow.min,
            max_bps: flow.max,
            sent: flow.sent.into(),
            sent_bps: *bits,
            backlog: flow.backlog.into(),
            dropped: dropped.iter().map(|(cause, count)| (cause.clone(), (*count).into())).collect(),
            marked: flow.marks,
            delay: delay.as_ref().map(Times::from),
            tins,
        }
        .serialize(serializer)
    }
}
