//! A mounted weir, which is unmounted whatever becomes of the test.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::command;

/// Longer than anything here takes on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A mount and the weirstat that serves it.
pub struct Mounted {
    pub path: PathBuf,
    pub child: Child,
}

/// Why no file system can be mounted here, if so.
pub fn obstacle() -> Option<String> {
    let device = fs::File::options().read(true).write(true).open("/dev/fuse");
    if let Err(error) = device {
        return Some(format!("/dev/fuse: {error}"));
    }
    if rustix::process::geteuid().is_root() { None } else { Some("not root".to_owned()) }
}

/// Leaves a test that cannot run, and says so.
macro_rules! skip_without_fuse {
    ($test:literal) => {
        if let Some(reason) = crate::fs::mounted::obstacle() {
            println!("SKIP {}: {reason}", $test);
            return;
        }
    };
}
pub(crate) use skip_without_fuse;

impl Mounted {
    /// Mounts in a folder of the socket's folder.
    pub fn start(socket: &Path) -> Mounted {
        let path = socket.with_file_name("mnt");
        // A folder whose file system has died cannot be looked at.
        if !is_mounted(&path) {
            fs::create_dir_all(&path).unwrap();
        }
        let child = command(socket, &["fs", path.to_str().unwrap()]).stderr(Stdio::piped()).spawn().unwrap();
        let mut mounted = Mounted { path, child };
        until("the mount", || {
            if let Some(status) = mounted.child.try_wait().unwrap() {
                let mut child = mounted.child.stderr.take().unwrap();
                let text = std::io::read_to_string(&mut child).unwrap();
                panic!("it ended: {status}: {text}");
            }
            is_mounted(&mounted.path) && fs::read_dir(&mounted.path).is_ok()
        });
        mounted
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.path.join(path)
    }

    /// What is in a file.
    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// What is in a folder, sorted.
    pub fn list(&self, path: &str) -> Vec<String> {
        list(&self.at(path))
    }

    /// What a shell's command prints in the mounted folder; it must succeed.
    pub fn shell(&self, command: &str) -> String {
        let output = Command::new("sh").arg("-c").arg(command).current_dir(&self.path).output().unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && error.is_empty(), "{command}: {}: {error}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit status, when it has ended by itself.
    pub fn end(&mut self) -> ExitStatus {
        let mut status = None;
        until("its end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = unmount(&self.path, UnmountFlags::DETACH);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn list(path: &Path) -> Vec<String> {
    let entries = fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn is_mounted(path: &Path) -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    mounts.lines().any(|line| line.split(' ').nth(4) == path.to_str())
}

/// Whether there is no such file, now.
pub fn is_absent(path: &Path) -> bool {
    fs::File::open(path).is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Waits until something is so.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what} does not come");
        sleep(Duration::from_millis(5));
    }
}
