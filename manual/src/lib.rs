//! Man pages and shell completions of a command line, as both of weir's binaries have them.
//!
//! A page has all that `--help` shows. What stands below the options there (clap's `after_help`) is in blocks with an empty
//! line between; a block begins with its title and a colon, and becomes a section of the page. Blocks of the program as a whole,
//! but for its examples, are true of its subcommands too, and stand on their pages as well.
#![forbid(unsafe_code)]

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// Write the man pages of all commands into a folder: for packagers
#[derive(Debug, Args)]
pub struct Pages {
    /// The folder, which is made if need be
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Print a script that completes commands and options in a shell
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// The title of the blocks that are about one command alone.
const EXAMPLES: &str = "Examples";

/// The section for programs that any user may run.
const SECTION: &str = "1";

impl Completions {
    /// Prints the script.
    pub fn run(&self, mut command: Command, out: &mut impl Write) -> io::Result<()> {
        let name = command.get_name().to_owned();
        // The generator does not expect that writing may fail.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        out.write_all(&script)
    }
}

impl Pages {
    /// Writes the pages. `related` are pages of other programs that the program's own names.
    pub fn run(&self, command: Command, related: &[&str]) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let mut root = command.disable_help_subcommand(true);
        root.build();
        let shared: Vec<Block> = blocks(&root).into_iter().filter(|block| block.title != EXAMPLES).collect();
        let program = page_name(&root);
        let source = format!("{program} {}", root.get_version().unwrap_or_default());
        write(&root, &source, &[], related, &self.folder)?;
        for command in below(&root) {
            write(command, &source, &shared, &[&program], &self.folder)?;
        }
        Ok(())
    }

    /// Where they go.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

/// All commands below one that are shown.
fn below(command: &Command) -> Vec<&Command> {
    let own = command.get_subcommands().filter(|command| !command.is_hide_set());
    own.flat_map(|command| [vec![command], below(command)].concat()).collect()
}

fn page_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn write(
    command: &Command,
    source: &str,
    shared: &[Block],
    related: &[&str],
    folder: &Path,
) -> io::Result<()> {
    let name = page_name(command);
    // A date that is empty would be left out of the heading, and what follows it taken for the date.
    let man = Man::new(command.clone()).section(SECTION).date(" ").source(source).manual("weir");
    let mut out = BufWriter::new(File::create(folder.join(format!("{name}.{SECTION}")))?);
    man.render_title(&mut out)?;
    man.render_name_section(&mut out)?;
    man.render_synopsis_section(&mut out)?;
    man.render_description_section(&mut out)?;
    if command.get_arguments().any(|argument| !argument.is_hide_set()) {
        man.render_options_section(&mut out)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut out)?;
    }
    for block in blocks(command).iter().chain(shared) {
        block.write(&mut out)?;
    }
    let children = command.get_subcommands().filter(|command| !command.is_hide_set()).map(page_name);
    let also: Vec<String> = related.iter().map(|name| (*name).to_owned()).chain(children).collect();
    if !also.is_empty() {
        let mut roff = Roff::new();
        roff.control("SH", ["SEE ALSO"]);
        let mut words = Vec::new();
        for (at, name) in also.iter().enumerate() {
            let comma = if at + 1 < also.len() { ", " } else { "" };
            words.extend([bold(name.as_str()), roman(format!("({SECTION}){comma}"))]);
        }
        roff.text(words);
        roff.to_writer(&mut out)?;
    }
    out.flush()
}

/// A block of what stands below a command's options.
struct Block {
    title: String,
    lines: Vec<String>,
}

fn blocks(command: &Command) -> Vec<Block> {
    let help = command.get_after_long_help().or(command.get_after_help());
    let text = help.map(ToString::to_string).unwrap_or_default();
    let block = |text: &str| {
        let (title, rest) = text.split_once(':')?;
        let lines = rest.trim_start_matches([' ', '\n']).lines().map(|line| line.trim_start().to_owned());
        Some(Block { title: title.to_owned(), lines: lines.collect() })
    };
    text.split("\n\n").filter_map(block).collect()
}

impl Block {
    fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let mut roff = Roff::new();
        roff.control("SH", [self.title.to_uppercase().as_str()]);
        // As it stands, for it is in columns.
        roff.control("nf", []);
        for line in &self.lines {
            roff.text([roman(line.as_str())]);
        }
        roff.control("fi", []);
        roff.to_writer(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn command() -> Command {
        let show = Command::new("show").about("Show").subcommand(Command::new("it").about("Show it"));
        let completions = Completions::augment_args(Command::new("completions"));
        let help = "Examples:\n  tool show   .everything\n\nExit status: 0 if it went well.\n\nFiles:\n  /etc/tool   'settings'";
        Command::new("tool")
            .version("1.2")
            .about("Does things")
            .after_help(help)
            .subcommands([show, completions])
    }

    fn page(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn each_command_has_a_page() {
        let folder = std::env::temp_dir().join(format!("weir-manual-{}", std::process::id()));
        let pages = Pages { folder: folder.join("made") };
        pages.run(command(), &["weir"]).unwrap();
        let mut names: Vec<_> = fs::read_dir(pages.folder())
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["tool-completions.1", "tool-show-it.1", "tool-show.1", "tool.1"]);
        let tool = page(pages.folder(), "tool.1");
        for part in [
            ".TH tool 1 \" \" \"tool 1.2\" weir",
            ".SH EXAMPLES\n.nf\ntool show   .everything\n.fi",
            ".SH \"EXIT STATUS\"\n.nf\n0 if it went well.\n.fi",
            "\\fBweir\\fR(1), \\fBtool\\-show\\fR(1), ",
        ] {
            assert!(tool.contains(part), "{part} in {tool}");
        }
        let show = page(pages.folder(), "tool-show-it.1");
        assert!(
            show.contains("EXIT STATUS") && show.contains(".SH FILES") && !show.contains("EXAMPLES"),
            "{show}"
        );
        fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        Pages { folder: "/dev/null/man".into() }.run(command(), &[]).unwrap_err();
    }

    #[test]
    fn every_shell_has_a_script() {
        for &shell in <Shell as clap::ValueEnum>::value_variants() {
            let mut out = Vec::new();
            Completions { shell }.run(command(), &mut out).unwrap();
            let script = String::from_utf8(out).unwrap();
            assert!(script.contains("tool") && script.contains("completions"), "{shell}: {script}");
        }
    }
}
