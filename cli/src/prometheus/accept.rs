//! Which of the two text formats a client wants.

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus' own, 0.0.4: for who does not ask for the other.
    Classic,
}

/// Versions of OpenMetrics that have the same text.
const VERSIONS: [&str; 2] = ["1.0.0", "0.0.1"];

impl Format {
    /// The format for a request with these `Accept` headers: the one that is weighted more, OpenMetrics if both are alike.
    pub fn of_accept<'h>(headers: impl Iterator<Item = &'h str>) -> Format {
        let (mut openmetrics, mut classic) = (0.0_f32, 0.0_f32);
        for range in headers.flat_map(|header| header.split(',')) {
            let mut words = range.split(';').map(str::trim);
            let kind = words.next().unwrap_or_default().to_ascii_lowercase();
            let parameters: Vec<(String, &str)> = words
                .filter_map(|word| word.split_once('='))
                .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().trim_matches('"')))
                .collect();
            let parameter =
                |name: &str| parameters.iter().find(|(own, _)| own == name).map(|(_, value)| *value);
            let weight = parameter("q").map_or(1.0, |q| q.parse().unwrap_or(0.0_f32));
            let version = parameter("version");
            match kind.as_str() {
                "application/openmetrics-text" if version.is_none_or(|it| VERSIONS.contains(&it)) => {
                    openmetrics = openmetrics.max(weight);
                }
                "text/plain" if version.is_none_or(|it| it == "0.0.4") => classic = classic.max(weight),
                _ => {}
            }
        }
        if openmetrics > 0.0 && openmetrics >= classic { Format::OpenMetrics } else { Format::Classic }
    }

    /// The format's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Format::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(headers: &[&str]) -> Format {
        Format::of_accept(headers.iter().copied())
    }

    #[test]
    fn prometheus_gets_openmetrics() {
        for header in [
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
            "application/openmetrics-text",
            "Application/OpenMetrics-Text; Version=\"1.0.0\"",
        ] {
            assert_eq!(of(&[header]), Format::OpenMetrics, "{header}");
        }
        assert_eq!(of(&["text/plain", "application/openmetrics-text"]), Format::OpenMetrics);
    }

    #[test]
    fn the_others_get_the_classic_format() {
        for header in [
            "*/*",
            "",
            "text/html,application/xhtml+xml,*/*;q=0.8",
            "application/openmetrics-text;version=2.0.0",
            "application/openmetrics-text;q=0",
            "application/openmetrics-text;q=x",
            "application/openmetrics-text;q=0.4,text/plain;version=0.0.4",
        ] {
            assert_eq!(of(&[header]), Format::Classic, "{header}");
        }
        assert_eq!(of(&[]), Format::Classic);
    }
}
