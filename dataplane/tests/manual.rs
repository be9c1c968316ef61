//! weir's man pages and completions.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::fs;
use std::process::Command;

const WEIR: &str = env!("CARGO_BIN_EXE_weir");

#[test]
fn every_command_has_a_page_without_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(WEIR).arg("man").arg(folder.path()).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let mut pages: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|page| page.unwrap().path()).collect();
    pages.sort();
    let names: Vec<_> = pages.iter().map(|page| page.file_name().unwrap().to_str().unwrap()).collect();
    let commands = ["check", "completions", "man", "reload", "replay", "run", "trace"];
    assert_eq!(
        names,
        [commands.map(|it| format!("weir-{it}.1")).as_slice(), &["weir.1".to_owned()]].concat()
    );
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for section in
            ["NAME", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES", "\"SEE ALSO\""]
        {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{section} of {}: {text}", page.display());
        }
        let Ok(man) = Command::new("man").args(["--warnings", "--encoding=UTF-8", "-l"]).arg(&page).output()
        else {
            println!(
                "SKIP every_command_has_a_page_without_a_mistake: there is no man to look at the pages with"
            );
            return;
        };
        assert_eq!(String::from_utf8(man.stderr).unwrap(), "", "{}", page.display());
    }
}

#[test]
fn shells_take_the_completions() {
    let output = Command::new(WEIR).args(["completions", "bash"]).output().unwrap();
    assert!(output.status.success() && String::from_utf8(output.stdout.clone()).unwrap().contains("reload"));
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("weir.bash");
    fs::write(&script, output.stdout).unwrap();
    assert!(Command::new("bash").arg("-n").arg(script).status().unwrap().success());
}
