//! `weirstat poll`: values again and again, across restarts of weir.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use clap::Args;
use weir_stats::Entry;

use crate::baseline::Baseline;
use crate::connection::Silence;
use crate::failure::Failure;
use crate::lines::Lines;
use crate::names::Meaning;
use crate::pass::{Pass, Trouble};
use crate::patterns::{Matcher, Patterns};
use crate::screen::Screen;
use crate::view::{Comparison, Format, View, interval, seconds_since_1970};
use crate::watch::{Interruption, Look, Watcher, watch};

/// Print values again and again: redrawn on a terminal, as blocks otherwise.
///
/// A restart of weir is waited for, and said on stderr.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat poll --no-zeros ^/err/                     watch what is dropped
  weirstat poll --rate --summary --no-zeros ^/if/     watch packets and bytes a second
  weirstat poll --summary --only-index 0 ^/if/        watch one port
  weirstat poll --timestamp --machine ^/if/ >log.txt  keep a record, one reading a second
  weirstat poll --json --interval 10 ^/sys/node/      feed a program
  weirstat poll --since before.json --no-zeros ^/err/ watch what was dropped since before.json was saved")]
pub struct Poll {
    /// Seconds between readings
    #[arg(long, value_name = "SECONDS", default_value = "1.0", value_parser = interval)]
    interval: Duration,
    #[command(flatten)]
    comparison: Comparison,
    #[command(flatten)]
    pub(crate) view: View,
    #[command(flatten)]
    patterns: Patterns,
}

/// A poll under way.
struct Polling<'p, W> {
    poll: &'p Poll,
    path: &'p Path,
    json: bool,
    matcher: Matcher,
    screen: Screen,
    out: &'p mut W,
    /// `None` until there was a reading of the weir that is followed.
    known: Option<Known>,
}

/// What is known of the weir that is followed.
struct Known {
    /// The epoch at which its meaning was read.
    epoch: u64,
    meaning: Meaning,
    baseline: Baseline,
    /// What is to be said of the comparison.
    notes: Vec<String>,
    /// Rates have a reading to be measured from.
    is_measured: bool,
}

impl From<Trouble> for Interruption {
    fn from(trouble: Trouble) -> Interruption {
        match trouble {
            Trouble::Read(error) => error.into(),
            Trouble::Output(error) => error.into(),
        }
    }
}

impl Poll {
    /// Prints until it is stopped. That there is no weir at the start is an error; later it is an interruption.
    pub fn run(&self, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        let matcher = self.patterns.compile()?;
        let screen = Screen::new(io::stdout().is_terminal(), self.view.format(json) == Format::Text);
        let mut polling = Polling { poll: self, path, json, matcher, screen, out, known: None };
        watch(path, self.interval, &mut polling)
    }
}

impl<W: Write> Watcher for Polling<'_, W> {
    fn look(&mut self, look: Look<'_>) -> Result<(), Interruption> {
        let Look { reader, writer, is_new } = look;
        if is_new {
            self.known = None;
        }
        let epoch = reader.epoch();
        let Polling { poll, matcher, screen, out, .. } = self;
        let wanted = |entry: &&Entry| matcher.matches(&entry.name);
        let known = match self.known.take() {
            Some(known) if known.epoch == epoch => known,
            earlier => {
                let meaning = Meaning::of(reader)?;
                let (baseline, notes, is_measured) = match earlier {
                    Some(known) => (known.baseline, known.notes, known.is_measured),
                    None => {
                        let entries = meaning.listing.iter().filter(wanted);
                        let comparison = &poll.comparison;
                        let found = comparison.baseline(&poll.view, entries, &meaning, reader, self.path);
                        let (baseline, notes) = found.map_err(Interruption::Fatal)?;
                        (baseline, notes, false)
                    }
                };
                Known { epoch, meaning, baseline, notes, is_measured }
            }
        };
        let view = &poll.view;
        let Known { meaning, baseline, notes, is_measured, .. } = self.known.insert(known);
        let (entries, json) = (|| meaning.listing.iter().filter(wanted), self.json);
        if baseline.is_rate() && !*is_measured {
            let lines = Lines::new(view, json, 0.0, io::sink());
            Pass { reader, meaning, view, baseline, lines, silent: true }.run(entries())?;
            *is_measured = true;
            return Ok(());
        }
        let lines = Lines::new(view, json, seconds_since_1970(), screen.block(*out)?);
        let mut pass = Pass { reader, meaning, view, baseline, lines, silent: false };
        pass.run(entries())?;
        let block = pass.lines.into_inner();
        let unmatched = || {
            if entries().next().is_none() { poll.patterns.unmatched() } else { None }
        };
        let silence = Silence::of(writer).map(|silence| silence.to_string());
        let note = silence.or_else(unmatched).or_else(|| (!notes.is_empty()).then(|| notes.join("; ")));
        block.finish(note.as_deref())?;
        Ok(())
    }

    fn note(&mut self, note: &str) -> io::Result<()> {
        self.screen.note(note, self.out)
    }
}
