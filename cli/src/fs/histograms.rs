//! Histograms: one of them with its bins, or all of a matrix with a line for each.

use std::collections::BTreeMap;
use std::io::Write;

use serde::Serialize;
use weir_stats::{Bounds, Columns, Distribution, Extent};

use super::budget::Text;
use super::inode::Form;
use super::refusal::Refusal;
use super::vectors::{Labels, PART, Vector};

/// One histogram, by row, in one of its forms.
pub fn one(
    vector: &Vector<'_>,
    labels: Labels<'_>,
    rows: &[Distribution],
    form: Form,
    text: &mut Text,
) -> Result<(), Refusal> {
    let all = merged(rows);
    match form {
        Form::Count => writeln!(text, "{}", all.count())?,
        Form::P50 => quantile(&all, 0.5, text)?,
        Form::P90 => quantile(&all, 0.9, text)?,
        Form::P99 => quantile(&all, 0.99, text)?,
        Form::Table => table(&all, text)?,
        Form::Json => {
            let bins = |it: &Distribution| it.bins().map(|(_, count)| count).collect();
            let document = Document {
                name: &vector.entry.name,
                r#type: "histogram",
                unit: vector.unit(),
                labels,
                summary: Summary::of(&all),
                bins: all.bins().map(|(le, count)| Bin { le, count }).collect(),
                row: vector.row_word(),
                rows: rows.iter().map(bins).collect(),
            };
            serde_json::to_writer(&mut *text, &document)?;
            text.write_all(b"\n")?;
        }
        _ => return Err(Refusal::Stale),
    }
    Ok(())
}

/// One object of a matrix, by row.
pub fn rows_of_object(
    vector: &Vector<'_>,
    bounds: &Bounds,
    object: usize,
) -> Result<Vec<Distribution>, Refusal> {
    let Extent { rows, .. } = vector.extent()?;
    check(rows, bounds.width())?;
    let start = object.saturating_mul(bounds.width());
    let columns = start..start.saturating_add(bounds.width());
    (0..rows).map(|row| Ok(bounds.distribution(&vector.simple(row, columns.clone())?))).collect()
}

/// What one object's rows may take: far more than any histogram of ours, and an end to what a damaged segment claims.
fn check(rows: usize, width: usize) -> Result<(), Refusal> {
    if rows.saturating_mul(width) <= 16 * PART { Ok(()) } else { Err(Refusal::TooLong) }
}

/// All objects of a matrix that have a name.
pub fn all(
    vector: &Vector<'_>,
    columns: &Columns,
    bounds: &Bounds,
    form: Form,
    text: &mut Text,
) -> Result<(), Refusal> {
    let label = columns.label_names().join("/");
    match form {
        Form::Table => {
            writeln!(
                text,
                "{:>8} {:>20} {:>20} {:>20} {:>20}  {label}",
                "index", "count", "p50", "p90", "p99"
            )?;
        }
        _ => vector.json_head("histogram", "histograms", text)?,
    }
    let Extent { rows, columns: cells } = vector.extent()?;
    let width = bounds.width();
    check(rows, width)?;
    let objects = (cells / width).min(columns.objects().unwrap_or(usize::MAX));
    let step = (PART / rows.max(1) / width).max(1);
    let mut separator = "\n";
    for start in (0..objects).step_by(step) {
        let end = start.saturating_add(step).min(objects);
        let part = |row| vector.simple(row, start * width..end * width);
        let parts = (0..rows).map(part).collect::<Result<Vec<_>, _>>()?;
        for object in start..end {
            let Some(labels) = columns.labels(object) else { continue };
            let at = (object - start) * width;
            let cells = |row: &Vec<u64>| bounds.distribution(row.get(at..).unwrap_or_default());
            let rows: Vec<_> = parts.iter().map(cells).collect();
            let all = merged(&rows);
            if form == Form::Table {
                write!(text, "{object:>8} {:>20}", all.count())?;
                for q in [0.5, 0.9, 0.99] {
                    match all.quantile(q) {
                        Some(value) => write!(text, " {value:>20.0}")?,
                        None => write!(text, " {NOTHING:>20}")?,
                    }
                }
                writeln!(text, "  {}", columns.name(object).unwrap_or_default())?;
            } else {
                let labels = labels.into_iter().collect();
                let line = Line { index: object, labels, summary: Summary::of(&all) };
                text.write_all(separator.as_bytes())?;
                serde_json::to_writer(&mut *text, &line)?;
                separator = ",\n";
            }
        }
    }
    if form == Form::Json {
        text.write_all(b"\n]}\n")?;
    }
    Ok(())
}

/// What stands for a quantile of no values: printf and awk take it for a number.
const NOTHING: &str = "nan";

/// A quantile as a plain number: rounded, as a shell calculates with whole ones.
fn quantile(all: &Distribution, q: f64, text: &mut Text) -> Result<(), Refusal> {
    match all.quantile(q) {
        Some(value) => writeln!(text, "{value:.0}")?,
        None => writeln!(text, "{NOTHING}")?,
    }
    Ok(())
}

fn table(all: &Distribution, text: &mut Text) -> Result<(), Refusal> {
    writeln!(text, "{:>20} {:>20} {:>20}", "le", "count", "cumulative")?;
    let mut cumulative = 0_u64;
    for (bound, count) in all.bins() {
        cumulative = cumulative.wrapping_add(count);
        match bound {
            Some(bound) => writeln!(text, "{bound:>20} {count:>20} {cumulative:>20}")?,
            None => writeln!(text, "{:>20} {count:>20} {cumulative:>20}", "+Inf")?,
        }
    }
    Ok(())
}

fn merged(rows: &[Distribution]) -> Distribution {
    // Rows that a histogram has not been counted in yet may be without bins: the widest is what the others fit into.
    let widest = rows.iter().max_by_key(|row| row.bins().count());
    let mut all = widest.cloned().unwrap_or_else(|| Distribution::from(&weir_stats::Bins::default()));
    let mut skipped = false;
    for row in rows {
        if !skipped && widest.is_some_and(|widest| std::ptr::eq(widest, row)) {
            skipped = true;
        } else {
            all.merge(row);
        }
    }
    all
}

#[derive(Serialize)]
struct Document<'v> {
    name: &'v str,
    r#type: &'v str,
    unit: &'v str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: Labels<'v>,
    #[serde(flatten)]
    summary: Summary,
    bins: Vec<Bin>,
    row: &'v str,
    rows: Vec<Vec<u64>>,
}

#[derive(Serialize)]
struct Bin {
    /// Inclusive; null for the bin without an end.
    le: Option<u64>,
    count: u64,
}

#[derive(Serialize)]
struct Line<'v> {
    index: usize,
    labels: Labels<'v>,
    #[serde(flatten)]
    summary: Summary,
}

#[derive(Serialize)]
struct Summary {
    count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    sum: Option<u64>,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
}

impl Summary {
    fn of(all: &Distribution) -> Summary {
        // Bins do not know more than three places.
        let rounded = |value: f64| (value * 1000.0).round() / 1000.0;
        let [p50, p90, p99] = [0.5, 0.9, 0.99].map(|q| all.quantile(q).map(rounded));
        Summary { count: all.count(), sum: all.sum(), p50, p90, p99 }
    }
}
