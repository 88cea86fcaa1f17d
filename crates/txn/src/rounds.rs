//! Whether the rounds of a `TransactGet` have shown one state of the system.
//!
//! A round reads every key once; the next begins after all answers of the one before. Two rounds in a row with the
//! same lsns, without a lock in either, mean that no key changed between its two reads. All of these spans have the
//! moment between the rounds in common, so the values are those of that moment, and no transaction was half applied
//! then: a half-applied one still has a lock where it is not applied, or changes an lsn.
//!
//! | round | a | b | then |
//! |---|---|---|---|
//! | 1 | lsn 4 | lsn 9 | again |
//! | 2 | lsn 5 | lsn 9 | `a` has changed: this round is the first of the next try |
//! | 3 | lsn 5 | lsn 9, locked | a transaction may be applied elsewhere already: begin anew, after a pause |
//! | 4 | lsn 5 | lsn 10 | again |
//! | 5 | lsn 5 | lsn 10 | consistent |

use std::time::Duration;

/// Rounds of one `TransactGet`, at the most.
const MAX_ROUNDS: u32 = 24;

/// A key in a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Of the item; of an absent key the last change that may have removed it.
    pub lsn: u64,
    /// A transaction is prepared on it.
    pub locked: bool,
}

/// What a round has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The values of this round are one state.
    Consistent,
    /// Another round is needed, after this pause.
    Again(Duration),
    /// Something changed in each of too many rounds.
    Conflict,
}

/// The rounds so far.
#[derive(Debug, Clone)]
pub struct Rounds {
    /// What the last round saw, if it can be the first of two.
    first: Option<Vec<u64>>,
    made: u32,
    /// Rounds that saw a lock or a change.
    failed: u32,
    pause: (Duration, Duration),
}

impl Rounds {
    /// No round yet. The pauses: after the first round that failed, and at the most.
    pub fn new(pause: (Duration, Duration)) -> Self {
        Self {
            first: None,
            made: 0,
            failed: 0,
            pause,
        }
    }

    /// Takes in a whole round, its keys always in the same order.
    pub fn round(&mut self, seen: &[Seen]) -> Verdict {
        self.made += 1;
        let locked = seen.iter().any(|seen| seen.locked) && !mutant!(SecondRoundAcceptsLocks);
        let lsns: Vec<u64> = seen.iter().map(|seen| seen.lsn).collect();
        let same = self.first.as_ref() == Some(&lsns) || mutant!(SecondRoundSkipped);
        if same && !locked {
            return Verdict::Consistent;
        }
        let second = self.first.is_some();
        self.first = (!locked).then_some(lsns);
        if self.made >= MAX_ROUNDS {
            return Verdict::Conflict;
        }
        if !locked && !second {
            return Verdict::Again(Duration::ZERO);
        }
        self.failed += 1;
        let (first, most) = self.pause;
        let pause = first * 2u32.saturating_pow((self.failed - 1).min(10));
        Verdict::Again(pause.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

    fn rounds() -> Rounds {
        Rounds::new(PAUSE)
    }

    fn free(lsns: &[u64]) -> Vec<Seen> {
        let seen = |&lsn| Seen { lsn, locked: false };
        lsns.iter().map(seen).collect()
    }

    fn locked(lsns: &[u64]) -> Vec<Seen> {
        let seen = |&lsn| Seen { lsn, locked: true };
        lsns.iter().map(seen).collect()
    }

    const AT_ONCE: Verdict = Verdict::Again(Duration::ZERO);

    fn after(millis: u64) -> Verdict {
        Verdict::Again(Duration::from_millis(millis))
    }

    fn one_round_is_never_enough() {
        assert_eq!(rounds().round(&free(&[4])), AT_ONCE);
    }

    fn a_lock_in_the_second_round_is_not_accepted() {
        let mut rounds = rounds();
        assert_eq!(rounds.round(&free(&[4, 9])), AT_ONCE);
        assert_eq!(rounds.round(&locked(&[4, 9])), after(1));
        assert_eq!(rounds.round(&free(&[4, 9])), AT_ONCE);
        assert_eq!(rounds.round(&free(&[4, 9])), Verdict::Consistent);
    }

    #[test]
    fn the_table_of_the_module_holds() {
        one_round_is_never_enough();
        a_lock_in_the_second_round_is_not_accepted();
        let mut rounds = rounds();
        assert_eq!(rounds.round(&free(&[4, 9])), AT_ONCE);
        assert_eq!(rounds.round(&free(&[5, 9])), after(1));
        let half = [free(&[5]), locked(&[9])].concat();
        assert_eq!(rounds.round(&half), after(2));
        assert_eq!(rounds.round(&free(&[5, 10])), AT_ONCE);
        assert_eq!(rounds.round(&free(&[5, 10])), Verdict::Consistent);
    }

    #[test]
    fn a_second_round_without_locks_is_the_first_of_the_next_try() {
        let mut rounds = rounds();
        assert_eq!(rounds.round(&free(&[1])), AT_ONCE);
        assert_eq!(rounds.round(&free(&[2])), after(1));
        assert_eq!(rounds.round(&free(&[2])), Verdict::Consistent);
    }

    #[test]
    fn a_reader_gives_up_after_a_bound_with_growing_pauses() {
        let mut rounds = rounds();
        let mut pauses = Vec::new();
        let end = loop {
            match rounds.round(&locked(&[1])) {
                Verdict::Again(pause) => pauses.push(pause.as_millis()),
                end => break end,
            }
        };
        assert_eq!(end, Verdict::Conflict);
        assert_eq!(pauses.len(), 23);
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 32, 50, 50]);
    }

    #[cfg(feature = "mutants")]
    #[test]
    fn the_mutants_are_noticed() {
        use mutants::{Mutant, is_noticed};
        assert!(is_noticed(
            Mutant::SecondRoundSkipped,
            one_round_is_never_enough
        ));
        let test = a_lock_in_the_second_round_is_not_accepted;
        assert!(is_noticed(Mutant::SecondRoundAcceptsLocks, test));
    }
}
