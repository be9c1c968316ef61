//! libbpf's messages: to `tracing`, and into the error of the call that caused them.
//!
//! libbpf prints through one callback of the whole process, on the thread that called it.

use std::cell::RefCell;
use std::sync::Once;

use libbpf_rs::{PrintLevel, set_print};

/// Longest log that an error carries, in bytes from its end. The verifier's log may be megabytes, and its verdict comes last.
const LOG_LIMIT: usize = 2000;

thread_local! {
    static CAPTURED: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `call` and returns its result with the warnings that libbpf gave meanwhile, one a line.
pub(crate) fn capture<T>(call: impl FnOnce() -> T) -> (T, String) {
    direct_to_tracing();
    CAPTURED.with_borrow_mut(|captured| *captured = Some(String::new()));
    let result = call();
    let log = CAPTURED.take().unwrap_or_default();
    (result, tail(&log))
}

/// Nothing of libbpf's reaches stderr from here on.
fn direct_to_tracing() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        set_print(Some((PrintLevel::Debug, print)));
    });
}

#[expect(clippy::needless_pass_by_value, reason = "the callback's type is libbpf-rs's")]
fn print(level: PrintLevel, message: String) {
    let message = message.trim_end();
    if level == PrintLevel::Warn {
        let captured = CAPTURED.with_borrow_mut(|captured| {
            captured.as_mut().map(|log| {
                log.push_str(message);
                log.push('\n');
            })
        });
        // A captured warning is told by the error, once.
        if captured.is_none() {
            tracing::warn!(target: "libbpf", "{message}");
            return;
        }
    }
    tracing::debug!(target: "libbpf", "{message}");
}

fn tail(log: &str) -> String {
    let log = log.trim_end();
    if log.len() <= LOG_LIMIT {
        return log.to_owned();
    }
    // From the next whole line; a single longer line is cut between characters.
    let start = log.ceil_char_boundary(log.len() - LOG_LIMIT);
    let start = log[start..].find('\n').map_or(start, |line| start + line + 1);
    log[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_inside_a_call_is_captured_and_one_outside_is_not() {
        print(PrintLevel::Warn, "before\n".to_owned());
        let ((), log) = capture(|| {
            print(PrintLevel::Warn, "libbpf: no such thing\n".to_owned());
            print(PrintLevel::Debug, "libbpf: chatter\n".to_owned());
        });
        print(PrintLevel::Warn, "after\n".to_owned());
        assert_eq!(log, "libbpf: no such thing");
        assert_eq!(capture(|| ()).1, "");
    }

    #[test]
    fn a_long_log_keeps_its_last_whole_lines() {
        let log: String = (0..1000).map(|line| format!("line {line} é\n")).collect();
        let tail = tail(&log);
        assert!(tail.len() <= LOG_LIMIT && tail.len() > LOG_LIMIT - 20, "{} bytes", tail.len());
        assert!(tail.starts_with("line ") && tail.ends_with("line 999 é"), "{tail}");
        assert_eq!(super::tail("short\n"), "short");
        assert!(super::tail(&"é".repeat(LOG_LIMIT)).len() <= LOG_LIMIT);
    }
}
