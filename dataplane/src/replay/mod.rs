pub mod capture;
pub mod lines;
pub mod link;
