//! `weirstat dump`: values, once.

use std::io::Write;
use std::path::Path;

use clap::Args;

use crate::complain;
use crate::connection::Weir;
use crate::failure::Failure;
use crate::patterns::Patterns;
use crate::values::View;

/// Print the values of all counters, or of those that match a pattern.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat dump ^/if/                        counters by port and thread: [port @ thread]: …
  weirstat dump --summary --no-zeros ^/if/   the sums of all threads, without zeros
  weirstat dump --only-index 1 ^/if/rx$      port 1 alone
  weirstat dump --machine ^/sys/node/calls   colon-separated, for scripts")]
pub struct Dump {
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
        let snapshot = weir.snapshot(|entry| matcher.matches(&entry.name))?;
        self.view.write(&snapshot, json, out)?;
        if let (true, Some(text)) = (snapshot.values.is_empty(), self.patterns.unmatched()) {
            complain(text);
        }
        weir.warn_of_silence()
    }
}
