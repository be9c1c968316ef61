//! `weirstat ls`: the names of what the segment holds.

use std::io::Write;
use std::path::Path;

use clap::Args;
use serde::Serialize;
use weir_stats::{Catalogue, Described, Entry};

use crate::complain;
use crate::connection::Weir;
use crate::failure::Failure;
use crate::patterns::Patterns;

/// List the names of all counters, or of those that match a pattern.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat ls               everything
  weirstat ls ^/err/ /if/   all drop reasons and all that has /if/ in its name
  weirstat ls -l ^/sys/     with kind, unit, what the columns are, and what is counted")]
pub struct Ls {
    /// Also say of each entry what it is: kind, unit, labels of its columns, meaning
    ///
    /// The segment itself says so; of VPP's, what is known of its well-known paths is shown.
    #[arg(short, long)]
    long: bool,
    #[command(flatten)]
    patterns: Patterns,
}

#[derive(Serialize)]
struct Line<'e> {
    name: &'e str,
    r#type: &'static str,
    #[serde(flatten)]
    meaning: Option<Meaning<'e>>,
}

/// What the catalogue says of an entry.
#[derive(Default, Serialize)]
struct Meaning<'e> {
    unit: &'e str,
    columns: Vec<&'e str>,
    help: &'e str,
}

impl Ls {
    /// Lists.
    pub fn run(&self, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        let matcher = self.patterns.compile()?;
        let weir = Weir::connect(path)?;
        let mut entries = weir.list()?;
        entries.retain(|entry| matcher.matches(&entry.name));
        let catalogue = self
            .long
            .then(|| Catalogue::of(weir.reader()))
            .transpose()
            .map_err(|error| weir.refusal(error))?;
        let lines = entries.iter().map(|entry| {
            let meaning = catalogue.as_ref().map(|catalogue| Meaning::of(entry, catalogue));
            Line { name: &entry.name, r#type: entry.kind.word(), meaning }
        });
        if json {
            for line in lines {
                serde_json::to_writer(&mut *out, &line)?;
                writeln!(out)?;
            }
        } else if self.long {
            write_table(&lines.collect::<Vec<_>>(), out)?;
        } else {
            for entry in &entries {
                writeln!(out, "{}", entry.name)?;
            }
        }
        if let (true, Some(text)) = (entries.is_empty(), self.patterns.unmatched()) {
            complain(text);
        }
        weir.warn_of_silence()
    }
}

impl<'e> Meaning<'e> {
    fn of(entry: &'e Entry, catalogue: &'e Catalogue) -> Meaning<'e> {
        match catalogue.describe(&entry.name) {
            Some(Described { description, .. }) => Meaning {
                unit: &description.unit,
                columns: description.column_labels(),
                help: &description.help,
            },
            None => Meaning::default(),
        }
    }
}

/// Columns that begin below one another; the last one is as long as it is.
fn write_table(lines: &[Line<'_>], out: &mut impl Write) -> Result<(), Failure> {
    let rows = lines.iter().map(|line| {
        let (unit, columns, help) = line
            .meaning
            .as_ref()
            .map_or(("", String::new(), ""), |it| (it.unit, it.columns.join(","), it.help));
        [line.name, line.r#type, unit, &columns, help].map(str::to_owned)
    });
    let rows: Vec<[String; 5]> = rows.collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [name, kind, unit, columns] = [0, 1, 2, 3].map(width);
    for [a, b, c, d, e] in &rows {
        let line = format!("{a:name$}  {b:kind$}  {c:unit$}  {d:columns$}  {e}");
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}
