//! Readers of the stats segment.

fn main() {}
