//! Which entries a command is about.

use clap::Args;
use regex::{Regex, RegexSet, RegexSetBuilder};

use crate::failure::Failure;

/// Patterns as they are written on the command line.
#[derive(Debug, Args)]
pub struct Patterns {
    /// Regular expressions, each found anywhere in a name: ^/if/ is all that starts with /if/; none is everything
    ///
    /// VPP's vpp_get_stats takes POSIX basic expressions, where + ? | ( ) { } stand for themselves and \( \) \{ \} are
    /// operators; here it is the other way round, as in govpp. There are no back-references. Without these, a pattern means
    /// the same to both.
    #[arg(value_name = "PATTERN")]
    patterns: Vec<String>,
}

/// Patterns, ready to be used.
#[derive(Debug)]
pub struct Matcher(Option<RegexSet>);

impl Patterns {
    /// Patterns from another option.
    pub fn of(patterns: &[String]) -> Patterns {
        Patterns { patterns: patterns.to_vec() }
    }

    /// Understands the patterns.
    pub fn compile(&self) -> Result<Matcher, Failure> {
        if self.patterns.is_empty() {
            return Ok(Matcher(None));
        }
        // The set's own error does not say which of them is wrong.
        for pattern in &self.patterns {
            Regex::new(pattern).map_err(|error| failure(pattern, &error))?;
        }
        let set = RegexSetBuilder::new(&self.patterns).build();
        Ok(Matcher(Some(set.map_err(|error| failure(&self.patterns.join(" "), &error))?)))
    }

    /// What to say when nothing matched; `None` if there are no patterns.
    pub fn unmatched(&self) -> Option<String> {
        if self.patterns.is_empty() {
            return None;
        }
        Some(format!("no entry matches {}: weirstat ls shows all names", self.patterns.join(" or ")))
    }
}

impl Matcher {
    /// Whether there are patterns.
    pub fn is_selective(&self) -> bool {
        self.0.is_some()
    }

    /// Whether an entry of this name is wanted.
    pub fn matches(&self, name: &str) -> bool {
        self.0.as_ref().is_none_or(|set| set.is_match(name))
    }
}

fn failure(pattern: &str, error: &regex::Error) -> Failure {
    // The parser's last line says what is wrong; the lines before point at it.
    let text = error.to_string();
    let reason = text.lines().last().unwrap_or_default();
    let reason = reason.strip_prefix("error: ").unwrap_or(reason).to_owned();
    Failure::Pattern { pattern: pattern.to_owned(), reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matching(patterns: &[&str], names: &[&'static str]) -> Vec<&'static str> {
        let patterns = Patterns { patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect() };
        let matcher = patterns.compile().unwrap();
        names.iter().copied().filter(|name| matcher.matches(name)).collect()
    }

    #[test]
    fn patterns_are_found_anywhere() {
        let names = ["/if/rx", "/if/rx-miss", "/x/if/tx", "/sys/heartbeat"];
        assert_eq!(matching(&[], &names), names);
        assert_eq!(matching(&["/if"], &names), ["/if/rx", "/if/rx-miss", "/x/if/tx"]);
        assert_eq!(matching(&["^/if/rx$", "beat"], &names), ["/if/rx", "/sys/heartbeat"]);
        assert_eq!(matching(&["/if/(rx|tx)$"], &names), ["/if/rx", "/x/if/tx"]);
        assert_eq!(matching(&["^/if/[^/]*s"], &names), ["/if/rx-miss"]);
        assert!(matching(&["/IF"], &names).is_empty());
    }

    #[test]
    fn a_wrong_pattern_is_named() {
        let patterns = Patterns { patterns: vec!["/if".to_owned(), "/err/(".to_owned()] };
        let text = patterns.compile().unwrap_err().to_string();
        assert!(text.starts_with("\"/err/(\" is not a pattern: unclosed group; "), "{text}");
    }
}
