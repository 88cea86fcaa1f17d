//! The seven promises of versions, kept and broken.

use history::{Checked, Operation, versions};

use crate::support::script::*;

fn passes(operations: impl IntoIterator<Item = Operation>) -> Checked {
    versions::check(&history(operations)).unwrap_or_else(|violation| panic!("{violation}"))
}

#[track_caller]
fn fails(operations: impl IntoIterator<Item = Operation>, why: &str) {
    let violation = versions::check(&history(operations)).expect_err("passes");
    assert_eq!(violation.property, "versions");
    assert!(violation.detail.contains(why), "{violation}");
    assert!(violation.history.len() >= 2, "{violation}");
}

#[test]
fn rising_versions_pass() {
    let checked = passes([
        put(1, 0..5, "x", "a").version(3),
        put(2, 10..15, "x", "b").version(4),
        put(2, 10..15, "y", "c").version(4),
        get(1, 20..25, "x").shows("b", 4),
        eventual_get(1, 30..35, "x").shows("a", 3),
        delete(1, 40..45, "x").deleted(),
        put(1, 50..55, "x", "d").version(6),
    ]);
    let (operations, keys) = (6, 2);
    assert_eq!(checked, Checked { operations, keys });
}

#[test]
fn replicas_that_diverge_show_two_values_under_one_version() {
    fails(
        [
            put(1, 0..5, "x", "a").unknown(),
            put(2, 0..5, "x", "b").unknown(),
            eventual_get(3, 10..15, "x").shows("a", 7),
            eventual_get(3, 10..15, "x").shows("b", 7),
        ],
        "version 7 was read as a and read as b",
    );
}

#[test]
fn two_writes_never_get_the_same_version() {
    fails(
        [
            put(1, 0..15, "x", "a").version(7),
            put(2, 0..15, "x", "b").version(7),
        ],
        "two writes were answered version 7",
    );
    passes([transact_put(1, 0..15, &[("x", "a"), ("y", "b")]).versions(&[7, 7])]);
}

#[test]
fn a_read_shows_what_its_version_wrote() {
    fails(
        [
            put(1, 0..20, "x", "a").version(7),
            put(2, 0..20, "x", "b").version(8),
            get(3, 10..15, "x").shows("b", 7),
        ],
        "version 7 was written as a and read as b",
    );
}

/// Jepsen, TiDB 2.1.7: a write retried and applied twice, with another's write in between.
#[test]
fn tidb_2_1_7_a_retried_write_is_applied_twice() {
    fails(
        [
            put(1, 0..50, "x", "a").version(3),
            put(2, 10..15, "x", "b").version(2),
            eventual_get(3, 5..8, "x").shows("a", 1),
        ],
        "applied twice",
    );
}

#[test]
fn versions_rise_in_real_time() {
    fails(
        [
            put(1, 0..5, "x", "a").version(7),
            put(2, 10..15, "x", "b").version(6),
        ],
        "had got version 7 before it began",
    );
    passes([
        put(1, 0..12, "x", "a").version(7),
        put(2, 10..15, "x", "b").version(6),
    ]);
    fails(
        [
            put(1, 0..50, "x", "a").unknown(),
            eventual_get(3, 1..5, "x").shows("a", 7),
            put(2, 10..15, "x", "b").version(6),
        ],
        "had got version 7 before it began",
    );
}

#[test]
fn stale_read() {
    let writes = || {
        [
            put(1, 0..5, "x", "a").version(1),
            put(1, 10..15, "x", "b").version(2),
        ]
    };
    fails(
        writes()
            .into_iter()
            .chain([get(2, 20..25, "x").shows("a", 1)]),
        "had got version 2 before it began",
    );
    passes(
        writes()
            .into_iter()
            .chain([get(2, 12..25, "x").shows("a", 1)]),
    );
    fails(
        writes()
            .into_iter()
            .chain([transact_get(2, 20..25, &["x"]).saw(&[("a", 1)])]),
        "had got version 2 before it began",
    );
}

#[test]
fn a_read_does_not_fall_behind_another() {
    fails(
        [
            put(1, 0..5, "x", "a").version(1),
            put(1, 10..90, "x", "b").version(2),
            get(2, 20..25, "x").shows("b", 2),
            get(3, 30..35, "x").shows("a", 1),
        ],
        "had got version 2 before it began",
    );
}

#[test]
fn resurrected_value() {
    fails(
        [
            put(1, 0..5, "x", "a").version(1),
            delete(1, 10..15, "x").deleted(),
            get(2, 20..25, "x").shows("a", 1),
        ],
        "had removed version 1 before it began",
    );
    passes([
        put(1, 0..5, "x", "a").version(1),
        delete(1, 10..15, "x").unknown(),
        get(2, 20..25, "x").shows("a", 1),
    ]);
}
