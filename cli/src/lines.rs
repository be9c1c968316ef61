//! Values as lines: VPP's text for people, VPP's colon-separated text for scripts, or JSON.
//!
//! Text and colons are those of `vpp_get_stats`, with one difference: VPP prints a histogram's bins with their lower bounds
//! behind a `<=`; here it is the upper bounds, which makes the sentence true. Numbers a second, and histograms by object, are
//! weir's own.

use std::io::{self, Write};

use weir_stats::{Bins, Bounds, Kind, Pair};

use crate::names::Names;
use crate::view::{Format, View};

/// Writes the lines of one entry after another.
#[derive(Debug)]
pub struct Lines<W> {
    format: Format,
    no_zeros: bool,
    /// The time to begin lines with.
    seconds: Option<f64>,
    out: W,
    line: Vec<u8>,
}

/// What lines are about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    /// The entry's path.
    pub name: &'s str,
    /// What its values are.
    pub kind: Kind,
    /// What is counted, for the text of rates.
    pub unit: &'s str,
    /// The columns' names.
    pub names: Option<&'s Names>,
    /// Numbers are what was counted in so many seconds, and are shown a second.
    pub per: Option<f64>,
}

/// Where a counter is. No thread: the sum of all.
#[derive(Clone, Copy, Debug)]
pub struct Cell {
    pub index: usize,
    pub thread: Option<usize>,
}

impl<W: Write> Lines<W> {
    /// Lines for `out`, of values that are read at this time.
    pub fn new(view: &View, json: bool, seconds: f64, out: W) -> Lines<W> {
        let seconds = view.timestamp.then_some(seconds);
        Lines { format: view.format(json), no_zeros: view.no_zeros, seconds, out, line: Vec::new() }
    }

    /// What was written to.
    pub fn into_inner(self) -> W {
        self.out
    }

    /// A number that is not in a vector.
    pub fn number(&mut self, subject: &Subject<'_>, number: u64) -> io::Result<()> {
        self.begin(subject);
        match self.format {
            Format::Json => self.json_number("value", number, subject),
            Format::Machine => {
                write!(self.line, "{}:", subject.kind.number())?;
                match subject.per {
                    None => write!(self.line, "{number}.00")?,
                    Some(_) => self.amount(number, subject)?,
                }
                write!(self.line, ":{}", subject.name)?;
            }
            Format::Text => match (subject.per, subject.unit) {
                (None, _) => write!(self.line, "{number}.00 {}", subject.name)?,
                (Some(_), unit) => {
                    self.amount(number, subject)?;
                    let gap = if unit.is_empty() { "" } else { " " };
                    write!(self.line, "{gap}{unit}/s {}", subject.name)?;
                }
            },
        }
        self.end()
    }

    /// Counters from one column on.
    pub fn counts(&mut self, subject: &Subject<'_>, first: Cell, counts: &[u64]) -> io::Result<()> {
        for (index, &count) in (first.index..).zip(counts) {
            if self.no_zeros && count == 0 {
                continue;
            }
            self.begin(subject);
            self.cell(subject, Cell { index, ..first })?;
            match self.format {
                Format::Json => self.json_number("value", count, subject),
                Format::Machine => {
                    self.amount(count, subject)?;
                    write!(self.line, ":{}", subject.name)?;
                }
                Format::Text => {
                    self.amount(count, subject)?;
                    let unit = match (subject.per, subject.unit) {
                        (None, _) => " packets", // VPP calls everything so
                        (Some(_), "") => "/s",
                        (Some(_), unit) => {
                            write!(self.line, " {unit}")?;
                            "/s"
                        }
                    };
                    write!(self.line, "{unit} {}", subject.name)?;
                }
            }
            self.end()?;
        }
        Ok(())
    }

    /// Counters of packets and bytes from one column on.
    pub fn pairs(&mut self, subject: &Subject<'_>, first: Cell, pairs: &[Pair]) -> io::Result<()> {
        for (index, &Pair { packets, bytes }) in (first.index..).zip(pairs) {
            if self.no_zeros && packets == 0 {
                continue;
            }
            self.begin(subject);
            self.cell(subject, Cell { index, ..first })?;
            let second = if subject.per.is_some() { "/s" } else { "" };
            match self.format {
                Format::Json => {
                    self.json_number("packets", packets, subject);
                    self.json_number("bytes", bytes, subject);
                }
                Format::Machine => {
                    self.amount(packets, subject)?;
                    self.line.push(b':');
                    self.amount(bytes, subject)?;
                    write!(self.line, ":{}", subject.name)?;
                }
                Format::Text => {
                    self.amount(packets, subject)?;
                    write!(self.line, " packets{second}, ")?;
                    self.amount(bytes, subject)?;
                    write!(self.line, " bytes{second} {}", subject.name)?;
                }
            }
            self.end()?;
        }
        Ok(())
    }

    /// Names from one column on.
    pub fn texts(&mut self, subject: &Subject<'_>, first: usize, texts: &[String]) -> io::Result<()> {
        for (index, text) in (first..).zip(texts) {
            self.begin(subject);
            match self.format {
                Format::Json => {
                    write!(self.line, ",\"index\":{index},\"text\":")?;
                    serde_json::to_writer(&mut self.line, text)?;
                }
                Format::Machine => {
                    write!(self.line, "{}:{index}:{text}:{}", subject.kind.number(), subject.name)?;
                }
                Format::Text => write!(self.line, "[{index}]: {text} {}", subject.name)?,
            }
            self.end()?;
        }
        Ok(())
    }

    /// A thread's histogram with bins that are powers of two.
    pub fn bins(&mut self, subject: &Subject<'_>, thread: usize, bins: &Bins) -> io::Result<()> {
        if self.format == Format::Json {
            self.begin(subject);
            write!(self.line, ",\"thread\":{thread},\"min_exp\":{},", bins.min_exp)?;
            self.json_key("counts", subject);
            for (bin, count) in bins.counts.iter().enumerate() {
                self.line.push(if bin == 0 { b'[' } else { b',' });
                self.amount(*count, subject)?;
            }
            self.line.push(b']');
            return self.end();
        }
        let mut sum = 0_u128;
        for (bin, &count) in bins.counts.iter().enumerate() {
            // What was counted is not known better than to a factor of 2; VPP takes each bin's lower bound for it.
            let lower =
                u32::try_from(bin).ok().and_then(|bin| 1_u128.checked_shl(bin.saturating_add(bins.min_exp)));
            sum = sum.saturating_add(lower.unwrap_or(0).saturating_mul(count.into()));
        }
        self.line.clear();
        writeln!(self.line, "Histogram {} (thread {thread}):", subject.name)?;
        let upper = (0..bins.counts.len()).map(|bin| bins.upper(bin));
        self.print_bins(subject, upper.zip(bins.counts.iter().copied()), Some(sum))
    }

    /// The histograms of objects, one after another in these cells. Nothing of those that have counted nothing.
    pub fn distributions(
        &mut self,
        subject: &Subject<'_>,
        bounds: &Bounds,
        first: Cell,
        cells: &[u64],
    ) -> io::Result<()> {
        let bins = bounds.upper().len() + 1;
        for (index, cells) in (first.index..).zip(cells.chunks(bounds.width())) {
            let (counts, rest) = cells.split_at(bins.min(cells.len()));
            if counts.iter().all(|count| *count == 0) {
                continue;
            }
            let uppers = bounds.upper().iter().copied().map(Some).chain([None]);
            let counted = uppers.zip(counts.iter().copied()).filter(|(_, count)| *count > 0);
            let sum = rest.first().copied();
            if self.format == Format::Json {
                self.begin(subject);
                self.cell(subject, Cell { index, ..first })?;
                let count = counts.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count));
                self.json_number("count", count, subject);
                if let Some(sum) = sum {
                    self.json_number("sum", sum, subject);
                }
                self.line.push(b',');
                self.json_key("bins", subject);
                let mut before = b'{';
                for (upper, count) in counted {
                    self.line.push(before);
                    match upper {
                        Some(upper) => {
                            self.line.push(b'"');
                            self.integer(upper);
                            self.line.extend_from_slice(b"\":");
                        }
                        None => self.line.extend_from_slice(b"\"+Inf\":"),
                    }
                    self.amount(count, subject)?;
                    before = b',';
                }
                self.line.push(b'}');
                self.end()?;
                continue;
            }
            self.line.clear();
            write!(self.line, "Histogram {} [{index}]", subject.name)?;
            if let Some(name) = subject.names.and_then(|names| names.name(index)) {
                write!(self.line, " {name}")?;
            }
            if let Some(thread) = first.thread {
                write!(self.line, " (thread {thread})")?;
            }
            self.line.extend_from_slice(b":\n");
            self.print_bins(subject, counted, sum.map(u128::from))?;
        }
        Ok(())
    }

    fn print_bins(
        &mut self,
        subject: &Subject<'_>,
        bins: impl Iterator<Item = (Option<u64>, u64)>,
        sum: Option<u128>,
    ) -> io::Result<()> {
        let second = if subject.per.is_some() { "/s" } else { "" };
        let mut cumulative = 0_u64;
        for (upper, count) in bins {
            cumulative = cumulative.wrapping_add(count);
            let Some(upper) = upper else { continue };
            write!(self.line, "  <= {upper}: ")?;
            self.amount(count, subject)?;
            write!(self.line, "{second} (cumulative: ")?;
            self.amount(cumulative, subject)?;
            writeln!(self.line, "{second})")?;
        }
        self.line.extend_from_slice(b"  +Inf: ");
        self.amount(cumulative, subject)?;
        write!(self.line, "{second} (total count: ")?;
        self.amount(cumulative, subject)?;
        self.line.extend_from_slice(second.as_bytes());
        match (sum, subject.per) {
            (Some(sum), None) => write!(self.line, ", sum: {sum}")?,
            (Some(sum), Some(per)) => write!(self.line, ", sum: {}/s", digits(sum as f64 / per))?,
            (None, _) => {}
        }
        self.line.extend_from_slice(b")\n");
        self.out.write_all(&self.line)
    }

    /// What all lines of an entry begin with.
    fn begin(&mut self, subject: &Subject<'_>) {
        self.line.clear();
        let line = &mut self.line;
        // Writing to memory does not fail.
        if self.format == Format::Json {
            line.push(b'{');
            if let Some(seconds) = self.seconds {
                let _ = write!(line, "\"timestamp\":{seconds},");
            }
            line.extend_from_slice(b"\"name\":");
            let _ = serde_json::to_writer(&mut *line, subject.name);
            let word = if self.is_matrix(subject) { "distribution" } else { subject.kind.word() };
            for part in [",\"type\":\"", word, "\""] {
                self.line.extend_from_slice(part.as_bytes());
            }
        } else if let Some(seconds) = self.seconds {
            let _ = write!(line, "{seconds:.6}:");
        }
    }

    fn is_matrix(&self, subject: &Subject<'_>) -> bool {
        subject.kind == Kind::Simple && subject.names.is_some_and(|names| names.bins().is_some())
    }

    fn end(&mut self) -> io::Result<()> {
        if self.format == Format::Json {
            self.line.push(b'}');
        }
        self.line.push(b'\n');
        self.out.write_all(&self.line)
    }

    fn cell(&mut self, subject: &Subject<'_>, cell: Cell) -> io::Result<()> {
        let Cell { index, thread } = cell;
        match self.format {
            Format::Json => {
                self.line.extend_from_slice(b",\"index\":");
                self.integer(index);
                if let Some(names) = subject.names {
                    names.write_json(index, &mut self.line);
                }
                if let Some(thread) = thread {
                    self.line.extend_from_slice(b",\"thread\":");
                    self.integer(thread);
                }
            }
            Format::Machine => {
                write!(self.line, "{}:{index}:", subject.kind.number())?;
                if let Some(thread) = thread {
                    write!(self.line, "{thread}:")?;
                }
            }
            Format::Text => {
                write!(self.line, "[{index}")?;
                if let Some(thread) = thread {
                    write!(self.line, " @ {thread}")?;
                }
                self.line.extend_from_slice(b"]: ");
            }
        }
        Ok(())
    }

    fn json_number(&mut self, key: &str, number: u64, subject: &Subject<'_>) {
        self.line.push(b',');
        self.json_key(key, subject);
        let _ = self.amount(number, subject);
    }

    fn json_key(&mut self, key: &str, subject: &Subject<'_>) {
        self.line.push(b'"');
        self.line.extend_from_slice(key.as_bytes());
        self.line.extend_from_slice(if subject.per.is_some() { b"_per_second\":" } else { b"\":" });
    }

    fn integer(&mut self, number: impl itoa::Integer) {
        self.line.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// A number, or what it is a second.
    fn amount(&mut self, number: u64, subject: &Subject<'_>) -> io::Result<()> {
        match subject.per {
            None => {
                self.integer(number);
                Ok(())
            }
            Some(seconds) if self.format == Format::Json => {
                write!(self.line, "{}", number as f64 / seconds)
            }
            Some(seconds) => self.line.write_all(digits(number as f64 / seconds).as_bytes()),
        }
    }
}

/// A rate for people: three digits, more only before the point.
fn digits(rate: f64) -> String {
    // The place of the first digit, counted from the point: 0 for 1 to 9.9.
    let place = if rate > 0.0 { rate.log10().floor() } else { 2.0 };
    let decimals = (2.0 - place).clamp(0.0, 6.0) as usize;
    format!("{rate:.decimals$}")
}
