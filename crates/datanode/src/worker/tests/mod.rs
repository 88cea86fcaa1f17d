//! Scripts for the worker, each a scenario: three nodes driven from one thread, without disk, network or clock.

mod cancelled;
mod home;
mod lab;
mod leases;
#[cfg(feature = "mutants")]
mod noticed;
mod resting;

use std::sync::Arc;

use api::Reason;
use model::limits;
use raft::Role;

use model::{Objection, TransactionState};

use self::lab::{Lab, decide, delete, get, inquire, prepare, put, transact_read, transact_write};
use crate::operation::{Answer, Operation};
use crate::worker::Input;

/// Longer than any election takes, in ticks.
const ELECTION: usize = 60;

#[test]
fn a_write_is_answered_once_a_majority_has_it_durably() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [first, second] = lab.others(leader);
    for node in [leader, first, second] {
        lab.hold_log(node, true);
    }
    let write = lab.ask(leader, put("a", "1"));
    lab.settle();
    assert_eq!(lab.answer(write), None, "nobody has it durably");
    lab.hold_log(first, false);
    lab.settle();
    assert_eq!(lab.answer(write), None, "one of three is no majority");
    lab.hold_log(second, false);
    lab.settle();
    assert_eq!(
        lab.answer(write),
        Some(Answer::Applied { version: 1 }),
        "the leader's own copy isn't needed"
    );
}

#[test]
fn all_writes_of_a_turn_share_one_entry() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let before = lab.status(leader).last_index;
    let writes: Vec<_> = (0..100)
        .map(|i| lab.queue(leader, put(&format!("k{i}"), "v")))
        .collect();
    lab.settle();
    assert_eq!(lab.status(leader).last_index, before + 1);
    for (i, write) in writes.into_iter().enumerate() {
        assert_eq!(
            lab.answer(write),
            Some(Answer::Applied {
                version: i as u64 + 1
            })
        );
    }
}

#[test]
fn a_consistent_read_sees_every_write_confirmed_before() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let write = lab.ask(leader, put("a", "1"));
    lab.settle();
    assert!(matches!(lab.answer(write), Some(Answer::Applied { .. })));
    let read = lab.ask(leader, get("a"));
    lab.settle();
    assert_eq!(lab.value(read).as_deref(), Some(b"1".as_slice()));
    let gone = lab.ask(leader, delete("a"));
    lab.settle();
    let read = lab.ask(leader, get("a"));
    lab.settle();
    assert_eq!(lab.answer(gone), Some(Answer::Applied { version: 0 }));
    assert_eq!(lab.answer(read), Some(Answer::Absent));
}

#[test]
fn a_follower_hands_an_operation_on_once_and_refuses_one_that_was_handed_on() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [follower, _] = lab.others(leader);
    let write = lab.ask(follower, put("a", "1"));
    lab.settle();
    assert_eq!(lab.answer(write), Some(Answer::Applied { version: 1 }));
    let refused = lab.ask_forwarded(follower, put("a", "2"));
    lab.settle();
    assert_eq!(lab.reason(refused), Some(Reason::NoLeader));
}

#[test]
fn without_a_majority_writes_and_consistent_reads_are_refused_at_once() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    for other in lab.others(leader) {
        lab.cut(other);
    }
    let in_flight = lab.ask(leader, put("a", "1"));
    lab.ticks(ELECTION);
    let (write, read) = (lab.ask(leader, put("a", "2")), lab.ask(leader, get("a")));
    lab.settle();
    assert_eq!(lab.reason(write), Some(Reason::NoQuorum));
    assert_eq!(lab.reason(read), Some(Reason::NoQuorum));
    assert_eq!(lab.answer(in_flight), None, "it may yet be applied");
    lab.ticks(100);
    assert_eq!(lab.reason(in_flight), Some(Reason::OutcomeUnknown));
    lab.heal();
    lab.ticks(ELECTION);
    let leader = lab.leader().expect("a leader again");
    let read = lab.ask(leader, get("a"));
    lab.settle();
    assert!(matches!(
        lab.answer(read),
        Some(Answer::Found { .. } | Answer::Absent)
    ));
}

#[test]
fn a_write_whose_entry_was_overwritten_is_certainly_not_applied() {
    let mut lab = Lab::new(3);
    let old = lab.elect();
    lab.cut(old);
    let lost = lab.ask(old, put("a", "lost"));
    lab.settle();
    lab.ticks(ELECTION);
    let new = lab.leader_but(old).expect("the others have elected one");
    let kept = lab.ask(new, put("a", "kept"));
    lab.settle();
    assert!(matches!(lab.answer(kept), Some(Answer::Applied { .. })));
    lab.heal();
    lab.ticks(4);
    assert_eq!(
        lab.reason(lost),
        Some(Reason::NoLeader),
        "it can never be committed any more"
    );
    let read = lab.ask(new, get("a"));
    lab.settle();
    assert_eq!(lab.value(read).as_deref(), Some(b"kept".as_slice()));
}

#[test]
fn a_leader_of_two_terms_does_not_mix_up_what_it_proposed_in_each() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    lab.cut(leader);
    let lost: Vec<_> = (0..5)
        .map(|i| {
            let lost = lab.ask(leader, put("a", &format!("lost-{i}")));
            lab.settle();
            lost
        })
        .collect();
    lab.ticks(30);
    let between = lab.leader_but(leader).expect("the others have elected one");
    let third = lab.others(leader).into_iter().find(|n| *n != between);
    lab.heal();
    lab.ticks(4);
    // Now it has cut off its own entries, has one of the other's in their place, and leads again.
    lab.cut(third.expect("a third"));
    lab.ticks(20);
    lab.input(between, Input::HandOver);
    lab.ticks(4);
    assert_eq!(lab.status(leader).role, Some(Role::Leader));
    for i in 0..5 {
        let write = lab.ask(leader, put("a", &format!("kept-{i}")));
        lab.settle();
        assert!(
            matches!(lab.answer(write), Some(Answer::Applied { .. })),
            "{:?}",
            lab.answer(write)
        );
    }
    for lost in lost {
        assert_eq!(lab.reason(lost), Some(Reason::NoLeader));
    }
}

#[test]
fn a_paused_leader_serves_nothing_stale_when_it_wakes() {
    let mut lab = Lab::new(3);
    let old = lab.elect();
    lab.settle_write(old, "a", "old");
    lab.pause(old, true);
    lab.ticks(ELECTION);
    let new = lab.leader_but(old).expect("the others have elected one");
    lab.settle_write(new, "a", "new");
    lab.pause(old, false);
    // It still believes that it leads: no tick and no message has told it otherwise.
    let read = lab.ask(old, get("a"));
    lab.ticks(4);
    match lab.answer(read) {
        Some(Answer::Found { value, .. }) => assert_eq!(value, "new"),
        Some(Answer::Failed(error)) => assert_eq!(error.reason, Reason::NoLeader),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_message_never_brings_a_removed_replica_back_to_life() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [gone, _] = lab.others(leader);
    lab.remove(gone);
    lab.settle_write(leader, "a", "1");
    lab.ticks(ELECTION);
    assert!(lab.statuses(gone).is_empty());
    let refused = lab.ask(gone, get("a"));
    lab.settle();
    assert_eq!(lab.reason(refused), Some(Reason::ShardNotHosted));
}

#[test]
fn a_quarantined_replica_serves_nothing_says_nothing_and_comes_back() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    lab.input(
        leader,
        Input::Quarantine {
            shard: lab::SHARD,
            quarantined: true,
        },
    );
    lab.ticks(ELECTION);
    let refused = lab.ask(leader, put("a", "1"));
    lab.settle();
    assert_eq!(lab.reason(refused), Some(Reason::ShardNotHosted));
    let other = lab.leader_but(leader).expect("the others have elected one");
    lab.settle_write(other, "a", "1");
    lab.input(
        leader,
        Input::Quarantine {
            shard: lab::SHARD,
            quarantined: false,
        },
    );
    lab.ticks(ELECTION);
    assert_eq!(
        lab.status(leader).applied_index,
        lab.status(other).applied_index
    );
}

#[test]
fn whoever_waits_at_a_replica_that_goes_into_quarantine_is_told_in_time() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    for other in lab.others(leader) {
        lab.cut(other);
    }
    let (write, read) = (lab.ask(leader, put("a", "1")), lab.ask(leader, get("a")));
    lab.settle();
    lab.input(
        leader,
        Input::Quarantine {
            shard: lab::SHARD,
            quarantined: true,
        },
    );
    lab.ticks(99);
    assert_eq!(lab.answer(write), None, "it may yet be applied");
    lab.ticks(1);
    assert_eq!(lab.reason(write), Some(Reason::OutcomeUnknown));
    assert_eq!(lab.reason(read), Some(Reason::NoLeader));
}

#[test]
fn a_replica_that_cant_run_says_so_to_whoever_asks() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [odd, _] = lab.others(leader);
    lab.remove(odd);
    let detail = "its state is missing".to_owned();
    lab.input(
        odd,
        Input::AddStopped {
            shard: lab::SHARD,
            detail,
        },
    );
    lab.settle();
    assert_eq!(lab.stopped(), [odd], "eventual reads don't ask the worker");
    let refused = lab.ask(odd, get("a"));
    lab.settle();
    assert_eq!(lab.reason(refused), Some(Reason::Corruption));
}

#[test]
fn a_replica_whose_content_differs_from_the_majoritys_stops() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [odd, _] = lab.others(leader);
    lab.settle_write(leader, "a", "1");
    lab.spoil_content(odd);
    lab.ticks(ELECTION);
    lab.checkpoint(leader);
    assert_eq!(lab.status(odd).role, None, "it has stopped");
    assert!(
        lab.status(odd).detail.contains("differs"),
        "{}",
        lab.status(odd).detail
    );
    let refused = lab.ask(odd, get("a"));
    let served = lab.ask(leader, get("a"));
    lab.settle();
    assert_eq!(lab.reason(refused), Some(Reason::Corruption));
    assert!(matches!(lab.answer(served), Some(Answer::Found { .. })));
}

#[test]
fn without_a_majority_of_equal_contents_a_shard_refuses_until_one_is_found() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [first, second] = lab.others(leader);
    lab.settle_write(leader, "a", "1");
    for (node, hash) in [(first, 1), (second, 2)] {
        lab.report_content(leader, node, u64::MAX / 2, hash);
    }
    lab.report_content(leader, leader, u64::MAX / 2, 3);
    let (write, read) = (lab.ask(leader, put("a", "2")), lab.ask(leader, get("a")));
    lab.settle();
    assert_eq!(lab.reason(write), Some(Reason::NoQuorum));
    assert_eq!(lab.reason(read), Some(Reason::NoQuorum));
    let compared = lab.ask(leader, Operation::Checkpoint { verify_id: 7 });
    lab.settle();
    assert!(
        matches!(lab.answer(compared), Some(Answer::Applied { .. })),
        "an operator must be able to look at the replicas"
    );
    for node in [first, second, leader] {
        lab.report_content(leader, node, u64::MAX / 2 + 1, 4);
    }
    let write = lab.ask(leader, put("a", "2"));
    lab.settle();
    assert!(matches!(lab.answer(write), Some(Answer::Applied { .. })));
}

#[test]
fn a_sealed_shard_refuses_writes_and_consistent_reads() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    lab.settle_write(leader, "a", "1");
    let sealed = lab.ask(leader, Operation::Seal);
    lab.settle();
    let (write, read) = (lab.ask(leader, put("a", "2")), lab.ask(leader, get("a")));
    lab.settle();
    assert!(matches!(lab.answer(sealed), Some(Answer::Applied { .. })));
    assert_eq!(lab.reason(write), Some(Reason::TableNotFound));
    assert_eq!(lab.reason(read), Some(Reason::TableNotFound));
}

#[test]
fn a_write_from_the_future_is_refused_before_it_is_proposed() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let last = lab.status(leader).last_index;
    let Operation::Put {
        key,
        value,
        mut request,
        condition,
    } = put("a", "1")
    else {
        unreachable!()
    };
    request.issued_millis = lab.wall_millis() + limits::MAX_CLOCK_AHEAD_MILLIS + 1;
    let refused = lab.ask(
        leader,
        Operation::Put {
            key,
            value,
            request,
            condition,
        },
    );
    lab.settle();
    assert_eq!(lab.reason(refused), Some(Reason::InvalidRequest));
    assert_eq!(lab.status(leader).last_index, last);
}

#[test]
fn a_shard_takes_no_more_than_its_bound() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    for node in lab.others(leader) {
        lab.cut(node);
    }
    let asked: Vec<_> = (0..=limits::MAX_SHARD_OPERATIONS)
        .map(|_| lab.queue(leader, put("a", "1")))
        .collect();
    lab.settle();
    assert_eq!(
        lab.reason(asked[limits::MAX_SHARD_OPERATIONS]),
        Some(Reason::Overloaded)
    );
    assert_eq!(lab.answer(asked[0]), None);
    let next_turn = lab.ask(leader, get("a"));
    lab.settle();
    assert_eq!(lab.reason(next_turn), Some(Reason::Overloaded));
}

#[test]
fn a_leader_that_goes_down_hands_over() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    lab.input(leader, Input::HandOver);
    lab.ticks(4);
    assert_ne!(lab.status(leader).role, Some(Role::Leader));
    assert!(
        lab.leader_but(leader).is_some(),
        "at once, not after an election timeout"
    );
}

#[test]
fn the_log_is_purged_up_to_what_the_store_has_made_durable_and_no_further() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let value = "v".repeat(100 * 1024);
    for i in 0..40 {
        lab.settle_write(leader, &format!("k{i}"), &value);
    }
    lab.ticks(50);
    assert_eq!(lab.status(leader).first_index, 1, "nothing is durable yet");
    lab.persist_stores(true);
    lab.ticks(50);
    let status = lab.status(leader);
    assert!(status.first_index > 1, "{status:?}");
    assert!(status.first_index <= status.applied_index + 1, "{status:?}");
}

#[test]
fn a_follower_that_lacks_what_was_purged_asks_for_a_snapshot_and_one_that_lags_a_little_for_none() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [away, _] = lab.others(leader);
    lab.persist_stores(true);
    lab.cut(away);
    lab.settle_write(leader, "a", "1");
    lab.heal();
    lab.ticks(ELECTION);
    assert_eq!(lab.snapshots_asked(), 0);
    let leader = lab.leader().expect("a leader");
    assert_eq!(
        lab.status(away).applied_index,
        lab.status(leader).applied_index
    );
    let [away, _] = lab.others(leader);
    lab.cut(away);
    let value = "v".repeat(200 * 1024);
    for i in 0..60 {
        lab.settle_write(leader, &format!("k{i}"), &value);
    }
    lab.ticks(50);
    assert!(lab.status(leader).first_index > lab.status(away).last_index + 1);
    lab.heal();
    lab.ticks(ELECTION);
    assert!(lab.snapshots_asked() > 0);
}

#[test]
fn the_same_inputs_bring_forth_the_same_outputs() {
    let trace = |_| {
        let mut lab = Lab::new(3);
        let leader = lab.elect();
        for i in 0..20 {
            lab.settle_write(leader, &format!("k{i}"), "v");
        }
        lab.cut(leader);
        lab.ticks(ELECTION);
        lab.trace()
    };
    let traces: Vec<Arc<str>> = (0..2).map(trace).collect();
    assert!(traces[0] == traces[1], "the traces differ");
}

/// The value, lsn and lock of the only key that was asked for.
fn item_read(lab: &Lab, asked: u64) -> (Option<String>, u64, bool) {
    let Some(Answer::Items(items)) = lab.answer(asked) else {
        panic!("{:?}", lab.answer(asked));
    };
    let item = items.into_iter().next().unwrap();
    let value = item.content.map(|content| match content {
        links::Content::Value(value) => String::from_utf8(value.to_vec()).unwrap(),
        links::Content::Unchanged => "=".into(),
    });
    (value, item.lsn, item.locked)
}

#[test]
fn a_transaction_goes_through_its_phases_at_the_leader_and_through_a_follower() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [follower, _] = lab.others(leader);
    for (node, id) in [(leader, 1), (follower, 2)] {
        let millis = lab.wall_millis() + 10 * id as u64;
        let prepared = lab.ask(node, prepare(id, millis, "a", "x"));
        let pending = lab.ask(node, inquire(id, millis));
        lab.settle();
        assert_eq!(lab.answer(prepared), Some(Answer::Prepared));
        let expected = Answer::State(TransactionState::Prepared);
        assert_eq!(lab.answer(pending), Some(expected));
        let other = lab.ask(node, prepare(9, millis + 1, "a", "y"));
        let write = lab.ask(node, put("a", "z"));
        let round = lab.ask(node, transact_read(&[("a", 0)]));
        lab.settle();
        let expected = Answer::Rejected(vec![Some(Objection::TransactionConflict)]);
        assert_eq!(lab.answer(other), Some(expected));
        assert!(item_read(&lab, round).2, "locked");
        let Some(Answer::Failed(error)) = lab.answer(write) else {
            panic!("{:?}", lab.answer(write));
        };
        assert_eq!(error.reason, Reason::TransactionConflict);
        assert_eq!(error.metadata["transaction"], format!("{id:032x}"));
        let decided = lab.ask(node, decide(id, millis, true));
        lab.settle();
        assert_eq!(lab.answer(decided), Some(Answer::Applied { version: 0 }));
        let round = lab.ask(node, transact_read(&[("a", 0)]));
        lab.settle();
        let (value, lsn, locked) = item_read(&lab, round);
        assert_eq!((value.as_deref(), locked), (Some("x"), false));
        let round = lab.ask(node, transact_read(&[("a", lsn)]));
        lab.settle();
        assert_eq!(item_read(&lab, round), (Some("=".into()), lsn, false));
    }
}

#[test]
fn what_was_handed_on_already_is_refused_by_a_follower_transactions_too() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let [follower, _] = lab.others(leader);
    let millis = lab.wall_millis();
    for operation in [
        transact_write(1, millis, &[("a", "x"), ("b", "y")]),
        prepare(2, millis, "a", "x"),
        decide(2, millis, true),
        inquire(2, millis),
        transact_read(&[("a", 0)]),
    ] {
        let refused = lab.ask_forwarded(follower, operation.clone());
        let taken = lab.ask(follower, operation);
        lab.settle();
        assert_eq!(lab.reason(refused), Some(Reason::NoLeader));
        let answer = lab.answer(taken);
        assert!(
            !matches!(answer, None | Some(Answer::Failed(_))),
            "{answer:?}"
        );
    }
}

#[test]
fn a_transaction_in_one_shard_is_one_entry_and_its_repetition_says_the_same() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let before = lab.status(leader).last_index;
    let issued = lab.wall_millis();
    let write = transact_write(1, issued, &[("a", "x"), ("b", "y")]);
    let (first, again) = (lab.ask(leader, write.clone()), lab.ask(leader, write));
    lab.settle();
    assert_eq!(lab.status(leader).last_index, before + 1);
    for asked in [first, again] {
        assert_eq!(lab.answer(asked), Some(Answer::Applied { version: 0 }));
    }
    let read = lab.ask(leader, get("b"));
    lab.settle();
    assert_eq!(lab.value(read).as_deref(), Some(b"y".as_slice()));
}

#[test]
fn a_prepare_from_the_future_is_refused_before_it_is_proposed_and_a_decision_never() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let last = lab.status(leader).last_index;
    let ahead = lab.wall_millis() + limits::MAX_CLOCK_AHEAD_MILLIS;
    let refused = [
        lab.ask(leader, prepare(1, ahead + 1, "a", "x")),
        lab.ask(leader, transact_write(2, ahead + 1, &[("a", "x")])),
    ];
    lab.settle();
    for refused in refused {
        let Some(Answer::Failed(error)) = lab.answer(refused) else {
            panic!("{:?}", lab.answer(refused));
        };
        assert_eq!(error.reason, Reason::InvalidRequest);
        assert!(error.message.contains("clocks"), "{}", error.message);
    }
    assert_eq!(lab.status(leader).last_index, last);
    let prepared = lab.ask(leader, prepare(1, ahead, "a", "x"));
    let decided = lab.ask(leader, decide(1, ahead + 1, false));
    lab.settle();
    assert_eq!(lab.answer(prepared), Some(Answer::Prepared));
    assert_eq!(lab.answer(decided), Some(Answer::Applied { version: 0 }));
}

#[test]
fn a_reading_transaction_needs_a_leader_that_is_one() {
    let mut lab = Lab::new(3);
    let old = lab.elect();
    lab.settle_write(old, "a", "old");
    lab.pause(old, true);
    lab.ticks(ELECTION);
    let new = lab.leader_but(old).expect("the others have elected one");
    lab.settle_write(new, "a", "new");
    lab.pause(old, false);
    let round = lab.ask(old, transact_read(&[("a", 0)]));
    lab.ticks(4);
    match lab.answer(round) {
        Some(Answer::Items(_)) => assert_eq!(item_read(&lab, round).0.as_deref(), Some("new")),
        Some(Answer::Failed(error)) => assert_eq!(error.reason, Reason::NoLeader),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_sealed_shard_refuses_a_reading_transaction_and_a_prepare_but_no_decision() {
    let mut lab = Lab::new(3);
    let leader = lab.elect();
    let millis = lab.wall_millis();
    let first = lab.ask(leader, prepare(1, millis, "a", "x"));
    let sealed = lab.ask(leader, Operation::Seal);
    lab.settle();
    assert_eq!(lab.answer(first), Some(Answer::Prepared));
    assert!(matches!(lab.answer(sealed), Some(Answer::Applied { .. })));
    let round = lab.ask(leader, transact_read(&[("a", 0)]));
    let second = lab.ask(leader, prepare(2, millis, "b", "x"));
    let whole = lab.ask(leader, transact_write(3, millis, &[("c", "x")]));
    let decided = lab.ask(leader, decide(1, millis, true));
    lab.settle();
    assert_eq!(lab.reason(round), Some(Reason::TableNotFound));
    let invalid = Answer::Rejected(vec![Some(Objection::Invalid)]);
    assert_eq!(lab.answer(second), Some(invalid));
    assert_eq!(lab.reason(whole), Some(Reason::TableNotFound));
    assert_eq!(lab.answer(decided), Some(Answer::Applied { version: 0 }));
}
