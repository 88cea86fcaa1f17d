//! The deliberate faults of the log that these tests notice. Runs with the feature `mutants`.

use mutants::{Mutant, is_noticed};

use crate::{crashes, damage, failures};

#[test]
fn each_of_these_tests_fails_with_its_mutant() {
    let cases: &[(Mutant, fn())] = &[
        (
            Mutant::ChecksumSkipped,
            damage::a_flipped_bit_anywhere_is_refused_or_without_effect,
        ),
        (
            Mutant::FailedSyncIgnored,
            failures::known_bug_16_a_failed_write_or_sync_is_never_followed_by_business_as_usual,
        ),
        (
            Mutant::SegmentNamedBeforeSync,
            crashes::a_power_cut_while_starting_leaves_either_end,
        ),
    ];
    for &(mutant, test) in cases {
        assert!(is_noticed(mutant, test), "{mutant}");
    }
}
