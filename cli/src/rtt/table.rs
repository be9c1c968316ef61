//! Figures as a table: a line for each measure of each object.

use std::io::{self, Write};

use crate::names::Names;
use crate::numbers;

use super::durations::{self, microseconds};
use super::figures::{Figures, QUANTILE_NAMES, Row};
use super::subject::{Source, Subject};

/// A column behind the names.
struct Column {
    title: &'static str,
    width: usize,
    /// Those with higher numbers leave first where a terminal is narrow.
    rank: u8,
    text: fn(&Figures, &Source) -> String,
}

/// The columns. Counts and bytes take [`numbers::WIDTH`], times [`durations::WIDTH`].
const COLUMNS: [Column; 9] = [
    Column { title: "count", width: numbers::WIDTH as usize, rank: 0, text: |it, _| count(it.count) },
    Column { title: "min", width: durations::WIDTH, rank: 3, text: |it, source| min(it, source) },
    Column {
        title: QUANTILE_NAMES[0],
        width: durations::WIDTH,
        rank: 0,
        text: |it, source| quantile(it, 0, source),
    },
    Column {
        title: QUANTILE_NAMES[1],
        width: durations::WIDTH,
        rank: 2,
        text: |it, source| quantile(it, 1, source),
    },
    Column {
        title: QUANTILE_NAMES[2],
        width: durations::WIDTH,
        rank: 0,
        text: |it, source| quantile(it, 2, source),
    },
    Column { title: "max", width: durations::WIDTH, rank: 1, text: |it, source| max(it, source) },
    Column { title: "packets", width: 7, rank: 5, text: |it, _| count(it.traffic[0]) },
    Column { title: "bytes", width: numbers::WIDTH as usize, rank: 6, text: |it, _| count(it.traffic[1]) },
    Column { title: "resent", width: 6, rank: 4, text: |it, _| resent(it) },
];

/// The widest that a name is on a terminal while other columns have to leave for it.
const NAME: usize = 16;

fn count(count: u64) -> String {
    if count == 0 { durations::NOTHING.to_owned() } else { numbers::count(count) }
}

fn time(figures: &Figures, text: impl FnOnce() -> String) -> String {
    if figures.count == 0 { durations::NOTHING.to_owned() } else { text() }
}

/// The bound beyond which a time is only known to be longer.
pub fn beyond(source: &Source) -> String {
    source
        .bounds
        .upper()
        .last()
        .map_or(durations::NOTHING.to_owned(), |last| format!(">{}", microseconds(*last as f64)))
}

/// The least time, which in the first bin is only known to be shorter than its end.
pub fn min(figures: &Figures, source: &Source) -> String {
    time(figures, || match (figures.min, source.bounds.upper().first()) {
        (0, Some(first)) => format!("<{}", whole(*first + 1)),
        (min, _) => microseconds(min as f64),
    })
}

/// A bound: of a few microseconds it is a whole number.
pub fn whole(bound: u64) -> String {
    if bound < 1000 { format!("{bound}us") } else { microseconds(bound as f64) }
}

/// A quantile.
pub fn quantile(figures: &Figures, at: usize, source: &Source) -> String {
    let quantile = figures.quantiles[at];
    time(figures, || if quantile.is_finite() { microseconds(quantile) } else { beyond(source) })
}

/// The greatest time.
pub fn max(figures: &Figures, source: &Source) -> String {
    time(figures, || figures.max.map_or_else(|| beyond(source), |max| microseconds(max as f64)))
}

fn resent(figures: &Figures) -> String {
    figures.retransmitted().map_or(durations::NOTHING.to_owned(), |share| {
        // Loss of a few packets in ten thousand is what people look for.
        if share > 0.0 && share < 0.001 { format!("{:.3}%", share * 100.0) } else { numbers::share(share) }
    })
}

/// Writes the table, no wider than the terminal if it is for one. Measures without anything are left out unless they are
/// `all` wanted.
pub fn write(
    rows: &[Row],
    source: &Source,
    names: &Names,
    terminal: Option<usize>,
    all: bool,
    out: &mut impl Write,
) -> io::Result<()> {
    let Subject { label, measures, .. } = source.subject;
    let what = measures.iter().map(|measure| measure.title.len()).max().unwrap_or(0);
    let names: Vec<String> = rows.iter().map(|row| names.name(row.object).unwrap_or_default()).collect();
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0).max(label.len());
    let mut columns: Vec<&Column> = COLUMNS.iter().collect();
    // What nothing of this subject counts.
    if measures.iter().all(|measure| measure.troubles.is_none()) {
        columns.retain(|column| column.title != "resent");
    }
    let rest = |columns: &[&Column]| 1 + what + columns.iter().map(|column| 1 + column.width).sum::<usize>();
    let mut name_width = longest;
    if let Some(terminal) = terminal {
        while longest.min(NAME) + rest(&columns) > terminal && columns.len() > 1 {
            let last = columns.iter().enumerate().max_by_key(|(_, column)| column.rank);
            let last = last.map_or(0, |(at, _)| at);
            columns.remove(last);
        }
        name_width = longest.min(terminal.saturating_sub(rest(&columns)).max(label.len()));
    }
    write!(out, "{label:<name_width$} {:<what$}", "")?;
    columns.iter().try_for_each(|column| write!(out, " {:>width$}", column.title, width = column.width))?;
    writeln!(out)?;
    for (row, name) in rows.iter().zip(&names) {
        let name = cut(name, name_width);
        for (measure, figures) in measures.iter().zip(&row.measures) {
            let Some(figures) = figures.as_ref().filter(|figures| all || !figures.is_empty()) else {
                continue;
            };
            write!(out, "{name:<name_width$} {:<what$}", measure.title)?;
            for column in &columns {
                write!(out, " {:>width$}", (column.text)(figures, source), width = column.width)?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// A name that has room, and shows that it was cut.
pub fn cut(name: &str, width: usize) -> String {
    if name.chars().count() <= width {
        return name.to_owned();
    }
    name.chars().take(width.saturating_sub(1)).chain(['~']).collect()
}

#[cfg(test)]
mod tests {
    use weir_stats::Reader;

    use super::super::figures::{Chosen, Sort};
    use super::super::pass::Pass;
    use super::super::subject::BY_CUSTOMER;
    use super::super::trial::{Trial, source};
    use super::*;

    fn table(trial: &Trial, terminal: Option<usize>, all: bool) -> String {
        let reader = Reader::of(&trial.segment).unwrap();
        let (source, names) = source(&reader);
        let objects: Vec<usize> = (0..source.objects).collect();
        let pass = Pass { reader: &reader, source: &source, objects: &objects, all: false, keep_bins: false };
        let mut chosen = Chosen::new(Sort::of("lan", &BY_CUSTOMER), None);
        pass.run(None, &mut chosen).unwrap();
        let mut out = Vec::new();
        write(&chosen.into_rows(), &source, &names, terminal, all, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    fn trial() -> Trial {
        let mut trial = Trial::new(&["acme", "a customer with a long name"]);
        trial.sample(0, 0, 1_500, 900);
        trial.sample(0, 0, 40_000, 100);
        trial.sample(1, 0, 12, 1);
        trial.sample(1, 0, 20_000_000, 1);
        trial.sample(2, 0, 250, 1_234_567);
        trial.pass(0, 0, [1_234_567, 1_500_000_000, 250, 3]);
        trial.pass(1, 0, [400, 60_000, 8, 0]);
        trial.sample(0, 1, 900, 5);
        trial
    }

    #[test]
    fn each_measure_is_a_line() {
        assert_eq!(
            table(&trial(), None, false),
            "\
customer                                count    min    p50    p90    p99    max packets  bytes resent
acme                        rtt lan      1000 1.41ms 1.48ms 1.53ms 40.8ms 41.0ms       -      -      -
acme                        rtt wan         2  <18us 17.0us >16.8s >16.8s >16.8s       -      -      -
acme                        delay down 1.235M  240us  250us  254us  255us  255us  1.235M 1.500G 0.020%
acme                        delay up        -      -      -      -      -      -     400  60000   2.0%
a customer with a long name rtt lan         5  896us  900us  904us  905us  959us       -      -      -
"
        );
    }

    #[test]
    fn what_is_asked_for_by_name_is_shown_without_samples_too() {
        let text = table(&trial(), Some(24), true);
        assert!(text.lines().all(|line| line.len() <= 27) && text.lines().count() == 9, "{text}");
        assert_eq!(text.lines().last().unwrap(), "a custo~ delay up        -");
    }

    #[test]
    fn what_a_terminal_has_no_room_for_leaves() {
        assert_eq!(
            table(&trial(), Some(80), false),
            "\
customer                         count    min    p50    p90    p99    max resent
acme                 rtt lan      1000 1.41ms 1.48ms 1.53ms 40.8ms 41.0ms      -
acme                 rtt wan         2  <18us 17.0us >16.8s >16.8s >16.8s      -
acme                 delay down 1.235M  240us  250us  254us  255us  255us 0.020%
acme                 delay up        -      -      -      -      -      -   2.0%
a customer with a l~ rtt lan         5  896us  900us  904us  905us  959us      -
"
        );
    }
}
