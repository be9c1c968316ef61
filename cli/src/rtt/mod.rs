//! `weirstat rtt`: round-trip times and queue delays, per customer or port.
//!
//! [`subject`] says what is measured and where that is in the segment, [`selection`] which objects are meant; a [`pass`] reads
//! them in parts into [`figures`], which [`table`], [`json`] and [`plot`] print, once or, by [`live`], for each interval.
//! [`follow`] prints samples one by one.

pub mod durations;
mod event;
pub mod figures;
mod follow;
mod formats;
mod json;
mod live;
pub mod lookup;
pub mod pass;
mod plot;
pub mod selection;
pub mod subject;
pub mod table;
#[cfg(test)]
pub mod trial;

use std::io::Write;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use clap::Args;
use weir_stats::{ReadError, Reader};

use crate::complain;
use crate::connection::Weir;
use crate::failure::Failure;
use crate::names::{Meaning, Names};
use crate::screen::columns_of_terminal;
use crate::view::interval;

use figures::{Chosen, Row, Sort};
use formats::Format;
use json::Interval;
use pass::Pass;
use selection::{Selection, Wanted};
use subject::{BY_CUSTOMER, BY_PORT, Source};

/// Show round-trip times and queue delays per customer or port
///
/// For each customer: rtt lan, the round trip beyond the customer's side (weir, customer, weir); rtt wan, the one beyond the
/// other side; delay down and up, the time that packets to and from the customer spent inside weir. Ports: rtt, the round
/// trip beyond the port; delay, inside weir, of packets that leave by it. What has counted nothing is left out.
///
/// Precision: weir counts times in bins, eight for each power of two from 16 us to 16.8 s, none wider than an eighth of its
/// values. min and max are the bounds of the lowest and the highest bin with a sample (< and > where a bin has no other
/// bound); p50, p90 and p99 lie in the right bin, its samples taken as evenly spread around where their sum says that they
/// are. So each is within 12.5 % of the exact one; means (--json) are exact. resent: packets sent again, as a part of all
/// packets.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat rtt                             all customers, since weir's start
  weirstat rtt acme 10.1.2.0/24            these customers
  weirstat rtt --worst 20                  the 20 customers with the longest p99 beyond their side
  weirstat rtt --worst 20 --sort down.p99  those whose packets wait longest inside weir
  weirstat rtt --interval 5 --worst 20     the same for each five seconds
  weirstat rtt --plot acme                 how its round trips are distributed
  weirstat rtt --json | jq 'select(.rtt.lan.p99_us > 100000) | .customer'
  weirstat rtt --follow acme               its samples, one a line, as they are measured
  weirstat rtt --follow --format ppviz     every sample, for ppviz")]
pub struct Rtt {
    /// Customers by name, address or prefix (all who have an address in it), or ports by name; none is all
    #[arg(value_name = "NAME|PREFIX")]
    wanted: Vec<String>,
    /// Ports instead of customers; without customers it is ports anyway
    #[arg(long)]
    ports: bool,
    /// Show what was measured in each interval of so many seconds, instead of since weir's start
    #[arg(long, value_name = "SECONDS", value_parser = interval)]
    interval: Option<Duration>,
    /// Only the worst N, by --sort
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    worst: Option<u64>,
    /// Worst first, by MEASURE.FIGURE or one of the two [default with --worst: lan.p99; for ports rtt.p99]
    ///
    /// Measures: lan, wan, down, up; of ports rtt, delay. Figures: p50, p90, p99, max, count, packets, bytes, resent.
    #[arg(long, value_name = "KEY")]
    sort: Option<String>,
    /// Draw the distributions as bars, instead of the table
    #[arg(long)]
    plot: bool,
    /// Print samples as they are measured, one a line, until stopped
    ///
    /// What was overwritten before it could be read is counted and said on stderr.
    #[arg(long, conflicts_with_all = ["ports", "interval", "worst", "sort", "plot"])]
    follow: bool,
    /// The form of the samples
    #[arg(long, value_enum, requires = "follow")]
    format: Option<Format>,
}

impl Rtt {
    /// Whether these options contradict JSON.
    pub fn contradicts_json(&self) -> Option<&'static str> {
        match self.format {
            Some(format) if format != Format::Json => {
                Some("--json is --format json: leave one of the two out")
            }
            _ if self.plot => Some("--plot is for people: --json gives the figures without it"),
            _ => None,
        }
    }

    /// Shows.
    pub fn run(&self, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        if self.follow {
            let format = if json { Format::Json } else { self.format.unwrap_or(Format::Table) };
            return follow::run(path, &Wanted::of(&self.wanted), format, out);
        }
        if self.interval.is_some() {
            return live::run(self, path, json, out);
        }
        let weir = Weir::connect(path)?;
        let (found, rows) = self.read(&weir, path)?;
        let terminal = columns_of_terminal();
        self.print(&rows, &found, json, Layout { terminal, interval: None }, out)?;
        out.flush()?;
        if let Some(note) = found.selection.note(&found.source) {
            complain(note);
        }
        weir.warn_of_silence()
    }

    /// Reads all that is to be shown; again if what the numbers are about has changed meanwhile.
    fn read(&self, weir: &Weir, path: &Path) -> Result<(Found, Vec<Row>), Failure> {
        let (reader, refused) = (weir.reader(), |error: ReadError| weir.refusal(error));
        reader.at_rest(|| {
            let found = self.find(reader).map_err(refused)?.ok_or_else(|| Source::missing(path))?;
            let mut chosen = self.chosen(&found.source)?;
            self.pass(reader, &found).run(None, &mut chosen).map_err(refused)?;
            Ok((found, chosen.into_rows()))
        })
    }

    /// Finds what is to be shown; `None` if the segment has no round-trip times.
    fn find(&self, reader: &Reader) -> Result<Option<Found>, ReadError> {
        let meaning = Meaning::of(reader)?;
        let subjects: &[_] = if self.ports { &[&BY_PORT] } else { &[&BY_CUSTOMER, &BY_PORT] };
        let Some((source, names)) = Source::of_first(subjects, &meaning, reader)? else { return Ok(None) };
        let selection = Wanted::of(&self.wanted).select(&source, &names, &meaning, reader)?;
        Ok(Some(Found { source, names, selection }))
    }

    fn chosen(&self, source: &Source) -> Result<Chosen, Failure> {
        let default = self.worst.map(|_| "p99");
        let sort = self.sort.as_deref().or(default);
        let sort = sort.map(|text| {
            let refused = || Failure::Sort { text: text.to_owned(), words: Sort::words(source.subject) };
            Sort::of(text, source.subject).ok_or_else(refused)
        });
        let limit = self.worst.map(|worst| usize::try_from(worst).unwrap_or(usize::MAX));
        Ok(Chosen::new(sort.transpose()?, limit))
    }

    fn pass<'p>(&self, reader: &'p Reader, found: &'p Found) -> Pass<'p> {
        let Selection { objects, is_explicit: all, .. } = &found.selection;
        Pass { reader, source: &found.source, objects, all: *all, keep_bins: self.plot }
    }

    fn print(
        &self,
        rows: &[Row],
        found: &Found,
        json: bool,
        layout: Layout,
        out: &mut impl Write,
    ) -> Result<(), Failure> {
        let Found { source, names, selection } = found;
        if json {
            json::write(rows, source, names, layout.interval, out)
        } else if self.plot {
            Ok(plot::write(rows, source, names, layout.terminal, out)?)
        } else {
            Ok(table::write(rows, source, names, layout.terminal, selection.is_explicit, out)?)
        }
    }
}

/// What a segment has of what is to be shown. True until its epoch moves.
#[derive(Debug)]
struct Found {
    source: Source,
    names: Rc<Names>,
    selection: Selection,
}

/// How figures are printed.
#[derive(Clone, Copy, Debug)]
struct Layout {
    /// Columns of the terminal, if it is one.
    terminal: Option<usize>,
    /// The interval that the figures are of.
    interval: Option<Interval>,
}
