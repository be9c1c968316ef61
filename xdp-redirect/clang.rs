//! Compiles XDP programs for the kernel's virtual machine. Shared by the build scripts of this crate and of the benches.
//!
//! The compiler is `$CLANG` (the workspace sets `clang-19`, Debian's name for it), or else `clang`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libbpf_cargo::SkeletonBuilder;

const INSTALL: &str =
    "On Debian and Ubuntu: apt-get install clang-19 llvm-19 libelf-dev zlib1g-dev pkg-config linux-libc-dev";

/// One program: its source, what to define for it, and the object's name in `OUT_DIR`.
pub struct Program {
    pub source: String,
    pub define: Option<&'static str>,
    pub object: String,
}

/// Compiles all of them when anything in `bpf/` has changed, and fails the build with words where that can't be done.
pub fn build(programs: &[Program]) {
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=CLANG");
    if let Err(message) = compile(programs) {
        // Cargo prints each as an error of this package and fails the build; an exit status of our own would only add a dump
        // of this script's output.
        for line in message.lines() {
            println!("cargo::error={line}");
        }
    }
}

fn compile(programs: &[Program]) -> Result<(), String> {
    let clang = env::var_os("CLANG").unwrap_or_else(|| OsString::from("clang"));
    let name = clang.to_string_lossy().into_owned();
    let targets =
        Command::new(&clang).arg("--print-targets").stderr(Stdio::null()).output().map_err(|error| {
            format!(
                "The XDP program needs the compiler `{name}`, which does not start: {error}\n{INSTALL}\n\
                 If clang is installed under another name, set CLANG to it, e.g. CLANG=clang-18"
            )
        })?;
    if !String::from_utf8_lossy(&targets.stdout).contains("bpf") {
        return Err(format!(
            "The XDP program needs a clang that compiles for BPF; `{name} --print-targets` does not list it\n{INSTALL}\n\
             Then set CLANG to it, e.g. CLANG=clang-19"
        ));
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("OUT_DIR is not set: run this through cargo")?);
    programs.iter().try_for_each(|Program { source, define, object }| {
        SkeletonBuilder::new()
            .source(source)
            .obj(out.join(object))
            .clang(&clang)
            .clang_args(clang_arguments().into_iter().chain(define.map(OsString::from)))
            .build()
            .map_err(|error| {
                format!(
                    "{source} does not compile with `{name}`. If a header was not found: {INSTALL}\n{error:#}"
                )
            })
    })
}

fn clang_arguments() -> Vec<OsString> {
    let mut arguments = Vec::new();
    // <linux/types.h> includes <asm/types.h>, which Debian keeps in a directory per architecture that clang does not
    // search when it compiles for BPF.
    let architecture = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
    let headers = Path::new("/usr/include").join(format!("{architecture}-linux-gnu"));
    if headers.is_dir() {
        arguments.push("-idirafter".into());
        arguments.push(headers.into());
    }
    arguments
}
