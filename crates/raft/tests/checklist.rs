//! Bugs that other implementations had, by their number in the project's list (docs: how we know that it works).

use std::collections::BTreeSet;

use bytes::Bytes;
use raft::{
    AppendResult, Body, Broken, HardState, Index, Membership, ReadToken, Refusal, Replica,
    ReplicaId, Restored, Role, Term,
};

use crate::common::{
    ELECTION_TICKS, Node, ack, append, config, entries, entry, group, id, message, request_vote,
    sent_to,
};

fn node(number: u64) -> Node {
    Node::new(config(number, group(3)))
}

/// A leader of term 1 whose no-op is committed by replica 2.
fn leader() -> Node {
    let mut node = node(1);
    node.win(&[2]);
    node.answer(message(2, 1, 1, matched(1, 0)));
    assert_eq!(
        (node.replica.role(), node.replica.committed()),
        (Role::Leader, Index(1))
    );
    node
}

fn matched(index: u64, read_sequence: u64) -> Body {
    Body::Appended {
        result: AppendResult::Match(Index(index)),
        read_sequence,
    }
}

// 1. Term and vote in one durable write before answering.

#[test]
fn row_1_term_and_vote_are_in_one_durable_write_before_answering() {
    let mut node = node(1);
    node.replica.step(message(2, 1, 5, request_vote((0, 0))));
    let effects = node.drain();
    let persist = effects.persist.expect("term and vote");
    assert_eq!(
        persist.hard_state,
        Some(HardState {
            term: Term(5),
            vote: Some(id(2))
        })
    );
    assert_eq!(effects.send, [], "the answer has to wait");
    node.sync(1);
    assert_eq!(
        sent_to(&node.drain().send, 2),
        [Body::Vote { granted: true }]
    );
}

#[test]
fn row_1_a_vote_that_was_not_durable_was_not_given() {
    let mut node = node(1);
    node.replica.step(message(2, 1, 5, request_vote((0, 0))));
    node.drain();
    node.crash();
    node.restart(0);
    assert_eq!(node.settle(), []);
    let answer = node.answer(message(3, 1, 5, request_vote((0, 0))));
    assert_eq!(sent_to(&answer, 3), [Body::Vote { granted: true }]);
    node.crash();
    node.restart(0);
    let answer = node.answer(message(2, 1, 5, request_vote((0, 0))));
    assert_eq!(sent_to(&answer, 2), [Body::Vote { granted: false }]);
}

#[test]
fn row_1_a_candidates_own_vote_counts_only_once_it_is_durable() {
    let mut node = Node::new(config(1, group(1)));
    node.replica.campaign();
    node.drain();
    assert_eq!(node.replica.role(), Role::Candidate);
    node.replica.campaign();
    node.drain();
    node.sync(1);
    assert_eq!(
        node.replica.role(),
        Role::Candidate,
        "that was the vote of the term before"
    );
    node.sync(1);
    assert_eq!(node.replica.role(), Role::Leader);
}

#[test]
fn row_1_entries_travel_in_the_same_write_as_the_term_and_the_match_waits_for_it() {
    let mut node = node(1);
    node.replica
        .step(message(2, 1, 3, append((0, 0), entries(1, &[3, 3]), 0)));
    let effects = node.drain();
    let persist = effects.persist.expect("term and entries");
    assert_eq!(
        persist.hard_state,
        Some(HardState {
            term: Term(3),
            vote: None
        })
    );
    assert_eq!(persist.append, entries(1, &[3, 3]));
    assert_eq!(effects.send, []);
    node.sync(1);
    assert_eq!(sent_to(&node.drain().send, 2), [matched(2, 0)]);
}

// 2. Restart of all nodes at once: terms don't reset, nothing confirmed is lost.

#[test]
fn row_2_after_a_restart_of_all_at_once_terms_go_on_and_nothing_confirmed_is_lost() {
    let mut nodes: Vec<Node> = (1..=3)
        .map(|number| Node::new(config(number, group(3))))
        .collect();
    elect(&mut nodes);
    for number in 0..10 {
        nodes[0]
            .replica
            .propose(Bytes::from(vec![number; 8]))
            .unwrap();
        exchange(&mut nodes);
    }
    let (term, committed) = (nodes[0].replica.term(), nodes[0].replica.committed());
    assert_eq!(committed, Index(11));
    let confirmed = nodes[0].log.clone();
    for node in &mut nodes {
        node.crash();
        node.restart(0);
        assert_eq!(node.replica.term(), term);
        assert_eq!(
            node.replica.applied_index(),
            Index(0),
            "the store had nothing durable"
        );
    }
    elect(&mut nodes);
    assert!(nodes[0].replica.term() > term);
    for node in &nodes {
        assert!(node.replica.applied_index() > committed);
        assert!(
            confirmed
                .iter()
                .all(|(index, entry)| node.log[index] == *entry)
        );
    }
}

/// The first node wins.
fn elect(nodes: &mut [Node]) {
    nodes[0].replica.campaign();
    exchange(nodes);
    assert_eq!(nodes[0].replica.role(), Role::Leader);
}

/// Until nobody has anything to say.
fn exchange(nodes: &mut [Node]) {
    loop {
        let sent: Vec<_> = nodes.iter_mut().flat_map(Node::settle).collect();
        if sent.is_empty() {
            return;
        }
        for message in sent {
            nodes[message.to.0 as usize - 1].replica.step(message);
        }
    }
}

// 3. No ReadIndex before the leader has committed an entry of its own term.

#[test]
fn row_3_no_read_index_before_the_leader_has_committed_an_entry_of_its_own_term() {
    // Entry 1 is committed, but this leader can't know.
    let mut node = Node::restored(config(1, group(3)), 1, entries(1, &[1]), 0);
    node.win(&[2]);
    node.replica.read_index(ReadToken(7)).unwrap();
    node.replica.step(message(2, 1, 2, ack(0)));
    node.replica.step(message(3, 1, 2, ack(0)));
    assert_eq!(node.drain().reads, []);
    // The no-op commits, which begins the round; but a round's answer is still needed.
    node.replica.step(message(2, 1, 2, matched(2, 0)));
    let effects = node.drain();
    assert_eq!(effects.reads, []);
    node.replica.step(message(3, 1, 2, ack(1)));
    assert_eq!(node.drain().reads, [(ReadToken(7), Index(2))]);
}

#[test]
fn row_3_reads_that_wait_for_the_first_commit_are_bounded() {
    let mut node = node(1);
    node.win(&[2]);
    let taken = (0..20_000)
        .take_while(|&read| node.replica.read_index(ReadToken(read)).is_ok())
        .count();
    assert_eq!(taken, 10_000);
    assert_eq!(
        node.replica.read_index(ReadToken(0)),
        Err(Refusal::NotReady)
    );
}

// 4. ReadIndex answers can't be taken for those of an earlier request.

#[test]
fn row_4_a_late_answer_to_an_earlier_round_does_not_confirm_a_later_one() {
    let mut node = leader();
    node.replica.read_index(ReadToken(1)).unwrap();
    node.drain();
    node.replica.read_index(ReadToken(2)).unwrap();
    node.drain();
    node.replica.step(message(2, 1, 1, ack(1)));
    assert_eq!(node.drain().reads, [(ReadToken(1), Index(1))]);
    // The same answer again, and that of another follower to the first round.
    node.replica.step(message(2, 1, 1, ack(1)));
    node.replica.step(message(3, 1, 1, ack(1)));
    assert_eq!(node.drain().reads, []);
    node.replica.step(message(3, 1, 1, ack(2)));
    assert_eq!(node.drain().reads, [(ReadToken(2), Index(1))]);
}

#[test]
fn row_4_an_answer_of_an_earlier_term_confirms_nothing() {
    let mut node = leader();
    node.replica.read_index(ReadToken(1)).unwrap();
    node.drain();
    // Leadership is lost and won again; the numbers begin again.
    node.replica.step(message(3, 1, 2, request_vote((9, 2))));
    assert_eq!(
        node.replica.role(),
        Role::Leader,
        "a live leader is not voted out"
    );
    node.replica.step(message(3, 1, 2, ack(0)));
    assert_eq!(node.drain().reads_failed, [ReadToken(1)]);
    node.settle();
    node.win(&[2]);
    node.answer(message(2, 1, 3, matched(2, 0)));
    node.replica.read_index(ReadToken(2)).unwrap();
    node.drain();
    node.replica.step(message(2, 1, 1, ack(1)));
    node.replica.step(message(3, 1, 1, ack(1)));
    assert_eq!(node.drain().reads, []);
    node.replica.step(message(3, 1, 3, ack(1)));
    assert_eq!(node.drain().reads, [(ReadToken(2), Index(2))]);
}

// 5. A paused leader serves nothing stale when it wakes.

#[test]
fn row_5_a_paused_leader_serves_nothing_stale_when_it_wakes() {
    let mut node = leader();
    // While it sleeps, no tick reaches it, and replica 3 is elected with the vote of replica 2. It wakes and is asked first.
    node.replica.read_index(ReadToken(1)).unwrap();
    let effects = node.drain();
    assert_eq!(
        effects.reads,
        [],
        "it needs answers from after the read was asked"
    );
    // Answers from before it fell asleep were still on their way.
    node.replica.step(message(2, 1, 1, ack(0)));
    node.replica.step(message(3, 1, 1, matched(1, 0)));
    assert_eq!(node.drain().reads, []);
    // To its round the others answer with their new term.
    node.replica.step(message(2, 1, 2, ack(0)));
    let effects = node.drain();
    assert_eq!(
        (effects.reads, effects.reads_failed),
        (vec![], vec![ReadToken(1)])
    );
    assert_eq!(node.replica.role(), Role::Follower);
}

#[test]
fn row_5_a_leader_that_hears_of_no_majority_for_an_election_timeout_fails_its_reads() {
    let mut node = leader();
    node.replica.read_index(ReadToken(1)).unwrap();
    for _ in 0..ELECTION_TICKS {
        node.replica.tick();
    }
    let effects = node.drain();
    assert_eq!(
        (effects.reads, effects.reads_failed),
        (vec![], vec![ReadToken(1)])
    );
    assert_eq!(
        node.replica.read_index(ReadToken(2)),
        Err(Refusal::NotLeader { leader: None })
    );
}

// 6. A snapshot drops trailing log entries and brings its own configuration.

#[test]
fn row_6_a_snapshot_drops_trailing_log_entries() {
    // Entries 3 to 6 are of an old leader and were never committed.
    let mut node = Node::restored(config(1, group(3)), 2, entries(1, &[1, 1, 2, 2, 2, 2]), 2);
    node.replica
        .accept_snapshot(id(2), Term(3), Index(4))
        .unwrap();
    node.replica.snapshot_installed(Index(4), Term(3), group(3));
    assert_eq!(node.replica.last_index(), Index(4));
    let persist = node
        .drain()
        .persist
        .expect("the log must be dropped on disk too");
    assert_eq!(
        (persist.reset, persist.append),
        (Some((Index(4), Term(3))), vec![])
    );
    assert_eq!(node.replica.applied_index(), Index(4));
    assert_eq!(node.replica.snapshot_point(), (Index(4), Term(3)));
}

#[test]
fn row_6_what_follows_the_same_entry_stays() {
    let mut node = Node::restored(config(1, group(3)), 2, entries(1, &[1, 1, 2, 2, 2, 2]), 2);
    node.replica
        .accept_snapshot(id(2), Term(3), Index(4))
        .unwrap();
    node.replica.snapshot_installed(Index(4), Term(2), group(3));
    assert_eq!(
        (node.replica.last_index(), node.replica.committed()),
        (Index(6), Index(4))
    );
    assert!(
        node.drain()
            .persist
            .is_none_or(|persist| persist.reset.is_none())
    );
}

#[test]
fn row_6_a_snapshot_brings_its_own_configuration() {
    let mut node = node(1);
    node.replica
        .accept_snapshot(id(2), Term(1), Index(4))
        .unwrap();
    let joint = Membership {
        voters: BTreeSet::from([1, 2, 3].map(ReplicaId)),
        outgoing: BTreeSet::from([1, 2, 4].map(ReplicaId)),
    };
    node.replica
        .snapshot_installed(Index(4), Term(1), joint.clone());
    assert_eq!(node.replica.membership(), &joint);
    node.settle();
    // An election needs a majority of each set from now on, and asks all.
    node.replica.campaign();
    let asked: Vec<u64> = node.settle().iter().map(|message| message.to.0).collect();
    assert_eq!(asked, [2, 3, 4]);
    node.answer(message(3, 1, 2, Body::Vote { granted: true }));
    assert_eq!(node.replica.role(), Role::Candidate);
    node.answer(message(4, 1, 2, Body::Vote { granted: true }));
    assert_eq!(node.replica.role(), Role::Leader);
}

#[test]
fn row_6_a_write_under_way_when_the_log_is_dropped_confirms_nothing() {
    let mut node = node(1);
    node.replica
        .step(message(2, 1, 1, append((0, 0), entries(1, &[1, 1, 1]), 0)));
    let first = node.drain().persist.unwrap().token;
    node.replica
        .accept_snapshot(id(3), Term(2), Index(2))
        .unwrap();
    node.replica.snapshot_installed(Index(2), Term(2), group(3));
    node.drain();
    node.replica.persisted(first);
    assert_eq!(node.replica.persisted_index(), Index(2));
    assert_eq!(
        sent_to(&node.drain().send, 2),
        [],
        "the match of the old term is not sent"
    );
}

// 7. Late messages never recreate a removed replica: the core's part.

#[test]
fn row_7_a_stranger_is_not_heard() {
    let mut node = node(1);
    node.replica.step(message(9, 1, 8, request_vote((9, 8))));
    node.replica
        .step(message(9, 1, 8, append((0, 0), entries(1, &[8]), 1)));
    node.replica.step(message(2, 3, 8, request_vote((9, 8))));
    assert!(!node.replica.has_effects());
    assert_eq!(node.replica.term(), Term(0));
}

// The state ahead of the log, after a crash.

#[test]
fn an_applied_index_beyond_the_end_of_the_log_begins_the_log_anew() {
    let restored = Restored {
        hard_state: HardState {
            term: Term(2),
            vote: None,
        },
        entries: entries(1, &[1, 1]),
        applied: Index(5),
        applied_term: Term(3),
        ..Restored::default()
    };
    let mut replica = Replica::new(config(1, group(3)), restored).unwrap();
    assert_eq!(
        (replica.last_index(), replica.committed()),
        (Index(5), Index(5))
    );
    let persist = replica.effects().persist.unwrap();
    assert_eq!(persist.reset, Some((Index(5), Term(3))));
    assert_eq!(
        persist.hard_state,
        Some(HardState {
            term: Term(3),
            vote: None
        })
    );
    // The next entry of the leader follows.
    replica.step(message(2, 1, 3, append((5, 3), vec![entry(6, 3)], 6)));
    assert_eq!(replica.effects().persist.unwrap().append, [entry(6, 3)]);
}

#[test]
fn an_applied_entry_that_the_log_has_otherwise_begins_the_log_anew() {
    // The one in the log may be of an earlier term, or of a later one whose leader was deposed before the applied one was
    // committed (Figure 8).
    for (in_log, applied_term) in [(2, Term(3)), (3, Term(2))] {
        let restored = Restored {
            hard_state: HardState {
                term: Term(3),
                vote: None,
            },
            entries: entries(1, &[1, in_log, in_log]),
            applied: Index(2),
            applied_term,
            ..Restored::default()
        };
        let mut replica = Replica::new(config(1, group(3)), restored).unwrap();
        assert_eq!(replica.last_index(), Index(2));
        let persist = replica.effects().persist.unwrap();
        assert_eq!(persist.reset, Some((Index(2), applied_term)));
    }
}

#[test]
fn what_was_restored_and_contradicts_itself_is_refused_with_a_reason() {
    let good = Restored {
        hard_state: HardState {
            term: Term(2),
            vote: None,
        },
        snapshot: (Index(3), Term(1)),
        entries: entries(5, &[2, 2]),
        preceding_term: Term(1),
        applied: Index(4),
        applied_term: Term(1),
    };
    assert!(Replica::new(config(1, group(3)), good.clone()).is_ok());
    let no_term = HardState {
        term: Term(1),
        vote: None,
    };
    let gap = vec![entry(5, 2), entry(7, 2)];
    let bad = [
        Restored {
            hard_state: no_term,
            ..good.clone()
        },
        Restored {
            entries: entries(3, &[2, 2]),
            ..good.clone()
        },
        Restored {
            entries: entries(5, &[2, 1]),
            ..good.clone()
        },
        Restored {
            entries: gap,
            ..good.clone()
        },
        Restored {
            preceding_term: Term(3),
            ..good.clone()
        },
        Restored {
            applied: Index(2),
            ..good.clone()
        },
        Restored {
            applied: Index(3),
            ..good.clone()
        },
        Restored {
            entries: entries(4, &[2, 2]),
            applied: Index(3),
            applied_term: Term(2),
            ..good.clone()
        },
    ];
    for restored in bad {
        let result = Replica::new(config(1, group(3)), restored.clone());
        assert!(matches!(result, Err(Broken::Restored(_))), "{restored:?}");
    }
}
