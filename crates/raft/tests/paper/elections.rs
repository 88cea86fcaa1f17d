//! §5.1 Raft basics and §5.2 Leader election.

use raft::{Body, Config, Index, Role, Term};

use crate::common::{
    ELECTION_TICKS, HEARTBEAT_TICKS, Node, ack, append, config, entries, group, id, message,
    request_vote, sent_to,
};

use super::{granted, heartbeat, node, node_with, ticks};

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
    node.answer(message(2, 1, 9, ack(0)));
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
    assert_eq!(answer, [message(1, 3, 4, ack(0))]);
    assert_eq!(node.replica.last_index(), Index(0));
    let answer = node.answer(message(3, 1, 3, request_vote((9, 3))));
    assert_eq!(answer, [message(1, 3, 4, Body::Vote { granted: false })]);
}

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

type Votes = &'static [(u64, bool)];

#[test]
fn a_candidate_wins_if_it_receives_votes_from_a_majority_of_the_full_cluster() {
    #[rustfmt::skip]
    let table: &[(u64, Votes, Role)] = &[
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
        let waited = (1..100).find(|_| !ticks(&mut node, 1).is_empty()).unwrap();
        seen.insert(waited);
    }
    assert_eq!(seen, (ELECTION_TICKS..2 * ELECTION_TICKS).collect());
}
