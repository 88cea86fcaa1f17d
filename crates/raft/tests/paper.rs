//! The paper's sentences (Ongaro and Ousterhout, 2014, and the thesis), each as a test.

use bytes::Bytes;
use raft::{
    AppendResult, Availability, Body, Broken, Config, EntryKind, Fetched, FollowerState, Index,
    Message, ReadToken, Refusal, Role, Term,
};

use crate::common::{
    ELECTION_TICKS, HEARTBEAT_TICKS, Node, append, config, entries, entry, group, id, message,
    request_vote, sent_to,
};

fn node(number: u64) -> Node {
    Node::new(config(number, group(3)))
}

fn node_with(terms: &[u64], term: u64, applied: u64) -> Node {
    Node::restored(config(1, group(3)), term, entries(1, terms), applied)
}

fn ticks(node: &mut Node, count: u32) -> Vec<Message> {
    let mut sent = Vec::new();
    for _ in 0..count {
        node.replica.tick();
        sent.extend(node.settle());
    }
    sent
}

fn matched(index: u64) -> Body {
    Body::Appended {
        result: AppendResult::Match(Index(index)),
        read_sequence: 0,
    }
}

fn rejected(rejected: u64, hint: (u64, u64)) -> Body {
    let result = AppendResult::Reject {
        rejected: Index(rejected),
        hint_index: Index(hint.0),
        hint_term: Term(hint.1),
    };
    Body::Appended {
        result,
        read_sequence: 0,
    }
}

fn heartbeat(committed: u64) -> Body {
    Body::Heartbeat {
        committed: Index(committed),
        read_sequence: 0,
    }
}

fn granted(answer: &[Message], to: u64) -> bool {
    let votes = sent_to(answer, to);
    assert_eq!(votes.len(), 1, "{votes:?}");
    matches!(
        votes[0],
        Body::Vote { granted: true } | Body::PreVote { granted: true }
    )
}

/// The entries and the previous index of the appends to a follower.
fn appends(sent: &[Message], to: u64) -> Vec<(u64, Vec<u64>)> {
    let read = |body| match body {
        Body::Append {
            previous_index,
            entries,
            ..
        } => Some((
            previous_index.0,
            entries.iter().map(|entry| entry.index.0).collect(),
        )),
        _ => None,
    };
    sent_to(sent, to).into_iter().filter_map(read).collect()
}

// 5.1 Raft basics

#[test]
fn if_one_servers_current_term_is_smaller_than_the_others_then_it_updates_it_to_the_larger_value() {
    let mut node = node(1);
    node.answer(message(2, 1, 4, heartbeat(0)));
    assert_eq!(node.replica.term(), Term(4));
}

#[test]
fn if_a_candidate_or_leader_discovers_that_its_term_is_out_of_date_it_immediately_reverts_to_follower()
 {
    let mut node = node(1);
    node.replica.campaign();
    node.settle();
    assert_eq!(node.replica.role(), Role::Candidate);
    node.answer(message(2, 1, 5, Body::Vote { granted: false }));
    assert_eq!(
        (node.replica.role(), node.replica.term()),
        (Role::Follower, Term(5))
    );
    node.win(&[2]);
    assert_eq!(node.replica.role(), Role::Leader);
    node.answer(message(2, 1, 9, Body::HeartbeatAck { read_sequence: 0 }));
    assert_eq!(
        (node.replica.role(), node.replica.term()),
        (Role::Follower, Term(9))
    );
}

#[test]
fn if_a_server_receives_a_request_with_a_stale_term_number_it_rejects_the_request() {
    let mut node = node(1);
    node.answer(message(2, 1, 4, heartbeat(0)));
    let answer = node.answer(message(3, 1, 3, append((0, 0), entries(1, &[3]), 1)));
    assert_eq!(
        answer,
        [message(1, 3, 4, Body::HeartbeatAck { read_sequence: 0 })]
    );
    assert_eq!(node.replica.last_index(), Index(0));
    let answer = node.answer(message(3, 1, 3, request_vote((9, 3))));
    assert_eq!(answer, [message(1, 3, 4, Body::Vote { granted: false })]);
}

// 5.2 Leader election

#[test]
fn when_servers_start_up_they_begin_as_followers() {
    assert_eq!(node(1).replica.role(), Role::Follower);
    assert_eq!(node_with(&[1, 2], 2, 1).replica.role(), Role::Follower);
}

#[test]
fn a_leader_sends_periodic_heartbeats_to_all_followers() {
    let mut node = node(1);
    node.win(&[2]);
    let sent = ticks(&mut node, 2 * HEARTBEAT_TICKS);
    for to in [2, 3] {
        let beats = sent_to(&sent, to)
            .into_iter()
            .filter(|body| *body == heartbeat(0));
        assert_eq!(beats.count(), 2);
    }
}

#[test]
fn if_a_follower_receives_no_communication_over_the_election_timeout_it_begins_an_election() {
    let mut node = node(1);
    let sent = ticks(&mut node, ELECTION_TICKS - 1);
    assert_eq!((node.replica.role(), sent), (Role::Follower, vec![]));
    let sent = ticks(&mut node, ELECTION_TICKS);
    assert_eq!(node.replica.role(), Role::PreCandidate);
    assert!(matches!(
        sent_to(&sent, 2)[..],
        [Body::RequestPreVote { .. }]
    ));
}

#[test]
fn a_server_remains_a_follower_as_long_as_it_receives_valid_messages_from_a_leader() {
    let mut node = node(1);
    for _ in 0..5 {
        ticks(&mut node, ELECTION_TICKS - 1);
        node.answer(message(2, 1, 1, heartbeat(0)));
        assert_eq!(
            (node.replica.role(), node.replica.leader()),
            (Role::Follower, Some(id(2)))
        );
    }
}

#[test]
fn to_begin_an_election_it_increments_its_term_votes_for_itself_and_asks_all_others() {
    let mut node = node_with(&[1, 2], 3, 0);
    node.replica.campaign();
    let sent = node.settle();
    assert_eq!(node.disk.hard.term, Term(4));
    assert_eq!(node.disk.hard.vote, Some(id(1)));
    let request = request_vote((2, 2));
    assert_eq!(
        sent,
        [message(1, 2, 4, request.clone()), message(1, 3, 4, request)]
    );
}

#[test]
fn a_candidate_wins_if_it_receives_votes_from_a_majority_of_the_full_cluster() {
    #[rustfmt::skip]
    let table: &[(u64, &[(u64, bool)], Role)] = &[
        (1, &[],                                             Role::Leader),
        (3, &[],                                             Role::Candidate),
        (3, &[(2, true)],                                    Role::Leader),
        (3, &[(2, false), (3, true)],                        Role::Leader),
        (3, &[(2, false), (3, false)],                       Role::Candidate),
        (5, &[(2, true)],                                    Role::Candidate),
        (5, &[(2, true), (2, true), (2, true)],              Role::Candidate), // one voter, three times
        (5, &[(2, true), (4, true)],                         Role::Leader),
        (5, &[(2, false), (3, false), (4, true), (5, true)], Role::Leader),
    ];
    for (size, votes, role) in table {
        let mut node = Node::new(config(1, group(*size)));
        node.replica.campaign();
        node.settle();
        for &(from, granted) in *votes {
            node.answer(message(from, 1, 1, Body::Vote { granted }));
        }
        assert_eq!(node.replica.role(), *role, "{size} {votes:?}");
    }
}

#[test]
fn each_server_will_vote_for_at_most_one_candidate_in_a_given_term_first_come_first_served() {
    let mut node = node(1);
    assert!(granted(
        &node.answer(message(2, 1, 1, request_vote((0, 0)))),
        2
    ));
    assert!(!granted(
        &node.answer(message(3, 1, 1, request_vote((0, 0)))),
        3
    ));
    assert!(
        granted(&node.answer(message(2, 1, 1, request_vote((0, 0)))), 2),
        "the answer may have been lost"
    );
    node.crash();
    node.restart(0);
    assert!(!granted(
        &node.answer(message(3, 1, 1, request_vote((0, 0)))),
        3
    ));
    assert!(granted(
        &node.answer(message(3, 1, 2, request_vote((0, 0)))),
        3
    ));
}

#[test]
fn a_candidate_recognises_a_leader_of_at_least_its_own_term_and_returns_to_follower_state() {
    for term in [1, 2] {
        let mut node = node(1);
        node.replica.campaign();
        node.settle();
        node.answer(message(3, 1, term, append((0, 0), vec![], 0)));
        assert_eq!(node.replica.role(), Role::Follower);
        assert_eq!(node.replica.leader(), Some(id(3)));
    }
}

#[test]
fn election_timeouts_are_chosen_randomly_from_a_fixed_interval() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..200 {
        let mut node = Node::new(Config {
            seed,
            ..config(1, group(3))
        });
        let waited = (1..).find(|_| !ticks(&mut node, 1).is_empty()).unwrap();
        seen.insert(waited);
    }
    assert_eq!(seen, (ELECTION_TICKS..2 * ELECTION_TICKS).collect());
}

// 5.3 Log replication

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
    let committed = |body| match body {
        Body::Append { committed, .. } | Body::Heartbeat { committed, .. } => committed.0,
        _ => 0,
    };
    let told: Vec<u64> = sent_to(&sent, 2).into_iter().map(committed).collect();
    assert_eq!(told, [1, 2, 2, 3]);
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

fn reject(rejected: u64, hint: (u64, u64)) -> AppendResult {
    let (hint_index, hint_term) = (Index(hint.0), Term(hint.1));
    AppendResult::Reject {
        rejected: Index(rejected),
        hint_index,
        hint_term,
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
        sent.extend(node.answer(message(2, 1, 1, Body::HeartbeatAck { read_sequence: 0 })));
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

/// A leader of term 1 whose no-op both followers have.
fn replicating() -> Node {
    let mut node = node(1);
    node.win(&[2]);
    for from in [2, 3] {
        node.answer(message(from, 1, 1, matched(1)));
    }
    assert_eq!(node.replica.committed(), Index(1));
    node
}

// 5.4 Safety

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

// 5.5, 5.6

#[test]
fn if_a_follower_receives_a_request_that_it_has_handled_already_it_is_harmless() {
    let mut node = node(1);
    let request = message(2, 1, 1, append((0, 0), entries(1, &[1, 1]), 1));
    let first = node.answer(request.clone());
    let before = node.disk.clone();
    assert_eq!(node.answer(request), first);
    assert_eq!(node.disk.log, before.log);
}

// 7 Log compaction

#[test]
fn the_leader_sends_a_snapshot_when_it_has_discarded_the_next_entry_that_a_follower_needs() {
    let mut node = node_with(&[1, 1, 1, 1, 1, 1], 1, 5);
    node.compact(Index(4));
    node.win(&[2]);
    node.replica.step(message(3, 1, 2, rejected(6, (2, 1))));
    assert_eq!(node.drain().snapshots, [id(3)]);
    assert_eq!(node.replica.progress()[1].state, FollowerState::Snapshot);
    node.replica
        .step(message(3, 1, 2, Body::HeartbeatAck { read_sequence: 0 }));
    assert_eq!(node.drain().snapshots, [], "it is asked for once");
    node.replica.snapshot_sent(id(3), Ok(Index(5)));
    assert_eq!(appends(&node.drain().send, 3), [(5, vec![6, 7])]);
}

#[test]
fn a_snapshot_that_could_not_be_sent_is_tried_again_when_the_follower_is_heard() {
    let mut node = node_with(&[1, 1, 1, 1, 1, 1], 1, 5);
    node.compact(Index(4));
    node.win(&[2]);
    node.replica.step(message(3, 1, 2, rejected(6, (2, 1))));
    node.drain();
    node.replica.snapshot_sent(id(3), Err(()));
    assert_eq!(node.drain().snapshots, [], "not at once");
    node.replica
        .step(message(3, 1, 2, Body::HeartbeatAck { read_sequence: 0 }));
    let mut asked = Vec::new();
    for _ in 0..HEARTBEAT_TICKS {
        node.replica.tick();
        asked.extend(node.drain().snapshots);
    }
    assert_eq!(asked, [id(3)]);
}

#[test]
fn a_follower_that_needs_entries_that_the_log_still_has_gets_entries_and_no_snapshot() {
    let mut node = node_with(&[1, 1, 1, 2, 2, 2], 2, 5);
    assert_eq!(node.replica.first_in_memory(), Index(6));
    node.win(&[2]);
    node.replica.step(message(3, 1, 3, rejected(6, (2, 1))));
    let effects = node.drain();
    assert_eq!(effects.snapshots, []);
    let [fetch] = &effects.fetch[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (fetch.to, fetch.after, fetch.up_to),
        (id(3), Index(2), Index(5))
    );
    let result = node.disk.read(fetch);
    node.replica.fetched(fetch, result);
    assert_eq!(appends(&node.drain().send, 3), [(2, vec![3, 4, 5])]);
    // The answer to it brings the rest, from memory.
    node.replica.step(message(3, 1, 3, matched(5)));
    assert_eq!(appends(&node.drain().send, 3), [(5, vec![6, 7])]);
}

#[test]
fn what_was_purged_while_it_was_fetched_needs_a_snapshot() {
    let mut node = node_with(&[1, 1, 1, 2, 2, 2], 2, 5);
    node.win(&[2]);
    node.replica.step(message(3, 1, 3, rejected(6, (2, 1))));
    let fetch = node.drain().fetch.remove(0);
    node.compact(Index(4));
    assert_eq!(node.disk.read(&fetch), Fetched::Compacted);
    node.replica.fetched(&fetch, Fetched::Compacted);
    assert_eq!(node.drain().snapshots, [id(3)]);
}

#[test]
fn nothing_is_applied_while_a_snapshot_comes_in() {
    let mut node = node(1);
    node.answer(message(2, 1, 1, append((0, 0), entries(1, &[1, 1]), 0)));
    node.replica
        .accept_snapshot(id(2), Term(1), Index(9))
        .unwrap();
    node.replica.step(message(2, 1, 1, heartbeat(2)));
    assert_eq!(node.drain().apply, []);
    assert_eq!(
        node.replica.accept_snapshot(id(2), Term(1), Index(2)),
        Err(Refusal::Stale)
    );
    assert_eq!(node.drain().apply.len(), 2);
    // One that was given up holds it back no longer than an election timeout, and keeps elections quiet as long.
    node.replica
        .accept_snapshot(id(2), Term(1), Index(9))
        .unwrap();
    node.answer(message(2, 1, 1, append((2, 1), entries(3, &[1]), 3)));
    assert_eq!(node.store.index, Index(2));
    ticks(&mut node, ELECTION_TICKS - 1);
    assert_eq!(node.replica.role(), Role::Follower);
    ticks(&mut node, 1);
    assert_eq!(node.store.index, Index(3));
}

#[test]
fn a_snapshot_of_a_leader_of_the_past_is_refused() {
    let mut node = node(1);
    node.answer(message(2, 1, 5, heartbeat(0)));
    assert_eq!(
        node.replica.accept_snapshot(id(3), Term(4), Index(9)),
        Err(Refusal::Stale)
    );
    assert_eq!(
        node.replica.accept_snapshot(id(9), Term(5), Index(9)),
        Err(Refusal::Stale)
    );
    assert_eq!(
        node.replica.accept_snapshot(id(3), Term(6), Index(9)),
        Ok(())
    );
    assert_eq!(
        (node.replica.term(), node.replica.leader()),
        (Term(6), Some(id(3)))
    );
}

#[test]
fn memory_keeps_what_an_active_follower_lacks_within_a_bound() {
    let mut node = Node::new(Config {
        max_uncommitted_bytes: usize::MAX,
        ..config(1, group(3))
    });
    node.win(&[2]);
    let payload = Bytes::from(vec![0; 1 << 20]);
    for index in 1..=4 {
        node.answer(message(3, 1, 1, Body::HeartbeatAck { read_sequence: 0 }));
        node.replica.propose(payload.clone()).unwrap();
        node.settle();
        node.answer(message(2, 1, 1, matched(index)));
        assert_eq!(
            node.replica.first_in_memory(),
            Index(1),
            "replica 3 has nothing yet"
        );
    }
    for _ in 4..=5 {
        node.replica.propose(payload.clone()).unwrap();
    }
    node.settle();
    node.answer(message(2, 1, 1, matched(6)));
    assert_eq!(node.replica.first_in_memory(), Index(4), "4 MiB are enough");
    node.answer(message(3, 1, 1, matched(6)));
    assert_eq!(node.replica.first_in_memory(), Index(7));
}

// 8 Client interaction

#[test]
fn a_leader_commits_a_blank_no_op_entry_at_the_start_of_its_term() {
    let mut node = node_with(&[1, 1], 1, 0);
    node.win(&[2]);
    assert_eq!(node.log[&3].kind, EntryKind::Noop);
    assert_eq!(node.log[&3].term, Term(2));
    node.answer(message(2, 1, 2, matched(3)));
    assert_eq!(node.store.index, Index(3));
}

#[test]
fn the_leader_exchanges_heartbeats_with_a_majority_before_responding_to_read_only_requests() {
    let mut node = replicating();
    for read in 1..=3 {
        node.replica.read_index(ReadToken(read)).unwrap();
    }
    let effects = node.drain();
    assert_eq!(effects.reads, []);
    let round = Body::Heartbeat {
        committed: Index(1),
        read_sequence: 1,
    };
    assert_eq!(
        sent_to(&effects.send, 2),
        [round],
        "one round for all three"
    );
    node.replica
        .step(message(3, 1, 1, Body::HeartbeatAck { read_sequence: 1 }));
    let reads = node.drain().reads;
    assert_eq!(reads, [1, 2, 3].map(|read| (ReadToken(read), Index(1))));
}

#[test]
fn a_read_round_rides_on_an_append_and_its_echo_does_not_wait_for_the_disk() {
    let mut node = replicating();
    node.replica.propose(Bytes::from("x")).unwrap();
    node.replica.read_index(ReadToken(1)).unwrap();
    let sent = node.drain().send;
    let [
        append @ Body::Append {
            read_sequence: 1, ..
        },
    ] = &sent_to(&sent, 2)[..]
    else {
        panic!("{sent:?}")
    };
    let mut follower = Node::restored(config(2, group(3)), 1, vec![], 0);
    follower.answer(message(
        1,
        2,
        1,
        crate::common::append((0, 0), entries(1, &[1]), 1),
    ));
    follower.replica.step(message(1, 2, 1, append.clone()));
    let echo = follower.drain().send;
    assert_eq!(sent_to(&echo, 1), [Body::HeartbeatAck { read_sequence: 1 }]);
}

#[test]
fn a_group_of_one_reads_and_writes_alone() {
    let mut node = Node::new(config(1, group(1)));
    assert_eq!(
        node.replica.read_index(ReadToken(1)),
        Err(Refusal::NotLeader { leader: None })
    );
    ticks(&mut node, 2 * ELECTION_TICKS);
    assert_eq!(node.replica.role(), Role::Leader);
    assert_eq!(
        node.replica.propose(Bytes::from("x")),
        Ok((Term(1), Index(2)))
    );
    assert_eq!(node.settle(), []);
    assert_eq!(node.store.index, Index(2));
    node.replica.read_index(ReadToken(2)).unwrap();
    assert_eq!(node.drain().reads, [(ReadToken(2), Index(2))]);
}

// Thesis: 3.10 leadership transfer, 6.2 CheckQuorum, 9.6 PreVote

#[test]
fn the_prior_leader_stops_accepting_requests_and_sends_timeout_now_when_the_target_has_everything()
{
    let mut node = replicating();
    node.replica.propose(Bytes::from("x")).unwrap();
    node.settle();
    node.replica.transfer_leadership(id(3)).unwrap();
    assert_eq!(node.settle(), [], "it lacks an entry");
    assert_eq!(
        node.replica.propose(Bytes::from("y")),
        Err(Refusal::Transferring)
    );
    assert_eq!(
        node.replica.transfer_leadership(id(2)),
        Err(Refusal::Transferring)
    );
    node.answer(message(2, 1, 1, matched(2)));
    let sent = node.answer(message(3, 1, 1, matched(2)));
    assert!(sent_to(&sent, 3).contains(&Body::TimeoutNow));
    assert!(!sent_to(&sent, 2).contains(&Body::TimeoutNow));
    assert_eq!(
        node.replica.transfer_leadership(id(9)),
        Err(Refusal::Transferring)
    );
}

#[test]
fn if_leadership_transfer_does_not_complete_after_about_an_election_timeout_the_leader_aborts_it() {
    let mut node = replicating();
    assert_eq!(node.replica.transfer_leadership(id(9)), Err(Refusal::Stale));
    node.replica.transfer_leadership(id(3)).unwrap();
    for _ in 0..ELECTION_TICKS {
        assert_eq!(
            node.replica.propose(Bytes::from("y")),
            Err(Refusal::Transferring)
        );
        ticks(&mut node, 1);
        node.answer(message(2, 1, 1, Body::HeartbeatAck { read_sequence: 0 }));
    }
    assert!(node.replica.propose(Bytes::from("y")).is_ok());
}

#[test]
fn upon_timeout_now_the_target_starts_an_election_at_once_and_the_others_vote_although_they_know_a_leader()
 {
    let mut target = node(3);
    target.answer(message(1, 3, 1, heartbeat(0)));
    let sent = target.answer(message(1, 3, 1, Body::TimeoutNow));
    let transfer = Body::RequestVote {
        last_index: Index(0),
        last_term: Term(0),
        transfer: true,
    };
    assert_eq!(sent_to(&sent, 2), [transfer.clone()]);
    let mut voter = node(2);
    voter.answer(message(1, 2, 1, heartbeat(0)));
    assert!(granted(&voter.answer(message(3, 2, 2, transfer)), 3));
}

#[test]
fn if_a_server_receives_a_request_within_the_minimum_election_timeout_of_hearing_from_a_leader_it_does_not_vote_or_update_its_term()
 {
    let mut node = node(1);
    node.answer(message(2, 1, 1, heartbeat(0)));
    ticks(&mut node, ELECTION_TICKS - 1);
    assert_eq!(node.answer(message(3, 1, 7, request_vote((9, 6)))), []);
    assert_eq!(node.replica.term(), Term(1));
    let ask = Body::RequestPreVote {
        last_index: Index(9),
        last_term: Term(6),
    };
    assert!(!granted(&node.answer(message(3, 1, 7, ask.clone())), 3));
    if node.replica.role() == Role::Follower {
        ticks(&mut node, 1);
        assert!(granted(&node.answer(message(3, 1, 7, ask)), 3));
        assert_eq!(node.replica.term(), Term(1), "a question changes no term");
    }
}

#[test]
fn a_leader_steps_down_if_an_election_timeout_elapses_without_a_round_of_heartbeats_to_a_majority()
{
    let mut node = replicating();
    for _ in 0..3 {
        ticks(&mut node, ELECTION_TICKS - 1);
        assert_eq!(node.replica.role(), Role::Leader);
        node.answer(message(3, 1, 1, Body::HeartbeatAck { read_sequence: 0 }));
    }
    ticks(&mut node, ELECTION_TICKS);
    assert_eq!(
        (node.replica.role(), node.replica.leader()),
        (Role::Follower, None)
    );
    assert_eq!(
        node.replica.propose(Bytes::new()),
        Err(Refusal::NotLeader { leader: None })
    );
}

#[test]
fn messages_that_answer_nothing_do_not_keep_a_leader_that_cannot_be_heard() {
    // The link from the leader is cut, that to it is not.
    let mut node = replicating();
    let ask = Body::RequestPreVote {
        last_index: Index(1),
        last_term: Term(1),
    };
    for _ in 0..ELECTION_TICKS {
        ticks(&mut node, 1);
        node.answer(message(2, 1, 2, ask.clone()));
    }
    assert_eq!(node.replica.role(), Role::Follower);
}

#[test]
fn a_candidate_only_increments_its_term_if_it_first_learns_from_a_majority_that_they_would_vote_for_it()
 {
    let mut node = node(1);
    ticks(&mut node, 10 * ELECTION_TICKS);
    assert_eq!(
        (node.replica.role(), node.replica.term()),
        (Role::PreCandidate, Term(0))
    );
    node.answer(message(2, 1, 0, Body::PreVote { granted: false }));
    assert_eq!(node.replica.role(), Role::PreCandidate);
    node.answer(message(3, 1, 9, Body::PreVote { granted: true }));
    assert_eq!(
        node.replica.role(),
        Role::PreCandidate,
        "an answer to another question"
    );
    node.answer(message(3, 1, 1, Body::PreVote { granted: true }));
    assert_eq!(
        (node.replica.role(), node.replica.term()),
        (Role::Candidate, Term(1))
    );
}

// What the callers are told.

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
