//! Timestamps of writes: a hybrid logical clock's value in 64 bits.

use std::fmt;

use serde::{Deserialize, Serialize};

/// When a write took effect, in the order of timestamps (Idziorek et al., ATC 2023, section 3).
///
/// The upper 48 bits are milliseconds since the Unix epoch, the lower 16 a logical counter. A key's
/// timestamp never falls, deletion and recreation included, so it orders all writes to that key; between
/// keys it agrees with the clocks of the processes that drew it and no better.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// Below every timestamp that a write ever gets.
    pub const ZERO: Self = Self(0);

    /// The first timestamp of a millisecond since the Unix epoch.
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(u64::MAX >> 16) << 16)
    }

    /// The millisecond since the Unix epoch that this timestamp falls into.
    pub fn millis(self) -> u64 {
        self.0 >> 16
    }

    /// The next higher timestamp.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.millis(), self.0 & 0xffff)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_stays_below_the_milliseconds() {
        let t = Timestamp::from_millis(5);
        assert_eq!(t.next().millis(), 5);
        assert!(t.next() > t && t.next() < Timestamp::from_millis(6));
        assert_eq!(t.next().to_string(), "5.1");
    }

    #[test]
    fn a_clock_beyond_48_bits_stays_at_the_top() {
        assert_eq!(Timestamp::from_millis(u64::MAX).millis(), u64::MAX >> 16);
    }
}
