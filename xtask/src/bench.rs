//! `cargo xtask bench`: builds the benches in release mode, runs them, and writes what they find into docs/performance.md and the folder beside it.

mod bar;
mod draw;
mod found;
mod tables;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use self::found::Run;
use crate::{cargo, packages, root, step, target_dir};

/// What is measured in memory: a program of the benches, and its name in the document.
const IN_MEMORY: [(&str, &str); 3] =
    [("weir-bench-graph", "graph"), ("weir-bench-rtt", "rtt"), ("weir-bench-shaper", "shaper")];
/// What is measured from veth to veth.
const VETH: &str = "weir-bench-rfc2544";

/// What is asked for.
#[derive(Default)]
struct Options {
    quick: bool,
    memory: bool,
    veth: bool,
    sizes: Option<String>,
    only: Option<String>,
    json: Option<PathBuf>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Options> {
        let mut options = Options::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let mut value = || {
                words.next().cloned().with_context(|| format!("{word} needs a value: see `cargo xtask help`"))
            };
            match word.as_str() {
                "--quick" => options.quick = true,
                "--memory" => options.memory = true,
                "--veth" => options.veth = true,
                "--sizes" => options.sizes = Some(value()?),
                "--only" => options.only = Some(value()?),
                "--json" => options.json = Some(value()?.into()),
                other => bail!("`cargo xtask bench` knows no {other}: see `cargo xtask help`"),
            }
        }
        ensure!(
            !options.memory || (options.is_whole() && !options.veth),
            "--memory goes without --veth, --quick, --sizes and --only: they are about what is measured from veth to veth"
        );
        ensure!(!options.quick || options.sizes.is_none(), "--quick says which sizes: without --sizes");
        Ok(options)
    }

    /// All of a part is measured: the documentation may be written from it.
    fn is_whole(&self) -> bool {
        !self.quick && self.sizes.is_none() && self.only.is_none()
    }
}

pub fn run(words: &[String]) -> Result<ExitCode> {
    let options = Options::parse(words)?;
    if !options.memory && !rustix::process::geteuid().is_root() {
        bail!(
            "the forwarders run in network namespaces, which only root may make: run `sudo env \"PATH=$PATH\" cargo xtask bench`, or `cargo xtask bench --memory`"
        );
    }
    let toolchain = packages::ensure()?;
    build(&toolchain)?;
    let begin = Instant::now();
    let mut document = json!({});
    if options.memory || (options.is_whole() && !options.veth) {
        document["memory"] = in_memory(&toolchain)?;
    }
    if !options.memory {
        document["veth"] = from_veth_to_veth(&options)?;
    }
    if let Some(path) = &options.json {
        write(path, &document)?;
        println!("{}", path.display());
    }
    if options.is_whole() {
        for part in ["memory", "veth"] {
            if let Some(found) = document.get(part) {
                write(&folder().join(format!("{part}.json")), found)?;
            }
        }
        publish()?;
        println!("written: docs/performance.md, docs/performance/");
    }
    let (memory, veth) = (document.get("memory"), document.get("veth").map(Run::parse).transpose()?);
    if let Some(run) = &veth {
        println!("{}", tables::all(run));
    }
    if let Some(memory) = memory {
        // without veths measured now, those of the documentation are in the table
        let kept = || read("veth").ok();
        let veth = match veth {
            Some(run) => Some(run),
            None => kept().as_ref().map(Run::parse).transpose()?,
        };
        println!("{}", bar::table(memory, veth.as_ref()));
    }
    eprintln!("{} in all, without building", step::clock(begin.elapsed()));
    Ok(ExitCode::SUCCESS)
}

/// Where the data and the plots are.
fn folder() -> PathBuf {
    root().join("docs/performance")
}

fn read(part: &str) -> Result<Value> {
    let path = folder().join(format!("{part}.json"));
    let text =
        fs::read(&path).with_context(|| format!("no {}: `cargo xtask bench` writes it", path.display()))?;
    Ok(serde_json::from_slice(&text)?)
}

fn write(path: &std::path::Path, document: &Value) -> Result<()> {
    let mut text = serde_json::to_string_pretty(document)?;
    text.push('\n');
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

fn build(toolchain: &packages::Toolchain) -> Result<()> {
    let mut build = cargo(toolchain);
    build.args([
        "build",
        "--release",
        "--locked",
        "-p",
        "weir",
        "-p",
        "weir-benches",
        "--bin",
        "weir",
        "--bin",
        VETH,
    ]);
    IN_MEMORY.iter().for_each(|(program, _)| {
        build.args(["--bin", program]);
    });
    let mut routes = cargo(toolchain);
    routes.args(["bench", "--locked", "-p", "weir-graph", "--bench", "fib", "--no-run"]);
    for (name, mut command) in
        [("build the benches in release mode", build), ("build the bench of routes", routes)]
    {
        let built = step::run(name, &mut command, |_| ())?;
        ensure!(built.success, "{name} failed:\n{}", built.tail.join("\n"));
    }
    Ok(())
}

/// Runs a bench, whose progress is shown as it is told, and returns its document.
fn measure(program: &str, words: &[String]) -> Result<Value> {
    let path = target_dir()?.join("release").join(program);
    let output = Command::new(&path)
        .args(words)
        .arg("--json")
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", path.display()))?;
    ensure!(output.status.success(), "{program} ended with {}", output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("{program} printed no JSON"))
}

fn in_memory(toolchain: &packages::Toolchain) -> Result<Value> {
    let mut found = json!({});
    eprintln!("in memory: some three minutes");
    for (program, name) in IN_MEMORY {
        eprintln!("== {program}");
        found[name] = measure(program, &[])?;
    }
    let mut routes = cargo(toolchain);
    routes.args(["bench", "--locked", "-p", "weir-graph", "--bench", "fib", "--", "routes/load/1m"]);
    let done = step::run("load a million routes", &mut routes, |_| ())?;
    ensure!(done.success, "the bench of routes failed:\n{}", done.tail.join("\n"));
    found["routes_a_second"] = routes_a_second()?.into();
    Ok(found)
}

/// From what criterion keeps: the median, and the fastest.
fn routes_a_second() -> Result<Vec<f64>> {
    let folder = target_dir()?.join("criterion/routes/load_1m/new");
    let read = |name: &str| -> Result<Value> {
        let path = folder.join(name);
        let text = fs::read(&path).with_context(|| format!("criterion has left no {}", path.display()))?;
        Ok(serde_json::from_slice(&text)?)
    };
    let number = |document: &Value, pointer: &str| {
        document
            .pointer(pointer)
            .and_then(Value::as_f64)
            .with_context(|| format!("criterion says no {pointer}"))
    };
    let count = number(&read("benchmark.json")?, "/throughput/Elements")?;
    let median = number(&read("estimates.json")?, "/median/point_estimate")?;
    let sample = read("sample.json")?;
    let column = |name: &str| {
        let values = sample.get(name).and_then(Value::as_array);
        values.map(|values| values.iter().filter_map(Value::as_f64).collect::<Vec<f64>>()).unwrap_or_default()
    };
    let fastest = column("times")
        .iter()
        .zip(column("iters"))
        .map(|(time, iterations)| time / iterations)
        .fold(median, f64::min);
    Ok([median, fastest].map(|nanoseconds| count / nanoseconds * 1e9).to_vec())
}

fn from_veth_to_veth(options: &Options) -> Result<Value> {
    let minutes = if options.quick { "a minute and a half" } else { "some eight minutes" };
    eprintln!("from veth to veth: {minutes}\n== {VETH}");
    let mut words = vec!["--weir".to_owned(), target_dir()?.join("release/weir").display().to_string()];
    if options.quick {
        words.push("--quick".to_owned());
    }
    for (name, value) in [("--sizes", &options.sizes), ("--only", &options.only)] {
        if let Some(value) = value {
            words.extend([name.to_owned(), value.clone()]);
        }
    }
    measure(VETH, &words)
}

/// Writes the plots and the tables of docs/performance.md from the data beside it.
pub fn publish() -> Result<()> {
    for (name, text) in drawings()? {
        fs::write(folder().join(name), text)?;
    }
    let path = root().join("docs/performance.md");
    let page = fs::read_to_string(&path)?;
    fs::write(&path, filled(&page)?).with_context(|| format!("cannot write {}", path.display()))
}

/// The plots by their names.
fn drawings() -> Result<[(&'static str, String); 2]> {
    let run = Run::parse(&read("veth")?)?;
    Ok([("throughput.svg", draw::throughput(&run)?), ("latency.svg", draw::latency(&run)?)])
}

/// The page with what its markers name.
fn filled(page: &str) -> Result<String> {
    let run = Run::parse(&read("veth")?)?;
    let memory = read("memory")?;
    let page = tables::replace(page, "bar", &bar::table(&memory, Some(&run)))?;
    tables::replace(&page, "veth", &tables::all(&run))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_and_the_plots_are_what_the_data_beside_them_say() {
        for (name, drawn) in drawings().expect("plots") {
            let kept = fs::read_to_string(folder().join(name)).expect("the plot");
            assert!(
                drawn == kept,
                "docs/performance/{name} is not what its data say: see `publish` in xtask/src/bench.rs"
            );
            assert!(drawn.len() < 60_000, "docs/performance/{name} has {} bytes", drawn.len());
        }
        let page = fs::read_to_string(root().join("docs/performance.md")).expect("the page");
        assert!(filled(&page).expect("tables") == page, "docs/performance.md is not what its data say");
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let parse = |text: &str| {
            Options::parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
                .map(|it| it.is_whole())
        };
        assert!(parse("").expect("options") && parse("--memory --json x").expect("options"));
        assert!(
            !parse("--quick").expect("options") && !parse("--sizes 64,imix --only weir").expect("options")
        );
        for wrong in ["--memory --quick", "--memory --veth", "--quick --sizes 64", "--sizes", "--fast", "64"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
