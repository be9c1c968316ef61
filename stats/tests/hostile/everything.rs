//! A small real segment, and all that a reader can do to its bytes once they have been damaged. Tests and the fuzz target
//! `segment` share it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::LazyLock;

use weir_stats::{Catalogue, Columns, Description, Distribution, Options, Reader, Segment, Snapshot, Value};

/// A segment's bytes with every kind of entry, as small as it can be.
pub static IMAGE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut segment = Segment::create(Options { size: 128 << 10, workers: 1, ..Options::default() }).unwrap();
    segment
        .register(|batch| {
            let simple = batch.simple("/simple", 3, 3)?;
            let combined = batch.combined("/combined", 3, 3)?;
            let mut names = batch.names("/names", 3)?;
            batch.set_name(&mut names, 0, "a name of more than one word")?;
            let mut bins = batch.names("/bins", 3)?;
            for (at, name) in ["8", "+Inf", "sum"].iter().enumerate() {
                batch.set_name(&mut bins, at, name)?;
            }
            batch.simple("/matrix", 9, 9)?;
            batch.symlink("/link/simple", simple.id(), 2)?;
            batch.symlink("/link/combined", combined.id(), 2)?;
            batch.histogram("/histogram", 4, 8)?;
            let mut ring = batch.ring("/ring", 16, 7, b"schema")?;
            (0..9).for_each(|_| ring.take_row(1).iter_mut().for_each(|row| row.push(&[1; 16])));
            batch.gauge("/gauge", 1)
        })
        .unwrap();
    let descriptions = [
        Description::simple("/simple", "packets", "/link/{column}", "named by links"),
        Description::combined("/combined", "object=/names", "named by names"),
        Description::simple("/matrix", "microseconds", "object=/names,le=/bins", "histograms"),
    ];
    segment.describe(&descriptions).unwrap();
    let file = File::from(segment.fd().unwrap().try_clone_to_owned().unwrap());
    let mut image = vec![0; segment.size() as usize];
    file.read_exact_at(&mut image, 0).unwrap();
    image
});

/// Puts a word where another was.
pub fn with_word(image: &mut [u8], word: usize, value: u64) {
    let at = word * 8 % image.len();
    image[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Does everything that a reader can do. What it returns is not looked at: there is no right answer.
pub fn read_everything(image: &[u8]) {
    let Ok(reader) = Reader::from_image(image) else { return };
    let _ = (reader.epoch(), reader.heartbeat(), reader.age(), reader.liveness());
    let catalogue = Catalogue::of(&reader).unwrap_or_else(|_| Catalogue::vpp());
    let listing = reader.list().unwrap_or_default();
    for entry in &listing {
        let _ = (reader.read(entry), reader.column(entry, 2));
        let _ = (reader.records(entry, &[]), reader.records(entry, &[0, 3, u64::MAX]));
        for row in [0, 1, usize::MAX] {
            let _ = (reader.part(entry, row, 0..usize::MAX), reader.part(entry, row, 2..4));
        }
        let Some(described) = catalogue.describe(&entry.name) else { continue };
        let Ok(columns) = Columns::of(&described, entry, &listing, &reader) else { continue };
        let _ = (columns.objects(), columns.label_names());
        for object in (0..8).chain([reader.extent(entry).unwrap_or_default().columns, usize::MAX]) {
            let _ = columns.name(object);
        }
        if let (Some(bins), Ok(Value::Simple(rows))) = (columns.bins(), reader.part(entry, 0, 0..64)) {
            ask(&bins.distribution(&rows[0]));
        }
    }
    let Ok(snapshot) = reader.snapshot(|_| true) else { return };
    let _ = (
        snapshot.since(&snapshot, &catalogue),
        snapshot.since(&Snapshot { epoch: 0, values: Vec::new() }, &catalogue),
    );
    for (_, value) in &snapshot.values {
        if let Value::Histogram(rows) = &value.merged() {
            rows.iter().for_each(|bins| ask(&Distribution::from(bins)));
        }
    }
}

fn ask(distribution: &Distribution) {
    let _ = (distribution.count(), distribution.highest(), distribution.sum());
    let mut sum = distribution.clone();
    sum.merge(distribution);
    for q in [0.0, 0.5, 0.99, 1.0, f64::NAN, f64::INFINITY] {
        let _ = sum.quantile(q);
    }
}
