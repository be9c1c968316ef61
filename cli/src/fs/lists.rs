//! Name vectors and ring buffers as a table and as JSON.

use std::fmt::Write as _;
use std::io::Write;

use serde::Serialize;
use weir_stats::{Entry, RingRecords, Value};

use super::budget::Text;
use super::inode::Form;
use super::refusal::Refusal;
use super::vectors::{PART, Vector};

/// A name vector.
pub fn names(vector: &Vector<'_>, form: Form, text: &mut Text) -> Result<(), Refusal> {
    let as_table = form == Form::Table;
    if as_table {
        writeln!(text, "{:>8}  name", "index")?;
    } else {
        let name = serde_json::to_string(&vector.entry.name)?;
        write!(text, "{{\"name\":{name},\"type\":\"names\",\"names\":[")?;
    }
    let length = vector.extent()?.columns;
    for start in (0..length).step_by(PART) {
        let end = start.saturating_add(PART).min(length);
        let Value::Names(names) = vector.reader.part(vector.entry, 0, start..end)? else {
            return Err(Refusal::Stale);
        };
        for (index, name) in (start..).zip(names) {
            if as_table {
                writeln!(text, "{index:>8}  {name}")?;
            } else {
                text.write_all(if index == 0 { b"\n" } else { b",\n" })?;
                serde_json::to_writer(&mut *text, &name)?;
            }
        }
    }
    if !as_table {
        text.write_all(b"\n]}\n")?;
    }
    Ok(())
}

/// A ring buffer: what its records mean is known to those who know its schema.
pub fn records(entry: &Entry, ring: &RingRecords, form: Form, text: &mut Text) -> Result<(), Refusal> {
    if form == Form::Table {
        writeln!(text, "{:>6} {:>20}  bytes", "thread", "record")?;
        for (thread, row) in ring.rows.iter().enumerate() {
            for (number, record) in (row.first..).zip(&row.records) {
                writeln!(text, "{thread:>6} {number:>20}  {}", hexadecimal(record))?;
            }
        }
        return Ok(());
    }
    let rows = ring.rows.iter().map(|row| Row {
        first: row.first,
        records: row.records.iter().map(|record| hexadecimal(record)).collect(),
    });
    let document = Document {
        name: &entry.name,
        r#type: "ring",
        record_bytes: ring.entry_size,
        schema_version: ring.schema_version,
        schema: hexadecimal(&ring.schema),
        rows: rows.collect(),
    };
    serde_json::to_writer(&mut *text, &document)?;
    Ok(text.write_all(b"\n")?)
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[derive(Serialize)]
struct Document<'v> {
    name: &'v str,
    r#type: &'v str,
    record_bytes: usize,
    schema_version: u32,
    schema: String,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    /// How many records were written before the first one here.
    first: u64,
    records: Vec<String>,
}
