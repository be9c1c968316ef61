//! The command line of weir: `run`, `check`, `reload`, `trace`, `replay`; man pages and completions for packagers.

use std::{
    io::{IsTerminal, Write},
    num::NonZeroU16,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{CommandFactory, Parser, Subcommand, builder::RangedU64ValueParser};
use weir::{
    appliance::{Appliance, Signal},
    config::{self, CONTROL_SOCKET, Config},
    control::{Client, Reloaded},
    replay::{self, Form},
    trace_text::Transcript,
};
use weir_manual::{Completions, Pages};

/// A vector packet processor in Linux user space.
#[derive(Parser)]
#[command(name = "weir", version, about, arg_required_else_help = true, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  weir check                    is the config sound?
  weir run                      forward, until SIGTERM
  weir reload                   take over what changed in the config
  weir trace --node drop        why are packets dropped?

Exit status: 0 if it did what it was asked to, 1 if not, 2 if the command line is wrong.

Environment:
  WEIR_LOG   what weir run logs to stderr: error, warn, info (the default), debug, trace, or by module

Files:
  /etc/weir/weir.toml       the config, unless --config names another file
  /run/weir/control.sock    where a running weir takes commands ([control] socket)
  /run/weir/stats.sock      where it serves its stats, which weirstat reads ([stats] socket)";

const COMPLETIONS: &str = "\
Examples:
  weir completions bash >/usr/share/bash-completion/completions/weir
  weir completions zsh >/usr/share/zsh/vendor-completions/_weir
  weir completions fish >/usr/share/fish/vendor_completions.d/weir.fish";

const PAGES: &str = "\
Examples:
  weir man /usr/local/share/man/man1   then: man weir, man weir-run";

#[derive(Subcommand)]
enum Command {
    /// Run the appliance in the foreground: SIGHUP reads the config again, SIGTERM drains and leaves
    ///
    /// It needs root, or the capabilities that its documentation names, and at least as many receive queues on every port as
    /// workers. Ports that it leaves are the kernel's again, which forwards the same traffic.
    #[command(after_help = "Examples:\n  weir run --config /etc/weir/weir.toml\n  WEIR_LOG=debug weir run")]
    Run {
        /// The config file
        #[arg(long, value_name = "FILE", default_value = "/etc/weir/weir.toml")]
        config: PathBuf,
    },
    /// Validate a config file: exit 0, or print every error with its place and what to write instead
    #[command(
        after_help = "Examples:\n  weir check --config new.toml && cp new.toml /etc/weir/weir.toml && weir reload"
    )]
    Check {
        /// The config file
        #[arg(long, value_name = "FILE", default_value = "/etc/weir/weir.toml")]
        config: PathBuf,
    },
    /// Ask the running weir to read its config again: all or nothing, no packet lost
    Reload {
        /// The control socket of the running weir
        #[arg(long, value_name = "PATH", default_value = CONTROL_SOCKET)]
        socket: PathBuf,
    },
    /// Follow the next packets through the graph, node by node
    #[command(after_help = "\
Examples:
  weir trace --count 5              the next five packets, from where they come in
  weir trace --node drop            the next ten that are dropped
  weir trace --json >packets.json   an object for each packet at each node")]
    Trace {
        /// The control socket of the running weir
        #[arg(long, value_name = "PATH", default_value = CONTROL_SOCKET)]
        socket: PathBuf,
        /// How many packets to follow
        #[arg(long, value_name = "N", default_value = "10")]
        count: NonZeroU16,
        /// Begin to follow packets at this node instead of where they come in
        #[arg(long, value_name = "NODE")]
        node: Option<String>,
        /// One JSON object for each packet at each node, instead of text
        #[arg(long)]
        json: bool,
    },
    /// Measure the round-trip times in captures, offline and without root
    #[command(after_help = "\
Examples:
  weir replay office.pcap                            round-trip times by network
  weir replay --prefixes customers.txt *.pcapng.gz   by customer, beyond each side
  weir replay --format pping office.pcap             a line for every sample
  tcpdump -r office.pcap -w - port 443 | weir replay --format json -")]
    Replay(ReplayArguments),
    #[command(after_help = COMPLETIONS)]
    Completions(Completions),
    #[command(after_help = PAGES)]
    Man(Pages),
}

/// What `weir replay` is asked for.
#[derive(clap::Args)]
struct ReplayArguments {
    /// pcap or pcapng, plain or under gzip; `-` is the standard input. Several are merged by time
    #[arg(required = true, value_name = "CAPTURE")]
    captures: Vec<PathBuf>,
    /// What to print: a summary, or a line for each sample
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Output::Table)]
    format: Output,
    /// Customers: a file of `PREFIX NAME` lines. Without it the table is by network
    #[arg(long, value_name = "FILE")]
    prefixes: Option<PathBuf>,
    /// At most one sample for each flow and direction in this time: 100ms, 2s, 500us; 0 for every one
    #[arg(long, value_name = "TIME", default_value = "100ms", value_parser = humantime::parse_duration)]
    interval: Duration,
    /// Measure SYN and SYN-ACK too
    #[arg(long)]
    handshakes: bool,
    /// Flows that are followed at the same time
    #[arg(long, value_name = "N", default_value_t = replay::FLOWS, value_parser = flows())]
    flows: usize,
}

fn flows() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=replay::MOST_FLOWS as u64)
}

/// What `weir replay` prints.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Output {
    /// A line for each customer or network
    Table,
    /// Nichols' pping: time, round trip, least one, flow
    Pping,
    /// Nichols' pping with -m: seconds, and bytes that had passed
    #[value(name = "pping-m")]
    PpingMachine,
    /// epping's ppviz, with its clock's every digit
    Ppviz,
    /// epping's JSON, an object a line
    Json,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run { config } => run(&config),
        Command::Check { config } => check(&config),
        Command::Reload { socket } => reload(&socket),
        Command::Trace { socket, count, node, json } => trace(&socket, count, node, json),
        Command::Replay(arguments) => replay_captures(arguments),
        Command::Completions(completions) => {
            completions.run(Arguments::command(), &mut std::io::stdout()).map_err(anyhow::Error::from)
        }
        Command::Man(pages) => {
            let folder = pages.folder().display();
            pages
                .run(Arguments::command(), &["weirstat"])
                .map_err(|error| anyhow::anyhow!("{folder}: {error}"))
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever reads our errors may have gone; there is nobody left to tell.
            let _ = writeln!(std::io::stderr(), "weir: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: &Path) -> anyhow::Result<()> {
    let config = load(path)?;
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("WEIR_LOG").unwrap_or_else(|_| "info".into()),
        )
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    for warning in config::warnings(&config) {
        tracing::warn!("{warning}");
    }
    let signals = signals()?;
    let appliance = Appliance::start(config, path.to_owned())?;
    tracing::info!("weir forwards");
    // Not under systemd: nobody to notify.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    appliance.run(&signals)?;
    Ok(())
}

/// SIGTERM and SIGINT end weir, SIGHUP reads its config again.
fn signals() -> anyhow::Result<crossbeam_channel::Receiver<Signal>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut arriving = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let (sender, receiver) = crossbeam_channel::bounded(4);
    std::thread::Builder::new().name("weir-signals".into()).spawn(move || {
        for signal in &mut arriving {
            let signal = if signal == SIGHUP { Signal::Reload } else { Signal::Terminate };
            if sender.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(receiver)
}

fn load(path: &Path) -> anyhow::Result<Config> {
    // The problems name file, line and remedy themselves.
    Config::load(path).map_err(|problems| anyhow::anyhow!("{problems}"))
}

fn check(path: &Path) -> anyhow::Result<()> {
    let config = load(path)?;
    let warnings = config::warnings(&config);
    for warning in &warnings {
        writeln!(std::io::stderr(), "warning: {warning}")?;
    }
    // Of the files of customers not all are shown.
    let shaper = config.shaper.as_ref();
    let count = warnings.len() + shaper.map_or(0, |it| it.warned.saturating_sub(it.warnings.len()));
    let and = match count {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        _ => format!(", {count} warnings"),
    };
    writeln!(std::io::stdout(), "{}: ok{and}", path.display())?;
    Ok(())
}

fn reload(socket: &Path) -> anyhow::Result<()> {
    let Reloaded { changes, warnings } = Client::connect(socket)?.reload()?;
    for warning in warnings {
        writeln!(std::io::stderr(), "warning: {warning}")?;
    }
    if changes.is_empty() {
        writeln!(std::io::stdout(), "nothing has changed")?;
    }
    for change in changes {
        writeln!(std::io::stdout(), "{change}")?;
    }
    Ok(())
}

fn trace(socket: &Path, count: NonZeroU16, node: Option<String>, json: bool) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let mut steps = Client::connect(socket)?.trace(count, node)?;
    let mut transcript = Transcript::default();
    for step in &mut steps {
        let step = step?;
        if json {
            writeln!(out, "{}", step.json())?;
        } else if let Some(packet) = transcript.push(&step) {
            writeln!(out, "{packet}")?;
        }
    }
    for packet in transcript.finish() {
        writeln!(out, "{packet}")?;
    }
    if steps.lost() > 0 {
        writeln!(
            std::io::stderr(),
            "weir: {} steps were lost: they came faster than they were read",
            steps.lost()
        )?;
    }
    Ok(())
}

fn replay_captures(arguments: ReplayArguments) -> anyhow::Result<()> {
    let form = match arguments.format {
        Output::Table => None,
        Output::Pping => Some(Form::Pping),
        Output::PpingMachine => Some(Form::PpingMachine),
        Output::Ppviz => Some(Form::Ppviz),
        Output::Json => Some(Form::Json),
    };
    let options = replay::Options {
        captures: arguments.captures,
        form,
        prefixes: arguments.prefixes,
        interval: arguments.interval,
        handshakes: arguments.handshakes,
        flows: arguments.flows,
    };
    let end = match replay::run(&options, &mut std::io::stdout().lock()) {
        // Whoever reads the lines, `head` perhaps, has had enough.
        Err(replay::Refusal::Output(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            return Ok(());
        }
        end => end?,
    };
    for note in &end.notes {
        writeln!(std::io::stderr(), "weir: {note}")?;
    }
    match end.faults.len() {
        0 => Ok(()),
        _ => Err(anyhow::anyhow!("{}", replay::listed(&end.faults))),
    }
}
