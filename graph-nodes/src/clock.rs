//! The clock of the packet path: the processor's time-stamp counter, in ticks.
//!
//! Reading it costs some 20 ticks and no system call. A [`Clock`] knows how long a tick is.

use std::time::{Duration, Instant};

/// Ticks since some moment in the past; never goes back on a machine with a constant, synchronised TSC.
#[inline(always)]
pub fn now() -> u64 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        // SAFETY: every x86-64 processor has RDTSC; Linux does not disable it for user space.
        unsafe { std::arch::x86_64::_rdtsc() }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    {
        use std::sync::OnceLock;
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// The length of a tick, measured once against the kernel's monotonic clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    hz: u64,
}

impl Clock {
    /// Measures for 20 ms; exact to some 10 ppm, which is what durations of seconds need.
    pub fn calibrate() -> Clock {
        let (begin, ticks) = (Instant::now(), now());
        std::thread::sleep(Duration::from_millis(20));
        let (elapsed, ticks) = (begin.elapsed(), now().wrapping_sub(ticks));
        let hz = (u128::from(ticks) * 1_000_000_000 / elapsed.as_nanos().max(1)) as u64;
        Clock { hz: hz.max(1) }
    }

    /// A clock of a known rate, for tests and virtual time.
    pub fn with_hz(hz: u64) -> Clock {
        Clock { hz: hz.max(1) }
    }

    /// Ticks a second.
    pub fn hz(&self) -> u64 {
        self.hz
    }

    /// Ticks in `duration`.
    pub fn ticks(&self, duration: Duration) -> u64 {
        (duration.as_nanos() * u128::from(self.hz) / 1_000_000_000) as u64
    }

    /// The time that `ticks` take.
    pub fn duration(&self, ticks: u64) -> Duration {
        Duration::from_nanos((u128::from(ticks) * 1_000_000_000 / u128::from(self.hz)) as u64)
    }
}
