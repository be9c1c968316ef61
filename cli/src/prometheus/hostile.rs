//! Pages over damaged segments: sound, or none.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use weir_stats::Reader;

use super::exporter::make_plan;
use super::exposition::{Exposition, Numbers, Writer};
use super::{Naming, classic, values};
use crate::patterns::Patterns;

#[path = "../../../stats/tests/hostile/everything.rs"]
#[allow(dead_code, reason = "the library's tests do more with it")]
mod everything;

use everything::{IMAGE, with_word};

/// The page over a segment of these bytes.
fn page(image: &[u8], naming: Naming) -> Option<String> {
    let reader = Reader::from_image(image).ok()?;
    let matcher = Patterns::of(&[]).compile().ok()?;
    let plan = make_plan(&reader, &matcher, naming, 50).ok()?;
    let values = values::read(&plan, &reader).ok()?;
    let numbers = Some(Numbers { plan: Arc::new(plan), values });
    let (begun, writer) = (Instant::now(), Writer::default());
    Exposition { begun, writer, numbers, readings: 1, failures: 0, limit: 50 }.into_text().ok()
}

/// Whatever the segment says: lines that are samples or comments, and no sample twice.
fn check(image: &[u8]) -> bool {
    let pages = [Naming::Weir, Naming::Vpp].map(|naming| page(image, naming));
    for text in pages.iter().flatten() {
        let text = classic::from_openmetrics(text);
        let mut seen = HashSet::new();
        for line in text.lines().filter(|line| !line.starts_with("# HELP ") && !line.starts_with("# TYPE ")) {
            let (series, value) = line.rsplit_once(' ').unwrap();
            value.parse::<f64>().unwrap();
            let name = series.split('{').next().unwrap();
            assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'), "{line}");
            assert!(seen.insert(series.to_owned()), "{line}\n{text}");
        }
    }
    pages.iter().all(Option::is_some)
}

#[test]
fn a_damaged_segment_makes_no_wrong_page() {
    assert!(check(&IMAGE));
    let used = |word: &usize| IMAGE[word * 8..word * 8 + 8].iter().any(|&octet| octet != 0);
    let words: Vec<usize> =
        (0..8).chain((8..IMAGE.len() / 8).filter(used)).filter(|word| *word != 3).collect();
    let lies =
        [0, 1, 8, 0xffff_ffff, u64::MAX, 128 << 10, (128 << 10) - 8, 6 | 1 << 32, 0x0a22_5c7b_0a22_5c7b];
    // xorshift64*: the same lies in each run
    let mut random = 0x5eed_u64;
    let mut next = |end: usize| {
        random ^= random >> 12;
        random ^= random << 25;
        random ^= random >> 27;
        (random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    };
    let (mut readable, mut unreadable) = (0, 0);
    for round in 0..words.len() + 2000 {
        let mut image = IMAGE.clone();
        if let Some(word) = words.get(round) {
            with_word(&mut image, *word, lies[next(lies.len())]);
        } else {
            for _ in 0..1 + next(5) {
                let lie = [lies[next(lies.len())], 8 * next(16 << 10) as u64][next(2)];
                with_word(&mut image, words[next(words.len())], lie);
            }
        }
        if check(&image) { readable += 1 } else { unreadable += 1 }
    }
    assert!(readable > 100 && unreadable > 100, "{readable} {unreadable}");
}
