//! Man pages and completions, as a packager and a user have them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::lab::{WEIRSTAT, folder};

#[test]
fn every_command_has_a_page_without_a_mistake() {
    let (folder, _) = folder();
    let pages = folder.path().join("man1");
    let output = Command::new(WEIRSTAT).arg("man").arg(&pages).output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    for command in ["", "-ls", "-dump", "-poll", "-show", "-show-errors", "-top", "-prometheus", "-man"] {
        let text = fs::read_to_string(pages.join(format!("weirstat{command}.1"))).unwrap();
        for section in
            ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "FILES", "\"SEE ALSO\""]
        {
            assert!(text.contains(&format!("\n.SH {section}\n")), "{section} of weirstat{command}: {text}");
        }
    }
    let help = Command::new(WEIRSTAT).arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    for line in commands.lines().filter(|line| !line.trim_start().starts_with("help")) {
        let command = line.split_whitespace().next().unwrap();
        assert!(pages.join(format!("weirstat-{command}.1")).exists(), "{command}");
    }
    for page in fs::read_dir(&pages).unwrap() {
        let page = page.unwrap().path();
        let Some(warnings) = warnings(&page) else {
            println!(
                "SKIP every_command_has_a_page_without_a_mistake: there is no man to look at the pages with"
            );
            return;
        };
        assert_eq!(warnings, "", "{}", page.display());
    }
}

/// What `man` has to say about a page; `None` if it is not installed.
fn warnings(page: &Path) -> Option<String> {
    let mut man = Command::new("man");
    man.args(["--warnings", "--encoding=UTF-8", "--local-file"]).arg(page).env("MANWIDTH", "100");
    let output = man.stdin(Stdio::null()).output().ok()?;
    assert!(output.status.success() && !output.stdout.is_empty());
    Some(String::from_utf8(output.stderr).unwrap())
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    let output = Command::new(WEIRSTAT).args(["man", "/dev/null/man1"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(
        (output.status.code(), stderr.as_str()),
        (Some(1), "weirstat: /dev/null/man1: Not a directory (os error 20)\n")
    );
}

#[test]
fn bash_completes() {
    let (folder, _) = folder();
    let output = Command::new(WEIRSTAT).args(["completions", "bash"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let script = folder.path().join("weirstat.bash");
    fs::write(&script, output.stdout).unwrap();
    let complete = |words: &str| {
        let last = words.split(' ').count() - 1;
        let body = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD={last}; \
             \"$(complete -p weirstat | sed 's/.*-F \\([^ ]*\\).*/\\1/')\" weirstat \"${{COMP_WORDS[{last}]}}\" \
             \"${{COMP_WORDS[$(({last}-1))]}}\"; echo \"${{COMPREPLY[@]}}\"",
            script.display()
        );
        let output = Command::new("bash").args(["-c", &body]).output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    assert_eq!(complete("weirstat du"), "dump");
    assert_eq!(complete("weirstat dump --no"), "--no-zeros");
    assert_eq!(complete("weirstat show run"), "runtime");
}
