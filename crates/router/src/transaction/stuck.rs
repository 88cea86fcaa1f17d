//! Recoveries that have failed, and when their next turn comes.
//!
//! A shard without a majority may keep hundreds of transactions, and to find that out again takes seconds for each. Without an
//! order the transactions on healthy shards, of a router that has just died, would wait behind them.
//!
//! | a recovery | its turn |
//! |---|---|
//! | has not failed | at once, with as much room as there is for all |
//! | has failed | after a pause that doubles, with a part of that room |

use std::collections::BTreeMap;
use std::time::Duration;

use model::TransactionId;
use tokio::time::Instant;

/// After the first failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause. Somebody waits for the items.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// Who has not been heard of for so long is finished by others, or this router is not the controller any more.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// What a recovery may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Turn {
    /// Begin: it has not failed yet.
    First,
    /// Begin, if there is room for those that have failed.
    Again,
    /// Not now.
    Later,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Stuck {
    failed: BTreeMap<TransactionId, Failed>,
}

#[derive(Debug, Clone, Copy)]
struct Failed {
    times: u32,
    not_before: Instant,
}

impl Stuck {
    /// Whose turn it is.
    pub(crate) fn standing(&self, id: TransactionId, now: Instant) -> Turn {
        match self.failed.get(&id) {
            None => Turn::First,
            Some(failed) if failed.not_before <= now => Turn::Again,
            Some(_) => Turn::Later,
        }
    }

    /// A recovery has failed.
    pub(crate) fn failed(&mut self, id: TransactionId, now: Instant) {
        self.failed
            .retain(|_, failed| failed.not_before + FORGOTTEN_AFTER > now);
        let times = self.failed.get(&id).map_or(0, |failed| failed.times);
        let pause = FIRST_PAUSE * 2u32.saturating_pow(times.min(10));
        let failed = Failed {
            times: times + 1,
            not_before: now + pause.min(LONGEST_PAUSE),
        };
        self.failed.insert(id, failed);
    }

    /// A transaction is finished.
    pub(crate) fn freed(&mut self, id: TransactionId) {
        self.failed.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_end_with_a_success() {
        let id = TransactionId(1);
        let mut stuck = Stuck::default();
        let mut now = Instant::now();
        assert_eq!(stuck.standing(id, now), Turn::First);
        for pause in [1, 2, 4, 8, 8, 8] {
            stuck.failed(id, now);
            let early = now + Duration::from_secs(pause) - Duration::from_millis(1);
            assert_eq!(stuck.standing(id, early), Turn::Later, "{pause}");
            now += Duration::from_secs(pause);
            assert_eq!(stuck.standing(id, now), Turn::Again, "{pause}");
        }
        assert_eq!(stuck.standing(TransactionId(2), now), Turn::First);
        stuck.freed(id);
        assert_eq!(stuck.standing(id, now), Turn::First);
    }

    #[test]
    fn what_others_have_finished_is_forgotten() {
        let mut stuck = Stuck::default();
        let now = Instant::now();
        for number in 0..100 {
            stuck.failed(TransactionId(number), now);
        }
        stuck.failed(TransactionId(1000), now + FIRST_PAUSE + FORGOTTEN_AFTER);
        assert_eq!(stuck.failed.len(), 1);
    }
}
