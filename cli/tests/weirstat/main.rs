//! The built `weirstat`, as a user or a script has it: exact output, exit status, and every way in which there may be no
//! weir.
#![forbid(unsafe_code)]
// All of this is tests, though clippy only knows functions that are marked so.
#![allow(clippy::unwrap_used)]

mod commands;
mod comparing;
mod damage;
mod following;
mod fs;
mod lab;
mod live;
mod manual;
#[path = "../measured/mod.rs"]
mod measured;
mod polling;
mod refusals;
mod round_trips;
mod rtt;
mod scale;
#[path = "../shaped/mod.rs"]
mod shaped;
mod shaper;
