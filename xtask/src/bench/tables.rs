//! The tables of a run from veth to veth, in Markdown, and where they stand in a page.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::found::{Found, Run};

/// What a table says of a forwarder at a size.
type Cell<'c> = &'c dyn Fn(&Found) -> String;

/// All of them, with what was measured where.
pub fn all(run: &Run) -> String {
    let mut text = format!(
        "{} cores of {}, Linux {}; trials of {} s, {:.0} minutes; load {:.1} at the beginning and {:.1} at the end, this run's own two included.\n\n",
        run.machine.cores,
        run.machine.processor,
        run.machine.kernel,
        run.trial_seconds,
        run.seconds / 60.0,
        run.load[0],
        run.load[1]
    );
    let mpps = |rate: f64| format!("{:.3}", rate / 1e6);
    let part = |part: Option<f64>| part.map_or("–".to_owned(), |part| format!("{:.0} %", part * 100.0));
    let micros = |time: u64| match time as f64 / 1e3 {
        time if time < 9.95 => format!("{time:.1}"),
        time => format!("{time:.0}"),
    };
    let tables: [(&str, Cell<'_>); 6] = [
        ("Throughput, million packets a second: nothing lost / at most 0.5 % lost", &|found| {
            format!("{} / {}", mpps(found.throughput_0), mpps(found.throughput_05))
        }),
        ("Million packets a second when as many are offered as go", &|found| mpps(found.overload)),
        ("The same to the bare loop's of the same turn / to the kernel's: medians of all turns", &|found| {
            format!("{} / {}", part(found.overload_to_bare), part(found.overload_to_kernel))
        }),
        ("Latency at 50 % of the throughput at 0.5 %, µs: half of the packets / 99 % / all", &|found| {
            let [it, _] = found.latency;
            [it.p50, it.p99, it.max].map(micros).join(" / ")
        }),
        ("Latency at 90 %, likewise", &|found| {
            let [_, it] = found.latency;
            [it.p50, it.p99, it.max].map(micros).join(" / ")
        }),
        ("Back-to-back frames: the longest burst of which nothing was lost, packets", &|found| {
            found.burst.to_string()
        }),
    ];
    for (title, cell) in tables {
        text += &table(run, title, cell);
    }
    for reason in &run.skipped {
        let _ = writeln!(text, "Not measured: {reason}.\n");
    }
    text.trim_end().to_owned()
}

/// A line a size, a column a forwarder.
fn table(run: &Run, title: &str, cell: Cell<'_>) -> String {
    let forwarders = run.forwarders();
    let mut text = format!(
        "{title}:\n\n| bytes | {} |\n|---|{}\n",
        forwarders.join(" | "),
        "---|".repeat(forwarders.len())
    );
    for size in &run.sizes {
        let cells = forwarders.iter().map(|name| run.of(&size.size, name).map_or("–".to_owned(), cell));
        let _ = writeln!(
            text,
            "| {}, {} | {} |",
            size.size,
            size.transport,
            cells.collect::<Vec<_>>().join(" | ")
        );
    }
    text + "\n"
}

/// The page with `text` between the markers of this name.
pub fn replace(page: &str, name: &str, text: &str) -> Result<String> {
    let (begin, end) =
        (format!("<!-- {name}: written by `cargo xtask bench` -->\n"), format!("<!-- {name}: end -->"));
    let missing = || format!("docs/performance.md has no markers of {name:?}");
    let (before, rest) = page.split_once(&begin).with_context(missing)?;
    let (_, after) = rest.split_once(&end).with_context(missing)?;
    Ok(format!("{before}{begin}{text}\n{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_written() {
        let page = "a\n<!-- x: written by `cargo xtask bench` -->\nold\n<!-- x: end -->\nb\n";
        let new = replace(page, "x", "new").expect("a page");
        assert_eq!(new, page.replace("old", "new"));
        assert_eq!(replace(&new, "x", "new").expect("a page"), new);
        assert!(replace(page, "y", "new").is_err());
    }
}
