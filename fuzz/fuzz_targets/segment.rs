//! Readers over any bytes. An input is either an image of a segment, or a list of lies for a real one: words and what they
//! are overwritten with, ten bytes each. Whatever it is, reading must end with values or an error, in bounded memory.
#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../stats/tests/hostile/everything.rs"]
mod everything;

use everything::{IMAGE, read_everything, with_word};

/// Where the writer's lock is: readers wait some 100 ms for one that is never released, which has a test of its own.
const LOCK: usize = 3;

fuzz_target!(|input: &[u8]| {
    let Some((form, rest)) = input.split_first() else { return };
    let mut image = if form % 4 == 0 {
        rest.to_vec()
    } else {
        let mut image = IMAGE.clone();
        for lie in rest.chunks_exact(10) {
            let (word, value) = lie.split_at(2);
            let value = u64::from_le_bytes(value.try_into().unwrap_or_default());
            with_word(&mut image, usize::from(u16::from_le_bytes([word[0], word[1]])), value);
        }
        image
    };
    if image.len() >= (LOCK + 1) * 8 {
        with_word(&mut image, LOCK, 0);
    }
    read_everything(&image);
});
