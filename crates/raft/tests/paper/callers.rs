//! What the callers are told, and what is made of nonsense.

use raft::{Availability, Body, Broken, Config, Index, Role, Term};

use crate::common::{ELECTION_TICKS, append, config, entries, entry, group, id, message, sent_to};

use super::{heartbeat, node, ticks};

#[test]
fn without_a_leader_availability_is_at_first_no_leader_and_after_two_election_timeouts_no_quorum() {
    let mut node = node(1);
    assert_eq!(node.replica.availability(), Availability::NoLeader);
    node.answer(message(2, 1, 1, heartbeat(0)));
    assert_eq!(node.replica.availability(), Availability::Leader(id(2)));
    let mut seen = Vec::new();
    for tick in 1..=3 * ELECTION_TICKS {
        ticks(&mut node, 1);
        if seen
            .last()
            .is_none_or(|&(_, before)| before != node.replica.availability())
        {
            seen.push((tick, node.replica.availability()));
        }
    }
    let [
        (1, Availability::Leader(_)),
        (lost, Availability::NoLeader),
        (gone, Availability::NoQuorum),
    ] = seen[..]
    else {
        panic!("{seen:?}")
    };
    assert!((ELECTION_TICKS..2 * ELECTION_TICKS).contains(&lost));
    assert_eq!(gone, 2 * ELECTION_TICKS + 1);
    // Any word of a peer is a sign of a majority.
    node.answer(message(3, 1, 1, Body::PreVote { granted: false }));
    assert_eq!(node.replica.availability(), Availability::NoLeader);
}

#[test]
fn role_changes_are_reported_once() {
    let mut node = node(1);
    node.replica.campaign();
    let change = node.drain().role.unwrap();
    assert_eq!(
        (change.role, change.term, change.leader),
        (Role::Candidate, Term(1), None)
    );
    assert_eq!(node.drain().role, None);
    node.sync(1);
    node.replica
        .step(message(2, 1, 1, Body::Vote { granted: true }));
    let change = node.drain().role.unwrap();
    assert_eq!((change.role, change.leader), (Role::Leader, Some(id(1))));
}

#[test]
fn malformed_appends_are_ignored() {
    let mut node = node(1);
    for bad in [
        append((0, 0), vec![entry(2, 1)], 0),
        append((0, 0), vec![entry(1, 1), entry(3, 1)], 0),
        append((0, 0), entries(1, &[2, 1]), 0),
        append((0, 0), entries(1, &[9]), 0),
        append((u64::MAX, 1), vec![entry(0, 1)], u64::MAX),
    ] {
        let answer = node.answer(message(2, 1, 2, bad));
        assert_eq!(
            (sent_to(&answer, 2), node.replica.last_index()),
            (vec![], Index(0))
        );
    }
    assert!(node.replica.stopped().is_none());
}

#[test]
fn a_configuration_that_makes_no_sense_is_refused() {
    let good = || config(1, group(3));
    for bad in [
        Config {
            membership: group(0),
            ..good()
        },
        Config {
            heartbeat_ticks: 0,
            ..good()
        },
        Config {
            heartbeat_ticks: ELECTION_TICKS,
            ..good()
        },
        Config {
            max_inflight_appends: 0,
            ..good()
        },
    ] {
        assert!(matches!(
            raft::Replica::new(bad, raft::Restored::default()),
            Err(Broken::Configuration(_))
        ));
    }
}
