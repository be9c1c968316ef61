//! `weirstat show shaper`: the tree with what passes it, or a customer's queues, as `tc -s qdisc show` prints CAKE's.

mod customer;
mod table;
mod tins;
mod view;

use std::io::{IsTerminal as _, Write};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use weir_stats::ReadError;

use crate::connection::Weir;
use crate::failure::Failure;
use crate::rtt::figures::Figures;
use crate::screen::columns_of_terminal;
use crate::shaper::delays::Delays;
use crate::shaper::lookup::{self, Unclear};
use crate::shaper::reading::Reading;
use crate::shaper::source::Source;
use crate::shaper::tree::{Item, Tree};
use crate::view::{interval, seconds_since_1970};

use customer::Customer;
use view::View;

/// The shaper's tree with rates, drops and delays; or what is below one node; or a customer's queues, as tc shows CAKE's
///
/// Of each node and direction: sent, the bits a second that pass; max, the node's capacity; use, sent as a part of max; wire, what
/// leaves just now with the link's overhead; of a customer rate, what can be had now; backlog, bytes that wait; packets dropped and marked a second, and how long packets were inside weir
/// (p50, p99: exact to an eighth), of all customers below together. Beside one another the busiest come first.
///
/// Of a customer, since weir's start or in an interval: what was sent, dropped by cause and marked, the exact distribution of
/// delays, and for each tin the table of tc -s qdisc show.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat show shaper                   the tree, as it is in a second from now on
  weirstat show shaper --customers       with each customer
  weirstat show shaper AP_7              a node, what is below it, and its customers
  weirstat show shaper 4711              a customer by name, title or address: since weir's start
  weirstat show shaper 10.1.2.3 --interval 5    in the next five seconds
  weirstat show shaper --json | jq '.nodes[] | select(.down.use > 0.9) | .name'")]
pub struct Shaper {
    /// A node of the tree; or a customer by name, title, address or prefix. node:NAME or customer:NAME where both are called so
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// List customers, too
    #[arg(long)]
    customers: bool,
    /// Measure for so many seconds [default: 1; of a customer, show what was counted since weir's start]
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    interval: Option<Duration>,
    /// Show what was counted since weir's start, instead of measuring
    #[arg(long, conflicts_with = "interval")]
    totals: bool,
}

/// How long is measured if nothing is said.
const INTERVAL: Duration = Duration::from_secs(1);

/// When, and of how long, rates are.
#[derive(Clone, Copy, Debug, Serialize)]
struct Interval {
    /// The end, in seconds since 1970.
    time: f64,
    /// The length in seconds.
    seconds: f64,
}

/// A distribution of times in microseconds; null where there is none, or where it lies beyond the last bound.
#[derive(Debug, Serialize)]
struct Times {
    count: u64,
    p50_us: Option<f64>,
    p90_us: Option<f64>,
    p99_us: Option<f64>,
    max_us: Option<u64>,
}

impl From<&Figures> for Times {
    fn from(figures: &Figures) -> Times {
        let known = |at: usize| Some(figures.quantiles[at]).filter(|it| figures.count > 0 && it.is_finite());
        // To the nanosecond: what is behind it is the estimate's.
        let quantile = |at| known(at).map(|time| (time * 1e3).round() / 1e3);
        Times {
            count: figures.count,
            p50_us: quantile(0),
            p90_us: quantile(1),
            p99_us: quantile(2),
            max_us: figures.max,
        }
    }
}

/// Packets and bytes.
#[derive(Debug, Serialize)]
struct Pair {
    packets: u64,
    bytes: u64,
}

impl From<[u64; 2]> for Pair {
    fn from([packets, bytes]: [u64; 2]) -> Pair {
        Pair { packets, bytes }
    }
}

/// All of one moment.
struct Moment {
    source: Source,
    tree: Tree,
    reading: Reading,
    delays: Delays,
}

impl Shaper {
    /// Shows.
    pub fn run(&self, weir: &Weir, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        let (source, tree) = stable(weir, path, |source, tree| Ok((source, tree)))?;
        let item = match &self.name {
            None => None,
            Some(word) => Some(self.find(weir, &source, &tree, word)?),
        };
        match item {
            Some(Item::Customer(number)) => self.show_customer(weir, path, number, json, out),
            Some(Item::Node(number)) => self.show_tree(weir, path, Some(number), json, out),
            None => self.show_tree(weir, path, None, json, out),
        }
    }

    fn find(&self, weir: &Weir, source: &Source, tree: &Tree, word: &str) -> Result<Item, Failure> {
        let unclear = match lookup::find(source, tree, word).map_err(|error| weir.refusal(error))? {
            Ok(item) => return Ok(item),
            Err(unclear) => unclear,
        };
        let word = word.to_owned();
        Err(match unclear {
            Unclear::Unknown(like) => Failure::Unknown { word, like: like.join(", ") },
            Unclear::Several(count, some) => {
                let more = if count > some.len() { ", …" } else { "" };
                Failure::Several { word, count, some: some.join(", ") + more }
            }
        })
    }

    fn show_tree(
        &self,
        weir: &Weir,
        path: &Path,
        top: Option<usize>,
        json: bool,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let read = || {
            stable(weir, path, |source, tree| {
                let counted = tree.customers(top);
                let kept = match top {
                    _ if self.customers => counted.clone(),
                    Some(node) => tree.members(node).to_vec(),
                    None => Vec::new(),
                };
                let reading = Reading::of(&source, &tree, &counted, kept, Instant::now())?;
                let delays = Delays::of(&source, &tree, &counted, &reading.kept)?;
                Ok(Moment { source, tree, reading, delays })
            })
        };
        let mut now = read()?;
        let mut before = None;
        if !self.totals {
            self.wait();
            before = Some(std::mem::replace(&mut now, read()?));
        }
        let view =
            View::of(&now, before.as_ref(), top, self.customers).map_err(|error| weir.refusal(error))?;
        if json {
            return print_json(&view, out);
        }
        Ok(table::write(&view, columns_of_terminal(), out)?)
    }

    fn show_customer(
        &self,
        weir: &Weir,
        path: &Path,
        number: usize,
        json: bool,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let read = || stable(weir, path, |source, tree| Customer::of(source, &tree, number));
        let mut now = read()?;
        if self.interval.is_some() {
            self.wait();
            let before = std::mem::replace(&mut now, read()?);
            now.subtract(&before);
        }
        if json { print_json(&now, out) } else { Ok(now.write(columns_of_terminal(), out)?) }
    }

    fn wait(&self) {
        let interval = self.interval.unwrap_or(INTERVAL);
        if std::io::stdout().is_terminal() && interval > INTERVAL {
            crate::complain(format!("measuring for {} s", interval.as_secs_f64()));
        }
        sleep(interval);
    }
}

/// Reads at one epoch, if the segment comes to rest.
fn stable<T>(
    weir: &Weir,
    path: &Path,
    read: impl Fn(Source, Tree) -> Result<T, ReadError>,
) -> Result<T, Failure> {
    let reader = weir.reader();
    let once = || {
        let Some(source) = Source::of(reader)? else { return Ok(None) };
        let tree = Tree::of(&source)?;
        read(source, tree).map(Some)
    };
    reader.at_rest(once).map_err(|error: ReadError| weir.refusal(error))?.ok_or_else(|| Source::missing(path))
}

fn print_json(view: &impl Serialize, out: &mut impl Write) -> Result<(), Failure> {
    serde_json::to_writer_pretty(&mut *out, view)?;
    Ok(writeln!(out)?)
}

/// An interval that has just ended.
fn ended(seconds: f64) -> Interval {
    Interval { time: seconds_since_1970(), seconds }
}
