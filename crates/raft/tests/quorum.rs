//! Quorum arithmetic, as tables.

use std::collections::BTreeSet;

use raft::{Membership, ReplicaId};

type Ids = &'static [u64];

fn set(ids: &[u64]) -> BTreeSet<ReplicaId> {
    ids.iter().copied().map(ReplicaId).collect()
}

/// Each member's value is given by its place: that of replica 1 first.
#[test]
fn a_quorum_has_reached_the_greatest_value_that_a_majority_of_each_set_has() {
    #[rustfmt::skip]
    let table: &[(Ids, Ids, &[u64], u64)] = &[
        // voters           outgoing    values                        reached
        (&[1],              &[],        &[7],                         7),
        (&[1, 2],           &[],        &[7, 5],                      5),
        (&[1, 2, 3],        &[],        &[5, 7, 9],                   7),
        (&[1, 2, 3],        &[],        &[9, 0, 0],                   0),
        (&[1, 2, 3],        &[],        &[4, 4, 0],                   4),
        (&[1, 2, 3, 4],     &[],        &[5, 7, 9, 9],                7),
        (&[1, 2, 3, 4, 5],  &[],        &[1, 2, 3, 4, 5],             3),
        (&[1, 2, 3, 4, 5],  &[],        &[9, 9, 3, 0, 0],             3),
        (&[1, 2, 3, 4, 5, 6, 7, 8, 9], &[], &[9, 8, 7, 6, 5, 4, 3, 2, 1], 5),
        // Joint: a majority of the new set alone, or of the old one alone, is not enough.
        (&[1, 2, 3],        &[3, 4, 5], &[9, 9, 2, 4, 1],             2),
        (&[1, 2, 3],        &[4, 5, 6], &[9, 9, 9, 0, 0, 8],          0),
        (&[1, 2, 3],        &[4, 5, 6], &[0, 0, 8, 9, 9, 9],          0),
        (&[1, 2, 3],        &[1, 2, 3], &[3, 2, 1],                   2),
        (&[1],              &[1, 2, 3], &[9, 4, 0],                   4),
        (&[1, 2, 3],        &[1],       &[4, 9, 9],                   4),
    ];
    for (voters, outgoing, values, reached) in table {
        let membership = Membership {
            voters: set(voters),
            outgoing: set(outgoing),
        };
        let value = |id: ReplicaId| values[id.0 as usize - 1];
        assert_eq!(
            membership.reached(value),
            *reached,
            "{voters:?} {outgoing:?} {values:?}"
        );
    }
}

#[test]
fn some_are_a_quorum_if_they_are_a_majority_of_each_set() {
    #[rustfmt::skip]
    let table: &[(Ids, Ids, Ids, bool)] = &[
        // voters          outgoing      who           is a quorum
        (&[1],             &[],          &[1],          true),
        (&[1],             &[],          &[],           false),
        (&[1, 2],          &[],          &[1],          false),
        (&[1, 2, 3],       &[],          &[1, 3],       true),
        (&[1, 2, 3],       &[],          &[2],          false),
        (&[1, 2, 3, 4],    &[],          &[1, 2],       false),
        (&[1, 2, 3, 4],    &[],          &[1, 2, 3],    true),
        (&[1, 2, 3, 4, 5], &[],          &[1, 2, 3],    true),
        (&[1, 2, 3],       &[],          &[1, 8, 9],    false), // strangers don't count
        (&[1, 2, 3],       &[3, 4, 5],   &[1, 2],       false),
        (&[1, 2, 3],       &[3, 4, 5],   &[1, 3, 4],    true),
        (&[1, 2, 3],       &[3, 4, 5],   &[3, 4, 5],    false),
    ];
    for (voters, outgoing, who, expected) in table {
        let membership = Membership {
            voters: set(voters),
            outgoing: set(outgoing),
        };
        assert_eq!(membership.is_joint(), !outgoing.is_empty());
        assert_eq!(
            membership.is_quorum(|id| set(who).contains(&id)),
            *expected,
            "{voters:?} {outgoing:?} {who:?}"
        );
    }
}

/// Any two quorums of a configuration share a member: all of Raft's safety hangs on it.
#[test]
fn two_quorums_always_meet() {
    let configurations: [(&[u64], &[u64]); 5] = [
        (&[1, 2, 3], &[]),
        (&[1, 2, 3, 4], &[]),
        (&[1, 2, 3, 4, 5], &[]),
        (&[1, 2, 3], &[2, 3, 4]),
        (&[1, 2], &[3, 4, 5]),
    ];
    for (voters, outgoing) in configurations {
        let membership = Membership {
            voters: set(voters),
            outgoing: set(outgoing),
        };
        let quorums: Vec<u32> = (0..1 << 5)
            .filter(|bits| membership.is_quorum(|id| bits & (1 << (id.0 - 1)) != 0))
            .collect();
        assert!(!quorums.is_empty());
        for first in &quorums {
            assert!(quorums.iter().all(|second| first & second != 0));
        }
    }
}
