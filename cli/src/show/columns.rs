//! VPP's columns.

/// Text in the middle of `width` characters. Where that is not possible exactly, VPP has the larger gap on the left, other
/// than Rust. Longer text is not cut.
pub fn centred(text: &str, width: usize) -> String {
    let gap = width.saturating_sub(text.chars().count());
    let right = gap / 2;
    format!("{:left$}{text}{:right$}", "", "", left = gap - right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_gap_is_on_the_left() {
        assert_eq!(centred("Count", 10), "   Count  ");
        assert_eq!(centred("ab", 6), "  ab  ");
        assert_eq!(centred("longer", 3), "longer");
    }
}
