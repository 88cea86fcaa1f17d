//! What an eventual read may and may not show.

use history::{Call, Operation, eventual};

use crate::support::script::*;

fn passes(operations: impl IntoIterator<Item = Operation>) {
    let checked = eventual::check(&history(operations));
    let checked = checked.unwrap_or_else(|violation| panic!("{violation}"));
    assert!(checked.operations > 0 && checked.keys > 0);
}

#[track_caller]
fn fails(operations: impl IntoIterator<Item = Operation>, why: &str) {
    let violation = eventual::check(&history(operations)).expect_err("passes");
    assert_eq!(violation.property, "eventual-reads");
    assert!(violation.detail.contains(why), "{violation}");
}

#[test]
fn any_old_value_and_none_at_all() {
    let writes = || {
        [
            put(1, 0..5, "x", "a").version(1),
            put(1, 10..15, "x", "b").version(2),
        ]
    };
    let reads = [
        eventual_get(2, 20..25, "x").shows("a", 1),
        eventual_get(2, 30..35, "x").shows("b", 2),
        eventual_get(2, 40..45, "x").missing(),
    ];
    passes(writes().into_iter().chain(reads));
}

#[test]
fn a_write_of_unknown_outcome_may_be_seen() {
    passes([
        put(1, 0..5, "x", "a").unknown(),
        eventual_get(2, 20..25, "x").shows("a", 1),
    ]);
}

/// Adya 1999, G1a (its history H1a: `w1(x1) … r2(x1) … a1`).
#[test]
fn adya_aborted_read() {
    fails(
        [
            put(1, 0..5, "x", "a").refused(),
            eventual_get(2, 20..25, "x").shows("a", 1),
        ],
        "aborted read",
    );
    fails(
        [
            transact_put(1, 0..5, &[("x", "a"), ("y", "b")]).cancelled(),
            eventual_get(2, 2..25, "y").shows("b", 1),
        ],
        "aborted read",
    );
}

#[test]
fn a_value_from_the_future() {
    fails(
        [
            put(1, 30..35, "x", "a").version(1),
            eventual_get(2, 20..25, "x").shows("a", 1),
        ],
        "had not begun",
    );
}

#[test]
fn a_value_of_another_key() {
    fails(
        [
            put(1, 0..5, "y", "a").version(1),
            eventual_get(2, 20..25, "x").shows("a", 1),
        ],
        "another key",
    );
}

/// A table made again under its old name shows nothing old.
#[test]
fn a_value_of_another_table() {
    let mut read = eventual_get(2, 20..25, "x").shows("a", 1);
    if let Call::Get { table, .. } = &mut read.call {
        "t, made again".clone_into(table);
    }
    fails([put(1, 0..5, "x", "a").version(1), read], "another table");
}

#[test]
fn a_value_that_nobody_wrote() {
    let write = || put(1, 0..5, "x", "a").version(1);
    fails(
        [write(), eventual_get(2, 20..25, "x").shows("A", 1)],
        "corruption",
    );
    fails([write(), get(2, 20..25, "x").shows("A", 1)], "corruption");
    fails(
        [write(), transact_get(2, 20..25, &["x"]).saw(&[("A", 1)])],
        "corruption",
    );
}
