//! `weirstat` reads weir's stats segment: what VPP's `vpp_get_stats` does, and the views that `vppctl show` has.
//!
//! One file per subcommand; each has its options as a clap struct and a `run` that writes to any [`Write`]. They share
//! [`connection`] (finding weir, and saying so when it is not there) and [`patterns`] (which entries). `dump` and `poll` print
//! in [`pass`]es over the segment.
#![forbid(unsafe_code)]

mod baseline;
mod connection;
mod dump;
mod failure;
mod fs;
mod lines;
mod ls;
#[cfg(test)]
#[path = "../tests/measured/mod.rs"]
mod measured;
mod names;
mod numbers;
mod packed;
mod pass;
mod patterns;
mod poll;
mod prometheus;
mod rtt;
mod saved;
mod screen;
#[cfg(test)]
#[path = "../tests/shaped/mod.rs"]
mod shaped;
mod shaper;
mod show;
mod sparse;
mod top;
mod view;
mod watch;

use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand};
use weir_manual::{Completions, Pages};

use crate::failure::Failure;

/// Where weir serves its stats unless its config names another socket (`[stats] socket`).
const SOCKET: &str = "/run/weir/stats.sock";

/// Bytes that are written at once: as many as a pipe holds.
const OUTPUT: usize = 65_536;

/// In a command's help, what all commands share stands below its own options.
const LAST: usize = 100;

/// Read weir's counters, without slowing weir down.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES)]
struct Arguments {
    /// The stats socket of the weir to read; also VPP's (/run/vpp/stats.sock)
    #[arg(long, global = true, value_name = "PATH", default_value = SOCKET, display_order = LAST)]
    socket: PathBuf,
    /// Print JSON: one object a line for ls, dump, poll and rtt, one document for show
    #[arg(long, global = true, display_order = LAST)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  weirstat show interfaces            packets, bytes and drops per port
  weirstat show errors                what was dropped, where and why
  weirstat ls ^/if/                   the names of all port counters
  weirstat dump --no-zeros ^/err/     every drop reason that has counted something
  weirstat poll --interval 0.5 /if/rx the receive counters, twice a second
  weirstat rtt --worst 20             the customers with the longest round trips

Exit status: 0 if it did what it was asked to, 1 if not, 2 if the command line is wrong.

Files:
  /run/weir/stats.sock   where weir serves its stats, unless its config says otherwise ([stats] socket)
  /run/vpp/stats.sock    where VPP does";

const COMPLETIONS: &str = "\
Examples:
  weirstat completions bash >/usr/share/bash-completion/completions/weirstat
  weirstat completions zsh >/usr/share/zsh/vendor-completions/_weirstat
  weirstat completions fish >/usr/share/fish/vendor_completions.d/weirstat.fish";

const PAGES: &str = "\
Examples:
  weirstat man /usr/local/share/man/man1   then: man weirstat, man weirstat-dump";

#[derive(Debug, Subcommand)]
enum Command {
    Ls(ls::Ls),
    Dump(dump::Dump),
    Poll(poll::Poll),
    Prometheus(prometheus::Prometheus),
    Rtt(rtt::Rtt),
    Show(show::Show),
    Top(top::Top),
    Fs(fs::Fs),
    #[command(after_help = COMPLETIONS)]
    Completions(Completions),
    #[command(after_help = PAGES)]
    Man(Pages),
}

impl Arguments {
    fn read(words: impl IntoIterator<Item = impl Into<OsString> + Clone>) -> Result<Arguments, clap::Error> {
        let arguments = Arguments::try_parse_from(words)?;
        // clap itself sees such a conflict only when both stand behind the subcommand.
        let machine = match &arguments.command {
            Command::Dump(dump) => dump.view.machine,
            Command::Poll(poll) => poll.view.machine,
            Command::Ls(_)
            | Command::Prometheus(_)
            | Command::Rtt(_)
            | Command::Show(_)
            | Command::Top(_)
            | Command::Fs(_)
            | Command::Completions(_)
            | Command::Man(_) => false,
        };
        if machine && arguments.json {
            let text = "--machine and --json are two formats: choose one";
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, text));
        }
        if arguments.json && matches!(arguments.command, Command::Top(_)) {
            let text = "top is for people: weirstat poll --json gives numbers to programs";
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, text));
        }
        if arguments.json && matches!(arguments.command, Command::Fs(_)) {
            let text = "fs prints nothing: in its folders there are files called json";
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, text));
        }
        if let (true, Command::Rtt(rtt)) = (arguments.json, &arguments.command)
            && let Some(text) = rtt.contradicts_json()
        {
            return Err(Arguments::command().error(ErrorKind::ArgumentConflict, text));
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    match run(&Arguments::read(std::env::args_os()).unwrap_or_else(|error| error.exit())) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has read enough.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(failure) => {
            complain(&failure);
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (path, json) = (arguments.socket.as_path(), arguments.json);
    let mut out = BufWriter::with_capacity(OUTPUT, io::stdout().lock());
    match &arguments.command {
        Command::Ls(ls) => ls.run(path, json, &mut out)?,
        Command::Dump(dump) => dump.run(path, json, &mut out)?,
        Command::Poll(poll) => poll.run(path, json, &mut out)?,
        Command::Prometheus(prometheus) => prometheus.run(path)?,
        Command::Rtt(rtt) => rtt.run(path, json, &mut out)?,
        Command::Show(show) => show.run(path, json, &mut out)?,
        Command::Top(top) => top.run(path)?,
        Command::Fs(fs) => fs.run(path)?,
        Command::Completions(completions) => completions.run(Arguments::command(), &mut out)?,
        Command::Man(pages) => pages
            .run(Arguments::command(), &["weir"])
            .map_err(|source| Failure::File { path: pages.folder().to_owned(), source })?,
    }
    Ok(out.flush()?)
}

/// A line on stderr. That it may be closed is no reason to stop.
fn complain(what: impl std::fmt::Display) {
    let _ = writeln!(io::stderr(), "weirstat: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_may_stand_before_and_after_the_command() {
        let before = Arguments::read(["weirstat", "--socket", "/s", "--json", "ls"]).unwrap();
        let after = Arguments::read(["weirstat", "ls", "--json", "--socket", "/s"]).unwrap();
        for arguments in [before, after] {
            assert!(arguments.json && arguments.socket.as_os_str() == "/s");
        }
        assert_eq!(Arguments::read(["weirstat", "ls"]).unwrap().socket.as_os_str(), "/run/weir/stats.sock");
    }

    #[test]
    fn show_takes_the_singular_too() {
        for view in ["interface", "interfaces", "error", "errors", "runtime", "xdp"] {
            Arguments::read(["weirstat", "show", view]).unwrap();
        }
    }

    #[test]
    fn one_output_format_at_a_time() {
        Arguments::read(["weirstat", "dump", "--machine", "--json"]).unwrap_err();
        Arguments::read(["weirstat", "--json", "poll", "--machine"]).unwrap_err();
        Arguments::read(["weirstat", "--json", "top"]).unwrap_err();
    }
}
