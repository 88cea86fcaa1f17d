//! §5.3 Log replication.

use bytes::Bytes;
use raft::{AppendResult, Body, Config, FollowerState, Index, Refusal, Term};

use crate::common::{
    HEARTBEAT_TICKS, Node, ack, append, config, entries, entry, group, matched, message, sent_to,
};

use super::{appends, heartbeat, node, node_with, reject, rejected, replicating, ticks};

#[test]
fn the_leader_appends_the_command_as_a_new_entry_and_sends_it_in_parallel_before_its_own_sync() {
    let mut node = replicating();
    assert_eq!(
        node.replica.propose(Bytes::from("x")),
        Ok((Term(1), Index(2)))
    );
    let effects = node.drain();
    assert_eq!(appends(&effects.send, 2), [(1, vec![2])]);
    assert_eq!(appends(&effects.send, 3), [(1, vec![2])]);
    assert_eq!(effects.persist.unwrap().append.len(), 1);
}

#[test]
fn the_entry_is_committed_once_it_is_durable_on_a_majority_of_the_servers() {
    // The leader's own copy counts like any other, and not before it is durable.
    for (own, follower, other, committed) in [
        (true, true, false, 2),
        (true, false, false, 1),
        (false, true, false, 1),
        (false, true, true, 2),
    ] {
        let mut node = replicating();
        node.replica.propose(Bytes::from("x")).unwrap();
        node.drain();
        if own {
            node.sync(1);
        }
        for (from, has) in [(2, follower), (3, other)] {
            if has {
                node.replica.step(message(from, 1, 1, matched(2)));
            }
        }
        assert_eq!(
            node.replica.committed(),
            Index(committed),
            "{own} {follower} {other}"
        );
        assert_eq!(node.drain().apply.len() as u64, committed - 1);
    }
}

#[test]
fn the_leader_keeps_track_of_the_highest_index_it_knows_to_be_committed_and_includes_it_in_appends()
{
    let mut node = replicating();
    let mut sent = Vec::new();
    for index in 2..4 {
        node.replica.propose(Bytes::from("x")).unwrap();
        sent.extend(node.settle());
        sent.extend(node.answer(message(2, 1, 1, matched(index))));
    }
    // News of the last commit: no further append carries them.
    node.replica.tick();
    sent.extend(node.settle());
    let committed = |body| match body {
        Body::Append { committed, .. } | Body::Heartbeat { committed, .. } => committed.0,
        _ => 0,
    };
    let told: Vec<u64> = sent_to(&sent, 2).into_iter().map(committed).collect();
    assert_eq!(
        told,
        [1, 2, 2, 3],
        "at once after a pause, else with the next append or tick"
    );
}

#[test]
fn once_a_follower_learns_that_an_entry_is_committed_it_applies_it_in_log_order() {
    let mut node = node(1);
    node.answer(message(
        2,
        1,
        1,
        append((0, 0), entries(1, &[1, 1, 1, 1]), 0),
    ));
    assert_eq!(node.store.index, Index(0));
    node.replica.step(message(2, 1, 1, heartbeat(3)));
    assert_eq!(node.drain().apply, entries(1, &[1, 1, 1]));
    node.replica
        .step(message(2, 1, 1, append((4, 1), vec![], 9)));
    assert_eq!(
        node.drain().apply,
        [entry(4, 1)],
        "no further than the entries that are known to match"
    );
}

#[test]
fn if_the_follower_does_not_find_an_entry_with_the_same_index_and_term_it_refuses_the_new_entries()
{
    #[rustfmt::skip]
    let table: &[((u64, u64), AppendResult)] = &[
        // The follower's log: 1 2 2 3 3 (terms)
        ((5, 3), AppendResult::Match(Index(6))),
        ((4, 3), AppendResult::Match(Index(5))),
        ((9, 3), reject(9, (5, 3))), // it is missing entries
        ((9, 2), reject(9, (3, 2))), // ... and those of term 3 are extraneous
        ((5, 4), reject(5, (4, 3))),
        ((5, 2), reject(5, (3, 2))), // a whole term at a time
        ((5, 1), reject(5, (1, 1))),
        ((3, 1), reject(3, (1, 1))),
    ];
    for (previous, result) in table {
        let mut node = node_with(&[1, 2, 2, 3, 3], 5, 0);
        let new = vec![entry(previous.0 + 1, 5)];
        let answer = node.answer(message(2, 1, 5, append(*previous, new, 0)));
        assert_eq!(
            sent_to(&answer, 2),
            [Body::Appended {
                result: *result,
                read_sequence: 0
            }]
        );
    }
}

#[test]
fn conflicting_entries_in_follower_logs_will_be_overwritten_with_entries_from_the_leaders_log() {
    // Figure 7, (f): entries of terms 2 and 3 that were never committed.
    let mut node = node_with(&[1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3], 8, 0);
    let leader = entries(4, &[4, 4, 5, 5, 6, 6, 6]);
    node.answer(message(2, 1, 8, append((3, 1), leader.clone(), 0)));
    let terms: Vec<u64> = node.disk.log.values().map(|entry| entry.term.0).collect();
    assert_eq!(terms, [1, 1, 1, 4, 4, 5, 5, 6, 6, 6]);
}

#[test]
fn entries_that_the_follower_has_already_change_nothing() {
    let mut node = node_with(&[1, 1, 1, 1], 1, 0);
    node.replica
        .step(message(2, 1, 1, append((1, 1), entries(2, &[1, 1]), 0)));
    assert_eq!(
        node.drain().persist,
        None,
        "an old append must not cut off what came later"
    );
    assert_eq!(node.replica.last_index(), Index(4));
}

#[test]
fn the_leader_finds_the_latest_entry_where_the_two_logs_agree() {
    let mut node = node_with(&[1, 1, 1, 4, 4, 5, 5, 6, 6, 6], 6, 0);
    let sent = node.win(&[3]);
    assert_eq!(
        appends(&sent, 2),
        [(10, vec![11])],
        "when a leader first comes to power"
    );
    // Figure 7, (f). One question per term of the follower, not per entry.
    let sent = node.answer(message(2, 1, 7, rejected(10, (9, 3))));
    assert_eq!(appends(&sent, 2)[0].0, 3);
    let sent = node.answer(message(2, 1, 7, matched(11)));
    assert_eq!(appends(&sent, 2), []);
    assert_eq!(node.replica.progress()[0].state, FollowerState::Replicate);
}

#[test]
fn a_follower_that_lacks_entries_is_sent_them_from_where_its_log_ends() {
    let mut node = node_with(&[1, 1, 1, 1, 1, 1], 1, 0);
    node.win(&[3]);
    let sent = node.answer(message(2, 1, 2, rejected(6, (2, 1))));
    assert_eq!(appends(&sent, 2), [(2, vec![3, 4, 5, 6, 7])]);
    // The same rejection again says nothing new.
    assert_eq!(node.answer(message(2, 1, 2, rejected(6, (2, 1)))), []);
}

#[test]
fn the_leader_retries_appends_indefinitely() {
    let mut node = replicating();
    node.replica.propose(Bytes::from("lost")).unwrap();
    assert_eq!(appends(&node.settle(), 2), [(1, vec![2])]);
    // The append is lost. The follower still answers heartbeats: they must lead to another try.
    let mut sent = Vec::new();
    for _ in 0..2 {
        sent.extend(ticks(&mut node, HEARTBEAT_TICKS));
        sent.extend(node.answer(message(2, 1, 1, ack(0))));
    }
    assert_eq!(appends(&sent, 2), [(2, vec![])], "did it arrive?");
    let sent = node.answer(message(2, 1, 1, rejected(2, (1, 1))));
    assert_eq!(appends(&sent, 2), [(1, vec![2])]);
}

#[test]
fn appends_are_pipelined_within_a_window() {
    let mut node = Node::new(Config {
        max_inflight_appends: 3,
        ..config(1, group(3))
    });
    node.win(&[2]);
    node.answer(message(2, 1, 1, matched(1)));
    let mut sent = Vec::new();
    for _ in 0..5 {
        node.replica.propose(Bytes::from("x")).unwrap();
        sent.extend(node.settle());
    }
    assert_eq!(
        appends(&sent, 2),
        [(1, vec![2]), (2, vec![3]), (3, vec![4])]
    );
    assert_eq!(
        appends(&node.answer(message(2, 1, 1, matched(3))), 2),
        [(4, vec![5, 6])]
    );
}

#[test]
fn an_append_carries_no_more_than_its_limit_but_always_one_entry() {
    let mut node = Node::new(Config {
        max_append_bytes: 300,
        ..config(1, group(3))
    });
    node.win(&[2]);
    node.answer(message(2, 1, 1, matched(1)));
    for size in [1000, 100, 100, 100] {
        node.replica.propose(Bytes::from(vec![0; size])).unwrap();
    }
    assert_eq!(
        appends(&node.settle(), 2),
        [(1, vec![2]), (2, vec![3, 4]), (4, vec![5])]
    );
}

#[test]
fn proposals_are_refused_while_too_much_waits_to_be_committed() {
    let mut node = Node::new(Config {
        max_uncommitted_bytes: 1000,
        ..config(1, group(3))
    });
    node.win(&[2]);
    node.answer(message(2, 1, 1, matched(1)));
    node.replica.propose(Bytes::from(vec![0; 5000])).unwrap();
    assert_eq!(
        node.replica.propose(Bytes::from("x")),
        Err(Refusal::TooManyUncommitted)
    );
    node.settle();
    node.answer(message(2, 1, 1, matched(2)));
    assert_eq!(
        node.replica.propose(Bytes::from("x")),
        Ok((Term(1), Index(3)))
    );
}
