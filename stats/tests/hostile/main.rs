//! Readers over damaged segments: an error or some value, in bounded time and memory; never a panic. `fuzz/` has a target
//! that goes on where this ends.
#![cfg(not(miri))] // no shared memory there
#![allow(clippy::unwrap_used)] // what a test stands on may fail it

mod everything;

use proptest::prelude::*;
use weir_stats::{Kind, ReadError, Reader, Value};

use crate::everything::{IMAGE, read_everything, with_word};

/// Numbers that lie: pointers into the segment and just outside, lengths, halves of words.
fn lie() -> impl Strategy<Value = u64> {
    prop_oneof![
        (0_u64..140 << 10).prop_map(|offset| offset & !7),
        0_u64..140 << 10,
        0_u64..20,
        Just(u64::MAX),
        any::<u64>(),
        (any::<u32>(), 0_u32..32).prop_map(|(high, low)| u64::from(high) << 32 | u64::from(low)),
        (0_u32..63).prop_map(|shift| 1 << shift),
    ]
}

/// Words that lead somewhere: the header, or one that is not zero.
fn words_in_use() -> Vec<usize> {
    let used = |word: &usize| IMAGE[word * 8..word * 8 + 8].iter().any(|&octet| octet != 0);
    (0..8).chain((8..IMAGE.len() / 8).filter(used)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn lies_in_a_real_segment(lies in proptest::collection::vec((any::<prop::sample::Index>(), lie()), 1..6)) {
        let mut image = IMAGE.clone();
        let words = words_in_use();
        for (index, lie) in lies {
            with_word(&mut image, *index.get(&words), lie);
        }
        image[24..32].fill(0); // a lock that is never released has a test of its own, and takes long
        read_everything(&image);
    }

    #[test]
    fn any_bytes_behind_a_header(bytes in proptest::collection::vec(any::<u8>(), 0..4096), directory in 0_u64..4096) {
        let mut image = vec![0; 48];
        for (word, value) in [(0, 2), (2, 1), (4, directory & !7)] {
            with_word(&mut image, word, value);
        }
        image.extend(bytes);
        read_everything(&image);
    }

    #[test]
    fn a_segment_that_was_cut(length in 0_usize..128 << 10) {
        read_everything(&IMAGE[..length]);
    }
}

#[test]
fn every_single_word_may_be_anything() {
    for word in words_in_use().into_iter().filter(|&word| word != 3) {
        for lie in [0, 1, 8, 0xffff_ffff, u64::MAX, u64::MAX << 3, 128 << 10, (128 << 10) - 8, 6 | 1 << 32] {
            let mut image = IMAGE.clone();
            with_word(&mut image, word, lie);
            read_everything(&image);
        }
    }
}

/// The directory's first word, and the position and words of an entry.
fn entry_words(name: &str) -> (u32, usize) {
    let reader = Reader::from_image(&IMAGE).unwrap();
    let index = reader.find(name).unwrap().unwrap().index;
    let directory = u64::from_le_bytes(IMAGE[32..40].try_into().unwrap()) as usize / 8;
    (index, directory + index as usize * 18)
}

#[test]
fn symlinks_in_a_circle_end() {
    let ((first, first_word), (second, second_word)) =
        (entry_words("/link/simple"), entry_words("/link/combined"));
    let mut image = IMAGE.clone();
    with_word(&mut image, first_word + 1, second.into());
    with_word(&mut image, second_word + 1, first.into());
    let reader = Reader::from_image(&image).unwrap();
    let link = reader.find("/link/simple").unwrap().unwrap();
    assert!(matches!(reader.read(&link), Err(ReadError::Damaged { .. })));
}

#[test]
fn a_value_cannot_be_made_larger_than_the_segment() {
    // Every row of a long vector leads to the same long row.
    let (_, word) = entry_words("/simple");
    let mut image = vec![0; 8 << 20];
    image[..IMAGE.len()].copy_from_slice(&IMAGE);
    let (outer, row) = (1 << 16, 1 << 19);
    with_word(&mut image, word + 1, outer * 8);
    with_word(&mut image, outer as usize - 1, 1 << 17);
    for element in 0..1 << 17 {
        with_word(&mut image, (outer + element) as usize, row * 8);
    }
    with_word(&mut image, row as usize - 1, 1 << 18);
    let reader = Reader::from_image(&image).unwrap();
    let entry = reader.find("/simple").unwrap().unwrap();
    assert_eq!(entry.kind, Kind::Simple);
    assert!(matches!(reader.read(&entry), Err(ReadError::TooLarge { .. })));
}

#[test]
fn names_cannot_control_a_terminal() {
    let (_, word) = entry_words("/gauge");
    let mut image = IMAGE.clone();
    with_word(&mut image, word + 2, u64::from_le_bytes(*b"/\x1b[2J\xff\n\0"));
    let reader = Reader::from_image(&image).unwrap();
    let entry = reader.find("/\u{fffd}[2J\u{fffd}\u{fffd}").unwrap().unwrap();
    assert_eq!(reader.read(&entry).unwrap(), Value::Gauge(1));
}
