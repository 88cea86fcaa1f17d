//! Wall-clock time, behind a trait, so that tests and the simulation decide what time it is.
//!
//! Only two things here are in wall-clock time, because other processes read them: when a write was issued
//! and when a table was created. Everything that waits uses the runtime's monotonic clock.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time of day.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// Milliseconds since the Unix epoch.
    fn now_millis(&self) -> u64;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_millis(&self) -> u64 {
        // A clock before 1970 counts as 1970: the data nodes refuse what that issues, with the reason.
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as u64)
    }
}
