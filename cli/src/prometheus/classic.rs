//! The classic text format 0.0.4, made from OpenMetrics: their samples are alike, what is said about them is not.

/// The same metrics in the classic format. There must be no exemplars and no timestamps.
///
/// * A counter's `# HELP` and `# TYPE` name the samples, which end in `_total`, not the family; the same with `_info`.
/// * There is no type `info` (it is a gauge), and `unknown` is called `untyped`.
/// * Quotation marks in help are not escaped.
/// * `# UNIT` and `# EOF` are not known.
pub fn from_openmetrics(text: &str) -> String {
    let mut classic = String::with_capacity(text.len());
    let mut line = |words: &[&str]| {
        words.iter().for_each(|word| classic.push_str(word));
        classic.push('\n');
    };
    // It precedes the type, which says how the metric is called.
    let mut help = None;
    for sample_or_comment in text.lines() {
        let Some(comment) = sample_or_comment.strip_prefix("# ") else {
            line(&[sample_or_comment]);
            continue;
        };
        let (keyword, rest) = comment.split_once(' ').unwrap_or((comment, ""));
        let (family, rest) = rest.split_once(' ').unwrap_or((rest, ""));
        match keyword {
            "HELP" => help = Some(unquoted(rest)),
            "TYPE" => {
                let (suffix, kind) = match rest {
                    "counter" => ("_total", "counter"),
                    "info" => ("_info", "gauge"),
                    "unknown" => ("", "untyped"),
                    other => ("", other),
                };
                if let Some(help) = help.take() {
                    line(&["# HELP ", family, suffix, " ", &help]);
                }
                line(&["# TYPE ", family, suffix, " ", kind]);
            }
            _ => {}
        }
    }
    classic
}

/// Help without the escapes that the classic format would show.
fn unquoted(help: &str) -> String {
    let mut text = String::with_capacity(help.len());
    let mut escaped = false;
    for c in help.chars() {
        match c {
            '\\' if !escaped => escaped = true,
            _ => {
                if escaped && c != '"' {
                    text.push('\\');
                }
                text.push(c);
                escaped = false;
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_is_the_older_formats() {
        let text = r##"# HELP weir_if_rx_packets received: a \"b\" \\ c\n\\"d
# TYPE weir_if_rx_packets counter
# UNIT weir_if_rx_packets packets
weir_if_rx_packets_total{interface="# TYPE x counter",worker="0"} 5
# HELP weir_up up
# TYPE weir_up gauge
weir_up 1
# HELP weir_build build
# TYPE weir_build info
weir_build_info{version="1"} 1
# HELP err e
# TYPE err unknown
err{node="a\n"} 18446744073709551615
# HELP weir_rtt_seconds r
# TYPE weir_rtt_seconds histogram
# UNIT weir_rtt_seconds seconds
weir_rtt_seconds_bucket{le="+Inf"} 1
# EOF
"##;
        let classic = r##"# HELP weir_if_rx_packets_total received: a "b" \\ c\n\\"d
# TYPE weir_if_rx_packets_total counter
weir_if_rx_packets_total{interface="# TYPE x counter",worker="0"} 5
# HELP weir_up up
# TYPE weir_up gauge
weir_up 1
# HELP weir_build_info build
# TYPE weir_build_info gauge
weir_build_info{version="1"} 1
# HELP err e
# TYPE err untyped
err{node="a\n"} 18446744073709551615
# HELP weir_rtt_seconds r
# TYPE weir_rtt_seconds histogram
weir_rtt_seconds_bucket{le="+Inf"} 1
"##;
        assert_eq!(from_openmetrics(text), classic);
    }

    #[test]
    fn help_is_optional() {
        assert_eq!(from_openmetrics("# TYPE a gauge\na 1\n# EOF\n"), "# TYPE a gauge\na 1\n");
    }
}
