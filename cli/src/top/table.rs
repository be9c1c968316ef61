//! What a tab shows: rows of cells under columns, sorted and filtered, before anything is drawn.

use std::borrow::Cow;
use std::cmp::Ordering;

use regex::{Regex, RegexBuilder};

use crate::numbers::{self, percent};
use crate::rtt::durations::microseconds;
use crate::shaper::tree::Item;

/// A column.
#[derive(Clone, Debug)]
pub struct Column {
    /// What stands above it, and what tells it from the others.
    pub title: Cow<'static, str>,
    /// Columns with higher numbers leave first when the terminal is narrow. The first column never leaves.
    pub rank: u8,
    /// What kind of cells it has.
    pub form: Form,
}

/// How a column is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Text, on the left; as wide as the widest cell if there is room.
    Text,
    /// Numbers, on the right.
    Number,
    /// Numbers that are bad news unless they are 0.
    Loss,
    /// A curve of the last minutes, that takes what room is left.
    Curve,
    /// A part of a whole: a bar, if there is room, and per cent.
    Bar,
}

/// A cell.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    /// A name.
    Text(String),
    /// A rate or a mean; `None` where it is not known yet.
    Quantity(Option<f64>),
    /// An exact number.
    Count(u64),
    /// A part of a whole, 0 to 1.
    Share(Option<f64>),
    /// A time in microseconds, or one that is longer than that.
    Time {
        /// `None` where nothing was measured.
        microseconds: Option<f64>,
        /// It is known to be longer.
        is_beyond: bool,
    },
    /// Rates, the oldest first.
    Curve(Vec<f64>),
    /// A part of a whole, 0 to 1 and perhaps a little more.
    Bar(Option<f64>),
    /// A line of a tree.
    Branch {
        /// What it is about.
        item: Item,
        /// How deep it is.
        depth: usize,
        /// Whether there is something below it.
        fold: Fold,
        /// Its name.
        name: String,
    },
}

/// What can be done with what is below a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fold {
    /// There is nothing.
    Nothing,
    /// It is hidden.
    Folded,
    /// It is to be seen, or some of it.
    Open,
}

/// A level's indentation. Beyond so many levels there is no more of it: names would not be seen.
const INDENT: usize = 2;
const DEEPEST: usize = 12;

/// Rows and columns. Every row has a cell for every column.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, in the tab's own order.
    pub rows: Vec<Vec<Cell>>,
}

/// What a filter lets through.
#[derive(Debug)]
pub struct Filter {
    text: String,
    pattern: Regex,
}

impl Column {
    /// A column.
    pub fn new(title: impl Into<Cow<'static, str>>, form: Form, rank: u8) -> Column {
        Column { title: title.into(), rank, form }
    }
}

impl Cell {
    /// What is written in the cell. Curves are drawn, not written.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Cell::Text(text) => Cow::Borrowed(text),
            Cell::Quantity(number) => number.map_or(numbers::NOTHING.into(), numbers::quantity).into(),
            Cell::Count(number) => numbers::count(*number).into(),
            Cell::Share(part) => part.map_or(numbers::NOTHING.into(), numbers::share).into(),
            Cell::Time { microseconds: None, .. } => Cow::Borrowed(numbers::NOTHING),
            Cell::Time { microseconds: Some(time), is_beyond } => {
                format!("{}{}", if *is_beyond { ">" } else { "" }, microseconds(*time)).into()
            }
            Cell::Curve(_) => Cow::Borrowed(""),
            Cell::Bar(part) => percent(*part).into(),
            Cell::Branch { depth, name, .. } => {
                // The fold's sign stands in the place of the first of the two spaces before the name.
                format!("{}  {name}", " ".repeat(INDENT * (*depth).min(DEEPEST))).into()
            }
        }
    }

    /// What a line of a tree is about.
    pub fn item(&self) -> Option<Item> {
        if let Cell::Branch { item, .. } = self { Some(*item) } else { None }
    }

    /// Whether there is something below a line of a tree, and where its sign stands.
    pub fn fold(&self) -> Option<(Fold, usize)> {
        let Cell::Branch { fold, depth, .. } = self else { return None };
        Some((*fold, INDENT * (*depth).min(DEEPEST)))
    }

    /// Whether it says that nothing happened; `None` for what is no number.
    pub fn is_zero(&self) -> Option<bool> {
        match self {
            Cell::Text(_) | Cell::Curve(_) | Cell::Branch { .. } => None,
            Cell::Quantity(number) | Cell::Share(number) | Cell::Bar(number) => {
                Some(number.unwrap_or(0.0) == 0.0)
            }
            Cell::Count(number) => Some(*number == 0),
            Cell::Time { microseconds, .. } => Some(microseconds.is_none()),
        }
    }

    /// The order of a column: the largest number first, names by the alphabet, what is unknown last.
    fn order(&self, other: &Cell) -> Ordering {
        match (self, other) {
            (Cell::Text(a), Cell::Text(b)) => a.cmp(b),
            (Cell::Count(a), Cell::Count(b)) => b.cmp(a),
            (Cell::Branch { name: a, .. }, Cell::Branch { name: b, .. }) => a.cmp(b),
            (
                Cell::Quantity(a) | Cell::Share(a) | Cell::Bar(a),
                Cell::Quantity(b) | Cell::Share(b) | Cell::Bar(b),
            ) => {
                // Every known number is larger than -1.
                b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0))
            }
            (Cell::Time { microseconds: a, .. }, Cell::Time { microseconds: b, .. }) => {
                b.unwrap_or(-1.0).total_cmp(&a.unwrap_or(-1.0))
            }
            // Of cells that have nothing in them.
            _ => matches!(self, Cell::Text(_)).cmp(&matches!(other, Cell::Text(_))),
        }
    }
}

impl Table {
    /// The columns by which it can be sorted.
    pub fn sortable(&self) -> impl Iterator<Item = &str> {
        self.columns.iter().filter(|column| column.form != Form::Curve).map(|column| &*column.title)
    }

    /// Sorts by a column, if it has it; then a tree is none any more. Rows that are equal there keep the tab's own order.
    pub fn sort(&mut self, title: Option<&str>, reversed: bool) {
        let column = self.columns.iter().position(|column| title == Some(&column.title));
        if let Some(column) = column {
            self.rows.sort_by(|a, b| {
                let order = a[column].order(&b[column]);
                if reversed { order.reverse() } else { order }
            });
            for cell in self.rows.iter_mut().filter_map(|row| row.first_mut()) {
                if let Cell::Branch { depth, .. } = cell {
                    *depth = 0;
                }
            }
        } else if reversed {
            self.rows.reverse();
        }
    }

    /// Leaves out rows whose names the filter does not let through.
    pub fn filter(&mut self, filter: &Filter) {
        self.rows.retain(|row| {
            let names: Vec<&str> = row.iter().filter_map(name).collect();
            // As one path too: a drop's node and reason are found by "ip4-input/bad".
            filter.pattern.is_match(&names.join("/"))
        });
    }

    /// Leaves out rows in which all numbers are 0.
    pub fn hide_zeros(&mut self) {
        self.rows.retain(|row| row.iter().any(|cell| cell.is_zero() == Some(false)));
    }
}

fn name(cell: &Cell) -> Option<&str> {
    match cell {
        Cell::Text(text) => Some(text),
        Cell::Branch { name, .. } => Some(name),
        _ => None,
    }
}

impl Filter {
    /// A regular expression, found anywhere and in either case; what is none is looked for as it stands. `None` if it is
    /// empty.
    pub fn new(text: &str) -> Option<Filter> {
        let build = |pattern: &str| RegexBuilder::new(pattern).case_insensitive(true).build().ok();
        let pattern = build(text).or_else(|| build(&regex::escape(text)))?;
        (!text.is_empty()).then(|| Filter { text: text.to_owned(), pattern })
    }

    /// As it was typed.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let row = |name: &str, rate, count| {
            vec![Cell::Text(name.to_owned()), Cell::Quantity(rate), Cell::Count(count)]
        };
        Table {
            columns: vec![
                Column::new("name", Form::Text, 0),
                Column::new("rate", Form::Number, 1),
                Column::new("total", Form::Number, 2),
            ],
            rows: vec![
                row("eth2", Some(1.5), 10),
                row("eth10", None, 0),
                row("Eth1", Some(3.0), 10),
                row("lan", Some(0.0), 0),
            ],
        }
    }

    fn names(table: &Table) -> Vec<&str> {
        table.rows.iter().map(|row| name(&row[0]).unwrap()).collect()
    }

    fn sorted(title: Option<&str>, reversed: bool) -> Vec<String> {
        let mut table = table();
        table.sort(title, reversed);
        names(&table).into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn the_largest_is_first_and_the_unknown_last() {
        assert_eq!(sorted(Some("rate"), false), ["Eth1", "eth2", "lan", "eth10"]);
        assert_eq!(sorted(Some("rate"), true), ["eth10", "lan", "eth2", "Eth1"]);
        assert_eq!(sorted(Some("name"), false), ["Eth1", "eth10", "eth2", "lan"]);
        assert_eq!(
            sorted(Some("total"), false),
            ["eth2", "Eth1", "eth10", "lan"],
            "equal rows keep their order"
        );
        assert_eq!(sorted(None, false), ["eth2", "eth10", "Eth1", "lan"]);
        assert_eq!(sorted(None, true), ["lan", "Eth1", "eth10", "eth2"]);
        assert_eq!(sorted(Some("gone"), false), ["eth2", "eth10", "Eth1", "lan"]);
    }

    #[test]
    fn a_filter_is_an_expression_or_text() {
        let filtered = |text: &str| {
            let mut table = table();
            table.filter(&Filter::new(text).unwrap());
            names(&table).into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(filtered("ETH1"), ["eth10", "Eth1"]);
        assert_eq!(filtered("^eth.$"), ["eth2", "Eth1"]);
        assert_eq!(filtered("(n"), [""; 0]);
        assert_eq!(filtered("lan"), ["lan"]);
        assert!(Filter::new("").is_none());
    }

    #[test]
    fn rows_of_zeros_can_be_hidden() {
        let mut table = table();
        table.hide_zeros();
        assert_eq!(names(&table), ["eth2", "Eth1"]);
    }
}
