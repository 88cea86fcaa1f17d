//! What each command does.

use model::{Intent, Lsn, limits};

use super::*;

/// Row by row the table in the module's documentation.
#[test]
pub(super) fn the_example_in_the_documentation_holds() {
    let mut replica = Replica::new();
    replica.machine.apply(&[noop(1, 1)]).unwrap();
    let r = |n| request(900, n);
    let step = |replica: &mut Replica, now, command| {
        replica.now_millis = now;
        replica.one(command)
    };
    assert_eq!(step(&mut replica, 1000, put("a", "x", r(1))), written(1));
    assert_eq!(replica.item("a").unwrap().timestamp, at(1000, 0));
    assert_eq!(step(&mut replica, 1000, put("a", "y", r(2))), written(2));
    assert_eq!(replica.item("a").unwrap().timestamp, at(1000, 1));
    assert_eq!(step(&mut replica, 1005, put("a", "x", r(1))), written(1));
    assert_eq!(replica.get("a"), Some(("y".into(), 2)));
    assert_eq!(
        step(&mut replica, 1010, delete("a", r(3))),
        Outcome::Deleted
    );
    assert_eq!(replica.get("a"), None);
    assert_eq!(replica.machine.meta().max_delete_timestamp, at(1010, 0));
    assert_eq!(step(&mut replica, 1002, put("a", "z", r(4))), written(4));
    assert_eq!(replica.get("a"), Some(("z".into(), 4)));
    assert_eq!(replica.item("a").unwrap().timestamp, at(1010, 1));
    assert_eq!(replica.machine.meta().clock_millis, 1010);
    assert_eq!(replica.machine.meta().applied_index, 6);
}

#[test]
fn commands_of_one_entry_see_what_the_earlier_ones_did() {
    let mut replica = Replica::new();
    let outcomes = replica.step(vec![
        put("a", "1", request(NOW, 1)),
        put("a", "2", request(NOW, 2)),
        delete("a", request(NOW, 3)),
        put("a", "3", request(NOW, 4)),
        put("a", "again", request(NOW, 4)),
        put("b", "4", request(NOW, 5)),
        delete("b", request(NOW, 6)),
    ]);
    let expected = [
        written(1),
        written(2),
        Outcome::Deleted,
        written(4),
        written(4),
        written(5),
        Outcome::Deleted,
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(replica.get("a"), Some(("3".into(), 4)));
    assert_eq!(replica.get("b"), None);
    assert_eq!(replica.machine.meta().items, 1);
    assert_eq!(replica.machine.meta().last_lsn, Lsn(6));
    let deletes = replica.machine.meta().deletes;
    assert!(!deletes.none_since(key("b").hash(), Lsn(5)));
    assert!(deletes.none_since(key("b").hash(), Lsn(6)));
}

#[test]
fn several_entries_are_one_batch_and_later_ones_see_the_earlier_ones() {
    let mut replica = Replica::new();
    let before = replica.store.unpersisted_batches();
    let entries = [
        noop(1, 1),
        entry(2, NOW, vec![put("a", "1", request(NOW, 1))]),
        entry(
            3,
            NOW,
            vec![delete("a", request(NOW, 2)), put("b", "2", request(NOW, 3))],
        ),
        entry(
            4,
            NOW,
            vec![
                put("a", "3", request(NOW, 4)),
                put("a", "x", request(NOW, 1)),
            ],
        ),
    ];
    let applied = replica.machine.apply(&entries).unwrap();
    let outcomes: Vec<_> = applied.iter().map(|a| a.outcomes.clone()).collect();
    let expected = [
        vec![],
        vec![written(1)],
        vec![Outcome::Deleted, written(3)],
        vec![written(4), written(1)],
    ];
    assert_eq!(outcomes, expected);
    let places: Vec<_> = applied.iter().map(|a| (a.index.0, a.term.0)).collect();
    assert_eq!(places, [(1, 1), (2, 1), (3, 1), (4, 1)]);
    assert_eq!(replica.store.unpersisted_batches(), before + 1);
    assert_eq!(replica.get("a"), Some(("3".into(), 4)));
    replica.check();
}

#[test]
pub(super) fn a_version_is_never_used_again_for_a_key() {
    let mut replica = Replica::new();
    let mut versions = Vec::new();
    for round in 0..4 {
        versions.push(replica.one(put("a", "same", request(NOW, 2 * round))));
        replica.one(delete("a", request(NOW, 2 * round + 1)));
    }
    assert_eq!(versions, [written(1), written(3), written(5), written(7)]);
}

#[test]
pub(super) fn a_keys_timestamp_never_falls_even_over_a_deletion_and_a_clock_that_goes_back() {
    let mut replica = Replica::new();
    let mut last = Timestamp::ZERO;
    for (sequence, now) in (0..).zip([NOW, NOW, NOW - 500, NOW + 7, NOW - 100]) {
        replica.now_millis = now;
        replica.one(put("a", "v", request(NOW, 2 * sequence)));
        let timestamp = replica.item("a").unwrap().timestamp;
        assert!(timestamp > last, "{timestamp} after {last}");
        replica.one(delete("a", request(NOW, 2 * sequence + 1)));
        last = replica.machine.meta().max_delete_timestamp;
        assert!(
            last > timestamp,
            "deleted at {last}, written at {timestamp}"
        );
    }
}

#[test]
fn a_delete_of_an_absent_key_raises_max_delete_timestamp_and_nothing_else_that_can_be_seen() {
    let mut replica = Replica::new();
    replica.step(vec![
        put("a", "1", request(NOW, 1)),
        put("b", "1", request(NOW, 2)),
    ]);
    replica.one(delete("b", request(NOW, 3)));
    let before = replica.machine.meta().clone();
    replica.now_millis = NOW + 50;
    assert_eq!(
        replica.one(delete("none", request(NOW, 4))),
        Outcome::Deleted
    );
    let expected = ShardMeta {
        applied_index: before.applied_index + 1,
        clock_millis: NOW + 50,
        max_delete_timestamp: Timestamp::from_millis(NOW + 50),
        ..before
    };
    assert_eq!(replica.machine.meta(), &expected);
    // A clock that goes back takes nothing back.
    replica.now_millis = NOW;
    replica.one(delete("none", request(NOW, 5)));
    let max = replica.machine.meta().max_delete_timestamp;
    assert_eq!(max, Timestamp::from_millis(NOW + 50));
}

fn prepared(value: Option<&'static [u8]>) -> Item {
    Item {
        value: value.map(Bytes::from_static),
        timestamp: Timestamp::from_millis(NOW),
        lsn: Lsn(9),
        intent: Some(Intent {
            transaction: TransactionId(1),
            timestamp: Timestamp::from_millis(NOW + 1),
            value: Bytes::from_static(b"new"),
        }),
    }
}

#[test]
pub(super) fn a_key_with_an_intent_is_neither_written_nor_deleted() {
    for value in [None, Some(&b"old"[..])] {
        let mut replica = Replica::new();
        replica.plant("a", &prepared(value));
        let before = replica.machine.meta().clone();
        assert_eq!(replica.one(put("a", "1", request(NOW, 1))), conflict(1));
        assert_eq!(replica.one(delete("a", request(NOW, 2))), conflict(1));
        let expected = ShardMeta {
            applied_index: before.applied_index + 2,
            applied_term: 1,
            clock_millis: NOW,
            ..before
        };
        assert_eq!(replica.machine.meta(), &expected);
        assert_eq!(replica.item("a"), Some(prepared(value)));
        // It was not applied, so it may come again when the transaction is over.
        let done = Item {
            intent: None,
            ..prepared(value)
        };
        replica.plant("a", &done);
        assert_eq!(replica.one(put("a", "1", request(NOW, 1))), written(1));
    }
}

#[test]
pub(super) fn a_sealed_shard_takes_no_write_but_still_says_what_it_applied() {
    let mut replica = Replica::new();
    let outcomes = replica.step(vec![
        put("a", "1", request(NOW, 1)),
        Command::Seal,
        put("a", "2", request(NOW, 2)),
        delete("a", request(NOW, 3)),
    ]);
    assert_eq!(outcomes, [written(1), Outcome::Sealed, SEALED, SEALED]);
    assert!(replica.machine.reader().sealed());
    replica.restart();
    assert!(replica.machine.reader().sealed());
    assert_eq!(replica.one(put("b", "2", request(NOW, 4))), SEALED);
    assert_eq!(replica.one(put("a", "1", request(NOW, 1))), written(1));
    assert_eq!(replica.one(Command::Seal), Outcome::Sealed);
    assert_eq!(replica.get("a"), Some(("1".into(), 1)));
    let old = request(NOW - limits::REQUEST_WINDOW_MILLIS - 1, 1);
    assert_eq!(
        replica.one(put("a", "3", old)),
        EXPIRED,
        "it may have been applied"
    );
}

#[test]
fn a_checkpoint_hashes_the_state_behind_its_whole_entry() {
    let mut replica = Replica::new();
    let outcomes = replica.step(vec![
        Command::Checkpoint { verify_id: 1 },
        put("a", "1", request(NOW, 1)),
        Command::Checkpoint { verify_id: 2 },
        put("b", "2", request(NOW, 2)),
    ]);
    let content = verify_shard(&*replica.store.view(), SHARD).unwrap().content;
    assert_ne!(content, storage::meta::ContentHash::EMPTY);
    let checkpoint = |verify_id| Outcome::Checkpoint {
        verify_id,
        index: Index(1),
        content,
    };
    assert_eq!(
        outcomes,
        [checkpoint(1), written(1), checkpoint(2), written(2)]
    );
    assert_eq!(replica.machine.meta().content, content);
}

#[test]
pub(super) fn what_was_deleted_is_absent_to_the_next_put() {
    let mut replica = Replica::new();
    replica.one(put("a", "1", request(NOW, 1)));
    replica.one(delete("a", request(NOW, 2)));
    let absent = only_if(Condition::NotExists, put("a", "2", request(NOW, 3)));
    assert_eq!(replica.one(absent), written(3));
    assert_eq!(replica.machine.meta().items, 1);
    replica.restart();
}

#[test]
fn a_no_op_moves_index_and_term_only() {
    let mut replica = Replica::new();
    replica.one(put("a", "1", request(NOW, 1)));
    let before = replica.machine.meta().clone();
    replica.machine.apply(&[noop(2, 4)]).unwrap();
    let expected = ShardMeta {
        applied_index: 2,
        applied_term: 4,
        ..before
    };
    assert_eq!(replica.machine.meta(), &expected);
    replica.restart();
}
