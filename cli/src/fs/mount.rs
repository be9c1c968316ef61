//! Mounting and unmounting, and saying in plain words why it cannot be done.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fuser::{Config, MountOption, Session, SessionACL};
use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use crate::failure::Failure;

use super::filesystem::StatsFilesystem;

/// The kernel's door for file systems.
const DEVICE: &str = "/dev/fuse";

/// What `mount` and `findmnt` show as the source and, behind `fuse.`, as the type.
const SOURCE: &str = "weir";
const SUBTYPE: &str = "weirstat";

/// Threads that answer the kernel: while one writes a long table, or waits for a weir that does not answer, others go on.
/// More than there are cores would only take turns.
const THREADS: std::ops::RangeInclusive<usize> = 2..=8;

/// The folder to mount at, if it is fit for that. What a weirstat that was killed has left there is taken away.
pub fn prepare(mountpoint: &Path) -> Result<PathBuf, Failure> {
    let refused = |reason: String| Failure::Mountpoint { path: mountpoint.to_owned(), reason };
    let in_the_way = |path: &Path| Failure::Mounted { path: path.to_owned() };
    // Not of the folder itself: nothing can be asked about one whose file system has died.
    let path = match (mountpoint.parent(), mountpoint.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            fs::canonicalize(parent).map_err(|error| unusable(mountpoint, &error))?.join(name)
        }
        _ => fs::canonicalize(mountpoint).map_err(|error| unusable(mountpoint, &error))?,
    };
    let left_over = |error: &io::Error| Errno::from_io_error(error) == Some(Errno::NOTCONN);
    if fs::metadata(&path).is_err_and(|error| left_over(&error)) {
        if kind_mounted_at(&path).is_none_or(|kind| kind != format!("fuse.{SUBTYPE}")) {
            return Err(in_the_way(&path));
        }
        unmount(&path)?;
    }
    let path = fs::canonicalize(&path).map_err(|error| unusable(mountpoint, &error))?;
    if !path.is_dir() {
        return Err(refused("it is not a folder: name an empty one".to_owned()));
    }
    if kind_mounted_at(&path).is_some() {
        return Err(in_the_way(&path));
    }
    let mut content = fs::read_dir(&path).map_err(|error| unusable(mountpoint, &error))?;
    if content.next().is_some() {
        return Err(refused(
            "it is not empty, and what is in it would be hidden: name an empty folder".to_owned(),
        ));
    }
    Ok(path)
}

/// Mounts at a folder that was found fit.
pub fn mount(
    filesystem: StatsFilesystem,
    mountpoint: &Path,
    allow_other: bool,
) -> Result<Session<StatsFilesystem>, Failure> {
    let cannot = |reason: String| Failure::Mount { path: mountpoint.to_owned(), reason };
    match fs::File::options().read(true).write(true).open(DEVICE) {
        Ok(_) => {}
        Err(error) if matches!(error.kind(), ErrorKind::NotFound) || is_no_device(&error) => {
            return Err(cannot(format!(
                "there is no {DEVICE}: load the kernel's module (modprobe fuse), or in a container pass the device on"
            )));
        }
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(cannot(format!(
                "{DEVICE} is closed to you: run weirstat as root, or open the device to you"
            )));
        }
        Err(error) => return Err(cannot(format!("{DEVICE}: {error}"))),
    }
    let mut config = Config::default();
    config.mount_options = vec![
        MountOption::FSName(SOURCE.to_owned()),
        // fuser's own option for it is not told to the kernel by root's way of mounting.
        MountOption::CUSTOM(format!("subtype={SUBTYPE}")),
        MountOption::DefaultPermissions,
        MountOption::RO,
        MountOption::NoDev,
        MountOption::NoSuid,
        MountOption::NoExec,
    ];
    config.acl = if allow_other { SessionACL::All } else { SessionACL::Owner };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    config.n_threads = Some(cores.clamp(*THREADS.start(), *THREADS.end()));
    Session::new(filesystem, mountpoint, &config).map_err(|error| {
        let text = error.to_string();
        cannot(if text.contains("user_allow_other") {
            "--allow-other is not permitted to you: write user_allow_other into /etc/fuse.conf, or run weirstat as root"
                .to_owned()
        } else if error.kind() == ErrorKind::NotFound {
            // The device and the folder are there: what is missing is the helper.
            "only root may mount without help, and there is no fusermount3: install the package fuse3, or run weirstat \
             as root"
                .to_owned()
        } else {
            text.trim_end().to_owned()
        })
    })
}

/// Takes the file system away, at once: whoever still uses it goes on until it is closed.
pub fn unmount(mountpoint: &Path) -> Result<(), Failure> {
    match rustix::mount::unmount(mountpoint, UnmountFlags::DETACH) {
        // Not mounted any more.
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(Errno::PERM) => {
            let helper = Command::new("fusermount3")
                .args(["-u", "-z", "--"])
                .arg(mountpoint)
                .stdin(Stdio::null())
                .output()
                .map_err(|error| cannot_unmount(mountpoint, &format!("fusermount3: {error}")))?;
            if helper.status.success() {
                return Ok(());
            }
            Err(cannot_unmount(mountpoint, String::from_utf8_lossy(&helper.stderr).trim_end()))
        }
        Err(errno) => Err(cannot_unmount(mountpoint, &errno.to_string())),
    }
}

/// The kernel and weirstat do not understand each other any more.
pub fn broken(mountpoint: &Path, source: &io::Error) -> Failure {
    Failure::Mount {
        path: mountpoint.to_owned(),
        reason: format!("the kernel's requests cannot be read: {source}"),
    }
}

fn cannot_unmount(mountpoint: &Path, reason: &str) -> Failure {
    Failure::Unmount { path: mountpoint.to_owned(), reason: reason.to_owned() }
}

fn unusable(mountpoint: &Path, error: &io::Error) -> Failure {
    let reason = match error.kind() {
        ErrorKind::NotFound => {
            format!("there is no such folder: make it (mkdir -p {})", mountpoint.display())
        }
        ErrorKind::NotADirectory => "it is not a folder: name an empty one".to_owned(),
        ErrorKind::PermissionDenied => "you may not enter it: name a folder of your own".to_owned(),
        _ => error.to_string(),
    };
    Failure::Mountpoint { path: mountpoint.to_owned(), reason }
}

fn is_no_device(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NODEV | Errno::NXIO))
}

/// The type of the file system that is mounted at a folder, if one is.
fn kind_mounted_at(path: &Path) -> Option<String> {
    let mounts = fs::read("/proc/self/mountinfo").ok()?;
    kind_in(&String::from_utf8_lossy(&mounts), path)
}

/// See proc_pid_mountinfo(5): the fifth field is the mount point; the type follows a lone `-`. The last mount is on top.
fn kind_in(mounts: &str, path: &Path) -> Option<String> {
    let of_line = |line: &str| {
        let (place, source) = line.split_once(" - ")?;
        let place = unescape(place.split(' ').nth(4)?);
        (Path::new(&place) == path).then(|| source.split(' ').next().unwrap_or_default().to_owned())
    };
    mounts.lines().rev().find_map(of_line)
}

/// Spaces and the like are written as three octal digits behind a backslash.
fn unescape(field: &str) -> String {
    let mut parts = field.split('\\');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                text.push(char::from(byte));
                text.push_str(&part[3..]);
            }
            None => {
                text.push('\\');
                text.push_str(part);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_are_found_by_their_folder() {
        let mounts = "\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
36 22 0:31 / /mnt/a\\040b ro,nosuid - fuse.weirstat weir ro
37 36 0:32 / /mnt/a\\040b rw - tmpfs tmpfs rw
38 22 0:33 / /mnt/c rw shared:5 - fuse weir rw
";
        let kind = |path| kind_in(mounts, Path::new(path));
        assert_eq!(kind("/mnt/a b").as_deref(), Some("tmpfs"));
        assert_eq!(kind("/").as_deref(), Some("ext4"));
        assert_eq!(kind("/mnt/c").as_deref(), Some("fuse"));
        assert_eq!(kind("/mnt"), None);
    }
}
