//! The whole graph over in-memory ports: any bytes as a script of frames (`script.rs` of the tests' harness says how).
//!
//! After every script the books must balance (received + created = sent + dropped), no frame may be held or lost, and every frame that left
//! must be one that a router may send. The router is as new before each script, so an input alone is enough to see a failure again.

#![no_main]

#[path = "../../graph-nodes/tests/harness/mod.rs"]
mod harness;

use std::cell::RefCell;

use harness::script::Player;
use libfuzzer_sys::fuzz_target;

thread_local! {
    /// Made once: its tables are large.
    static PLAYER: RefCell<Player> = RefCell::new(Player::new());
}

fuzz_target!(|script: &[u8]| PLAYER.with_borrow_mut(|player| player.play(script)));
