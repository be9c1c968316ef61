//! `weirstat dump`: values, once.

use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use clap::Args;

use crate::baseline::Baseline;
use crate::complain;
use crate::connection::Weir;
use crate::failure::Failure;
use crate::lines::Lines;
use crate::names::Meaning;
use crate::pass::{Pass, Trouble};
use crate::patterns::Patterns;
use crate::saved::{Heading, Writer};
use crate::view::{Comparison, Format, View, interval, seconds_since_1970};

/// Print the values of all counters, or of those that match a pattern.
///
/// Large vectors are read and printed in parts. Where the segment says that the columns of a vector are histograms of objects
/// (customers, …), each object's histogram is printed, and nothing of objects that have counted nothing.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat dump ^/if/                        counters by port and thread: [port @ thread]: …
  weirstat dump --summary --no-zeros ^/if/   the sums of all threads, without zeros
  weirstat dump --only-index 1 ^/if/rx$      port 1 alone
  weirstat dump --machine ^/sys/node/calls   colon-separated, for scripts
  weirstat dump --rate --interval 5 ^/if/    packets and bytes a second, measured over 5 seconds
  weirstat dump --json >before.json          save everything, and later show what was counted since:
  weirstat dump --since before.json --no-zeros")]
pub struct Dump {
    /// Seconds between the two readings of --rate
    #[arg(long, value_name = "SECONDS", default_value = "1.0", value_parser = interval, requires = "rate")]
    interval: Duration,
    #[command(flatten)]
    comparison: Comparison,
    #[command(flatten)]
    pub(crate) view: View,
    #[command(flatten)]
    patterns: Patterns,
}

impl Dump {
    /// Prints.
    pub fn run(&self, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        let matcher = self.patterns.compile()?;
        let weir = Weir::connect(path)?;
        let (reader, refusal) = (weir.reader(), |error| weir.refusal(error));
        let meaning = Meaning::of(reader).map_err(refusal)?;
        let entries = || meaning.listing.iter().filter(|entry| matcher.matches(&entry.name));
        let (mut baseline, notes) =
            self.comparison.baseline(&self.view, entries(), &meaning, reader, path)?;
        notes.iter().for_each(complain);
        let run = |baseline: &mut Baseline, silent: bool, out: &mut dyn Write| {
            let lines = Lines::new(&self.view, json, seconds_since_1970(), out);
            let mut pass = Pass { reader, meaning: &meaning, view: &self.view, baseline, lines, silent };
            pass.run(entries()).map_err(|trouble| match trouble {
                Trouble::Read(error) => weir.refusal(error),
                Trouble::Output(error) => Failure::Output(error),
            })
        };
        if self.comparison.rate {
            run(&mut baseline, true, out)?;
            sleep(self.interval);
        }
        if self.view.format(json) == Format::Json {
            let writer = Writer::of(reader, &meaning).map_err(refusal)?;
            let rate = self.comparison.rate.then_some(self.interval.as_secs_f64());
            let heading = Heading::new(writer, seconds_since_1970(), self.view.only_index);
            heading.compared(&baseline, rate).write(out)?;
        }
        run(&mut baseline, false, out)?;
        if let (None, Some(text)) = (entries().next(), self.patterns.unmatched()) {
            complain(text);
        }
        weir.warn_of_silence()
    }
}
