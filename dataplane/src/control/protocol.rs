//! The lines that go over the control socket.

use std::num::NonZeroU16;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::trace_text::Step;

/// Longest line of a client in bytes; the longest request has some 100.
pub(super) const MAX_REQUEST: usize = 4096;
/// Longest line of weir's in bytes: the problems of a large config.
pub(super) const MAX_REPLY: u64 = 4 << 20;

/// Packets that are traced unless the request says otherwise.
const TRACED: NonZeroU16 = NonZeroU16::MIN.saturating_add(9);

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// Who are you?
    Status,
    /// Read the config again: all of it, or nothing.
    Reload,
    /// Follow packets through the graph.
    Trace {
        /// How many packets, from 1; default 10.
        #[serde(default = "traced")]
        count: NonZeroU16,
        /// The node at which to begin to follow them; default: where packets enter.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        node: Option<String>,
    },
}

/// One line of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Reload`]: what changed.
    Reloaded(Reloaded),
    /// To [`Request::Trace`]: one packet at one node.
    Step(Step),
    /// The request is not granted, and nothing was changed.
    Refused {
        /// Everything that stands against it, with what to do.
        problems: Vec<String>,
    },
    /// The end of the answer. weir writes it when the last [`Replies`](super::Replies) of a command is dropped.
    End {
        /// Lines left out because the client read too slowly.
        lost: u64,
    },
}

/// What has become of a config that was read again.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Reloaded {
    /// One sentence for each change.
    pub changes: Vec<String>,
    /// One sentence each for what is not wrong with the shaper's files but will surprise.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// The weir that runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Its version.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// The config that it read.
    pub config: PathBuf,
    /// Its ports' devices.
    pub ports: Vec<String>,
    /// The core of each worker.
    pub cores: Vec<usize>,
}

fn traced() -> NonZeroU16 {
    TRACED
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(line: &str) -> Result<Request, String> {
        serde_json::from_str(line).map_err(|error| error.to_string())
    }

    #[test]
    fn the_lines_that_scripts_write_are_understood() {
        assert_eq!(request(r#"{"command":"status"}"#), Ok(Request::Status));
        assert_eq!(request(r#"{"command":"reload"}"#), Ok(Request::Reload));
        let ten = NonZeroU16::new(10).unwrap();
        assert_eq!(request(r#"{"command":"trace"}"#), Ok(Request::Trace { count: ten, node: None }));
        let glean = Request::Trace { count: NonZeroU16::MAX, node: Some("glean".into()) };
        assert_eq!(request(r#"{"command":"trace","count":65535,"node":"glean"}"#), Ok(glean));
    }

    #[test]
    fn what_is_not_a_request_is_refused_with_a_reason() {
        for line in [
            "",
            "reload",
            "[]",
            "{}",
            r#"{"command":"stop"}"#,
            r#"{"command":"trace","count":0}"#,
            r#"{"command":"trace","count":65536}"#,
            r#"{"command":"trace","nodes":"glean"}"#,
            "\0",
            "{\"command\":",
        ] {
            assert!(request(line).is_err_and(|reason| !reason.is_empty()), "{line}");
        }
    }

    #[test]
    fn the_end_is_a_line_that_scripts_can_compare() {
        assert_eq!(serde_json::to_string(&Reply::End { lost: 0 }).unwrap(), r#"{"reply":"end","lost":0}"#);
    }
}
