//! The tree as a table: a line for each direction of each node and customer.

use std::io::{self, Write};

use crate::numbers;
use crate::rtt::durations;
use crate::rtt::table::{cut, quantile};

use super::view::{Line, Measured, View};

/// A column behind the names.
struct Column {
    title: &'static str,
    width: usize,
    /// Those with higher numbers leave first where a terminal is narrow.
    rank: u8,
    text: fn(&Line, &Measured, &View) -> String,
}

/// The columns of rates. Quantities take five characters, times [`durations::WIDTH`].
const RATES: [Column; 13] = [
    KIND,
    CUSTOMERS,
    Column { title: "sent", width: 5, rank: 0, text: |_, it, _| rate(it, |rates| rates.bits) },
    WIRE,
    RATE,
    MAX,
    Column { title: "use", width: 4, rank: 0, text: |_, it, _| numbers::percent(it.utilisation()) },
    PLANS,
    BACKLOG,
    Column { title: "drop/s", width: 6, rank: 2, text: |_, it, _| rate(it, |rates| rates.drops) },
    Column { title: "mark/s", width: 6, rank: 7, text: |_, it, _| rate(it, |rates| rates.marks) },
    P50,
    P99,
];

/// Those of totals.
const TOTALS: [Column; 13] = [
    KIND,
    CUSTOMERS,
    Column { title: "packets", width: 7, rank: 5, text: |_, it, _| numbers::count(it.flow.sent[0]) },
    Column { title: "bytes", width: 6, rank: 0, text: |_, it, _| numbers::count(it.flow.sent[1]) },
    WIRE,
    RATE,
    MAX,
    PLANS,
    BACKLOG,
    Column { title: "drops", width: 6, rank: 2, text: |_, it, _| numbers::count(it.flow.drops) },
    Column { title: "marks", width: 6, rank: 7, text: |_, it, _| numbers::count(it.flow.marks) },
    P50,
    P99,
];

const KIND: Column = Column {
    title: "kind",
    width: 8,
    rank: 10,
    text: |line, _, _| cut(line.kind.as_deref().unwrap_or(""), 8),
};
const CUSTOMERS: Column = Column {
    title: "customers",
    width: 9,
    rank: 6,
    text: |line, _, _| line.customers.map_or(String::new(), |count| numbers::count(count as u64)),
};
const WIRE: Column = Column {
    title: "wire",
    width: 5,
    rank: 8,
    text: |line, it, _| line.customers.map_or(String::new(), |_| numbers::quantity(it.flow.rate as f64)),
};
const RATE: Column = Column {
    title: "rate",
    width: 5,
    rank: 3,
    text: |line, it, _| {
        if line.customers.is_some() { String::new() } else { numbers::quantity(it.flow.rate as f64) }
    },
};
const MAX: Column =
    Column { title: "max", width: 5, rank: 1, text: |_, it, _| numbers::quantity(it.flow.max as f64) };
const PLANS: Column = Column {
    title: "plans",
    width: 5,
    rank: 9,
    text: |line, it, _| line.customers.map_or(String::new(), |_| numbers::quantity(it.flow.plans as f64)),
};
const BACKLOG: Column = Column {
    title: "backlog",
    width: 7,
    rank: 4,
    text: |_, it, _| numbers::quantity(it.flow.backlog[1] as f64),
};
const P50: Column =
    Column { title: "p50", width: durations::WIDTH, rank: 8, text: |_, it, view| delay(it, 0, view) };
const P99: Column =
    Column { title: "p99", width: durations::WIDTH, rank: 2, text: |_, it, view| delay(it, 2, view) };

/// What the direction's column takes: `down`.
const WAY: usize = 4;

/// The widest that a name is on a terminal while other columns have to leave for it.
const NAME: usize = 16;

/// Deeper lines are no further to the right: names would not be seen.
const DEEPEST: usize = 20;

fn rate(measured: &Measured, of: fn(&crate::shaper::reading::Rates) -> f64) -> String {
    measured.rates.as_ref().map_or(numbers::NOTHING.to_owned(), |rates| numbers::quantity(of(rates)))
}

fn delay(measured: &Measured, at: usize, view: &View) -> String {
    let figures = measured.delay.as_ref().zip(view.delays.as_ref());
    figures.map_or(durations::NOTHING.to_owned(), |(figures, source)| quantile(figures, at, source))
}

/// Writes the table, no wider than the terminal if it is for one.
pub fn write(view: &View, terminal: Option<usize>, out: &mut impl Write) -> io::Result<()> {
    let mut columns: Vec<&Column> =
        if view.interval.is_some() { RATES.iter().collect() } else { TOTALS.iter().collect() };
    if view.delays.is_none() {
        columns.retain(|column| ![P50.title, P99.title].contains(&column.title));
    }
    if view.lines.iter().all(|line| line.customers.is_some()) {
        columns.retain(|column| column.title != RATE.title);
    }
    let name = |line: &Line| {
        let indent = " ".repeat(2 * line.depth.min(DEEPEST));
        let title = line.title.as_ref().map_or(String::new(), |title| format!(" {title}"));
        format!("{indent}{}{title}", line.name)
    };
    let longest = view.lines.iter().map(|line| name(line).chars().count()).max().unwrap_or(0).max(WAY);
    let rest = |columns: &[&Column]| 1 + WAY + columns.iter().map(|column| 1 + column.width).sum::<usize>();
    let mut width = longest;
    if let Some(terminal) = terminal {
        while longest.min(NAME) + rest(&columns) > terminal && columns.len() > 1 {
            let last = columns.iter().enumerate().max_by_key(|(_, column)| column.rank);
            columns.remove(last.map_or(0, |(at, _)| at));
        }
        width = longest.min(terminal.saturating_sub(rest(&columns)).max(WAY));
    }
    if !view.path.is_empty() {
        writeln!(out, "below {}", view.path.join(", "))?;
    }
    write!(out, "{:<width$} {:<WAY$}", "node", "")?;
    columns.iter().try_for_each(|column| write!(out, " {:>width$}", column.title, width = column.width))?;
    writeln!(out)?;
    for line in &view.lines {
        let name = cut(&name(line), width);
        for (way, measured) in [("down", &line.down), ("up", &line.up)] {
            write!(out, "{name:<width$} {way:<WAY$}")?;
            for column in &columns {
                write!(out, " {:>width$}", (column.text)(line, measured, view), width = column.width)?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use weir_stats::Reader;

    use super::super::Moment;
    use super::*;
    use crate::shaped::Shaped;
    use crate::shaper::delays::Delays;
    use crate::shaper::reading::Reading;
    use crate::shaper::source::Source;
    use crate::shaper::tree::Tree;

    fn moment(shaped: &Shaped, kept: Vec<usize>) -> Moment {
        let source = Source::of(&Reader::of(&shaped.segment).unwrap()).unwrap().unwrap();
        let tree = Tree::of(&source).unwrap();
        let counted = tree.customers(None);
        let reading = Reading::of(&source, &tree, &counted, kept, Instant::now()).unwrap();
        let delays = Delays::of(&source, &tree, &counted, &reading.kept).unwrap();
        Moment { source, tree, reading, delays }
    }

    /// What passed in two seconds.
    fn measured(customers: bool) -> View {
        let nodes = [("net", "", None), ("a site with a long name", "site", Some(0)), ("ap", "ap", Some(1))];
        let mut shaped = Shaped::new(
            false,
            &nodes,
            &[("idle", "", "", Some(2)), ("busy", "Bea Busy", "", Some(2)), ("new", "", "", Some(0))],
        );
        let (node, customer) = ("/shaper/nodes/down", "/shaper/customers/down");
        (0..3).for_each(|at| shaped.rates(node, at, [0, 1_000_000_000 >> at, 900_000_000 >> at]));
        (0..3).for_each(|at| shaped.rates(customer, at, [0, 50_000_000, 50_000_000]));
        shaped.pair("/shaper/nodes/down/sent", 0, 1_000_000, 1_000_000_000);
        shaped.wait("down", 1, 700_000, 1000);
        let kept: Vec<usize> = if customers { vec![0, 1, 2] } else { Vec::new() };
        let mut before = moment(&shaped, kept.clone());
        for (path, at) in [(node, 0), (node, 1), (node, 2), (customer, 1)] {
            let sent = if at == 0 { 1_000_000_000 } else { 0 };
            shaped.pair(&format!("{path}/sent"), at, 0, sent + 11_250_000);
            shaped.pair(&format!("{path}/backlog"), at, 30, 45_420);
        }
        shaped.set("/shaper/customers/down/dropped", 6, 3);
        shaped.set("/shaper/customers/down/marked", 1, 2_469);
        shaped.wait("down", 1, 5_000, 50);
        shaped.wait("down", 1, 20_000_000, 50);
        let now = moment(&shaped, kept);
        before.reading.at = now.reading.at - Duration::from_secs(2);
        View::of(&now, Some(&before), None, customers).unwrap()
    }

    fn table(view: &View, terminal: Option<usize>) -> String {
        let mut out = Vec::new();
        write(view, terminal, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn rates_are_of_the_interval() {
        assert_eq!(table(&measured(false), None), "\
node                               kind customers  sent  wire   max  use plans backlog drop/s mark/s    p50    p99
net                       down                  3 45.0M  900M 1.00G 4.5%  150M   45.4k   1.50  1.23k 5.12ms >16.8s
net                       up                    3     0     0     0    -     0       0      0      0      -      -
  a site with a long name down     site         2 45.0M  450M  500M 9.0%  100M   45.4k   1.50  1.23k 5.12ms >16.8s
  a site with a long name up       site         2     0     0     0    -     0       0      0      0      -      -
    ap                    down       ap         2 45.0M  225M  250M  18%  100M   45.4k   1.50  1.23k 5.12ms >16.8s
    ap                    up         ap         2     0     0     0    -     0       0      0      0      -      -
");
    }

    #[test]
    fn what_a_terminal_has_no_room_for_leaves() {
        let view = measured(true);
        let text = table(&view, Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert_eq!(
            text,
            "\
node                      customers  sent  rate   max  use backlog drop/s    p99
net                  down         3 45.0M       1.00G 4.5%   45.4k   1.50 >16.8s
net                  up           3     0           0    -       0      0      -
  a site with a lon~ down         2 45.0M        500M 9.0%   45.4k   1.50 >16.8s
  a site with a lon~ up           2     0           0    -       0      0      -
    ap               down         2 45.0M        250M  18%   45.4k   1.50 >16.8s
    ap               up           2     0           0    -       0      0      -
      busy Bea Busy  down           45.0M 50.0M 50.0M  90%   45.4k   1.50 >16.8s
      busy Bea Busy  up                 0     0     0    -       0      0      -
      idle           down               0 50.0M 50.0M   0%       0      0      -
      idle           up                 0     0     0    -       0      0      -
  new                down               0 50.0M 50.0M   0%       0      0      -
  new                up                 0     0     0    -       0      0      -
"
        );
        assert_eq!(
            table(&view, Some(40)),
            "\
node                     sent   max  use
net                down 45.0M 1.00G 4.5%
net                up       0     0    -
  a site with a l~ down 45.0M  500M 9.0%
  a site with a l~ up       0     0    -
    ap             down 45.0M  250M  18%
    ap             up       0     0    -
      busy Bea Bu~ down 45.0M 50.0M  90%
      busy Bea Bu~ up       0     0    -
      idle         down     0 50.0M   0%
      idle         up       0     0    -
  new              down     0 50.0M   0%
  new              up       0     0    -
"
        );
    }
}
