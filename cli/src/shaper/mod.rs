//! What the shaper does, for `show shaper` and `top`: [`source`] is where that is in the segment, [`tree`] who is below whom,
//! [`reading`] the numbers of one moment, [`delays`] how long packets waited, [`lookup`] who is meant by a word.

pub mod delays;
pub mod lookup;
pub mod reading;
pub mod source;
pub mod tree;

/// The two directions: to the customers, and from them.
pub const WAYS: [&str; 2] = ["down", "up"];
