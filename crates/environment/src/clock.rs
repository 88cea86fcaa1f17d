//! Time.

use std::fmt;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Milliseconds since some moment before the process started. Never goes back.
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
    start: Instant,
}

impl Default for SystemClock {
    fn default() -> Self {
        Self {
            start: Instant::now(),
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
            monotonic_millis: self.start.elapsed().as_millis() as u64,
            wall_millis: wall.as_millis() as u64,
        }
    }
}
