//! What a receiver has counted of a stream: as the XDP program keeps it, and what it comes to.

use std::fmt;
use std::time::Duration;

use anyhow::{Context as _, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

/// Words of `struct stream` in benches/bpf/receive.bpf.c, in its order; the lock is the first.
#[derive(Clone, Copy)]
enum Word {
    Packets = 1,
    Bytes,
    Lowest,
    Highest,
    FirstAt,
    LastAt,
    Reordered,
    Duplicates,
    Ancient,
    Shortest,
    Longest,
    LeastTime,
    MostTime,
    SumTime,
    Seen,
}

/// Words that remember which packets have come.
const SEEN: usize = 4096;
/// Each power of two has so many bins, as a power of two.
const BIN_SHIFT: u32 = 6;
/// Bins of the histogram.
const BINS: usize = (36 - BIN_SHIFT as usize + 1) << BIN_SHIFT;
/// The longest time that has a bin of its own, in nanoseconds.
const LONGEST_TIME: u64 = 1 << 36;

/// Bytes of `struct stream`.
pub const STREAM: usize = (Word::Seen as usize + SEEN + BINS) * size_of::<u64>();

/// What has come of one stream.
#[derive(Clone, Debug, Serialize)]
pub struct Received {
    /// The stream.
    pub stream: u8,
    /// Packets, again ones included.
    pub packets: u64,
    /// Their bytes, without check sequences.
    pub bytes: u64,
    /// The shortest frame's bytes.
    pub shortest: u64,
    /// The longest frame's bytes.
    pub longest: u64,
    /// The lowest number that has come.
    pub lowest: u64,
    /// The highest number that has come.
    pub highest: u64,
    /// Numbers in between that have not come.
    pub lost: u64,
    /// Came for the first time behind a higher number (RFC 4737 3.3).
    pub reordered: u64,
    /// Came again.
    pub duplicates: u64,
    /// Came so late that it is not known whether for the first time: behind more than 100,000 others. They count as lost.
    pub ancient: u64,
    /// Seconds from the first packet to the last.
    pub seconds: f64,
    /// From the generator to here.
    pub latency: Latency,
}

/// Times from the generator to the receiver, in nanoseconds; quantiles to 1.6 %.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// The least.
    pub min: u64,
    /// Their mean.
    pub mean: u64,
    /// Half are no longer.
    pub p50: u64,
    /// 90 % are no longer.
    pub p90: u64,
    /// 99 % are no longer.
    pub p99: u64,
    /// 99.9 % are no longer.
    pub p999: u64,
    /// The longest.
    pub max: u64,
}

impl Received {
    /// From the bytes of `struct stream`; `None`: nothing has come.
    pub fn parse(stream: u8, bytes: &[u8]) -> Result<Option<Received>> {
        let words: Vec<u64> =
            bytes.as_chunks().0.iter().map(|word: &[u8; 8]| u64::from_ne_bytes(*word)).collect();
        let bins = words
            .get(Word::Seen as usize + SEEN..)
            .filter(|bins| bins.len() == BINS)
            .context("the XDP program counts otherwise than is known here")?;
        let word = |word: Word| words[word as usize];
        let packets = word(Word::Packets);
        if packets == 0 {
            return Ok(None);
        }
        let (lowest, highest) = (word(Word::Lowest), word(Word::Highest));
        let (duplicates, ancient) = (word(Word::Duplicates), word(Word::Ancient));
        let once = packets - duplicates - ancient;
        Ok(Some(Received {
            stream,
            packets,
            bytes: word(Word::Bytes),
            shortest: word(Word::Shortest),
            longest: word(Word::Longest),
            lowest,
            highest,
            lost: highest - lowest + 1 - once,
            reordered: word(Word::Reordered),
            duplicates,
            ancient,
            seconds: Duration::from_nanos(word(Word::LastAt) - word(Word::FirstAt)).as_secs_f64(),
            latency: Latency {
                min: word(Word::LeastTime),
                mean: word(Word::SumTime) / packets,
                max: word(Word::MostTime),
                ..quantiles(bins)?
            },
        }))
    }

    /// Packets that came once at least.
    pub fn once(&self) -> u64 {
        self.packets - self.duplicates - self.ancient
    }
}

/// The quantiles of what is in the bins.
fn quantiles(bins: &[u64]) -> Result<Latency> {
    let mut times = Histogram::<u64>::new_with_bounds(1, LONGEST_TIME, 3)?;
    for (bin, count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        times.record_n(middle(bin as u64).max(1), *count)?;
    }
    let at = |quantile| times.value_at_quantile(quantile);
    Ok(Latency { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), ..Latency::default() })
}

/// The middle of a bin, in nanoseconds.
fn middle(bin: u64) -> u64 {
    let (exponent, place) = (bin >> BIN_SHIFT, bin & ((1 << BIN_SHIFT) - 1));
    if exponent == 0 {
        return place;
    }
    let width = 1 << (exponent - 1);
    ((place + (1 << BIN_SHIFT)) * width) + width / 2
}

impl fmt::Display for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds.max(1e-9);
        writeln!(
            f,
            "stream {}: {} packets, {} bytes in {:.3} s: {:.4} Mpps, {:.4} Gbit/s with check sequences",
            self.stream,
            self.packets,
            self.bytes,
            self.seconds,
            self.packets as f64 / seconds / 1e6,
            (self.bytes + 4 * self.packets) as f64 * 8.0 / seconds / 1e9
        )?;
        let expected = self.highest - self.lowest + 1;
        writeln!(
            f,
            "    numbers {} to {}: {} lost ({:.4} %), {} reordered, {} again{}",
            self.lowest,
            self.highest,
            self.lost,
            self.lost as f64 * 100.0 / expected as f64,
            self.reordered,
            self.duplicates,
            match self.ancient {
                0 => String::new(),
                late => format!(", {late} too late to tell"),
            }
        )?;
        writeln!(
            f,
            "    frames of {} to {} bytes without their check sequence",
            self.shortest, self.longest
        )?;
        let Latency { min, mean, p50, p90, p99, p999, max } = self.latency;
        let [min, mean, p50, p90, p99, p999, max] =
            [min, mean, p50, p90, p99, p999, max].map(|time| format!("{:.1}", time as f64 / 1e3));
        writeln!(
            f,
            "    latency, µs: least {min}, mean {mean}, 50 % {p50}, 90 % {p90}, 99 % {p99}, 99.9 % {p999}, most {max}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_as_the_program_has_them() {
        assert_eq!([0, 63, 64, 127, 128, 191].map(middle), [0, 63, 64, 127, 129, 255]);
        let last = middle(BINS as u64 - 1);
        assert!((LONGEST_TIME * 99 / 100..LONGEST_TIME).contains(&last), "{last}");
    }

    #[test]
    fn what_has_not_come_is_lost() {
        let mut words = vec![0; STREAM / 8];
        assert!(Received::parse(7, &[0; STREAM]).expect("known").is_none());
        let set = [
            (Word::Packets, 10),
            (Word::Lowest, 100),
            (Word::Highest, 119),
            (Word::Duplicates, 2),
            (Word::Ancient, 1),
            (Word::SumTime, 5000),
            (Word::LastAt, 2_000_000_000),
        ];
        set.into_iter().for_each(|(word, value)| words[word as usize] = value);
        words[Word::Seen as usize + SEEN + 500] = 10;
        let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        let received = Received::parse(7, &bytes).expect("known").expect("packets");
        assert_eq!((received.lost, received.once(), received.stream), (13, 7, 7));
        assert_eq!((received.seconds, received.latency.mean), (2.0, 500));
        let middle = middle(500) as f64;
        assert!((received.latency.p50 as f64 / middle - 1.0).abs() < 0.002);
        assert!(Received::parse(7, &bytes[8..]).is_err());
    }
}
