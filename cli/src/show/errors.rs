//! `weirstat show errors`: VPP's `show errors`. VPP prints a line per thread, so that two workers give the same reason
//! twice; here it is one line with their sum (JSON has each thread's part).

use serde::Serialize;

use super::Text;
use super::columns::centred;
use super::found::Found;

/// Folders of `<node>/<reason>`, and the severity of what they count.
const FOLDERS: [(&str, &str); 2] = [("/err/", "error"), ("/events/", "info")];

/// Whether the view reads this entry.
pub fn wants(path: &str) -> bool {
    FOLDERS.iter().any(|(folder, _)| path.starts_with(folder))
}

/// The view: what has counted something.
#[derive(Debug, Serialize)]
pub struct Errors {
    errors: Vec<Reason>,
}

#[derive(Debug, Serialize)]
struct Reason {
    count: u64,
    node: String,
    reason: String,
    severity: &'static str,
    threads: Vec<u64>,
}

impl Errors {
    /// The drops and events in the segment, in the graph's order.
    pub fn of(found: &Found) -> Errors {
        let reasons = FOLDERS.iter().flat_map(|(folder, severity)| {
            found.below(folder).filter_map(move |rest| {
                let (node, reason) = rest.split_once('/')?;
                let rows = found.simple(&format!("{folder}{rest}")).iter();
                let threads: Vec<u64> = rows.map(|row| row.first().copied().unwrap_or(0)).collect();
                let count = threads.iter().fold(0, |sum: u64, count| sum.wrapping_add(*count));
                let (node, reason) = (node.to_owned(), reason.to_owned());
                (count > 0).then_some(Reason { count, node, reason, severity, threads })
            })
        });
        Errors { errors: reasons.collect() }
    }
}

impl Text for Errors {
    fn lines(&self) -> Vec<String> {
        let header = [("Count", 10), ("Node", 35), ("Reason", 35), ("Severity", 10)];
        let mut lines = vec![header.map(|(title, width)| centred(title, width)).concat()];
        for Reason { count, node, reason, severity, .. } in &self.errors {
            let [node, reason] = [node, reason].map(|text| centred(text, 35));
            lines.push(format!("{count:>10}{node}{reason}{}", centred(severity, 10)));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::super::found::{found, segment};
    use super::super::{json, text};
    use super::*;

    fn drops() -> weir_stats::Segment {
        let mut segment = segment();
        segment
            .register(|batch| {
                let mut errors = batch.simple("/node/errors", 3, 3)?;
                let mut row = errors.take_row(1).unwrap();
                row.add(0, 4);
                row.add(2, 1234);
                errors.take_row(2).unwrap().add(2, 1);
                batch.symlink("/err/ip4-input/bad-checksum", errors.id(), 0)?;
                batch.symlink("/err/ip4-input/too-short", errors.id(), 1)?;
                batch.symlink("/err/ip4-lookup/no-route", errors.id(), 2)?;
                let mut events = batch.simple("/node/events", 1, 1)?;
                events.take_row(2).unwrap().add(0, 3);
                batch.symlink("/events/ip4-icmp-error/time-exceeded", events.id(), 0)?;
                Ok(())
            })
            .unwrap();
        segment
    }

    #[test]
    fn what_counted_nothing_is_left_out() {
        assert_eq!(
            text(&Errors::of(&found(&drops(), wants))),
            "   Count                  Node                              Reason               Severity
         4             ip4-input                         bad-checksum              error
      1235             ip4-lookup                          no-route                error
         3           ip4-icmp-error                     time-exceeded              info
"
        );
    }

    #[test]
    fn json_has_each_thread() {
        assert_eq!(
            json(&Errors::of(&found(&drops(), wants)))["errors"][1],
            serde_json::json!({"count": 1235, "node": "ip4-lookup", "reason": "no-route", "severity": "error",
                               "threads": [0, 1234, 1]})
        );
    }

    #[test]
    fn no_drop_is_no_error() {
        let nothing =
            "   Count                  Node                              Reason               Severity\n";
        assert_eq!(text(&Errors::of(&found(&segment(), wants))), nothing);
    }
}
