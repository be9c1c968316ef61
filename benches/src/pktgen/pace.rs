//! How fast packets follow each other.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::time::{ClockId, clock_gettime};

use crate::pktgen::Sent;
use crate::pktgen::sizes::Sizes;

/// A rate, as a command line writes it: `250k` or `1.5M` packets a second, `2Gbit` or `500Mbit` of frames with their check sequences; `0` is as fast as it goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rate {
    /// As fast as it goes.
    Unlimited,
    /// Packets a second.
    Packets(f64),
    /// Bits a second.
    Bits(f64),
}

impl Rate {
    /// Packets a second of such a size; `None`: as many as go.
    pub fn packets(self, sizes: &Sizes) -> Option<f64> {
        match self {
            Rate::Unlimited => None,
            Rate::Packets(rate) => Some(rate),
            Rate::Bits(rate) => Some(rate / 8.0 / sizes.mean()),
        }
    }
}

impl FromStr for Rate {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Rate> {
        let lower = text.trim().to_ascii_lowercase();
        let (number, is_bits) = match lower.strip_suffix("bit") {
            Some(number) => (number, true),
            None => (lower.strip_suffix("pps").unwrap_or(&lower), false),
        };
        let (number, unit) = match number.as_bytes().last() {
            Some(b'k') => (&number[..number.len() - 1], 1e3),
            Some(b'm') => (&number[..number.len() - 1], 1e6),
            Some(b'g') => (&number[..number.len() - 1], 1e9),
            _ => (number, 1.0),
        };
        let number: f64 = number
            .trim()
            .parse()
            .with_context(|| format!("{text} is no rate: `250k`, `1.5M` (packets a second), `2Gbit`"))?;
        let rate = number * unit;
        ensure!(rate >= 0.0 && rate.is_finite(), "{text}: a rate is not negative");
        Ok(match is_bits {
            _ if rate == 0.0 => Rate::Unlimited,
            true => Rate::Bits(rate),
            false => Rate::Packets(rate),
        })
    }
}

/// A moment or a span in nanoseconds, with 32 bits behind the point: so that a rate is met in the long run, too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Nanoseconds {
    /// Whole ones.
    pub whole: u64,
    /// Parts of 2³².
    pub fraction: u32,
}

impl Nanoseconds {
    /// So many whole ones.
    pub fn of(whole: u64) -> Nanoseconds {
        Nanoseconds { whole, fraction: 0 }
    }

    /// That much later.
    pub fn plus(self, span: Nanoseconds) -> Nanoseconds {
        let (fraction, carry) = self.fraction.overflowing_add(span.fraction);
        Nanoseconds { whole: self.whole + span.whole + u64::from(carry), fraction }
    }
}

/// Bursts of packets, evenly spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Packets that follow each other at once.
    pub burst: u32,
    /// From the beginning of one burst to that of the next; `None`: at once, too.
    pub gap: Option<Nanoseconds>,
}

/// Packets that go at once where there is no rate, and at most: as many as the kernel's receiving end takes in one turn (NAPI's budget, linux/netdevice.h).
pub const LARGEST_BURST: u32 = 64;
/// Bursts are no closer to each other than this, unless the user wants them smaller: each costs about a microsecond, the kernel's way to the device.
const LEAST_GAP: Duration = Duration::from_micros(10);

/// A generator that is held up for longer does not make up for it: that would be a burst that nobody has asked for.
pub const DEBT: Duration = Duration::from_micros(100);

impl Pace {
    /// At `rate` packets a second, if that is limited, in bursts of `burst`: if none is asked for, of one packet where the rate is so low that each can go by itself.
    pub fn new(rate: Option<f64>, burst: Option<u32>) -> Pace {
        let Some(rate) = rate else {
            return Pace { burst: burst.unwrap_or(LARGEST_BURST).clamp(1, LARGEST_BURST), gap: None };
        };
        let fitting = (rate * LEAST_GAP.as_secs_f64()).ceil() as u32;
        let burst = burst.unwrap_or(fitting).clamp(1, LARGEST_BURST);
        let gap = f64::from(burst) * 1e9 / rate;
        let whole = gap.floor();
        let fraction = ((gap - whole) * 2f64.powi(32)) as u32;
        Pace { burst, gap: Some(Nanoseconds { whole: whole as u64, fraction }) }
    }
}

/// When a generator ends, unless it is told to: whatever is reached first. One that is held up sends less in its time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Amount {
    /// After so many packets.
    pub packets: Option<u64>,
    /// After so long.
    pub time: Option<Duration>,
}

impl Amount {
    /// Whether it is reached.
    pub fn is_reached(&self, sent: &Sent) -> bool {
        self.packets.is_some_and(|packets| sent.packets >= packets)
            || self.time.is_some_and(|time| sent.time >= time)
    }
}

/// Now, by the clock of packets' times: CLOCK_MONOTONIC, in nanoseconds.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.gap {
            None => write!(f, "as fast as it goes"),
            Some(gap) if self.burst == 1 => write!(f, "a packet every {:?}", Duration::from_nanos(gap.whole)),
            Some(gap) => write!(f, "{} packets every {:?}", self.burst, Duration::from_nanos(gap.whole)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_packets_or_bits() {
        let rate = |text: &str| text.parse::<Rate>().ok();
        assert_eq!(rate("0"), Some(Rate::Unlimited));
        assert_eq!(rate("1000"), Some(Rate::Packets(1000.0)));
        assert_eq!(rate("1.5Mpps"), Some(Rate::Packets(1_500_000.0)));
        assert_eq!(rate("250k"), Some(Rate::Packets(250_000.0)));
        assert_eq!(rate("2Gbit"), Some(Rate::Bits(2e9)));
        for wrong in ["", "fast", "-1", "1x", "bit", "inf"] {
            assert_eq!(rate(wrong), None, "{wrong}");
        }
        let sizes = Sizes::one(125);
        assert_eq!(Rate::Bits(1e6).packets(&sizes), Some(1000.0));
    }

    #[test]
    fn what_bursts_and_gaps_come_to_is_the_rate() {
        for rate in [0.1, 1.0, 3.0, 999.0, 1e5, 333_333.3, 1e6, 4_321_001.0] {
            for burst in [None, Some(1), Some(7)] {
                let pace = Pace::new(Some(rate), burst);
                let gap = pace.gap.expect("a gap");
                let mut at = Nanoseconds::default();
                (0..10_000).for_each(|_| at = at.plus(gap));
                let measured = f64::from(pace.burst) * 1e4 / (at.whole as f64 * 1e-9);
                assert!((measured / rate - 1.0).abs() < 1e-6, "{rate}: {measured}");
            }
        }
    }

    #[test]
    fn packets_go_one_by_one_while_they_can() {
        assert_eq!(Pace::new(Some(100_000.0), None).burst, 1);
        assert_eq!(Pace::new(Some(1_000_000.0), None).burst, 10);
        assert_eq!(Pace::new(Some(1e9), None).burst, LARGEST_BURST);
        assert_eq!(Pace::new(None, None), Pace { burst: LARGEST_BURST, gap: None });
        assert_eq!(Pace::new(None, Some(1000)).burst, LARGEST_BURST);
    }
}
