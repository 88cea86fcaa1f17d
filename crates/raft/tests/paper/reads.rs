//! §8 Client interaction: the no-op and reads.

use bytes::Bytes;
use raft::{Body, EntryKind, Index, ReadToken, Refusal, Role, Term};

use crate::common::{ELECTION_TICKS, Node, ack, config, entries, group, matched, message, sent_to};

use super::{node_with, replicating, ticks};

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
    node.replica.step(message(3, 1, 1, ack(1)));
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
    assert_eq!(sent_to(&echo, 1), [ack(1)]);
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
