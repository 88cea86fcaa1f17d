//! The thesis: 3.10 leadership transfer, 6.2 CheckQuorum, 9.6 PreVote.

use bytes::Bytes;
use raft::{Body, Index, Refusal, Role, Term};

use crate::common::{ELECTION_TICKS, ack, id, matched, message, request_vote, sent_to};

use super::{granted, heartbeat, node, replicating, ticks};

#[test]
fn the_prior_leader_stops_accepting_requests_and_sends_timeout_now_when_the_target_has_everything()
{
    let mut node = replicating();
    node.replica.propose(Bytes::from("x")).unwrap();
    node.settle();
    assert_eq!(node.replica.transferring(), None);
    node.replica.transfer_leadership(id(3)).unwrap();
    assert_eq!(node.replica.transferring(), Some(id(3)));
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
        node.answer(message(2, 1, 1, ack(0)));
    }
    assert_eq!(node.replica.transferring(), None);
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
    assert_eq!(sent_to(&sent, 2), std::slice::from_ref(&transfer));
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
        node.answer(message(3, 1, 1, ack(0)));
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
