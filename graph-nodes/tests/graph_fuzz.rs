//! The fuzz target's own function, in an ordinary test: the named seeds, then a fixed number of scripts that grew from them. Every script
//! runs over the whole graph and ends with balanced books and no frame held.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::fs;
use std::path::{Path, PathBuf};

use harness::{
    script::{Numbers, Player, mutated},
    seeds::seeds,
};

/// Ten to thirty seconds of the test profile, by how busy the machine is.
const SCRIPTS: usize = 300_000;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds")
}

#[test]
fn the_seed_files_are_what_the_harness_makes() {
    let write = std::env::var_os("WEIR_WRITE_SEEDS").is_some();
    let mut names = Vec::new();
    for (name, script) in seeds() {
        let path = folder().join(name);
        if write {
            fs::write(&path, &script).unwrap();
        }
        let stored = fs::read(&path).unwrap_or_default();
        assert_eq!(stored, script, "fuzz/seeds/{name} is out of date: run this test with WEIR_WRITE_SEEDS=1");
        names.push(name.to_owned());
    }
    let mut stored: Vec<_> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    stored.sort();
    assert_eq!(stored, names, "fuzz/seeds holds the seeds and nothing else");
}

#[test]
fn the_seeds_play() {
    let mut player = Player::new();
    for (name, script) in seeds() {
        println!("{name}"); // shown if it fails
        player.play(&script);
    }
}

#[test]
fn scripts_that_grew_from_the_seeds_play() {
    let seeds = seeds();
    let mut player = Player::new();
    let mut numbers = Numbers(0x0057_ee1e_d000_0002);
    for number in 0..SCRIPTS {
        let script = mutated(&seeds, &mut numbers);
        println!("script {number}"); // the last one is the one that fails; the numbers are the same in every run
        player.play(&script);
    }
    let drops = player.drops();
    assert!(drops.len() >= 48, "only these reasons were met: {drops:?}");
}
