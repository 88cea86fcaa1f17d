//! The anomalies of the literature (Adya's thesis; Berenson et al., SIGMOD 1995; Cerone et al., CONCUR 2015; Bailis et
//! al., SIGMOD 2014), each as a script that would show it.

use model::{Condition, Objection};
use txn::coordinator::{Answer, Vote};

use crate::model::{Transaction, World, read, transact, write, write_if};

/// Two transactions write the same two keys; their writes must not mix.
#[test]
fn dirty_write() {
    let mut world = World::new(2);
    let mut one = Transaction::begin(&mut world, &[write(0, "x", 1), write(1, "y", 1)]);
    one.prepare_all(&mut world);
    // The other finds the locks, on whichever shard it comes to first; so does a plain put.
    let two = transact(&mut world, &[write(0, "x", 2), write(1, "y", 2)]);
    assert_eq!(two, Answer::Cancelled);
    assert_eq!(world.put(1, "y", 3), Err(Objection::TransactionConflict));
    assert_eq!(world.delete(0, "x"), Err(Objection::TransactionConflict));
    one.run(&mut world);
    assert_eq!(one.answer, Some(Answer::Committed));
    assert_eq!((world.get(0, "x"), world.get(1, "y")), (Some(1), Some(1)));
}

/// Two transactions come to the shards in opposite orders: at least one of them fails, and neither waits for ever.
#[test]
fn opposite_orders_don_t_wait_for_each_other() {
    let mut world = World::new(2);
    let writes = |value| [write(0, "x", value), write(1, "y", value)];
    let mut one = Transaction::begin(&mut world, &writes(1));
    let mut two = Transaction::begin(&mut world, &writes(2));
    for transaction in [&mut one, &mut two] {
        transaction.carry_out(&mut world, |e| {
            matches!(e, txn::coordinator::Effect::Create(_))
        });
        transaction.carry_out(&mut world, |e| *e == txn::coordinator::Effect::Stamp);
    }
    one.prepare(&mut world, 0);
    two.prepare(&mut world, 1);
    one.prepare(&mut world, 1);
    two.prepare(&mut world, 0);
    one.run(&mut world);
    two.run(&mut world);
    assert_eq!(one.answer, Some(Answer::Cancelled));
    assert_eq!(two.answer, Some(Answer::Cancelled));
    assert!(!world.is_locked(0, "x") && !world.is_locked(1, "y"));
    assert_eq!((world.get(0, "x"), world.get(1, "y")), (None, None));
}

/// Two increments, each of what it has read: one of them must fail.
#[test]
fn lost_update() {
    let mut world = World::new(2);
    world.put(0, "x", 10).unwrap();
    let version = world.version(0, "x");
    let increment = |other| {
        let condition = Condition::VersionIs(version);
        [write_if(0, "x", 11, condition), write(1, other, 1)]
    };
    let mut one = Transaction::begin(&mut world, &increment("one"));
    one.prepare_all(&mut world);
    let two = transact(&mut world, &increment("two"));
    assert_eq!(two, Answer::Cancelled);
    one.run(&mut world);
    assert_eq!(one.answer, Some(Answer::Committed));
    // And later its version is another.
    let mut three = Transaction::begin(&mut world, &increment("three"));
    three.run(&mut world);
    assert_eq!(three.answer, Some(Answer::Cancelled));
    let refused = Vote::Rejected(vec![Some(Objection::ConditionFailed)]);
    assert!(three.coordinator.votes().any(|vote| *vote == refused));
    assert_eq!(world.get(0, "x"), Some(11));
}

/// A reader sees `x` before a transaction and `y` after it.
fn read_skew() {
    let mut world = World::new(2);
    transact(&mut world, &[write(0, "x", 50), write(1, "y", 50)]);
    let sum = read(&mut world, &[(0, "x"), (1, "y")], |world, round, read| {
        if (round, read) == (0, 0) {
            let moved = transact(world, &[write(0, "x", 0), write(1, "y", 100)]);
            assert_eq!(moved, Answer::Committed);
        }
    });
    assert_eq!(sum, Some(vec![Some(0), Some(100)]));
}

/// A transaction is applied on one shard and not yet on the other, all the time that a reader looks.
fn fractured_read() {
    let mut world = World::new(2);
    transact(&mut world, &[write(0, "x", 50), write(1, "y", 50)]);
    let mut moved = Transaction::begin(&mut world, &[write(0, "x", 0), write(1, "y", 100)]);
    moved.prepare_all(&mut world);
    moved.write(&mut world);
    moved.apply(&mut world, 0);
    let keys = [(0, "x"), (1, "y")];
    assert_eq!(read(&mut world, &keys, |_, _, _| {}), None);
    moved.run(&mut world);
    let after = read(&mut world, &keys, |_, _, _| {});
    assert_eq!(after, Some(vec![Some(0), Some(100)]));
}

/// The whole transaction happens between the rounds of a reader, but for its end on one shard.
fn a_lock_in_the_second_round() {
    let mut world = World::new(2);
    transact(&mut world, &[write(0, "x", 50), write(1, "y", 50)]);
    let mut moved = None;
    let keys = [(1, "y"), (0, "x")];
    let state = read(&mut world, &keys, |world, round, read| {
        match (round, read) {
            // After the second round has read `y`, still unlocked: prepared, decided, applied to `y` alone.
            (1, 0) => {
                let mut new = Transaction::begin(world, &[write(0, "x", 0), write(1, "y", 100)]);
                new.prepare_all(world);
                new.write(world);
                new.apply(world, 1);
                // Whoever hears of that and goes on from there …
                assert_eq!(world.get(1, "y"), Some(100));
                moved = Some(new);
            }
            (2, 1) => moved.as_mut().unwrap().run(world),
            _ => {}
        }
    });
    // … must not be contradicted by a state from before, and certainly not by a mixed one.
    assert_eq!(state, Some(vec![Some(100), Some(0)]));
}

#[test]
fn reads_show_one_state() {
    read_skew();
    fractured_read();
    a_lock_in_the_second_round();
}

/// Each of two transactions is to leave at least one doctor on call, and takes the other one off.
#[test]
fn write_skew() {
    let mut world = World::new(2);
    transact(&mut world, &[write(0, "alice", 1), write(1, "bob", 1)]);
    let (alice, bob) = (world.version(0, "alice"), world.version(1, "bob"));
    // What a decision rests on is part of the transaction: it is written as it is, under the condition that it has
    // not changed.
    let alice_leaves = [
        write(0, "alice", 0),
        write_if(1, "bob", 1, Condition::VersionIs(bob)),
    ];
    let bob_leaves = [
        write_if(0, "alice", 1, Condition::VersionIs(alice)),
        write(1, "bob", 0),
    ];
    let mut one = Transaction::begin(&mut world, &alice_leaves);
    one.prepare_all(&mut world);
    assert_eq!(transact(&mut world, &bob_leaves), Answer::Cancelled);
    one.run(&mut world);
    assert_eq!(transact(&mut world, &bob_leaves), Answer::Cancelled);
    let on_call = (world.get(0, "alice"), world.get(1, "bob"));
    assert_eq!(on_call, (Some(0), Some(1)));
}

/// Two writers of different keys, two readers of both: they must not see the two writes in different orders.
#[test]
fn long_fork() {
    let mut world = World::new(2);
    transact(&mut world, &[write(0, "x", 0), write(1, "y", 0)]);
    let keys = [(0, "x"), (1, "y")];
    let mut other = None;
    // While the first reader is between its two keys, `x` is written, then read by another reader, then `y`.
    let one = read(&mut world, &keys, |world, round, at| {
        if (round, at) == (0, 0) {
            world.put(0, "x", 1).unwrap();
            other = read(world, &keys, |_, _, _| {});
            world.put(1, "y", 1).unwrap();
        }
    });
    assert_eq!(other, Some(vec![Some(1), Some(0)]));
    // The first must not answer that `y` was written and `x` was not.
    assert_eq!(one, Some(vec![Some(1), Some(1)]));
}

/// A key that is absent before and after, and was there in between.
#[test]
fn an_absent_key_that_came_and_went_is_noticed() {
    let mut world = World::new(2);
    world.put(1, "y", 1).unwrap();
    let keys = [(0, "x"), (1, "y")];
    let mut rounds = 0;
    let state = read(&mut world, &keys, |world, round, at| {
        rounds = round;
        if (round, at) == (0, 1) {
            world.put(0, "x", 1).unwrap();
            world.delete(0, "x").unwrap();
        }
    });
    assert_eq!(state, Some(vec![None, Some(1)]));
    assert_eq!(rounds, 2, "the second round does not agree with the first");
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutants_are_noticed() {
    use mutants::{Mutant, is_noticed};
    assert!(is_noticed(Mutant::SecondRoundSkipped, read_skew));
    assert!(is_noticed(Mutant::SecondRoundAcceptsLocks, fractured_read));
}
