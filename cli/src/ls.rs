//! `weirstat ls`: the names of what the segment holds.

use std::io::Write;
use std::path::Path;

use clap::Args;
use serde::Serialize;

use crate::complain;
use crate::connection::Weir;
use crate::failure::Failure;
use crate::patterns::Patterns;

/// List the names of all counters, or of those that match a pattern.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat ls             everything
  weirstat ls ^/err/ /if/ all drop reasons and all that has /if/ in its name")]
pub struct Ls {
    #[command(flatten)]
    patterns: Patterns,
}

#[derive(Serialize)]
struct Line<'e> {
    name: &'e str,
    r#type: &'static str,
}

impl Ls {
    /// Lists.
    pub fn run(&self, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        let matcher = self.patterns.compile()?;
        let weir = Weir::connect(path)?;
        let mut entries = weir.list()?;
        entries.retain(|entry| matcher.matches(&entry.name));
        for entry in &entries {
            if json {
                serde_json::to_writer(&mut *out, &Line { name: &entry.name, r#type: entry.kind.word() })?;
                writeln!(out)?;
            } else {
                writeln!(out, "{}", entry.name)?;
            }
        }
        if let (true, Some(text)) = (entries.is_empty(), self.patterns.unmatched()) {
            complain(text);
        }
        weir.warn_of_silence()
    }
}
