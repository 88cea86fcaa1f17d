//! The deliberate faults in this crate, each of which the invariants must see.
//!
//! `cargo test -p raft --features mutants mutants`

use std::panic::{AssertUnwindSafe, catch_unwind};

use mutants::Mutant;

use super::Fault;
use super::runs::run;

/// So many seeds may pass before a mutant is caught, alternately for groups of 3 and of 5.
const SEEDS: u64 = 300;
const STEPS: usize = 15_000;

/// A run that fails, or panics because what the model takes for granted isn't so.
fn reason(size: u64, seed: u64) -> Option<String> {
    match catch_unwind(AssertUnwindSafe(|| {
        run(size, seed, STEPS, Fault::None).err()
    })) {
        Ok(reason) => reason,
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Some(text.unwrap_or_default())
        }
    }
}

fn is_caught(mutant: Mutant) {
    let caught = mutants::with(mutant, || {
        (0..SEEDS).find_map(|seed| Some((seed, reason(3 + 2 * (seed % 2), seed)?)))
    });
    let (seed, reason) = caught.unwrap_or_else(|| panic!("{mutant} was not noticed"));
    let shown = reason.lines().next().unwrap_or_default();
    println!("{mutant}: seed {seed}: {shown:.200}");
}

macro_rules! caught {
    ($($test:ident: $mutant:ident,)*) => {$(
        #[test]
        fn $test() {
            is_caught(Mutant::$mutant);
        }
    )*};
}

caught! {
    a_vote_before_its_sync: VoteBeforeSync,
    a_term_that_is_not_persisted: TermNotPersisted,
    an_append_of_a_past_term: StaleTermAppend,
    a_vote_for_an_older_log: VoteForOlderLog,
    two_votes_in_a_term: VoteTwice,
    a_term_that_is_forgotten_at_the_start: TermForgottenAtStart,
    a_commit_of_an_earlier_term: CommitOfEarlierTerm,
    a_commit_without_a_majority: CommitWithoutMajority,
    a_leader_that_counts_what_is_not_synced: LeaderCountsUnsynced,
    an_acknowledgement_before_the_sync: AppendAckBeforeSync,
    a_previous_term_that_is_not_checked: PreviousTermUnchecked,
    a_conflict_that_is_kept: ConflictKept,
    a_commit_index_beyond_the_match: CommitBeyondMatch,
    a_lost_append_that_is_not_resent: LostAppendNotResent,
    a_snapshot_that_keeps_the_log: SnapshotKeepsLog,
    a_read_without_a_round: ReadWithoutRound,
    a_read_before_the_own_term: ReadBeforeOwnTerm,
    an_echo_of_any_round: ReadEchoOfAnyRound,
}
