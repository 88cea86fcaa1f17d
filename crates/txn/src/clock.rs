//! A hybrid logical clock (Kulkarni et al., OPODIS 2014): the time of day, never behind what was seen.
//!
//! | wall clock | last | drawn |
//! |---|---|---|
//! | 5 ms | – | 5.0 |
//! | 5 ms | 5.0 | 5.1 |
//! | 4 ms (it has jumped back) | 5.1 | 5.2 |
//! | 6 ms | 9.3, observed on an item | 9.4 |
//!
//! # Caveats
//!
//! An observed timestamp that is further ahead of the wall clock than shards would accept is not taken over: it would
//! make every later transaction of this router fail, and not only those on that item. For the same reason the clock
//! goes back with a wall clock that was as far ahead. That is safe: each shard has its own floor for each key.

use model::Timestamp;
use model::limits::MAX_CLOCK_AHEAD_MILLIS;

/// Added to the clock for the first retry of a transaction whose timestamp was too old, milliseconds. Each further
/// retry gets four times as much: the item is being written again and again, by clocks that are ahead.
const FIRST_MARGIN_MILLIS: u64 = 2;
/// The largest margin, milliseconds.
const MAX_MARGIN_MILLIS: u64 = 512;

/// Draws timestamps. The time of day is given to it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    last: Timestamp,
}

impl Clock {
    /// A clock that has drawn and seen nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// A timestamp above all that were drawn and observed, unless the wall clock has fallen far behind them. `retries` counts the attempts at the same transaction
    /// that were too old; each gets further ahead of the wall clock.
    pub fn draw(&mut self, wall_millis: u64, retries: u32) -> Timestamp {
        let margin = match retries {
            0 => 0,
            n => FIRST_MARGIN_MILLIS.saturating_mul(4u64.saturating_pow(n - 1)),
        };
        if self.last >= bound(wall_millis) {
            // The wall clock was far ahead and has been put right. Shards would refuse all that follows on it.
            self.last = Timestamp::ZERO;
        }
        let ahead = wall_millis.saturating_add(margin.min(MAX_MARGIN_MILLIS));
        self.last = Timestamp::from_millis(ahead).max(self.last.next());
        self.last
    }

    /// Moves past a timestamp that was seen on an item.
    pub fn observe(&mut self, wall_millis: u64, seen: Timestamp) {
        if seen < bound(wall_millis) {
            self.last = self.last.max(seen);
        }
    }
}

/// From here on shards refuse timestamps as too far ahead.
fn bound(wall_millis: u64) -> Timestamp {
    Timestamp::from_millis(wall_millis.saturating_add(MAX_CLOCK_AHEAD_MILLIS))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn it_follows_the_wall_clock_and_never_goes_back_with_it() {
        let mut clock = Clock::new();
        let drawn = [5, 5, 4, 6].map(|wall| clock.draw(wall, 0).to_string());
        assert_eq!(drawn, ["5.0", "5.1", "5.2", "6.0"]);
    }

    #[test]
    fn what_was_observed_is_passed() {
        let mut clock = Clock::new();
        let seen = Timestamp(Timestamp::from_millis(9).0 + 3);
        clock.observe(6, seen);
        assert_eq!(clock.draw(6, 0).to_string(), "9.4");
    }

    #[test]
    fn the_margin_grows_with_the_retries_up_to_a_bound() {
        let drawn = [0, 1, 2, 3, 4, 5, 6, u32::MAX].map(|n| Clock::new().draw(1000, n).millis());
        assert_eq!(drawn, [1000, 1002, 1008, 1032, 1128, 1512, 1512, 1512]);
    }

    #[test]
    fn a_timestamp_from_the_far_future_does_not_carry_the_clock_away() {
        let mut clock = Clock::new();
        clock.observe(5, Timestamp::from_millis(5 + MAX_CLOCK_AHEAD_MILLIS));
        clock.observe(5, Timestamp(u64::MAX));
        assert_eq!(clock.draw(5, 0).millis(), 5);
    }

    #[test]
    fn a_wall_clock_that_was_far_ahead_is_forgotten() {
        let mut clock = Clock::new();
        clock.draw(5 + MAX_CLOCK_AHEAD_MILLIS, 0);
        assert_eq!(clock.draw(5, 0).millis(), 5);
    }

    proptest! {
        #[test]
        fn every_timestamp_is_above_all_before(
            steps in proptest::collection::vec((0u64..50, 0u64..50, 0u32..3), 1..50),
        ) {
            let mut clock = Clock::new();
            let mut highest = Timestamp::ZERO;
            for (wall, seen, retries) in steps {
                let seen = Timestamp::from_millis(seen);
                clock.observe(wall, seen);
                let drawn = clock.draw(wall, retries);
                prop_assert!(drawn > highest.max(seen));
                highest = drawn;
            }
        }
    }
}
