//! A live weir's descriptions of itself: complete, true, and what `docs/stats.md` says. With `WEIR_WRITE_DOCS` in the
//! environment (`cargo xtask docs`) the tables in that page are written instead of compared.
#![allow(clippy::unwrap_used)] // what a test stands on may fail it

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use weir_stats::{Bounds, Catalogue, Columns, Description, Entry, Kind, Reader, Rows, Semantics};
use weir_tests::appliance::Weir;
use weir_tests::clients::ping_all;
use weir_tests::lab::Lab;
use weir_tests::plans::Customer;
use weir_tests::scenario::{BRIDGED, Forwarder, PLAIN, Setting, run, unless_skipped};

#[test]
fn a_live_weir_describes_all_that_it_publishes() {
    // Several workers, and measuring, so that no node is left out.
    let customers = Some("10.0.1.0/24 left\n10.0.2.0/24 right\n");
    let router = told(Setting { queues: 2, workers: 2, customers, ..PLAIN });
    let bridge = told(Setting { queues: 2, workers: 2, ..BRIDGED });
    let shaper = shaped().unwrap();
    let (Some((mut descriptions, mut listing)), Some(bridge), Some(shaper)) = (router, bridge, shaper) else {
        return;
    };
    for (others, entries) in [bridge, shaper] {
        for description in others {
            match descriptions.iter().find(|it| it.path == description.path) {
                Some(known) => assert_eq!(*known, description),
                None => descriptions.push(description),
            }
        }
        listing.extend(entries);
    }
    let verdicts: Vec<Entry> =
        listing.iter().filter(|entry| entry.name.starts_with("/xdp/")).cloned().collect();
    docs("paths", &paths(descriptions)).unwrap();
    docs("reasons", &leaves("/err/", &listing)).unwrap();
    docs("events", &leaves("/events/", &listing)).unwrap();
    docs("verdicts", &leaves("/", &verdicts)).unwrap();
}

/// What is described, and what there is.
type Said = (Vec<Description>, Vec<Entry>);

/// What a live weir says of itself; `None` where none can run.
fn told(setting: Setting) -> Option<Said> {
    let mut told = None;
    run(Forwarder::Weir, setting, |lab, weir| {
        told = Some(said(lab, weir.context("weir runs")?)?);
        Ok(())
    });
    told
}

/// The same of one that shapes.
fn shaped() -> Result<Option<Said>> {
    let mut told = None;
    unless_skipped(|| {
        let lab = Lab::with_hosts(&["internet", "alice"], 1)?;
        let network = r#"{"tower":{"downloadBandwidthMbps":100,"uploadBandwidthMbps":100,"type":"ap"}}"#;
        let alice = Customer { host: lab.right(), id: "alice", node: "tower", min: [1.0; 2], max: [10.0; 2] };
        let weir = Weir::shaping(&lab, 1, network, &[alice], "")?;
        told = Some(said(&lab, &weir)?);
        weir.stop()
    })?;
    Ok(told)
}

/// What a weir says of itself, checked against what it publishes.
fn said(lab: &Lab, weir: &Weir) -> Result<Said> {
    let reader = Reader::connect(weir.folder().join("stats.sock"))?;
    ping_all(lab.left(), lab.right().address, 1)?;
    let (catalogue, listing) = (Catalogue::of(&reader)?, reader.list()?);
    every_entry_is_described(&catalogue, &listing)?;
    every_description_is_of_something(&catalogue, &listing)?;
    every_column_has_a_name(&catalogue, &listing, &reader)?;
    Ok((catalogue.descriptions().to_vec(), listing))
}

fn every_entry_is_described(catalogue: &Catalogue, listing: &[Entry]) -> Result<()> {
    for entry in listing {
        let described =
            catalogue.describe(&entry.name).with_context(|| format!("nothing is said of {}", entry.name))?;
        let description = described.description;
        ensure!(description.kind == entry.kind, "{} is said to be {:?}", entry.name, description.kind);
        ensure!(!description.help.is_empty(), "{} has no help", entry.name);
        let text = matches!(entry.kind, Kind::Names | Kind::Ring);
        ensure!(text == (description.semantics == Semantics::Text), "{} and numbers", entry.name);
    }
    Ok(())
}

fn every_description_is_of_something(catalogue: &Catalogue, listing: &[Entry]) -> Result<()> {
    for (at, description) in catalogue.descriptions().iter().enumerate() {
        let fits =
            |entry: &Entry| catalogue.describe(&entry.name).is_some_and(|it| it.description == description);
        ensure!(listing.iter().any(fits), "{} is described and not there", description.path);
        let twice = catalogue.descriptions()[..at].iter().any(|other| other.path == description.path);
        ensure!(!twice, "{} is described twice", description.path);
    }
    Ok(())
}

/// Whoever labels columns finds a label for each that is in use.
fn every_column_has_a_name(catalogue: &Catalogue, listing: &[Entry], reader: &Reader) -> Result<()> {
    for entry in listing.iter().filter(|entry| matches!(entry.kind, Kind::Simple | Kind::Combined)) {
        let described = catalogue.describe(&entry.name).context("described")?;
        let columns = Columns::of(&described, entry, listing, reader)?;
        let count = reader.extent(entry)?.columns / columns.bins().map_or(1, Bounds::width);
        if described.description.columns.is_empty() {
            ensure!(count == 1, "{} has {count} columns, and no names for them", entry.name);
            continue;
        }
        let named = (0..count).filter(|column| columns.labels(*column).is_some()).count();
        // Of routes and next hops some indices are free, and of VPP's memory statistics some have no meaning.
        let sparse = entry.name.starts_with("/net/") || entry.name.starts_with("/mem/");
        ensure!(named > 0 && (named == count || sparse), "{}: {named} of {count} have names", entry.name);
    }
    Ok(())
}

/// The table of all descriptions.
fn paths(mut rows: Vec<Description>) -> String {
    rows.sort_by(|one, other| one.path.cmp(&other.path));
    let mut table =
        "| path | kind | unit | columns | rows | meaning |\n|---|---|---|---|---|---|\n".to_owned();
    for it in rows {
        let kind = match it.semantics {
            Semantics::Gauge if it.kind != Kind::Gauge => format!("{}, gauge", it.kind.word()),
            _ => it.kind.word().to_owned(),
        };
        let unit = if it.kind == Kind::Combined { "packets, bytes" } else { &*it.unit };
        let columns = it.columns.replace('=', " = ").replace(',', ", ");
        let rows = if it.rows == Rows::Single { "" } else { it.rows.word() };
        let _ = writeln!(table, "| `{}` | {kind} | {unit} | {columns} | {rows} | {} |", it.path, it.help);
    }
    table
}

/// The leaves of each folder below `prefix`, as a table.
fn leaves(prefix: &str, listing: &[Entry]) -> String {
    let mut folders: BTreeMap<&str, Vec<String>> = BTreeMap::new(); // in the order of the listing, each once
    for entry in listing {
        if let Some((folder, leaf)) = entry.name.strip_prefix(prefix).and_then(|rest| rest.split_once('/')) {
            let (leaves, leaf) = (folders.entry(folder).or_default(), format!("`{leaf}`"));
            if !leaves.contains(&leaf) {
                leaves.push(leaf);
            }
        }
    }
    let mut table = format!("| below `{prefix}` | |\n|---|---|\n");
    for (folder, leaves) in folders {
        let _ = writeln!(table, "| `{folder}` | {} |", leaves.join(", "));
    }
    table
}

/// Compares a table with the one in the page, or writes it there.
fn docs(name: &str, table: &str) -> Result<()> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/stats.md");
    let text = std::fs::read_to_string(&page)?;
    let (begin, end) =
        (format!("<!-- {name}: made by `cargo xtask docs` -->\n"), format!("<!-- end of {name} -->"));
    let start = text.find(&begin).with_context(|| format!("docs/stats.md has no {begin}"))? + begin.len();
    let stop = start + text[start..].find(&end).with_context(|| format!("docs/stats.md has no {end}"))?;
    if std::env::var_os("WEIR_WRITE_DOCS").is_some() {
        std::fs::write(&page, format!("{}{table}{}", &text[..start], &text[stop..]))?;
        return Ok(());
    }
    ensure!(
        &text[start..stop] == table,
        "docs/stats.md is not what weir says of itself: run `cargo xtask docs`"
    );
    Ok(())
}
