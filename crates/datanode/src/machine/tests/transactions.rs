//! What a shard does as a participant: each mistake that it must not make as a script.

use model::{Lsn, limits};
use storage::snapshot::clean_generations;

use super::*;

const WINDOW: u64 = limits::REQUEST_WINDOW_MILLIS;
const TS: Timestamp = Timestamp((NOW + 10) << 16);

const FAILED: Option<Objection> = Some(Objection::ConditionFailed);
const CONFLICTING: Option<Objection> = Some(Objection::TransactionConflict);
const INVALID: Option<Objection> = Some(Objection::Invalid);

fn too_old(timestamp: Timestamp) -> Objection {
    Objection::TimestampTooOld(timestamp)
}

/// What a reader can see of keys, and what stays in the store.
fn seen(replica: &Replica, names: &[&str]) -> Vec<Option<Item>> {
    let item = |name: &&str| {
        let mut item = replica.item(name)?;
        item.intent = None;
        item.value.is_some().then_some(item)
    };
    names.iter().map(item).collect()
}

/// One round of a reading transaction: value (`=` where unchanged), lsn, locked.
fn read(replica: &Replica, keys: &[(&str, u64)]) -> Vec<(Option<String>, u64, bool)> {
    let keys: Vec<_> = keys
        .iter()
        .map(|(name, known)| (key(name), *known))
        .collect();
    let found = replica.machine.transact_read(&keys).unwrap();
    let show = |item: links::ReadItem| {
        let value = item.content.map(|content| match content {
            links::Content::Value(value) => String::from_utf8(value.to_vec()).unwrap(),
            links::Content::Unchanged => "=".into(),
        });
        (value, item.lsn, item.locked)
    };
    found.into_iter().map(show).collect()
}

fn lsn(replica: &Replica, name: &str, known: u64) -> u64 {
    read(replica, &[(name, known)])[0].1
}

// Conditions.

#[test]
fn a_condition_is_checked_against_what_readers_see() {
    let mut replica = Replica::new();
    let mut n = 0;
    let mut step = |replica: &mut Replica, condition, is_put| {
        n += 1;
        let id = request(NOW, n);
        let command = if is_put {
            put("a", "v", id)
        } else {
            delete("a", id)
        };
        replica.one(only_if(condition, command))
    };
    assert_eq!(
        step(&mut replica, Condition::Exists, true),
        condition_failed(None)
    );
    assert_eq!(
        step(&mut replica, Condition::Exists, false),
        condition_failed(None)
    );
    assert_eq!(
        step(&mut replica, Condition::VersionIs(0), true),
        condition_failed(None)
    );
    assert_eq!(step(&mut replica, Condition::NotExists, true), written(1));
    assert_eq!(
        step(&mut replica, Condition::NotExists, true),
        condition_failed(Some(1))
    );
    assert_eq!(
        step(&mut replica, Condition::VersionIs(1), true),
        written(2)
    );
    assert_eq!(
        step(&mut replica, Condition::VersionIs(1), true),
        condition_failed(Some(2))
    );
    assert_eq!(
        step(&mut replica, Condition::VersionIs(1), false),
        condition_failed(Some(2))
    );
    assert_eq!(
        step(&mut replica, Condition::Exists, false),
        Outcome::Deleted
    );
    assert_eq!(
        step(&mut replica, Condition::NotExists, false),
        Outcome::Deleted
    );
    assert_eq!(replica.get("a"), None);
}

/// The caller was told that nothing was written. Then the condition comes true, and the first attempt, which was
/// held up on its way, arrives.
#[test]
fn a_refusal_by_condition_stands_for_all_attempts() {
    let mut replica = Replica::new();
    let attempt = only_if(Condition::Exists, put("a", "mine", request(NOW, 1)));
    assert_eq!(replica.one(attempt.clone()), condition_failed(None));
    replica.one(put("a", "other", request(NOW, 2)));
    assert_eq!(replica.one(attempt.clone()), condition_failed(None));
    replica.restart();
    assert_eq!(replica.one(attempt.clone()), condition_failed(None));
    replica.now_millis = NOW + WINDOW + 1;
    assert_eq!(replica.one(attempt), EXPIRED);
    assert_eq!(replica.get("a"), Some(("other".into(), 1)));
}

// Prepare and decide.

#[test]
fn a_transaction_is_invisible_until_it_is_committed_and_then_whole() {
    let mut replica = Replica::new();
    replica.one(put("a", "old", request(NOW, 1)));
    let before = seen(&replica, &["a", "b"]);
    let items = puts(&[("a", "new"), ("b", "new")]);
    assert_eq!(replica.one(prepare(1, TS, items)), Outcome::Prepared);
    assert_eq!(seen(&replica, &["a", "b"]), before);
    assert_eq!(replica.get("b"), None);
    assert_eq!(replica.machine.meta().last_lsn, Lsn(1));
    assert_eq!(replica.one(decide(1, TS, true)), Outcome::Decided);
    for name in ["a", "b"] {
        let item = replica.item(name).unwrap();
        assert_eq!((item.value, item.timestamp), (Some("new".into()), TS));
        assert_eq!(item.intent, None);
    }
    assert_eq!(replica.get("a"), Some(("new".into(), 2)));
    assert_eq!(replica.get("b"), Some(("new".into(), 3)));
}

#[test]
pub(super) fn a_cancelled_transaction_leaves_no_trace() {
    let mut replica = Replica::new();
    replica.step(vec![
        put("a", "old", request(NOW, 1)),
        put("gone", "old", request(NOW, 2)),
        delete("gone", request(NOW, 3)),
    ]);
    let before = replica.machine.meta().clone();
    let stored = |replica: &Replica| ["a", "b", "gone"].map(|name| replica.item(name));
    let items_before = stored(&replica);
    replica.one(prepare(
        1,
        TS,
        puts(&[("a", "x"), ("b", "x"), ("gone", "x")]),
    ));
    replica.one(decide(1, TS, false));
    assert_eq!(stored(&replica), items_before);
    let expected = ShardMeta {
        applied_index: before.applied_index + 2,
        ..before
    };
    assert_eq!(replica.machine.meta(), &expected);
}

#[test]
pub(super) fn a_prepare_that_comes_again_is_no_conflict_with_itself() {
    let mut replica = Replica::new();
    let attempt = prepare(1, TS, puts(&[("a", "x"), ("b", "x")]));
    assert_eq!(replica.one(attempt.clone()), Outcome::Prepared);
    let before = dump(&replica.store);
    for restarted in [false, true] {
        if restarted {
            replica.restart();
        }
        assert_eq!(replica.one(attempt.clone()), Outcome::Prepared);
    }
    let changed = dump(&replica.store)
        .into_iter()
        .filter(|pair| !before.contains(pair));
    assert_eq!(changed.count(), 1, "the meta, with its applied index");
    // Even much later, and on a shard that is sealed by now.
    replica.one(Command::Seal);
    replica.now_millis = NOW + 10 * WINDOW;
    assert_eq!(replica.one(attempt), Outcome::Prepared);
}

#[test]
pub(super) fn an_objection_to_one_item_keeps_all_of_them_free() {
    let mut replica = Replica::new();
    replica.now_millis = NOW + 20;
    replica.step(vec![
        put("late", "v", request(NOW, 1)),
        prepare(9, at(NOW + 30, 0), puts(&[("locked", "v")])),
    ]);
    let before = dump(&replica.store);
    let mixed = items(&[
        ("free", "x", Condition::Always),
        ("late", "x", Condition::Always),
        ("locked", "x", Condition::Exists),
        ("absent", "x", Condition::Exists),
        ("late", "x", Condition::NotExists),
    ]);
    let outcome = replica.one(prepare(1, TS, mixed[..4].to_vec()));
    let late = Some(too_old(at(NOW + 20, 0)));
    assert_eq!(outcome, rejected(&[None, late, CONFLICTING, FAILED]));
    let outcome = replica.one(prepare(1, TS, mixed[4..].to_vec()));
    assert_eq!(
        outcome,
        rejected(&[FAILED]),
        "which says more than the timestamp"
    );
    let changed = dump(&replica.store)
        .into_iter()
        .filter(|pair| !before.contains(pair));
    assert_eq!(changed.count(), 1, "the meta, with its applied index");
    // A refusal is not remembered: the same transaction may be prepared without what was in its way.
    let outcome = replica.one(prepare(1, TS, mixed[..1].to_vec()));
    assert_eq!(outcome, Outcome::Prepared);
}

#[test]
fn a_key_twice_is_refused_and_named() {
    let mut replica = Replica::new();
    let twice = puts(&[("a", "x"), ("b", "x"), ("a", "y"), ("a", "z")]);
    let refused = rejected(&[None, None, INVALID, INVALID]);
    assert_eq!(replica.one(prepare(1, TS, twice.clone())), refused);
    assert_eq!(replica.one(transact_write(2, NOW, twice)), refused);
    assert_eq!(replica.machine.meta().items, 0);
}

#[test]
fn a_timestamp_must_be_above_that_of_the_item_and_of_every_delete() {
    let mut replica = Replica::new();
    replica.now_millis = NOW + 10;
    replica.step(vec![
        put("a", "v", request(NOW, 1)),
        put("b", "v", request(NOW, 2)),
        delete("b", request(NOW, 3)),
    ]);
    assert_eq!(replica.item("a").unwrap().timestamp, TS);
    let deleted = replica.machine.meta().max_delete_timestamp;
    assert_eq!(deleted, TS.next());
    let attempt = |id, ts| prepare(id, ts, puts(&[("a", "x"), ("b", "x"), ("never", "x")]));
    let expected = rejected(&[TS, deleted, deleted].map(|ts| Some(too_old(ts))));
    assert_eq!(replica.one(attempt(1, TS)), expected);
    let expected = rejected(&[None, Some(too_old(deleted)), Some(too_old(deleted))]);
    assert_eq!(replica.one(attempt(2, deleted)), expected);
    assert_eq!(replica.one(attempt(3, deleted.next())), Outcome::Prepared);
}

/// Dirty write, lost update: what is prepared on is not written by anybody else.
#[test]
pub(super) fn nobody_writes_under_a_prepared_transaction() {
    let mut replica = Replica::new();
    replica.one(put("a", "old", request(NOW, 1)));
    replica.one(prepare(7, TS, puts(&[("a", "new"), ("b", "new")])));
    for name in ["a", "b"] {
        assert_eq!(replica.one(put(name, "x", request(NOW, 2))), conflict(7));
        assert_eq!(replica.one(delete(name, request(NOW, 3))), conflict(7));
        let conditional = only_if(Condition::VersionIs(99), put(name, "x", request(NOW, 4)));
        assert_eq!(
            replica.one(conditional),
            conflict(7),
            "nobody knows the condition"
        );
        let other = prepare(8, at(NOW + 40, 0), puts(&[(name, "x")]));
        assert_eq!(replica.one(other), rejected(&[CONFLICTING]));
        let other = transact_write(
            9,
            NOW + u64::from(name == "a"),
            puts(&[("c", "x"), (name, "x")]),
        );
        assert_eq!(replica.one(other), rejected(&[None, CONFLICTING]));
    }
    assert_eq!(replica.get("a"), Some(("old".into(), 1)));
    replica.one(decide(7, TS, true));
    assert_eq!(replica.get("a"), Some(("new".into(), 2)));
    assert_eq!(replica.get("b"), Some(("new".into(), 3)));
    assert_eq!(replica.get("c"), None);
    assert_eq!(
        replica.one(put("a", "x", request(NOW, 2))),
        written(4),
        "it may come again"
    );
}

/// A transaction is committed, its item deleted, and then its prepare comes once more.
#[test]
pub(super) fn a_prepare_that_comes_after_its_commit_is_refused() {
    for (delay, deleted) in [
        (0, false),
        (0, true),
        (WINDOW * 2, false),
        (WINDOW * 2, true),
    ] {
        let mut replica = Replica::new();
        let attempt = prepare(1, TS, puts(&[("a", "x")]));
        replica.one(attempt.clone());
        replica.one(decide(1, TS, true));
        if deleted {
            replica.one(delete("a", request(NOW, 1)));
        }
        replica.now_millis = NOW + delay;
        let outcome = replica.one(attempt);
        assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}");
        assert_eq!(replica.get("a").is_some(), !deleted);
    }
}

/// The decision overtakes the prepare, or the prepare is repeated after it. An intent would stay that nobody removes.
#[test]
pub(super) fn a_prepare_that_comes_after_its_cancellation_is_refused() {
    for prepared_before in [false, true] {
        let mut replica = Replica::new();
        let attempt = prepare(1, TS, puts(&[("a", "x"), ("b", "x")]));
        if prepared_before {
            replica.one(attempt.clone());
        }
        assert_eq!(replica.one(decide(1, TS, false)), Outcome::Decided);
        let refused = rejected(&[Some(too_old(TS)); 2]);
        assert_eq!(replica.one(attempt.clone()), refused);
        replica.restart();
        assert_eq!(replica.one(attempt.clone()), refused);
        replica.now_millis = NOW + 20 + WINDOW;
        let window = Some(too_old(at(NOW + 20, 0)));
        assert_eq!(
            replica.one(attempt),
            rejected(&[window; 2]),
            "too old to tell"
        );
        assert_eq!(replica.machine.meta().items, 0);
        let next = prepare(2, at(NOW + 20, 1), puts(&[("a", "x")]));
        assert_eq!(
            replica.one(next),
            Outcome::Prepared,
            "above what the objection named"
        );
    }
}

#[test]
fn a_decision_without_a_timestamp_goes_by_that_of_the_prepare() {
    let mut replica = Replica::new();
    let attempt = prepare(1, TS, puts(&[("a", "x")]));
    replica.one(attempt.clone());
    replica.one(decide(1, Timestamp::ZERO, false));
    assert_eq!(replica.one(attempt), rejected(&[Some(too_old(TS))]));
    let before = replica.machine.window.len();
    replica.one(decide(2, Timestamp::ZERO, false));
    assert_eq!(
        replica.machine.window.len(),
        before,
        "nothing to remember it by"
    );
}

#[test]
fn a_decision_that_comes_again_or_of_an_unknown_transaction_changes_nothing() {
    for commit in [true, false] {
        let mut replica = Replica::new();
        replica.one(prepare(1, TS, puts(&[("a", "x")])));
        replica.one(decide(1, TS, commit));
        replica.one(put("a", "later", request(NOW, 1)));
        replica.one(prepare(2, at(NOW + 50, 0), puts(&[("a", "y"), ("b", "y")])));
        let before = ["a", "b"].map(|name| replica.item(name));
        let meta = replica.machine.meta().clone();
        assert_eq!(replica.one(decide(1, TS, commit)), Outcome::Decided);
        assert_eq!(replica.one(decide(3, TS, commit)), Outcome::Decided);
        assert_eq!(["a", "b"].map(|name| replica.item(name)), before);
        let expected = ShardMeta {
            applied_index: meta.applied_index + 2,
            ..meta
        };
        assert_eq!(replica.machine.meta(), &expected);
    }
}

#[test]
fn a_sealed_shard_prepares_nothing_and_finishes_what_is_prepared() {
    let mut replica = Replica::new();
    replica.one(prepare(1, TS, puts(&[("a", "x")])));
    replica.one(prepare(2, TS, puts(&[("b", "x")])));
    replica.one(Command::Seal);
    let outcome = replica.one(prepare(3, TS, puts(&[("c", "x"), ("d", "x")])));
    assert_eq!(outcome, rejected(&[INVALID, INVALID]));
    assert_eq!(
        replica.one(transact_write(4, NOW, puts(&[("c", "x")]))),
        SEALED
    );
    assert_eq!(replica.one(decide(1, TS, true)), Outcome::Decided);
    assert_eq!(replica.one(decide(2, TS, false)), Outcome::Decided);
    assert_eq!(replica.get("a"), Some(("x".into(), 1)));
    assert_eq!(replica.machine.meta().items, 1);
    assert_eq!(replica.machine.reader().undecided_count(), 0);
}

#[test]
pub(super) fn a_follower_that_took_a_snapshot_carries_out_the_decision() {
    for commit in [true, false] {
        let mut leader = Replica::new();
        leader.one(put("a", "old", request(NOW, 1)));
        leader.one(prepare(1, TS, puts(&[("a", "x"), ("b", "x")])));
        leader.one(prepare(2, TS, puts(&[("c", "x")])));
        leader.one(decide(2, TS, false));
        let mut follower = Replica::new();
        leader.send_snapshot(&follower.store);
        follower.machine.reload().unwrap();
        clean_generations(&follower.store, SHARD).unwrap();
        follower.check();
        assert_eq!(follower.machine.reader().undecided_count(), 1);
        for command in [
            prepare(1, TS, puts(&[("a", "x"), ("b", "x")])),
            prepare(2, TS, puts(&[("c", "x")])),
            decide(1, TS, commit),
            inquire(1, TS),
        ] {
            assert_eq!(follower.one(command.clone()), leader.one(command));
            assert_eq!(follower.machine.meta(), leader.machine.meta());
        }
        let value = if commit { "x" } else { "old" };
        assert_eq!(follower.get("a").unwrap().0, value);
        assert_eq!(follower.machine.meta().items, leader.machine.meta().items);
    }
}

#[test]
fn replicas_that_differ_in_what_is_prepared_have_different_hashes() {
    let content = |timestamp, participants: usize| {
        let mut replica = Replica::new();
        replica.one(put("a", "v", request(NOW, 1)));
        let Command::Prepare {
            transaction,
            items,
            participants: mut all,
            ..
        } = prepare(1, timestamp, puts(&[("a", "x")]))
        else {
            unreachable!()
        };
        all.truncate(participants);
        replica.one(Command::Prepare {
            transaction,
            timestamp,
            items,
            participants: all,
        });
        replica.machine.meta().content
    };
    assert_eq!(content(TS, 2), content(TS, 2));
    assert_ne!(content(TS, 2), content(TS.next(), 2));
    assert_ne!(content(TS, 2), content(TS, 1), "in the record alone");
}

#[test]
fn a_record_whose_items_have_no_intents_stops_the_replica() {
    let mut replica = Replica::new();
    replica.one(prepare(1, TS, puts(&[("a", "x")])));
    let item = Item {
        intent: None,
        ..replica.item("a").unwrap()
    };
    replica.plant("a", &item);
    let entry = entry(2, NOW, vec![decide(1, TS, true)]);
    let broken = replica.machine.apply(&[entry]).unwrap_err();
    assert!(broken.to_string().contains("no intent"), "{broken}");
}

// Transactions in one shard.

#[test]
fn a_transaction_in_one_shard_writes_all_or_nothing() {
    let mut replica = Replica::new();
    replica.one(put("a", "old", request(NOW, 1)));
    let both = |a, b| items(&[("a", "x", a), ("b", "x", b)]);
    let refused = both(Condition::NotExists, Condition::Exists);
    assert_eq!(
        replica.one(transact_write(1, NOW, refused)),
        rejected(&[FAILED, FAILED])
    );
    let refused = both(Condition::VersionIs(1), Condition::Exists);
    assert_eq!(
        replica.one(transact_write(2, NOW, refused)),
        rejected(&[None, FAILED])
    );
    assert_eq!(replica.get("a"), Some(("old".into(), 1)));
    assert_eq!(replica.get("b"), None);
    let fine = both(Condition::VersionIs(1), Condition::NotExists);
    assert_eq!(
        replica.one(transact_write(3, NOW, fine)),
        Outcome::Committed
    );
    assert_eq!(replica.get("a"), Some(("x".into(), 2)));
    assert_eq!(replica.get("b"), Some(("x".into(), 3)));
    assert_eq!(
        replica.item("a").unwrap().timestamp,
        at(NOW, 1),
        "above the one before"
    );
    let known = |replica: &mut Replica, id| replica.one(inquire(id, at(NOW, 0)));
    assert_eq!(known(&mut replica, 2), state(TransactionState::Cancelled));
    assert_eq!(known(&mut replica, 3), state(TransactionState::Committed));
}

/// The answer was lost, or the leader died: the same transaction comes again, at once or late.
#[test]
pub(super) fn a_transaction_in_one_shard_ends_once() {
    for fails in [false, true] {
        let mut replica = Replica::new();
        let condition = if fails {
            Condition::Exists
        } else {
            Condition::NotExists
        };
        let attempt = transact_write(
            1,
            NOW,
            items(&[("a", "mine", condition), ("b", "mine", Condition::Always)]),
        );
        let first = replica.one(attempt.clone());
        let expected = if fails {
            rejected(&[FAILED, None])
        } else {
            Outcome::Committed
        };
        assert_eq!(first, expected);
        replica.step(vec![
            put("a", "later", request(NOW, 1)),
            put("b", "later", request(NOW, 2)),
        ]);
        for restarted in [false, true] {
            if restarted {
                replica.restart();
            }
            assert_eq!(replica.one(attempt.clone()), first);
        }
        replica.now_millis = NOW + WINDOW + 1;
        assert_eq!(replica.one(attempt), EXPIRED);
        for name in ["a", "b"] {
            assert_eq!(replica.get(name).unwrap().0, "later");
        }
    }
}

#[test]
fn a_transaction_in_one_shard_that_met_an_intent_stays_refused() {
    let mut replica = Replica::new();
    replica.one(prepare(1, TS, puts(&[("a", "x")])));
    let attempt = transact_write(2, NOW, puts(&[("a", "y"), ("b", "y")]));
    assert_eq!(replica.one(attempt.clone()), rejected(&[CONFLICTING, None]));
    replica.one(decide(1, TS, false));
    assert_eq!(replica.one(attempt), rejected(&[CONFLICTING, None]));
    assert_eq!(replica.get("b"), None);
    let new = transact_write(3, NOW, puts(&[("a", "y"), ("b", "y")]));
    assert_eq!(replica.one(new), Outcome::Committed);
}

// Inquiries.

#[test]
fn an_inquiry_is_told_what_the_shard_knows_and_for_how_long() {
    use TransactionState::{Cancelled, Committed, Forgotten, Prepared, Unknown};
    let mut replica = Replica::new();
    assert_eq!(replica.one(inquire(1, TS)), state(Unknown));
    replica.one(prepare(1, TS, puts(&[("a", "x")])));
    replica.one(prepare(2, TS, puts(&[("b", "x")])));
    replica.now_millis = NOW + 3 * WINDOW;
    assert_eq!(
        replica.one(inquire(1, TS)),
        state(Prepared),
        "for as long as it takes"
    );
    replica.now_millis = NOW;
    replica.one(decide(1, TS, true));
    replica.one(decide(2, TS, false));
    replica.restart();
    assert_eq!(replica.one(inquire(1, TS)), state(Committed));
    assert_eq!(replica.one(inquire(2, TS)), state(Cancelled));
    replica.now_millis = NOW + 10 + WINDOW;
    assert_eq!(replica.one(inquire(1, TS)), state(Committed));
    replica.now_millis = NOW + 11 + WINDOW;
    assert_eq!(replica.one(inquire(1, TS)), state(Forgotten));
    assert_eq!(replica.one(inquire(2, TS)), state(Forgotten));
}

#[test]
fn where_the_shard_has_forgotten_an_older_item_shows_that_nothing_was_committed() {
    use TransactionState::{Forgotten, Unknown};
    let mut replica = Replica::new();
    replica.now_millis = TS.millis() - 1;
    replica.one(put("old", "plain", request(NOW, 1)));
    replica.now_millis = NOW;
    replica.one(prepare(1, TS, puts(&[("a", "x"), ("b", "x")])));
    replica.one(decide(1, TS, true));
    replica.now_millis = NOW + 11 + WINDOW;
    for (keys, expected) in [
        (&["a", "b"][..], Forgotten),
        (&["old"], Unknown),
        (&["a", "old"], Unknown),
        (&["never there"], Unknown),
    ] {
        let inquiry = inquire_of(1, TS, keys);
        assert_eq!(replica.one(inquiry), state(expected), "{keys:?}");
    }
    // A delete takes what it removes out of the evidence, with everything that is absent.
    replica.one(delete("a", request(NOW + WINDOW, 2)));
    for key in ["a", "never there"] {
        assert_eq!(replica.one(inquire_of(1, TS, &[key])), state(Forgotten));
    }
}

/// A plain write got the very timestamp of a transaction that never was there.
#[test]
fn an_equal_timestamp_is_no_evidence() {
    let mut replica = Replica::new();
    replica.now_millis = TS.millis();
    replica.one(put("a", "plain", request(NOW, 1)));
    assert_eq!(replica.item("a").unwrap().timestamp, TS);
    assert_eq!(
        replica.one(inquire(1, TS)),
        state(TransactionState::Unknown)
    );
}

// Reading transactions.

#[test]
fn a_round_shows_values_locks_and_what_has_not_changed() {
    let mut replica = Replica::new();
    replica.step(vec![
        put("a", "1", request(NOW, 1)),
        put("b", "", request(NOW, 2)),
    ]);
    replica.one(prepare(1, TS, puts(&[("a", "x"), ("new", "x")])));
    let some = |value: &str| Some(value.to_owned());
    let round = read(&replica, &[("a", 0), ("b", 0), ("new", 0), ("none", 0)]);
    let expected = [
        (some("1"), 1, true),
        (some(""), 2, false),
        (None, 2, true),
        (None, 2, false),
    ];
    assert_eq!(round, expected);
    let round = read(&replica, &[("a", 1), ("b", 1), ("new", 2), ("none", 2)]);
    let expected = [
        (some("="), 1, true),
        (some(""), 2, false),
        (None, 2, true),
        (None, 2, false),
    ];
    assert_eq!(round, expected);
    replica.one(decide(1, TS, true));
    let round = read(&replica, &[("a", 1), ("b", 2), ("new", 2), ("none", 2)]);
    let expected = [
        (some("x"), 3, false),
        (some("="), 2, false),
        (some("x"), 4, false),
        (None, 2, false),
    ];
    assert_eq!(round, expected);
}

/// Between the two rounds of a reader a key comes and goes.
#[test]
pub(super) fn an_absent_key_that_was_there_between_two_rounds_has_another_lsn() {
    for others in [0, 1, limits::REMEMBERED_DELETES as u64, 100] {
        let mut replica = Replica::new();
        replica.step(vec![
            put("a", "0", request(NOW, 0)),
            delete("a", request(NOW, 1)),
        ]);
        let first = lsn(&replica, "a", 0);
        replica.step(vec![
            put("a", "1", request(NOW, 2)),
            delete("a", request(NOW, 3)),
        ]);
        for n in 0..others {
            let name = format!("other {n}");
            let (r1, r2) = (request(NOW, 10 + 2 * n), request(NOW, 11 + 2 * n));
            replica.step(vec![put(&name, "v", r1), delete(&name, r2)]);
        }
        assert_ne!(lsn(&replica, "a", first), first, "{others} other deletes");
    }
}

#[test]
fn what_happens_to_other_keys_leaves_an_absent_ones_lsn_alone() {
    let mut replica = Replica::new();
    // Long after the places for deletes are full.
    for n in 0..100 {
        replica.step(vec![
            put("b", "v", request(NOW, 2 * n)),
            delete("b", request(NOW, 2 * n + 1)),
        ]);
    }
    let first = lsn(&replica, "a", 0);
    for n in 0..limits::REMEMBERED_DELETES as u64 {
        let name = format!("other {n}");
        let (r1, r2) = (request(NOW, 1000 + 2 * n), request(NOW, 1001 + 2 * n));
        replica.step(vec![put(&name, "v", r1), delete(&name, r2)]);
        replica.restart();
        assert_eq!(lsn(&replica, "a", first), first);
    }
    replica.one(prepare(1, TS, puts(&[("a", "x")])));
    assert_eq!(read(&replica, &[("a", first)]), [(None, first, true)]);
    replica.one(decide(1, TS, false));
    assert_eq!(read(&replica, &[("a", first)]), [(None, first, false)]);
}

#[test]
fn more_than_an_answer_can_hold_is_refused() {
    let mut replica = Replica::new();
    let value = "v".repeat(limits::MAX_VALUE_BYTES);
    let names: Vec<_> = (0..11).map(|n| format!("key {n}")).collect();
    for (name, n) in names.iter().zip(0..) {
        replica.one(put(name, &value, request(NOW, n)));
    }
    let read = |count: usize, known: bool| {
        let known = |at: usize| if known { at as u64 + 1 } else { 0 };
        let keys = names[..count].iter().enumerate();
        let keys: Vec<_> = keys.map(|(at, name)| (key(name), known(at))).collect();
        replica.machine.transact_read(&keys)
    };
    assert_eq!(read(10, false).unwrap().len(), 10);
    assert!(matches!(read(11, false), Err(ReadError::TooLarge)));
    assert_eq!(read(11, true).unwrap().len(), 11, "nothing is sent again");
}

// What is undecided.

#[test]
fn a_replica_knows_what_is_undecided_and_since_when() {
    let mut replica = Replica::new();
    let reader = replica.machine.reader();
    replica.machine.tell_time(100);
    replica.one(prepare(1, TS, puts(&[("a", "x")])));
    replica.machine.tell_time(200);
    replica.one(prepare(2, TS, puts(&[("b", "x")])));
    replica.machine.tell_time(300);
    replica.one(prepare(1, TS, puts(&[("a", "x")])));
    let id = TransactionId;
    assert_eq!(reader.undecided_since(99), []);
    assert_eq!(
        reader.undecided_since(199),
        [(100, id(1))],
        "not since it came again"
    );
    assert_eq!(reader.undecided_since(200), [(100, id(1)), (200, id(2))]);
    let undecided = reader.undecided(id(1)).unwrap().unwrap();
    assert_eq!((undecided.transaction, undecided.timestamp), (id(1), TS));
    let tables: Vec<_> = undecided.participants.iter().map(|one| one.table).collect();
    assert_eq!(tables, [SHARD.table, TableId(99)]);
    replica.one(decide(1, TS, true));
    assert_eq!(reader.undecided(id(1)).unwrap(), None);
    assert_eq!(reader.undecided_count(), 1);
    // A process that starts has no memory of the time before.
    replica.restart();
    replica.machine.begin(50);
    assert_eq!(replica.machine.reader().undecided_since(50), [(50, id(2))]);
}

#[test]
fn through_a_snapshot_a_replica_knows_what_is_undecided() {
    let mut leader = Replica::new();
    leader.one(prepare(1, TS, puts(&[("a", "x")])));
    let mut follower = Replica::new();
    follower.machine.tell_time(100);
    follower.machine.apply(&leader.log).unwrap();
    follower.one(prepare(3, TS, puts(&[("c", "x")])));
    leader.one(prepare(2, TS, puts(&[("b", "x")])));
    leader.send_snapshot(&follower.store);
    let reader = follower.machine.reader();
    follower.machine.tell_time(200);
    follower.machine.reload().unwrap();
    let expected = [(100, TransactionId(1)), (200, TransactionId(2))];
    assert_eq!(reader.undecided_since(u64::MAX), expected);
    assert!(reader.undecided(TransactionId(2)).unwrap().is_some());
}
