//! The deliberate faults that these scripts notice. Runs with the feature `mutants`.

use mutants::{Mutant, is_noticed};
use raft::Index;

use super::*;

#[test]
fn what_was_applied_after_the_store_was_made_durable_stays() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let value = "v".repeat(100 * 1024);
    for i in 0..40 {
        lab.settle_write(leader, &format!("k{i}"), &value);
    }
    let points = vec![(lab::SHARD, Index(10))];
    lab.input(leader, Input::StoreDurable { points });
    lab.settle();
    let first = lab.status(leader).first_index;
    assert!(1 < first && first <= 11, "{first}");
}

#[test]
fn each_of_these_tests_fails_with_its_mutant() {
    let cases: &[(Mutant, fn())] = &[
        (
            Mutant::AnswersByIndex,
            a_leader_of_two_terms_does_not_mix_up_what_it_proposed_in_each,
        ),
        (
            Mutant::CompactionBeyondDurable,
            what_was_applied_after_the_store_was_made_durable_stays,
        ),
        (
            Mutant::ConsistentReadAnywhere,
            a_paused_leader_serves_nothing_stale_when_it_wakes,
        ),
        (
            Mutant::DeposedLeaderDenies,
            without_a_majority_writes_and_consistent_reads_are_refused_at_once,
        ),
        (
            Mutant::LogNeverCompacted,
            the_log_is_purged_up_to_what_the_store_has_made_durable_and_no_further,
        ),
        (
            Mutant::ConsistentReadAnywhere,
            a_reading_transaction_needs_a_leader_that_is_one,
        ),
        (
            Mutant::ReadWithoutRound,
            a_reading_transaction_needs_a_leader_that_is_one,
        ),
        (
            Mutant::ReadWithoutRound,
            a_paused_leader_serves_nothing_stale_when_it_wakes,
        ),
        (
            Mutant::SealIgnored,
            a_sealed_shard_refuses_writes_and_consistent_reads,
        ),
    ];
    for &(mutant, test) in cases {
        assert!(is_noticed(mutant, test), "{mutant}");
    }
}
