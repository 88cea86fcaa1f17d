//! The deliberate faults that these scripts notice. Runs with the feature `mutants`.

use mutants::{Mutant, is_noticed};

use super::{NOW, Replica, commands, dump, entry, once, put, reads, request};

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
            Mutant::SealIgnored,
            commands::a_sealed_shard_takes_no_write_but_still_says_what_it_applied,
        ),
        (
            Mutant::SnapshotForgetsRequests,
            once::a_follower_that_took_a_snapshot_remembers_what_the_sender_remembered,
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
