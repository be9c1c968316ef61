//! Serving in the background: another weirstat mounts and serves, and this one ends when that has mounted, or passes on
//! why it could not.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use crate::failure::Failure;

/// This program, even if its file was replaced since.
const ITSELF: &str = "/proc/self/exe";

/// What the background half says when the file system is there.
const MOUNTED: &[u8] = b"mounted\n";

/// Starts the background half, with the same arguments, and waits until it serves.
pub fn start() -> Result<(), Failure> {
    let mut arguments = std::env::args_os();
    // By its path, so that `ps` has its name; after an upgrade there may be nothing there.
    let path = std::env::current_exe().ok().filter(|path| path.exists());
    let mut command = Command::new(path.unwrap_or_else(|| ITSELF.into()));
    command.arg0(arguments.next().unwrap_or_else(|| "weirstat".into()));
    // The options may stand anywhere, so one takes the other's place.
    command.args(arguments.map(|word| if word == "--background" { "--detached".into() } else { word }));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(Failure::Background)?;
    let read = |pipe: Option<&mut dyn Read>| {
        let mut text = Vec::new();
        pipe.map_or(Ok(0), |pipe| pipe.read_to_end(&mut text)).map_err(Failure::Background)?;
        Ok::<_, Failure>(text)
    };
    // Both pipes end when it serves, or when it is no more.
    let said = read(child.stdout.as_mut().map(|pipe| pipe as &mut dyn Read))?;
    if said == MOUNTED {
        return Ok(());
    }
    let complaint = read(child.stderr.as_mut().map(|pipe| pipe as &mut dyn Read))?;
    let complaint = String::from_utf8_lossy(&complaint);
    match complaint.trim_end().strip_prefix("weirstat: ").unwrap_or(complaint.trim_end()) {
        "" => Err(Failure::Background(io::Error::other("it ended without a word"))),
        text => Err(Failure::Told(text.to_owned())),
    }
}

/// Leaves the terminal, and tells the foreground half that all is well.
pub fn detach() -> Result<(), Failure> {
    // Fails in the leader of a session, which has no need for it.
    let _ = rustix::process::setsid();
    std::env::set_current_dir("/")?;
    io::stdout().write_all(MOUNTED)?;
    io::stdout().flush()?;
    let nothing = File::options().write(true).open("/dev/null")?;
    let closed = rustix::stdio::dup2_stdout(&nothing).and_then(|()| rustix::stdio::dup2_stderr(&nothing));
    closed.map_err(|errno| Failure::Background(errno.into()))
}
