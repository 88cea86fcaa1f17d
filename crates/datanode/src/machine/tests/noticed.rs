//! The deliberate faults that these scripts notice. Runs with the feature `mutants`.

use mutants::{Mutant, is_noticed};

use super::{NOW, Replica, commands, dump, entry, once, put, reads, request, transactions};

#[test]
fn an_entry_is_one_batch_of_the_store() {
    let mut replica = Replica::new();
    replica.one(put("a", "1", request(NOW, 1)));
    replica.store.crash_keeping(1);
    replica.restart();
}

#[test]
fn the_grouping_of_entries_does_not_show() {
    let write = |index| put("a", "1", request(NOW, index));
    let log: Vec<_> = (1..=2)
        .map(|index| entry(index, NOW, vec![write(index)]))
        .collect();
    let (mut together, mut apart) = (Replica::new(), Replica::new());
    together.machine.apply(&log).unwrap();
    for entry in log.chunks(1) {
        apart.machine.apply(entry).unwrap();
    }
    assert_eq!(dump(&together.store), dump(&apart.store));
}

#[test]
fn each_of_these_tests_fails_with_its_mutant() {
    let cases: &[(Mutant, fn())] = &[
        (
            Mutant::AppliedIndexApart,
            an_entry_is_one_batch_of_the_store,
        ),
        (
            Mutant::ApplyDependsOnBatching,
            the_grouping_of_entries_does_not_show,
        ),
        (
            Mutant::AbsentWithoutLsn,
            transactions::an_absent_key_that_was_there_between_two_rounds_has_another_lsn,
        ),
        (
            Mutant::CancelLeavesPlaceholder,
            transactions::a_cancelled_transaction_leaves_no_trace,
        ),
        (
            Mutant::DecideWithoutWindow,
            transactions::a_prepare_that_comes_after_its_cancellation_is_refused,
        ),
        (
            Mutant::IntentOverwritten,
            transactions::nobody_writes_under_a_prepared_transaction,
        ),
        (
            Mutant::IntentOverwritten,
            commands::a_key_with_an_intent_is_neither_written_nor_deleted,
        ),
        (
            Mutant::IntentsNotInSnapshot,
            transactions::a_follower_that_took_a_snapshot_carries_out_the_decision,
        ),
        (
            Mutant::LatePrepareAccepted,
            transactions::a_prepare_that_comes_after_its_commit_is_refused,
        ),
        (
            Mutant::OwnPrepareAConflict,
            transactions::a_prepare_that_comes_again_is_no_conflict_with_itself,
        ),
        (
            Mutant::PrepareInPart,
            transactions::an_objection_to_one_item_keeps_all_of_them_free,
        ),
        (
            Mutant::TimestampFallsOnDelete,
            commands::a_keys_timestamp_never_falls_even_over_a_deletion_and_a_clock_that_goes_back,
        ),
        (
            Mutant::DeleteLeavesPlaceholder,
            commands::the_example_in_the_documentation_holds,
        ),
        (
            Mutant::OldGenerationRead,
            reads::after_a_reload_nothing_of_the_old_generation_is_read,
        ),
        (
            Mutant::RetryAppliedTwice,
            once::a_delayed_first_attempt_cannot_land_after_a_later_write,
        ),
        (
            Mutant::RetryAppliedTwice,
            transactions::a_transaction_in_one_shard_ends_once,
        ),
        (
            Mutant::SealIgnored,
            commands::a_sealed_shard_takes_no_write_but_still_says_what_it_applied,
        ),
        (
            Mutant::SnapshotForgetsRequests,
            once::a_follower_that_took_a_snapshot_remembers_what_the_sender_remembered,
        ),
        (
            Mutant::SummaryOutlivesDelete,
            commands::what_was_deleted_is_absent_to_the_next_put,
        ),
        (
            Mutant::VersionsRestart,
            commands::a_version_is_never_used_again_for_a_key,
        ),
    ];
    for &(mutant, test) in cases {
        assert!(is_noticed(mutant, test), "{mutant}");
    }
}
