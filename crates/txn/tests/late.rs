//! What comes late, twice, or finds its ledger entry gone.

use model::{Objection, TransactionState};
use txn::Decision::{self, Cancelled, Committed};
use txn::Standing;
use txn::coordinator::{Answer, Effect, Event};
use txn::recovery::End;

use crate::model::{Set, Transaction, World, read, transact, write};

/// A duplicate of a prepare arrives when the transaction is finished and its item deleted again.
#[test]
fn late_prepare() {
    let mut world = World::new(2);
    let writes = [write(0, "x", 1), write(1, "y", 1)];
    let mut transaction = Transaction::begin(&mut world, &writes);
    transaction.run(&mut world);
    assert_eq!(transaction.answer, Some(Answer::Committed));
    world.delete(0, "x").unwrap();
    // Even a shard that has forgotten the transaction refuses: timestamps of a key never fall.
    world.forget_finished();
    let again = world.prepare(0, transaction.id(), transaction.timestamp, &writes[..1]);
    assert!(matches!(
        again.unwrap_err()[..],
        [Some(Objection::TimestampTooOld(_))]
    ));
    assert_eq!(world.get(0, "x"), None);
}

/// The prepare of a cancelled transaction arrives when nobody knows of it any more: the intent is found and dropped.
#[test]
fn late_prepare_of_a_cancelled_one() {
    let mut world = World::new(2);
    let mut transaction = Transaction::begin(&mut world, &[write(0, "x", 1), write(1, "y", 1)]);
    transaction.carry_out(&mut world, |e| matches!(e, Effect::Create(_)));
    transaction.carry_out(&mut world, |e| *e == Effect::Stamp);
    transaction.prepare(&mut world, 0);
    // Shard 1 is silent; the message is still on its way.
    transaction.waiting.clear();
    transaction.event(Event::PrepareFailed {
        group: 1,
        certain: false,
    });
    transaction.run(&mut world);
    assert_eq!(transaction.answer, Some(Answer::Cancelled));
    assert!(world.ledger.is_empty());
    let late = transaction.writes_of(1);
    world
        .prepare(1, transaction.id(), transaction.timestamp, &late)
        .unwrap();
    assert!(world.is_locked(1, "y"));
    assert_eq!(world.recover(transaction.id()), End::Finished(Cancelled));
    assert!(!world.is_locked(1, "y") && world.ledger.is_empty());
    assert_eq!((world.get(0, "x"), world.get(1, "y")), (None, None));
}

/// A prepare that is sent again while it holds is accepted again.
#[test]
fn a_repeated_prepare_is_recognised() {
    let mut world = World::new(1);
    let mut transaction = Transaction::begin(&mut world, &[write(0, "x", 1)]);
    transaction.prepare_all(&mut world);
    let again = transaction.writes_of(0);
    let again = world.prepare(0, transaction.id(), transaction.timestamp, &again);
    assert_eq!(again, Ok(()));
}

/// A set to committed lands after recovery has cancelled: before the entry is removed, and after.
#[test]
fn late_decision() {
    let mut world = World::new(2);
    let mut slow = Transaction::begin(&mut world, &[write(0, "x", 1), write(1, "y", 1)]);
    slow.prepare_all(&mut world);
    assert_eq!(world.set(slow.id(), Cancelled), Set::Done);
    let late = world.set(slow.id(), Committed);
    assert_eq!(late, Set::Decided(Cancelled));
    slow.run(&mut world);
    assert_eq!(slow.answer, Some(Answer::Cancelled));
    assert_eq!((world.get(0, "x"), world.get(1, "y")), (None, None));

    let mut slower = Transaction::begin(&mut world, &[write(0, "x", 1), write(1, "y", 1)]);
    slower.prepare_all(&mut world);
    assert_eq!(world.recover(slower.id()), End::Finished(Cancelled));
    slower.run(&mut world);
    assert_eq!(slower.answer, Some(Answer::Unknown { committed: false }));
    assert_eq!((world.get(0, "x"), world.get(1, "y")), (None, None));
}

/// A decision reaches a shard twice, the second time when the key belongs to another transaction.
#[test]
fn a_repeated_decision_touches_nobody_else_s_intent() {
    let mut world = World::new(1);
    let mut one = Transaction::begin(&mut world, &[write(0, "x", 1)]);
    one.run(&mut world);
    let mut two = Transaction::begin(&mut world, &[write(0, "x", 2)]);
    two.prepare_all(&mut world);
    world.decide(0, one.id(), Committed);
    assert!(world.is_locked(0, "x"));
    assert_eq!(world.get(0, "x"), Some(1));
}

/// The store was restored from before the transaction; one shard has applied it, the other has not.
fn ledger_entry_gone_of_a_committed_one() {
    let mut world = World::new(2);
    let mut transaction = Transaction::begin(&mut world, &[write(0, "x", 1), write(1, "y", 1)]);
    transaction.prepare_all(&mut world);
    transaction.write(&mut world);
    transaction.apply(&mut world, 0);
    world.ledger.clear();
    assert_eq!(world.recover(transaction.id()), End::Finished(Committed));
    assert_eq!((world.get(0, "x"), world.get(1, "y")), (Some(1), Some(1)));
}

/// The same before anything was applied: the cancellation is written so that the coordinator's set can't land on it.
fn ledger_entry_gone_of_a_prepared_one() {
    let mut world = World::new(2);
    let mut transaction = Transaction::begin(&mut world, &[write(0, "x", 1), write(1, "y", 1)]);
    transaction.prepare_all(&mut world);
    world.ledger.clear();
    assert_eq!(world.recover(transaction.id()), End::Finished(Cancelled));
    transaction.run(&mut world);
    assert_eq!(
        transaction.answer,
        Some(Answer::Unknown { committed: false })
    );
    assert_eq!(
        world.inquire(1, transaction.id()),
        TransactionState::Cancelled
    );
    assert_eq!((world.get(0, "x"), world.get(1, "y")), (None, None));
}

/// A router dies after the first prepare of two: nobody may commit.
fn a_pending_one_without_every_prepare() {
    let mut world = World::new(2);
    world.put(1, "y", 7).unwrap();
    let mut dying = Transaction::begin(&mut world, &[write(0, "x", 1), write(1, "y", 1)]);
    dying.carry_out(&mut world, |e| matches!(e, Effect::Create(_)));
    dying.carry_out(&mut world, |e| *e == Effect::Stamp);
    dying.prepare(&mut world, 0);
    assert_eq!(world.ledger[&dying.id()].standing, Standing::Pending);
    assert_eq!(world.recover(dying.id()), End::Finished(Cancelled));
    assert_eq!((world.get(0, "x"), world.get(1, "y")), (None, Some(7)));
}

#[test]
fn ledger_entry_gone() {
    ledger_entry_gone_of_a_committed_one();
    ledger_entry_gone_of_a_prepared_one();
    a_pending_one_without_every_prepare();
}

/// A transaction that dies at any of its steps is finished by recovery: all of it or nothing, and no locks.
#[test]
fn recovery_finishes_what_died_at_any_step() {
    for survived in 0..14 {
        let mut world = World::new(2);
        transact(&mut world, &[write(0, "x", 50), write(1, "y", 50)]);
        let mut dying = Transaction::begin(&mut world, &[write(0, "x", 0), write(1, "y", 100)]);
        let mut decided: Option<Decision> = None;
        for _ in 0..survived {
            if !dying.waiting.is_empty() {
                dying.carry_out(&mut world, |_| true);
            }
            if let Some(Standing::Decided(decision)) =
                world.ledger.get(&dying.id()).map(|entry| entry.standing)
            {
                decided = Some(decision);
            }
        }
        world.recover(dying.id());
        let state = read(&mut world, &[(0, "x"), (1, "y")], |_, _, _| {});
        let expected = match decided {
            Some(Committed) => vec![Some(0), Some(100)],
            Some(Cancelled) | None => vec![Some(50), Some(50)],
        };
        assert_eq!(state, Some(expected), "after {survived} steps");
        assert!(world.ledger.is_empty());
        // What the dead one has left on its way changes nothing that a sweep does not mend.
        let on_the_way = std::mem::take(&mut dying.waiting);
        for effect in on_the_way {
            dying.waiting = vec![effect];
            dying.carry_out(&mut world, |_| true);
        }
        world.recover(dying.id());
        assert!(world.ledger.is_empty());
        let after = read(&mut world, &[(0, "x"), (1, "y")], |_, _, _| {});
        assert_eq!(after, state, "after {survived} steps");
    }
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_are_noticed() {
    use mutants::{Mutant, is_noticed};
    let pending = a_pending_one_without_every_prepare;
    assert!(is_noticed(Mutant::RecoveryCommitsPending, pending));
    let missing = ledger_entry_gone_of_a_committed_one;
    assert!(is_noticed(Mutant::MissingTakenForCancelled, missing));
}
