//! Time.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Goes on while the machine sleeps, so that a lease is over when it wakes.
#[cfg(target_os = "linux")]
const MONOTONIC: ClockId = ClockId::Boottime;
#[cfg(not(target_os = "linux"))]
const MONOTONIC: ClockId = ClockId::Monotonic;

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds since some moment before the process started. Never goes back, and counts what the machine sleeps.
    pub monotonic_millis: u64,
    /// Milliseconds since the Unix epoch. May jump in either direction.
    pub wall_millis: u64,
}

/// A source of time.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Reads both clocks.
    fn now(&self) -> Now;
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    start_millis: u64,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start_millis: boot_millis(),
        }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Now {
        // A clock before 1970 counts as 1970: the data nodes refuse what that issues, with the reason.
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Now {
            monotonic_millis: boot_millis().saturating_sub(self.start_millis),
            wall_millis: wall.as_millis() as u64,
        }
    }
}

/// Milliseconds since the machine was booted.
fn boot_millis() -> u64 {
    let read = clock_gettime(MONOTONIC);
    read.tv_sec as u64 * 1000 + read.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_monotonic_clock_starts_at_nothing_and_goes_on() {
        let clock = SystemClock::default();
        assert!(clock.now().monotonic_millis < 1000);
        let before = clock.now().monotonic_millis;
        std::thread::sleep(std::time::Duration::from_millis(20));
        let passed = clock.now().monotonic_millis - before;
        assert!((19..5000).contains(&passed), "{passed}");
    }
}
