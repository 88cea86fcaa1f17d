//! Confirmed writes that are there at rest, and some that are not.

use history::{FinalState, Operation, Violation, durable};

use crate::support::script::*;

fn check(
    operations: impl IntoIterator<Item = Operation>,
    at_rest: Option<(&str, u64)>,
) -> Result<(), Violation> {
    let item = at_rest.map(|(value, version)| (bytes(value), version));
    let state: FinalState = [(("t".to_owned(), bytes("x")), item)].into();
    let checked = durable::check(&history(operations), &state)?;
    assert_eq!(checked.keys, 1);
    Ok(())
}

#[track_caller]
fn lost(result: Result<(), Violation>, why: &str) {
    let violation = result.expect_err("nothing is lost");
    assert_eq!(violation.property, "confirmed-writes");
    assert!(violation.detail.contains(why), "{violation}");
}

#[test]
fn the_last_write_is_there() {
    let writes = || {
        [
            put(1, 0..5, "x", "a").version(1),
            put(1, 10..15, "x", "b").version(2),
        ]
    };
    check(writes(), Some(("b", 2))).unwrap();
    lost(
        check(writes(), Some(("a", 1))),
        "at rest, key t/x holds a (version 1), as c1 #0 (put t/x = a) left it, \
         which was over before c1 #10 (put t/x = b) began; that one was confirmed and is lost",
    );
    lost(
        check(writes(), None),
        "c1 #10 (put t/x = b) was confirmed and nothing deletes it",
    );
}

#[test]
fn of_concurrent_writes_the_one_with_the_higher_version() {
    let writes = || {
        [
            put(1, 0..20, "x", "a").version(1),
            put(2, 10..15, "x", "b").version(2),
        ]
    };
    check(writes(), Some(("b", 2))).unwrap();
    lost(
        check(writes(), Some(("a", 1))),
        "c2 #10 (put t/x = b) was confirmed with a higher version",
    );
}

#[test]
fn an_unknown_write_excuses_everything() {
    check(
        [
            put(1, 0..5, "x", "a").unknown(),
            put(2, 10..15, "x", "b").version(2),
        ],
        Some(("a", 3)),
    )
    .unwrap();
    check(
        [
            delete(1, 0..5, "x").unknown(),
            put(2, 10..15, "x", "b").version(2),
        ],
        None,
    )
    .unwrap();
}

#[test]
fn a_delete_is_a_write() {
    let start = || {
        [
            put(1, 0..5, "x", "a").version(1),
            delete(1, 10..15, "x").deleted(),
        ]
    };
    check(start(), None).unwrap();
    lost(check(start(), Some(("a", 1))), "c1 #10 (delete t/x) began");
    let mut again = start().to_vec();
    again.push(put(1, 20..25, "x", "b").version(3));
    lost(check(again, None), "c1 #20 (put t/x = b) began");
}

#[test]
fn refused_and_unheard_of_values() {
    lost(
        check([put(1, 0..5, "x", "a").refused()], Some(("a", 1))),
        "whose put was refused",
    );
    lost(check([], Some(("a", 1))), "which nobody wrote to it");
    check([put(1, 0..5, "x", "a").refused()], None).unwrap();
}

#[test]
fn transactions_are_writes_of_each_key() {
    let write = || transact_put(1, 0..5, &[("x", "a"), ("y", "b")]).versions(&[1, 1]);
    check([write()], Some(("a", 1))).unwrap();
    lost(check([write()], None), "is lost");
}
