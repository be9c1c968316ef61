//! `weirstat fs`: the segment as a file system.
//!
//! [`view`] follows weir and keeps its [`tree`] (paths) and [`objects`] (names of columns); [`listing`] says what is in a
//! folder, [`files`] what is in a file; [`filesystem`] answers the kernel. An inode's number says what it stands for
//! ([`inode`]), so nothing is kept of what was looked at, but what is open ([`budget`]).

mod background;
mod budget;
mod files;
mod filesystem;
mod histograms;
mod inode;
mod listing;
mod lists;
mod mount;
mod names;
mod objects;
mod refusal;
mod tree;
mod vectors;
mod view;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::Args;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::connection::refusal;
use crate::failure::Failure;

use self::filesystem::StatsFilesystem;
use self::view::Weir;

/// Show weir's counters as files and folders.
///
/// Each counter is a file that holds a number, each vector a folder with a table, JSON, and a folder for each port, node or
/// customer that it counts for. weirstat stays in the foreground and unmounts when it is interrupted or told to end.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  weirstat fs /mnt/weir                                 until Ctrl-C
  weirstat fs --background /mnt/weir                    until: umount /mnt/weir
  cat /mnt/weir/interfaces/eth1/rx/packets              one number
  watch -n1 cat /mnt/weir/if/rx/table                   all ports, by thread
  grep -r . /mnt/weir/err                               every drop reason
  jq .columns /mnt/weir/if/rx/json")]
pub struct Fs {
    /// Where: an empty folder
    mountpoint: PathBuf,
    /// Return when the file system is there, and serve it in the background until it is unmounted
    #[arg(long)]
    background: bool,
    /// Let other users read it too (for other users than root, /etc/fuse.conf must have user_allow_other)
    #[arg(long)]
    allow_other: bool,
    /// Serve, as the background half of --background
    #[arg(long, hide = true, conflicts_with = "background")]
    detached: bool,
}

/// How often weir is looked after when nobody reads: the memory of one that is gone is not held for longer.
const TICK: Duration = Duration::from_secs(1);

/// Why serving ends.
enum End {
    /// The user or the system wants it.
    Signal,
    /// Somebody has unmounted it, or the kernel takes no answers any more.
    Unmounted(std::io::Result<()>),
}

impl Fs {
    /// Serves until it is unmounted or stopped.
    pub fn run(&self, socket: &Path) -> Result<(), Failure> {
        if self.background {
            return background::start();
        }
        let weir = Arc::new(Weir::connect(socket).map_err(|error| refusal(socket, error))?);
        let mountpoint = mount::prepare(&self.mountpoint)?;
        // Before the mount: a signal from here on is not lost.
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
        let filesystem = StatsFilesystem::new(Arc::clone(&weir));
        let session = mount::mount(filesystem, &mountpoint, self.allow_other)?;
        if self.detached {
            background::detach()?;
        }

        let (sender, ends) = mpsc::channel();
        let of_signals = sender.clone();
        thread::spawn(move || {
            if signals.forever().next().is_some() {
                let _ = of_signals.send(End::Signal);
            }
        });
        thread::spawn(move || sender.send(End::Unmounted(session.run())));
        loop {
            match ends.recv_timeout(TICK) {
                // What is still open is cut off when this process ends: it reads as a file system that went away.
                Ok(End::Signal) => return mount::unmount(&mountpoint),
                Ok(End::Unmounted(result)) => {
                    return result.map_err(|source| mount::broken(&mountpoint, &source));
                }
                Err(RecvTimeoutError::Timeout) => weir.look(),
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
        }
    }
}
