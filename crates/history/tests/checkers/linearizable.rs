//! Histories of one register and what linearizability says of them.

use history::{Checked, Condition, Kind, Operation, linearizable};

use crate::support::script::*;

fn passes(operations: impl IntoIterator<Item = Operation>) -> Checked {
    let history = history(operations);
    linearizable::check(&history).unwrap_or_else(|violation| panic!("{violation}"))
}

/// The calls that are left in the report.
fn fails(operations: impl IntoIterator<Item = Operation>) -> Vec<String> {
    let history = history(operations);
    let violation = linearizable::check(&history).expect_err("passes");
    assert_eq!(violation.property, "linearizability");
    assert_eq!(violation.kind, Kind::Broken);
    let again = self::history(violation.history.clone());
    linearizable::check(&again).expect_err("what is reported fails by itself");
    let calls = violation.history.iter();
    calls.map(|op| op.call.to_string()).collect()
}

#[test]
fn nothing_is_linearizable() {
    assert_eq!(passes([]), Checked::default());
}

/// Herlihy and Wing 1990, figure 2 (H1 and H3 of the queue), with a register: overlapping operations may take effect in
/// either order.
#[test]
fn herlihy_wing_overlapping_writes_in_either_order() {
    for last in ["a", "b"] {
        let checked = passes([
            put(1, 0..10, "x", "a").version(1),
            put(2, 5..15, "x", "b").version(2),
            get(1, 20..25, "x").shows(last, 1),
        ]);
        let (operations, keys) = (3, 1);
        assert_eq!(checked, Checked { operations, keys });
    }
}

/// Herlihy and Wing 1990, figure 2 (H2): a then b in real time, but b is what was written first.
#[test]
fn herlihy_wing_order_of_precedence_is_kept() {
    let report = fails([
        put(1, 0..10, "x", "a").version(1),
        put(2, 15..20, "x", "b").version(2),
        get(1, 25..30, "x").shows("a", 1),
        get(2, 35..40, "x").shows("b", 2),
    ]);
    assert_eq!(report.len(), 3, "{report:?}");
}

/// Herlihy and Wing 1990, figure 2 (H4): one element is dequeued twice. Of a register: one state is taken by two
/// compare-and-sets.
#[test]
fn herlihy_wing_one_state_is_taken_once() {
    let on = Condition::Version(1);
    fails([
        put(1, 0..5, "x", "a").version(1),
        put_if(1, 10..30, "x", "b", on).version(2),
        put_if(2, 10..30, "x", "c", on).version(3),
    ]);
}

#[test]
fn stale_read() {
    let report = fails([
        put(1, 0..5, "x", "a").version(1),
        put(1, 10..15, "x", "b").version(2),
        get(2, 20..25, "x").shows("a", 1),
        get(2, 30..35, "x").shows("b", 2),
    ]);
    assert_eq!(report, ["put t/x = a", "put t/x = b", "get! t/x"]);
}

#[test]
fn an_eventual_read_may_be_stale() {
    passes([
        put(1, 0..5, "x", "a").version(1),
        put(1, 10..15, "x", "b").version(2),
        eventual_get(2, 20..25, "x").shows("a", 1),
    ]);
}

#[test]
fn a_value_that_was_seen_is_not_unseen() {
    let write = || put(1, 0..100, "x", "a").version(1);
    passes([
        write(),
        get(2, 10..20, "x").missing(),
        get(3, 30..40, "x").shows("a", 1),
    ]);
    fails([
        write(),
        get(2, 10..20, "x").shows("a", 1),
        get(3, 30..40, "x").missing(),
    ]);
}

#[test]
fn lost_update_by_two_writes_on_one_version() {
    let on = Condition::Version(1);
    let start = || put(1, 0..5, "x", "a").version(1);
    fails([
        start(),
        put_if(1, 10..30, "x", "b", on).version(2),
        put_if(2, 12..28, "x", "c", on).version(3),
        get(1, 40..45, "x").shows("c", 3),
    ]);
    passes([
        start(),
        put_if(1, 10..30, "x", "b", on).condition_failed(),
        put_if(2, 12..28, "x", "c", on).version(2),
        get(1, 40..45, "x").shows("c", 2),
    ]);
}

/// Jepsen, etcd and TiDB 2.1.7: the client's library sends a write again that was applied already, after another's write.
#[test]
fn tidb_2_1_7_a_retried_write_is_applied_twice() {
    let report = fails([
        put(1, 0..30, "x", "a").version(3),
        put(2, 10..15, "x", "b").version(2),
        get(3, 5..8, "x").shows("a", 1),
        get(3, 20..25, "x").shows("b", 2),
        get(3, 40..45, "x").shows("a", 3),
        put(4, 50..55, "x", "c").version(4),
    ]);
    assert_eq!(
        report,
        ["put t/x = a", "get! t/x", "put t/x = b", "get! t/x"]
    );
}

/// The same with the outcome unknown: once is at any time, twice is never.
#[test]
fn a_write_of_unknown_outcome_lands_late_but_once() {
    let writes = || {
        [
            put(1, 0..5, "x", "a").unknown(),
            put(2, 10..15, "x", "b").version(2),
            get(3, 20..25, "x").shows("b", 2),
            get(3, 40..45, "x").shows("a", 3),
        ]
    };
    passes(writes());
    fails(writes().into_iter().chain([
        put(2, 50..55, "x", "c").version(4),
        get(3, 60..65, "x").shows("c", 4),
        get(3, 70..75, "x").shows("a", 5),
    ]));
}

#[test]
fn a_write_of_unknown_outcome_does_not_land_before_it_was_sent() {
    fails([
        get(3, 0..5, "x").shows("a", 1),
        put(1, 10..15, "x", "a").unknown(),
    ]);
}

#[test]
fn a_refused_write_is_never_seen() {
    let report = fails([
        put(1, 0..5, "x", "a").refused(),
        get(2, 10..15, "x").shows("a", 1),
    ]);
    assert_eq!(report, ["get! t/x"]);
}

#[test]
fn lost_write() {
    fails([
        put(1, 0..5, "x", "a").version(1),
        get(2, 10..15, "x").missing(),
    ]);
}

#[test]
fn resurrected_value() {
    let start = || {
        [
            put(1, 0..5, "x", "a").version(1),
            delete(1, 10..15, "x").deleted(),
        ]
    };
    passes(start().into_iter().chain([get(2, 20..25, "x").missing()]));
    fails(
        start()
            .into_iter()
            .chain([get(2, 20..25, "x").shows("a", 1)]),
    );
}

#[test]
fn an_unknown_delete_explains_one_disappearance() {
    let once = || {
        vec![
            put(1, 0..5, "x", "a").version(1),
            delete(2, 1..6, "x").unknown(),
            get(3, 10..15, "x").shows("a", 1),
            get(3, 20..25, "x").missing(),
        ]
    };
    passes(once());
    let mut twice = once();
    twice.push(put(1, 30..35, "x", "b").version(2));
    twice.push(get(3, 40..45, "x").missing());
    fails(twice.clone());
    twice.push(delete(4, 38..39, "x").unknown());
    passes(twice);
}

#[test]
fn conditions_that_fail_are_observations() {
    let absent = Condition::Absent;
    fails([put_if(1, 0..5, "x", "a", absent).condition_failed()]);
    passes([
        put(2, 0..5, "x", "a").unknown(),
        put_if(1, 10..15, "x", "b", absent).condition_failed(),
    ]);
    fails([
        put(2, 20..25, "x", "a").unknown(),
        put_if(1, 10..15, "x", "b", absent).condition_failed(),
    ]);
    fails([
        put(2, 0..5, "x", "a").version(1),
        delete_if(1, 10..15, "x", Condition::Present).condition_failed(),
    ]);
}

#[test]
fn an_unknown_version_is_given_the_benefit_of_the_doubt() {
    // Nobody knows which version the unknown put got. It may have been 7.
    passes([
        put(1, 0..5, "x", "a").unknown(),
        put_if(2, 10..15, "x", "b", Condition::Version(7)).version(8),
    ]);
    // But not 3, which was another's.
    fails([
        put(3, 0..2, "x", "c").version(3),
        delete(3, 3..4, "x").deleted(),
        put(1, 5..6, "x", "a").unknown(),
        put_if(2, 10..15, "x", "b", Condition::Version(3)).version(8),
    ]);
}

#[test]
fn transactions_count_on_each_of_their_keys() {
    let write = || transact_put(1, 0..10, &[("x", "a"), ("y", "b")]).versions(&[1, 1]);
    passes([write(), get(2, 15..20, "x").shows("a", 1)]);
    fails([write(), get(2, 15..20, "y").missing()]);
    fails([
        write(),
        transact_get(2, 15..20, &["x", "y"]).saw(&[("a", 1), ("", 0)]),
    ]);
}

#[test]
fn other_keys_do_not_matter() {
    passes([
        put(1, 0..5, "x", "a").version(1),
        get(2, 10..15, "y").missing(),
    ]);
}

#[test]
fn the_report_leaves_out_what_does_not_matter() {
    let mut operations = Vec::new();
    for i in 0..200_u64 {
        let at = i * 10;
        let value = format!("v{i}");
        operations.push(put(1, at..at + 3, "x", &value).version(i + 1));
        operations.push(get(2, at + 4..at + 7, "x").shows(&value, i + 1));
    }
    operations.push(get(3, 1505..1508, "x").shows("v148", 149));
    let report = fails(operations);
    assert_eq!(report, ["put t/x = v148", "put t/x = v150", "get! t/x"]);
}

#[test]
fn the_report_can_be_read() {
    let history = history([
        put(1, 0..5, "x", "a").version(1),
        get(2, 10..15, "x").missing(),
    ]);
    let violation = linearizable::check(&history).unwrap_err();
    assert_eq!(
        violation.to_string(),
        "linearizability violated: key t/x: no order of these operations explains every answer; \
         up to the return of c2 #10 (get! t/x) there was one\n\
         invoked  returned  client  call         outcome\n\
         \x20     0         5  c1 #0   put t/x = a  version 1\n\
         \x20    10        15  c2 #10  get! t/x     missing\n"
    );
}

#[test]
fn a_search_without_end_is_given_up() {
    let history = history([
        put(1, 0..5, "x", "a").version(1),
        put(2, 0..5, "x", "b").version(2),
        get(3, 10..15, "x").shows("b", 2),
    ]);
    let violation = linearizable::check_within(&history, 0).unwrap_err();
    assert_eq!(violation.kind, Kind::Undecided);
    assert!(
        violation
            .to_string()
            .starts_with("linearizability undecided")
    );
}

#[test]
fn an_answer_that_does_not_fit_is_not_overlooked() {
    for operation in [
        put(1, 0..5, "x", "a").missing(),
        get(1, 0..5, "x").version(1),
        transact_get(1, 0..5, &["x"]).saw(&[]),
        transact_put(1, 0..5, &[("x", "a")]).versions(&[1, 2]),
        Operation {
            returned: Some(3),
            ..put(1, 4..5, "x", "a").version(1)
        },
    ] {
        let violation = linearizable::check(&history([operation])).unwrap_err();
        assert_eq!(violation.kind, Kind::Malformed);
    }
}
