//! §7 Log compaction, and what stays in memory.

use bytes::Bytes;
use raft::{Body, Config, Fetched, FollowerState, Index, Refusal, Role, Term};

use crate::common::{
    ELECTION_TICKS, HEARTBEAT_TICKS, Node, ack, append, config, entries, entry, group, id, matched,
    message,
};

use super::{appends, granted, heartbeat, node, node_with, rejected, ticks};

#[test]
fn the_leader_sends_a_snapshot_when_it_has_discarded_the_next_entry_that_a_follower_needs() {
    let mut node = node_with(&[1, 1, 1, 1, 1, 1], 1, 5);
    node.compact(Index(4));
    node.win(&[2]);
    node.replica.step(message(3, 1, 2, rejected(6, (2, 1))));
    assert_eq!(node.drain().snapshots, [id(3)]);
    assert_eq!(node.replica.progress()[1].state, FollowerState::Snapshot);
    node.replica.step(message(3, 1, 2, ack(0)));
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
    node.replica.step(message(3, 1, 2, ack(0)));
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
    let Fetched::Entries {
        previous_term,
        mut entries,
    } = node.disk.read(fetch)
    else {
        panic!()
    };
    // One more than was asked for might be of an old leader, and about to be replaced on disk.
    entries.push(entry(6, 1));
    node.replica.fetched(
        fetch,
        Fetched::Entries {
            previous_term,
            entries,
        },
    );
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
    for index in 1..=3 {
        node.answer(message(3, 1, 1, ack(0)));
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

#[test]
fn a_leader_that_died_in_the_middle_of_a_snapshot_is_not_kept_alive_by_it() {
    let mut node = node(1);
    for _ in 0..2 * ELECTION_TICKS {
        node.replica
            .accept_snapshot(id(2), Term(1), Index(9))
            .unwrap();
        ticks(&mut node, 1);
    }
    assert_eq!(
        (node.replica.role(), node.replica.leader()),
        (Role::PreCandidate, None)
    );
    node.replica
        .accept_snapshot(id(2), Term(1), Index(9))
        .unwrap();
    assert_eq!(node.replica.leader(), None);
    // Nor does it stand in the way of another.
    let ask = Body::RequestPreVote {
        last_index: Index(0),
        last_term: Term(0),
    };
    let answer = node.answer(message(3, 1, 2, ask));
    assert!(granted(&answer, 3));
}
