//! The anomalies of transactions, by their names in the literature.
//!
//! Where a history of the literature has a transaction that reads and writes, here it writes on conditions: a condition that
//! held is a read.

use history::{Checked, Condition, Kind, Operation, serializable};

use crate::support::script::*;

fn passes(operations: impl IntoIterator<Item = Operation>) -> Checked {
    let checked = serializable::check(&history(operations));
    checked.unwrap_or_else(|violation| panic!("{violation}"))
}

/// The violation's name is this, and it takes this many operations to show it.
#[track_caller]
fn fails(operations: impl IntoIterator<Item = Operation>, name: &str, shown: usize) {
    let violation = serializable::check(&history(operations)).expect_err("passes");
    assert_eq!(violation.property, "strict-serializability");
    assert_eq!(violation.kind, Kind::Broken);
    let found = violation.detail.split(':').next().unwrap();
    assert_eq!(found, name, "{violation}");
    assert_eq!(violation.history.len(), shown, "{violation}");
}

const NONE: Condition = Condition::None;

fn at(version: u64) -> Condition {
    Condition::Version(version)
}

/// `x` = `x0` and `y` = `y0`, both at version 1.
fn start() -> Operation {
    transact_put(0, 0..5, &[("x", "x0"), ("y", "y0")]).versions(&[1, 1])
}

fn after_start(operations: impl IntoIterator<Item = Operation>) -> Vec<Operation> {
    std::iter::once(start()).chain(operations).collect()
}

#[test]
fn a_serial_history() {
    let checked = passes(after_start([
        transact_get(1, 10..15, &["x", "y"]).saw(&[("x0", 1), ("y0", 1)]),
        transact_put(2, 20..25, &[("x", "x1"), ("y", "y1")]).versions(&[2, 2]),
        put(2, 30..35, "x", "x2").version(3),
        transact_get(1, 40..45, &["x", "y"]).saw(&[("x2", 3), ("y1", 2)]),
        delete(1, 50..55, "x").deleted(),
        transact_get(1, 60..65, &["x", "y"]).saw(&[("", 0), ("y1", 2)]),
        put(2, 70..75, "x", "x3").version(7),
        transact_get(1, 80..85, &["x", "y"]).saw(&[("x3", 7), ("y1", 2)]),
    ]));
    let (operations, keys) = (9, 2);
    assert_eq!(checked, Checked { operations, keys });
}

#[test]
fn concurrent_transactions_in_some_order() {
    passes(after_start([
        transact_put(1, 10..50, &[("x", "x1"), ("y", "y1")]).versions(&[2, 3]),
        transact_put(2, 10..50, &[("x", "x2"), ("y", "y2")]).versions(&[3, 4]),
        transact_get(3, 10..50, &["x", "y"]).saw(&[("x1", 2), ("y1", 3)]),
        transact_get(4, 10..50, &["x", "y"]).saw(&[("x0", 1), ("y0", 1)]),
    ]));
}

/// Adya 1999, G0 (`H_wcycle`); Berenson et al. 1995, P0.
#[test]
fn dirty_write() {
    fails(
        [
            transact_put(1, 0..50, &[("x", "x1"), ("y", "y1")]).versions(&[1, 8]),
            transact_put(2, 0..50, &[("x", "x2"), ("y", "y2")]).versions(&[2, 7]),
        ],
        "G0 (dirty write)",
        2,
    );
}

/// Adya 1999, G1a (H1a); Berenson et al. 1995, P1.
#[test]
fn aborted_read() {
    fails(
        [
            transact_put(1, 0..50, &[("x", "x1"), ("y", "y1")]).cancelled(),
            transact_get(2, 10..20, &["x", "y"]).saw(&[("x1", 1), ("", 0)]),
        ],
        "G1a (aborted read)",
        2,
    );
}

/// Adya 1999, G1b.
#[test]
fn intermediate_read() {
    fails(
        [
            transact_put(1, 0..50, &[("x", "first"), ("x", "second")]).versions(&[1, 2]),
            transact_get(2, 10..20, &["x"]).saw(&[("first", 1)]),
        ],
        "G1b (intermediate read)",
        2,
    );
}

/// Adya 1999, G1c.
#[test]
fn circular_information_flow() {
    let one = vec![item("x", "x1", NONE), check_item("y", at(2))];
    let two = vec![item("y", "y1", NONE), check_item("x", at(2))];
    let transact = |client, items| {
        let versions = vec![Some(2), None];
        transact(client, 10..50, items).done(history::Response::TransactPut { versions })
    };
    fails(
        after_start([transact(1, one), transact(2, two)]),
        "G1c (circular information flow)",
        2,
    );
}

/// Berenson et al. 1995, A5A: `r1[x] w2[x] w2[y] r1[y]`; Bailis et al. 2014: a reader sees a part of a transaction.
#[test]
fn fractured_read() {
    fails(
        after_start([
            transact_put(1, 10..50, &[("x", "x1"), ("y", "y1")]).versions(&[2, 2]),
            transact_get(2, 20..30, &["x", "y"]).saw(&[("x0", 1), ("y1", 2)]),
        ]),
        "G-single (fractured read, a read skew)",
        2,
    );
}

#[test]
fn fractured_read_of_a_transaction_that_makes_its_items() {
    fails(
        [
            transact_put(1, 10..50, &[("x", "x1"), ("y", "y1")]).versions(&[2, 2]),
            transact_get(2, 20..30, &["x", "y"]).saw(&[("", 0), ("y1", 2)]),
        ],
        "G-single (fractured read, a read skew)",
        2,
    );
}

/// A transaction whose outcome its client never learned is all or nothing, too.
#[test]
fn fractured_read_of_a_transaction_of_unknown_outcome() {
    let unknown = || transact_put(1, 10..15, &[("x", "x1"), ("y", "y1")]).unknown();
    fails(
        after_start([
            unknown(),
            transact_get(2, 20..30, &["x", "y"]).saw(&[("x0", 1), ("y1", 2)]),
        ]),
        "G-single (fractured read, a read skew)",
        2,
    );
    passes(after_start([
        unknown(),
        transact_get(2, 20..30, &["x", "y"]).saw(&[("x0", 1), ("y0", 1)]),
        transact_get(2, 40..50, &["x", "y"]).saw(&[("x1", 2), ("y1", 2)]),
    ]));
    // Nobody saw it: it may never have been.
    passes(after_start([unknown()]));
}

/// The general case: what the reader missed of `x` came before what it saw of `y`, by another's write.
#[test]
fn read_skew() {
    fails(
        after_start([
            transact_put(1, 10..90, &[("x", "x1"), ("y", "y1")]).versions(&[2, 2]),
            put(2, 10..90, "y", "y2").version(3),
            transact_get(3, 10..90, &["x", "y"]).saw(&[("x0", 1), ("y2", 3)]),
        ]),
        "G-single (read skew)",
        3,
    );
}

/// Berenson et al. 1995, P4: both add to what they read, and one addition is gone.
#[test]
fn lost_update() {
    fails(
        after_start([
            put_if(1, 10..50, "x", "x0+1", at(1)).version(2),
            put_if(2, 10..50, "x", "x0+2", at(1)).version(3),
        ]),
        "G-single (lost update)",
        2,
    );
}

/// Berenson et al. 1995, A5B: each reads both and writes one.
#[test]
fn write_skew() {
    let one = vec![check_item("y", at(1)), item("x", "x1", at(1))];
    let two = vec![check_item("x", at(1)), item("y", "y1", at(1))];
    let transact = |client, items| {
        let versions = vec![None, Some(2)];
        transact(client, 10..50, items).done(history::Response::TransactPut { versions })
    };
    fails(
        after_start([transact(1, one), transact(2, two)]),
        "G2-item (write skew)",
        2,
    );
}

/// Sovran et al. 2011: two readers see two independent writes in opposite orders.
#[test]
fn long_fork() {
    fails(
        after_start([
            put(1, 10..90, "x", "x1").version(2),
            put(2, 10..90, "y", "y1").version(2),
            transact_get(3, 10..90, &["x", "y"]).saw(&[("x1", 2), ("y0", 1)]),
            transact_get(4, 10..90, &["x", "y"]).saw(&[("x0", 1), ("y1", 2)]),
        ]),
        "G2-item (long fork)",
        4,
    );
}

#[test]
fn stale_read() {
    fails(
        after_start([
            put(1, 10..15, "x", "x1").version(2),
            transact_get(2, 20..25, &["x", "y"]).saw(&[("x0", 1), ("y0", 1)]),
        ]),
        "G-single-realtime (stale read)",
        2,
    );
    fails(
        [
            put(1, 10..15, "x", "x1").version(2),
            transact_get(2, 20..25, &["x"]).saw(&[("", 0)]),
        ],
        "G-single-realtime (stale read)",
        2,
    );
}

/// CockroachDB's: a later write is seen, an earlier one of another key is not.
#[test]
fn causal_reverse() {
    fails(
        [
            put(1, 10..15, "x", "x1").version(2),
            put(1, 20..25, "y", "y1").version(2),
            transact_get(2, 0..50, &["x", "y"]).saw(&[("", 0), ("y1", 2)]),
        ],
        "G-single-realtime (causal reverse)",
        3,
    );
}

#[test]
fn writes_against_real_time() {
    fails(
        [
            put(1, 10..15, "x", "x1").version(2),
            put(2, 20..25, "x", "x2").version(1),
        ],
        "G0-realtime (writes against real time)",
        2,
    );
}

#[test]
fn read_from_the_future() {
    fails(
        [
            transact_get(2, 0..5, &["x"]).saw(&[("x1", 2)]),
            put(1, 10..15, "x", "x1").version(2),
        ],
        "G1c-realtime (read from the future)",
        2,
    );
}

/// Jepsen, TiDB 2.1.7: a write retried and applied twice, with another's write in between.
#[test]
fn tidb_2_1_7_a_retried_write_is_applied_twice() {
    fails(
        [
            put(1, 0..50, "x", "a").version(3),
            transact_get(3, 5..8, &["x"]).saw(&[("a", 1)]),
            put(2, 10..15, "x", "b").version(2),
            transact_get(3, 60..65, &["x"]).saw(&[("a", 3)]),
        ],
        "G1c-realtime",
        3,
    );
}

#[test]
fn deletes_have_no_versions_but_a_place_in_time() {
    let deleted = || {
        after_start([
            delete(1, 10..15, "x").deleted(),
            put(1, 30..35, "y", "y1").version(4),
        ])
    };
    let with = |operation| deleted().into_iter().chain([operation]).collect::<Vec<_>>();
    passes(with(
        transact_get(2, 20..25, &["x", "y"]).saw(&[("", 0), ("y0", 1)]),
    ));
    fails(
        with(transact_get(2, 20..25, &["x", "y"]).saw(&[("x0", 1), ("y0", 1)])),
        "G-single-realtime (stale read)",
        2,
    );
    // The deletion came before the write that was seen.
    fails(
        with(transact_get(2, 8..45, &["x", "y"]).saw(&[("x0", 1), ("y1", 4)])),
        "G-single-realtime (causal reverse)",
        3,
    );
    // Missing by the one delete, so before the write that follows it.
    let mut again = deleted();
    again.push(put(3, 40..45, "x", "x2").version(9));
    again.push(transact_get(2, 50..55, &["x"]).saw(&[("", 0)]));
    fails(again, "G-single-realtime (stale read)", 2);
}

/// A door that is opened before a lamp is lit and closed after it is out.
#[test]
fn an_absence_that_no_delete_explains() {
    let history = |closed: std::ops::Range<u64>, opened: std::ops::Range<u64>| {
        vec![
            put(1, 1..5, "door", "d0").version(1),
            put(1, 6..8, "lamp", "off").version(1),
            delete(1, closed.start..closed.end, "door").deleted(),
            put(1, opened.start..opened.end, "door", "d1").version(5),
            put(1, 50..55, "lamp", "on").version(2),
            put(1, 60..65, "lamp", "off again").version(3),
            delete(1, 70..75, "door").deleted(),
            transact_get(2, 20..90, &["door", "lamp"]).saw(&[("", 0), ("on", 2)]),
        ]
    };
    fails(history(10..25, 40..45), "unexplained absence", 5);
    // Opened while the lamp was being lit: it may have been lit behind a closed door.
    passes(history(10..25, 40..51));
    // The first delete may have come last of all.
    passes(history(10..66, 40..45));
}

#[test]
fn a_delete_of_unknown_outcome_excuses_what_is_missing() {
    passes(after_start([
        delete(1, 10..15, "x").unknown(),
        transact_get(2, 20..25, &["x", "y"]).saw(&[("", 0), ("y0", 1)]),
    ]));
}

/// transactions.md, "What is promised": a transaction becomes visible to plain gets key by key.
#[test]
fn plain_gets_of_different_keys_may_fall_around_a_transaction() {
    passes(after_start([
        transact_put(1, 10..90, &[("x", "x1"), ("y", "y1")]).versions(&[2, 2]),
        get(2, 20..25, "x").shows("x1", 2),
        get(2, 30..35, "y").shows("y0", 1),
    ]));
}

#[test]
fn a_value_that_two_operations_wrote_names_neither() {
    passes(after_start([
        put(1, 10..15, "x", "same").version(2),
        put(2, 10..50, "x", "same").unknown(),
        put(1, 20..25, "x", "x2").version(3),
        transact_get(3, 30..35, &["x"]).saw(&[("same", 4)]),
    ]));
}

#[test]
fn the_report_gives_every_reason() {
    let history = history(after_start([
        transact_put(1, 10..50, &[("x", "x1"), ("y", "y1")]).versions(&[2, 2]),
        transact_get(2, 20..30, &["x", "y"]).saw(&[("x0", 1), ("y1", 2)]),
    ]));
    let violation = serializable::check(&history).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "strict-serializability violated: G-single (fractured read, a read skew): \
         each must come before the next, in a circle\n\
         \x20 c2 #20 (transact-get t/x, t/y) before c1 #10 (transact-put t/x = x1, t/y = y1): \
         t/x: it saw x0 (version 1), which x1 (version 2) replaced (read-write)\n\
         \x20 c1 #10 (transact-put t/x = x1, t/y = y1) before c2 #20 (transact-get t/x, t/y): \
         t/y: y1 (version 2) was seen by the other (write-read)\n\
         invoked  returned  client  call                             outcome\n\
         \x20    10        50  c1 #10  transact-put t/x = x1, t/y = y1  versions 2, 2\n\
         \x20    20        30  c2 #20  transact-get t/x, t/y            \
         x0 (version 1), y1 (version 2)\n"
    );
}
