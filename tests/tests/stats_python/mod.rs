//! A Python with the unmodified `vpp_papi` package, in an environment under the build directory.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that the tests were written against; the newest at that time.
const PACKAGE: &str = "vpp_papi==2.4.2";

/// The environment's interpreter, or why there is none. The first call installs it.
pub fn interpreter() -> Result<PathBuf, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(folder).map_err(|error| error.to_string())?;
    // Test binaries may run at the same time.
    let lock = File::create(folder.join("vpp_papi.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let home = folder.join("vpp_papi");
    let python = home.join("bin/python");
    if !imports(&python) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&home))?;
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            PACKAGE,
        ]))?;
        if !imports(&python) {
            return Err(format!("{PACKAGE} was installed but cannot be imported"));
        }
    }
    Ok(python)
}

/// One of the tests' programs.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(name)
}

fn imports(python: &Path) -> bool {
    Command::new(python)
        .args(["-c", "import vpp_papi.vpp_stats"])
        .output()
        .is_ok_and(|output| output.status.success())
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr);
    Err(text.lines().last().unwrap_or("it failed without a word").to_owned())
}
