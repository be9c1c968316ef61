//! The system packages: what the build and the tests need beyond Rust, and how to get it on Debian and Ubuntu.
//!
//! A need is looked for by what it provides (a program, a header), not by its package's name, so a machine of another
//! distribution that has everything is served as well.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, bail};

/// The clang that weir is developed with; older ones down to [`OLDEST_CLANG`] serve as well.
const PREFERRED_CLANG: u32 = 19;
/// libbpf 1.5 builds its BPF objects with clang 11 or newer; 14 is what Debian 12 and Ubuntu 22.04 have by default.
const OLDEST_CLANG: u32 = 14;
/// Above any clang that exists, so that a newer distribution is served.
const NEWEST_CLANG: u32 = 40;

/// Directories with system programs, which an ordinary user's `PATH` often lacks.
const SYSTEM_PROGRAMS: [&str; 4] = ["/usr/sbin", "/sbin", "/usr/bin", "/bin"];

/// What a package provides that weir uses.
enum Provides {
    /// A program of this name.
    Program(&'static str),
    /// A C header of this name.
    Header(&'static str),
    /// Python's module `venv`, complete (Debian splits it).
    PythonVenv,
}

/// Package, what it is looked for by, what weir uses it for.
const NEEDS: &[(&str, Provides)] = &[
    // build: libbpf and the XDP program
    ("gcc", Provides::Program("cc")),
    ("libc6-dev", Provides::Header("stdio.h")),
    ("make", Provides::Program("make")),
    ("pkg-config", Provides::Program("pkg-config")),
    ("libelf-dev", Provides::Header("libelf.h")),
    ("zlib1g-dev", Provides::Header("zlib.h")),
    // tests: namespaces, veths, clients, Python's VPP client
    ("iproute2", Provides::Program("ip")),
    ("ethtool", Provides::Program("ethtool")),
    ("iputils-ping", Provides::Program("ping")),
    ("python3-venv", Provides::PythonVenv),
    // tests: what weirstat prometheus exports, seen by its readers
    (PROMETHEUS, Provides::Program("promtool")),
    // tests: round-trip times, measured independently
    ("tshark", Provides::Program("tshark")),
    // tests: instructions a packet
    ("valgrind", Provides::Program("valgrind")),
];

/// A package with a service, which the tests do not want: they start a Prometheus of their own.
const PROMETHEUS: &str = "prometheus";

/// A program that Debian's packages ask whether they may start their services (invoke-rc.d(8)).
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// The compiler of the XDP program that this machine has, for the environment of everything that builds.
pub struct Toolchain {
    clang: String,
}

impl Toolchain {
    /// Names the compiler to `command`.
    pub fn apply(&self, command: &mut Command) {
        command.env("CLANG", &self.clang);
    }
}

/// Makes sure that every package is there: installs the missing ones as root, otherwise fails with the command to run.
pub fn ensure() -> Result<Toolchain> {
    let mut missing: Vec<String> = NEEDS
        .iter()
        .filter(|(_, provides)| !is_there(provides))
        .map(|(package, _)| (*package).to_owned())
        .collect();
    let mut toolchain = installed_toolchain();
    if missing.is_empty()
        && let Some(toolchain) = toolchain
    {
        return Ok(toolchain);
    }
    if program("apt-get").is_none() {
        let mut words = missing.join(", ");
        if toolchain.is_none() {
            words += if words.is_empty() { "clang" } else { ", clang" };
        }
        bail!(
            "this machine has no apt-get, and these are missing (named as Debian's packages): {words}. \
             Install them with the system's own package program and run this again; \
             set CLANG to clang's name where it is unusual"
        );
    }
    let root = rustix::process::geteuid().is_root();
    if root {
        eprintln!("xtask: missing system packages; apt-get update");
        apt(&["update", "-qq"])?;
    }
    if toolchain.is_none() {
        let version = offered_clang();
        missing.push(format!("clang-{version}"));
    }
    if !root {
        bail!(
            "system packages are missing. As root, run this, or run `cargo xtask` as root and it does it:\n\n  \
             apt-get update && apt-get install -y --no-install-recommends {}\n",
            missing.join(" ")
        );
    }
    eprintln!("xtask: apt-get install {}", missing.join(" "));
    let mut words = vec!["install", "-y", "-qq", "--no-install-recommends"];
    words.extend(missing.iter().map(String::as_str));
    {
        let _silence = NoServices::begin()?;
        apt(&words)?;
    }
    if missing.iter().any(|package| package == PROMETHEUS) {
        // Nor at the next boot. Without systemd there is nothing to be disabled.
        answers(Command::new("systemctl").args(["disable", "prometheus.service"]));
    }

    let still: Vec<&str> =
        NEEDS.iter().filter(|(_, provides)| !is_there(provides)).map(|(package, _)| *package).collect();
    toolchain = installed_toolchain();
    match toolchain {
        Some(toolchain) if still.is_empty() => Ok(toolchain),
        Some(_) => bail!("apt-get has installed {}, yet it cannot be found afterwards", still.join(", ")),
        None => {
            bail!("apt-get has installed clang, yet it cannot be found afterwards; set CLANG")
        }
    }
}

/// While it lives, packages that are installed start no service.
struct NoServices {
    /// The machine had none. One that it has of its own is its owner's; containers' forbids everything.
    is_ours: bool,
}

impl NoServices {
    fn begin() -> Result<NoServices> {
        let policy = OpenOptions::new().write(true).create_new(true).mode(0o755).open(POLICY);
        match policy {
            // 101: starting is forbidden by policy
            Ok(mut policy) => {
                policy.write_all(b"#!/bin/sh\nexit 101\n")?;
                Ok(NoServices { is_ours: true })
            }
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(NoServices { is_ours: false }),
            Err(error) => {
                bail!("cannot write {POLICY}, which keeps packages from starting services: {error}")
            }
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Runs apt-get without questions; its messages go to the terminal.
fn apt(words: &[&str]) -> Result<()> {
    let status = Command::new("apt-get")
        .args(words)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .stdout(std::io::stderr())
        .status()?;
    if !status.success() {
        bail!("`apt-get {}` failed ({status}); its own message is above", words.join(" "));
    }
    Ok(())
}

fn is_there(provides: &Provides) -> bool {
    match *provides {
        Provides::Program(name) => program(name).is_some(),
        Provides::Header(name) => Path::new("/usr/include").join(name).exists(),
        Provides::PythonVenv => answers(Command::new("python3").args(["-c", "import venv, ensurepip"])),
    }
}

/// The path of a program, also where only root's `PATH` would find it.
fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(SYSTEM_PROGRAMS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The clang that the environment names, or the preferred, or the newest that is installed.
fn installed_toolchain() -> Option<Toolchain> {
    let named = std::env::var("CLANG").ok().filter(|name| !name.is_empty());
    let numbered = (OLDEST_CLANG..=NEWEST_CLANG).rev().map(|version| format!("clang-{version}"));
    named
        .into_iter()
        .chain([format!("clang-{PREFERRED_CLANG}")])
        .chain(numbered)
        .chain(["clang".to_owned()])
        .find(|clang| answers(Command::new(clang).arg("--version")))
        .map(|clang| Toolchain { clang })
}

/// The version of the clang package to ask apt for: the preferred where it is offered, else the newest.
fn offered_clang() -> u32 {
    let offered = |version: u32| {
        let output = Command::new("apt-cache").args(["policy", &format!("clang-{version}")]).output();
        output.is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            text.contains("Candidate:") && !text.contains("Candidate: (none)")
        })
    };
    std::iter::once(PREFERRED_CLANG)
        .chain((OLDEST_CLANG..=NEWEST_CLANG).rev())
        .find(|version| offered(*version))
        .unwrap_or(PREFERRED_CLANG)
}

/// Whether the program exists and succeeds.
fn answers(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
