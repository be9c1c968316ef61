//! How far a replay has come, on a terminal.

use std::{
    io::IsTerminal as _,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Packets between two looks at the clock: some milliseconds' worth.
const STEP: u64 = 1 << 14;

/// A bar, drawn on the standard error if that is a terminal.
pub struct Progress {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
}

impl Progress {
    /// Begins. `quiet`: nothing is drawn, since lines come out on the same terminal.
    pub fn new(captures: &[impl AsRef<Path>], quiet: bool) -> Progress {
        let sizes: Option<Vec<u64>> = captures
            .iter()
            .map(|path| std::fs::metadata(path).ok().filter(|it| it.is_file()).map(|it| it.len()))
            .collect();
        let (bar, style) = match sizes {
            Some(sizes) => {
                (ProgressBar::new(sizes.iter().sum()), "{percent:>3}% {bar:10} {eta:>4} left, {wide_msg}")
            }
            // A pipe has no size.
            None => (ProgressBar::no_length(), "{spinner} {bytes}, {wide_msg}"),
        };
        if quiet || !std::io::stderr().is_terminal() {
            bar.set_draw_target(ProgressDrawTarget::hidden());
        }
        if let Ok(style) = ProgressStyle::with_template(style) {
            bar.set_style(style);
        }
        Progress { bar, read: Arc::default() }
    }

    /// Draws nothing.
    pub fn hidden() -> Progress {
        Progress { bar: ProgressBar::hidden(), read: Arc::default() }
    }

    /// What whoever reads is to raise by the bytes that it has read.
    pub fn read(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.read)
    }

    /// One more packet, the `packets`th.
    #[inline]
    pub fn packet(&self, packets: u64) {
        if packets.is_multiple_of(STEP) {
            self.show(packets);
        }
    }

    fn show(&self, packets: u64) {
        let rate = packets as f64 / self.bar.elapsed().as_secs_f64().max(1e-3);
        self.bar.set_message(format!(
            "{} packets, {} a second",
            HumanCount(packets),
            HumanCount(rate as u64)
        ));
        self.bar.set_position(self.read.load(Ordering::Relaxed));
    }

    /// Ends: the bar goes away, and what it came to stays.
    pub fn finish(&self, packets: u64) {
        self.show(packets);
        let said = self.bar.message();
        let elapsed = self.bar.elapsed();
        self.bar.println(format!("{said}, {elapsed:.1?}"));
        self.bar.finish_and_clear();
    }
}
