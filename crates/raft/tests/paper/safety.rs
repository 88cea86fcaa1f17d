//! §5.4 Safety, §5.5 crashes, and what stops a replica.

use bytes::Bytes;
use raft::{Body, Broken, Index, ReadToken, Refusal, Term};

use crate::common::{Node, append, entries, group, matched, message, request_vote, sent_to};

use super::{granted, heartbeat, node, node_with, replicating};

#[test]
fn the_voter_denies_its_vote_if_its_own_log_is_more_up_to_date_than_that_of_the_candidate() {
    #[rustfmt::skip]
    let table = [
        // The voter's log: 1 2 2 (terms)
        ((3, 2), true),
        ((4, 2), true),
        ((2, 2), false),
        ((1, 3), true),
        ((9, 1), false),
        ((0, 0), false),
    ];
    for (last, expected) in table {
        let vote = node_with(&[1, 2, 2], 2, 0).answer(message(2, 1, 3, request_vote(last)));
        assert_eq!(granted(&vote, 2), expected, "{last:?}");
        let (last_index, last_term) = (Index(last.0), Term(last.1));
        let ask = Body::RequestPreVote {
            last_index,
            last_term,
        };
        let vote = node_with(&[1, 2, 2], 2, 0).answer(message(2, 1, 3, ask));
        assert_eq!(granted(&vote, 2), expected, "{last:?}");
    }
}

#[test]
fn only_log_entries_from_the_leaders_current_term_are_committed_by_counting_replicas() {
    // Figure 8: entry 2 of term 2 is on a majority, but may still be overwritten.
    let mut node = node_with(&[1, 2], 2, 0);
    node.win(&[2]);
    assert_eq!(node.replica.term(), Term(3));
    node.answer(message(2, 1, 3, matched(2)));
    assert_eq!(node.replica.committed(), Index(0));
    node.answer(message(2, 1, 3, matched(3)));
    assert_eq!(
        node.replica.committed(),
        Index(3),
        "then all prior entries are committed indirectly"
    );
}

#[test]
fn an_append_before_the_commit_index_is_answered_with_what_is_known_to_match() {
    let mut node = node_with(&[1, 1, 1, 1], 1, 3);
    let answer = node.answer(message(2, 1, 1, append((0, 0), entries(1, &[1, 1]), 2)));
    assert_eq!(sent_to(&answer, 2), [matched(3)]);
}

#[test]
fn an_entry_that_conflicts_with_a_committed_one_stops_the_replica() {
    let mut node = node_with(&[1, 1, 1, 1], 1, 3);
    node.replica
        .step(message(2, 1, 2, append((2, 1), entries(3, &[2]), 0)));
    let effects = node.replica.effects();
    assert!(
        matches!(effects.broken, Some(Broken::ConflictsWithCommitted { .. })),
        "{effects:?}"
    );
    assert!(effects.persist.is_none() && effects.send.is_empty());
    assert_eq!(node.replica.propose(Bytes::new()), Err(Refusal::Stopped));
    node.replica.step(message(2, 1, 7, heartbeat(0)));
    node.replica.tick();
    assert!(
        !node.replica.has_effects() && node.replica.term() == Term(2),
        "it ignores everything"
    );
}

#[test]
fn two_leaders_in_one_term_stop_the_replica() {
    let mut node = node(1);
    node.answer(message(2, 1, 3, heartbeat(0)));
    node.replica.step(message(3, 1, 3, heartbeat(0)));
    assert!(matches!(
        node.replica.stopped(),
        Some(Broken::TwoLeaders { .. })
    ));
    let mut node = replicating();
    node.replica.read_index(ReadToken(1)).unwrap();
    node.replica.step(message(3, 1, 1, heartbeat(0)));
    let effects = node.replica.effects();
    assert!(matches!(effects.broken, Some(Broken::TwoLeaders { .. })));
    assert_eq!(effects.reads_failed, [ReadToken(1)]);
}

#[test]
fn other_broken_promises_stop_the_replica_too() {
    type Breach = fn(&mut Node);
    let breaches: &[Breach] = &[
        |node| node.replica.step(message(2, 1, 1, matched(9))),
        |node| node.replica.applied(Index(9)),
        |node| node.replica.persisted(raft::PersistToken(99)),
        |node| node.replica.compacted(Index(9), Term(1)),
        |node| node.replica.compacted(Index(1), Term(7)),
        |node| node.replica.snapshot_installed(Index(0), Term(0), group(3)),
        |node| node.replica.snapshot_installed(Index(1), Term(7), group(3)),
    ];
    for (number, breach) in breaches.iter().enumerate() {
        let mut node = replicating();
        breach(&mut node);
        assert!(node.replica.stopped().is_some(), "breach {number}");
    }
    let mut node = node_with(&[1], 1, 0);
    node.replica.step(message(2, 1, 1, heartbeat(2)));
    assert!(matches!(
        node.replica.stopped(),
        Some(Broken::CommittedBeyondLast { .. })
    ));
}

#[test]
fn if_a_follower_receives_a_request_that_it_has_handled_already_it_is_harmless() {
    let mut node = node(1);
    let request = message(2, 1, 1, append((0, 0), entries(1, &[1, 1]), 1));
    let first = node.answer(request.clone());
    let before = node.disk.clone();
    assert_eq!(node.answer(request), first);
    assert_eq!(node.disk.log, before.log);
}

#[test]
fn a_follower_commits_no_further_than_the_last_new_entry() {
    // Entries 3 and 4 of the follower are of an old leader; the append shows only that the logs agree up to 2.
    let mut node = node_with(&[1, 1, 2, 2], 3, 0);
    node.answer(message(2, 1, 3, append((2, 1), vec![], 4)));
    assert_eq!(node.replica.committed(), Index(2));
}
