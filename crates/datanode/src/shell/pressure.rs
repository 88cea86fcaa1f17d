//! Whether entries come so fast that they had better gather.
//!
//! What comes while the log syncs shares the next sync, the next frames and the next write of the store; whoever does each at once pays for all of
//! them for every entry. So a worker leaves its work to its thread, which gathers, from when entries came while it waited for the log until they
//! have not for a while: by their number, or by ticks where none come any more.

/// Entries that find the log idle, until it is over.
const PATIENCE: u8 = 16;
/// The most that adds up.
const MOST: u8 = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Pressure(u8);

impl Pressure {
    /// Entries came, and the worker waited for the log or didn't.
    pub(super) fn entries_came(&mut self, log_is_busy: bool) {
        self.0 = if log_is_busy {
            (self.0 + PATIENCE).min(MOST)
        } else {
            self.0.saturating_sub(1)
        };
    }

    /// A tick has passed.
    pub(super) fn ticked(&mut self) {
        self.0 /= 2;
    }

    /// Whether it is so.
    pub(super) fn is_on(&self) -> bool {
        self.0 > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_begins_with_entries_that_meet_a_busy_log_and_ends_a_while_after_the_last() {
        let mut pressure = Pressure::default();
        pressure.entries_came(false);
        assert!(!pressure.is_on());
        for _ in 0..100 {
            pressure.entries_came(true);
        }
        for _ in 1..MOST {
            pressure.entries_came(false);
            assert!(pressure.is_on());
        }
        pressure.entries_came(false);
        assert!(!pressure.is_on());
        pressure.entries_came(true);
        assert!(pressure.is_on());
    }

    #[test]
    fn it_ends_within_a_few_ticks_without_entries() {
        let mut pressure = Pressure::default();
        for _ in 0..100 {
            pressure.entries_came(true);
        }
        let mut ticks = 0;
        while pressure.is_on() {
            pressure.ticked();
            ticks += 1;
        }
        assert_eq!(ticks, 7);
    }
}
