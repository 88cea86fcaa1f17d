//! Leases: what a leader may conclude from promises, and what a follower owes for them.
//!
//! `timed` runs whole groups in time, with clocks that drift, under random faults.

#[cfg(feature = "mutants")]
mod mutants;
mod timed;

use raft::{Body, Index, Promises, ReadToken, Role, Term};

use crate::common::{
    ELECTION_TICKS, HEARTBEAT_TICKS, Node, append, config, entries, group, matched, message,
    request_vote, sent_to,
};

/// What everybody promises here, and what it is worth to a leader: a tenth and 2 ms less.
const PROMISE: u64 = 450;
const WORTH: u64 = 403;

fn promising(number: u64, promise_millis: u64) -> Node {
    let mut config = config(number, group(3));
    config.promises = Promises {
        promise_millis,
        earlier_millis: 0,
    };
    Node::new(config)
}

fn promised(read_sequence: u64, promise_millis: u64) -> Body {
    Body::HeartbeatAck {
        read_sequence,
        promise_millis,
    }
}

/// A leader in term 1 that has committed its first entry.
fn leader() -> Node {
    let mut node = promising(1, PROMISE);
    node.win(&[2]);
    node.answer(message(2, 1, 1, matched(1)));
    assert_eq!(node.replica.committed(), Index(1));
    node
}

/// Sends a heartbeat when its clock reads so much; gives its number.
fn heartbeat(node: &mut Node, at: u64) -> u64 {
    node.replica.set_time(at);
    let mut sent = Vec::new();
    for _ in 0..HEARTBEAT_TICKS {
        node.replica.tick();
        sent.extend(node.settle());
    }
    let numbers = sent_to(&sent, 2).into_iter().filter_map(|body| match body {
        Body::Heartbeat { read_sequence, .. } => Some(read_sequence),
        _ => None,
    });
    numbers.max().unwrap()
}

/// Whether a read that is asked when the clock reads so much is let go at once, without any message.
fn reads_at(node: &mut Node, at: u64) -> bool {
    node.replica.set_time(at);
    node.replica.read_index(ReadToken(at)).unwrap();
    let effects = node.drain();
    assert_ne!(effects.reads.is_empty(), effects.send.is_empty());
    !effects.reads.is_empty()
}

#[test]
fn a_lease_begins_when_the_heartbeat_was_sent_and_ends_before_the_promise_does() {
    let mut node = leader();
    let number = heartbeat(&mut node, 1000);
    node.replica.set_time(1300);
    node.answer(message(2, 1, 1, promised(number, PROMISE)));
    assert!(reads_at(&mut node, 1301));
    assert!(reads_at(&mut node, 1000 + WORTH - 1));
    assert_eq!(node.replica.lease_reads(), 2);
    assert!(!reads_at(&mut node, 1000 + WORTH));
    assert_eq!(node.replica.lease_reads(), 2);
}

#[test]
fn a_read_by_the_lease_is_served_at_the_commit_index_of_the_moment() {
    let mut node = leader();
    let number = heartbeat(&mut node, 1000);
    node.answer(message(2, 1, 1, promised(number, PROMISE)));
    node.replica.propose("x".into()).unwrap();
    node.replica.read_index(ReadToken(1)).unwrap();
    assert_eq!(node.drain().reads, [(ReadToken(1), Index(1))]);
    node.settle();
    node.answer(message(2, 1, 1, matched(2)));
    node.replica.read_index(ReadToken(2)).unwrap();
    assert_eq!(node.drain().reads, [(ReadToken(2), Index(2))]);
}

#[test]
fn every_heartbeat_has_a_number_so_that_a_late_answer_prolongs_nothing() {
    let mut node = leader();
    let first = heartbeat(&mut node, 1000);
    let second = heartbeat(&mut node, 1100);
    assert!(second > first);
    node.replica.set_time(1390);
    node.answer(message(2, 1, 1, promised(first, PROMISE)));
    assert!(!reads_at(&mut node, 1000 + WORTH));
    node.answer(message(2, 1, 1, promised(second, PROMISE)));
    node.answer(message(2, 1, 1, promised(first, PROMISE)));
    assert!(reads_at(&mut node, 1100 + WORTH - 1));
    assert!(!reads_at(&mut node, 1100 + WORTH));
}

#[test]
fn a_leader_that_was_paused_reads_by_a_round() {
    let mut node = leader();
    let number = heartbeat(&mut node, 1000);
    node.answer(message(2, 1, 1, promised(number, PROMISE)));
    assert!(reads_at(&mut node, 1100));
    // It finds another answer when it wakes.
    node.replica.set_time(9000);
    node.answer(message(3, 1, 1, promised(number, PROMISE)));
    node.replica.tick();
    assert!(!reads_at(&mut node, 9000));
    // A clock that goes back is not believed.
    assert!(!reads_at(&mut node, 1100));
}

#[test]
fn a_majority_must_have_promised_each_for_as_long_as_it_says() {
    let mut node = promising(1, PROMISE);
    node.config.membership = group(5);
    node = Node::new(node.config);
    node.win(&[2, 3]);
    for voter in [2, 3] {
        node.answer(message(voter, 1, 1, matched(1)));
    }
    let number = heartbeat(&mut node, 1000);
    node.answer(message(2, 1, 1, promised(number, 10_000)));
    // In quorum mode, or of an earlier version.
    node.answer(message(3, 1, 1, promised(number, 0)));
    assert!(!reads_at(&mut node, 1001));
    node.answer(message(4, 1, 1, promised(number, 100)));
    assert!(reads_at(&mut node, 1001));
    assert!(reads_at(&mut node, 1000 + 87));
    assert!(!reads_at(&mut node, 1000 + 88), "the shorter one counts");
}

#[test]
fn a_leader_in_quorum_mode_takes_no_lease_and_numbers_no_heartbeats() {
    let mut node = promising(1, 0);
    node.win(&[2]);
    node.answer(message(2, 1, 1, matched(1)));
    assert_eq!(heartbeat(&mut node, 1000), 0);
    node.answer(message(2, 1, 1, promised(0, PROMISE)));
    assert!(!reads_at(&mut node, 1001));
}

#[test]
fn there_is_no_lease_before_the_first_commit_of_the_term() {
    let mut node = promising(1, PROMISE);
    node.win(&[2]);
    let number = heartbeat(&mut node, 1000);
    node.answer(message(2, 1, 1, promised(number, PROMISE)));
    node.replica.read_index(ReadToken(1)).unwrap();
    assert_eq!(node.drain().reads, []);
    node.replica.step(message(2, 1, 1, matched(1)));
    assert_eq!(node.drain().reads, [(ReadToken(1), Index(1))]);
}

#[test]
fn a_transfer_ends_the_lease_for_the_rest_of_the_term() {
    let mut node = leader();
    node.answer(message(3, 1, 1, matched(1)));
    let number = heartbeat(&mut node, 1000);
    node.answer(message(2, 1, 1, promised(number, PROMISE)));
    assert!(reads_at(&mut node, 1001));
    node.replica
        .transfer_leadership(crate::common::id(3))
        .unwrap();
    let sent = node.settle();
    assert!(sent_to(&sent, 3).contains(&Body::TimeoutNow));
    assert!(!reads_at(&mut node, 1002));
    // Nothing comes of it, but `TimeoutNow` may still be under way.
    for round in 0..20 {
        let number = heartbeat(&mut node, 1100 + 100 * round);
        node.answer(message(2, 1, 1, promised(number, PROMISE)));
        assert!(!reads_at(&mut node, 1101 + 100 * round));
    }
    assert_eq!(node.replica.transferring(), None);
    assert_eq!(node.replica.role(), Role::Leader);
}

/// A follower of 1 in term 1 that has promised it something when its clock read 1000.
fn bound() -> Node {
    let mut node = promising(2, PROMISE);
    node.replica.set_time(1000);
    let sent = node.answer(message(1, 2, 1, append((0, 0), entries(1, &[1]), 0)));
    assert!(sent_to(&sent, 1).iter().all(|body| !matches!(
        body,
        Body::HeartbeatAck {
            promise_millis: 1..,
            ..
        }
    )));
    let sent = node.answer(message(
        1,
        2,
        1,
        Body::Heartbeat {
            committed: Index(0),
            read_sequence: 7,
        },
    ));
    assert_eq!(sent_to(&sent, 1), [promised(7, PROMISE)]);
    node
}

/// What the node answers a candidate of a term.
fn votes(node: &mut Node, at: u64, term: u64) -> Vec<Body> {
    node.replica.set_time(at);
    sent_to(&node.answer(message(3, 2, term, request_vote((1, 1)))), 3)
}

fn pre_votes(node: &mut Node, at: u64, term: u64) -> bool {
    let body = Body::RequestPreVote {
        last_index: Index(1),
        last_term: Term(1),
    };
    node.replica.set_time(at);
    let answers = sent_to(&node.answer(message(3, 2, term, body)), 3);
    answers == [Body::PreVote { granted: true }]
}

#[test]
fn a_follower_keeps_its_promise_whatever_its_ticks_say() {
    let mut node = bound();
    // It rested, and was told that nothing has been heard of its leader's process.
    for _ in 0..ELECTION_TICKS {
        node.replica.tick();
    }
    assert!(!pre_votes(&mut node, 1000 + PROMISE - 1, 2));
    assert_eq!(votes(&mut node, 1000 + PROMISE - 1, 2), []);
    assert!(pre_votes(&mut node, 1000 + PROMISE, 2));
    assert_eq!(
        votes(&mut node, 1000 + PROMISE, 2),
        [Body::Vote { granted: true }]
    );
}

#[test]
fn a_later_term_absolves_from_no_promise() {
    let mut node = bound();
    // A late refusal of somebody who has gone on to term 5.
    node.answer(message(3, 2, 5, Body::PreVote { granted: false }));
    assert_eq!(node.replica.term(), Term(5));
    assert_eq!(votes(&mut node, 1100, 5), [Body::Vote { granted: false }]);
    assert_eq!(votes(&mut node, 1100, 6), []);
    assert!(!pre_votes(&mut node, 1100, 6));
    assert_eq!(
        votes(&mut node, 1000 + PROMISE, 5),
        [Body::Vote { granted: true }]
    );
}

#[test]
fn a_follower_that_is_bound_does_not_stand_itself_either() {
    let mut node = bound();
    for _ in 0..3 * ELECTION_TICKS {
        node.replica.tick();
        assert_eq!(node.settle(), []);
    }
    node.replica.set_time(1000 + PROMISE);
    node.replica.tick();
    assert_eq!(node.settle().len(), 2);
    assert_eq!(node.replica.role(), Role::PreCandidate);
}

#[test]
fn whom_the_leader_wants_gets_the_vote_all_the_same() {
    let mut node = bound();
    let wanted = Body::RequestVote {
        last_index: Index(1),
        last_term: Term(1),
        transfer: true,
    };
    let sent = node.answer(message(3, 2, 2, wanted));
    assert_eq!(sent_to(&sent, 3), [Body::Vote { granted: true }]);
}

#[test]
fn a_follower_that_starts_again_keeps_what_the_process_before_it_promised() {
    let mut node = bound();
    node.crash();
    node.config.promises.earlier_millis = PROMISE;
    node.restart(0);
    assert!(!pre_votes(&mut node, 5000, 2));
    assert_eq!(votes(&mut node, 5000 + PROMISE - 1, 2), []);
    assert_eq!(
        votes(&mut node, 5000 + PROMISE, 2),
        [Body::Vote { granted: true }]
    );
}

#[test]
fn one_that_has_promised_nothing_votes_at_once() {
    let mut node = promising(2, 0);
    node.answer(message(1, 2, 1, append((0, 0), entries(1, &[1]), 0)));
    node.crash();
    node.restart(0);
    assert_eq!(votes(&mut node, 0, 2), [Body::Vote { granted: true }]);
}
