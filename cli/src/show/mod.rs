//! `weirstat show`: the views that `vppctl show` has, from the segment alone.
//!
//! A view reads its entries at one moment into a struct that is also its JSON, and prints that as VPP's columns. The shaper, of
//! which VPP has nothing, is a view of its own.

mod columns;
mod errors;
mod found;
mod interfaces;
mod runtime;
mod shaper;
mod xdp;

use std::io::Write;
use std::path::Path;

use clap::{Args, Subcommand};
use serde::Serialize;

use crate::connection::Weir;
use crate::failure::Failure;

/// Show ports, nodes, drops or XDP verdicts, as vppctl does, or the shaper.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat show interfaces
  weirstat show runtime
  weirstat show shaper acme
  weirstat show errors --json | jq '.errors[] | select(.severity == \"error\")'")]
pub struct Show {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Packets, bytes and drops per port, all threads together; what is 0 is left out
    #[command(visible_alias = "interface")]
    Interfaces,
    /// Calls, vectors and clocks of each node, per thread: averages since weir's start
    ///
    /// Clocks are per packet. Vectors/Call says how well the work is batched, 256 is full. Nodes that were never called
    /// are left out.
    Runtime,
    /// Drops by node and reason, all threads together (severity error), and events that drop nothing (info)
    #[command(visible_alias = "error")]
    Errors,
    /// What the XDP program did with packets, per port and CPU
    Xdp,
    Shaper(shaper::Shaper),
}

impl Show {
    /// Shows.
    pub fn run(&self, path: &Path, json: bool, out: &mut impl Write) -> Result<(), Failure> {
        let weir = Weir::connect(path)?;
        let missing = |Missing { what, entry }| Failure::Missing { path: path.to_owned(), what, entry };
        match &self.what {
            What::Interfaces => {
                let found = weir.snapshot(|entry| interfaces::wants(&entry.name))?.into();
                print(&interfaces::Interfaces::of(&found).map_err(missing)?, json, out)?;
            }
            What::Runtime => {
                let found = weir.snapshot(|entry| runtime::wants(&entry.name))?.into();
                print(&runtime::Runtime::of(&found, runtime::unix_seconds()).map_err(missing)?, json, out)?;
            }
            What::Errors => {
                let found = weir.snapshot(|entry| errors::wants(&entry.name))?.into();
                print(&errors::Errors::of(&found), json, out)?;
            }
            What::Xdp => {
                let found = weir.snapshot(|entry| xdp::wants(&entry.name))?.into();
                print(&xdp::Xdp::of(&found).map_err(missing)?, json, out)?;
            }
            What::Shaper(shaper) => shaper.run(&weir, path, json, out)?,
        }
        weir.warn_of_silence()
    }
}

/// An entry that a view cannot do without.
#[derive(Debug, PartialEq, Eq)]
struct Missing {
    what: &'static str,
    entry: &'static str,
}

/// A view as columns of text.
trait Text: Serialize {
    fn lines(&self) -> Vec<String>;
}

fn print(view: &impl Text, json: bool, out: &mut impl Write) -> Result<(), Failure> {
    if json {
        serde_json::to_writer_pretty(&mut *out, view)?;
        writeln!(out)?;
    } else {
        for line in view.lines() {
            writeln!(out, "{}", line.trim_end())?;
        }
    }
    Ok(())
}

/// What a view's tests compare: its text as it is printed.
#[cfg(test)]
fn text(view: &impl Text) -> String {
    let mut out = Vec::new();
    print(view, false, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

/// What a view's tests compare: its JSON.
#[cfg(test)]
fn json(view: &impl Text) -> serde_json::Value {
    let mut out = Vec::new();
    print(view, true, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}
