//! The control socket: how `weir reload`, `weir trace` and scripts talk to the weir that runs.
//!
//! A Unix stream socket for root alone. A client writes a [`Request`] as one line of JSON; weir answers with any number of [`Reply`]
//! lines, the last of which is `{"reply":"end", …}`; then the client may ask again.
//! ```text
//!   {"command":"trace","count":2}            ─▶
//!                                            ◀─ {"reply":"step","packet":1,"node":"ethernet-input", …}
//!                                            ◀─ …
//!                                            ◀─ {"reply":"end","lost":0}
//! ```
//! ```text
//!   client ═socket═ its thread ──Command──▶ control thread
//!                        ▲                        │
//!                        └──── bounded channel ◀──┘ Replies::send, which never waits
//! ```
//! A client has a thread of its own, so one that is slow or hostile holds up only itself: lines, replies that wait, and clients are
//! bounded, and who says or reads nothing for long is cut off.

#![forbid(unsafe_code)]

mod client;
mod protocol;
mod server;

pub use client::{Client, ClientError, Steps};
pub use protocol::{Reloaded, Reply, Request, Status};
pub use server::{Command, ControlServer, Error, Replies};

#[cfg(test)]
mod tests;
