//! `weirstat fs` through the kernel, as the tools of every day see it.

mod altered;
mod changes;
mod damage;
mod endings;
mod mounted;
mod names;
mod refusals;
mod tools;
mod vectors;
