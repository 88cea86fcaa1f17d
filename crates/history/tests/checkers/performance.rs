//! The checkers keep up with long histories.

use std::time::{Duration, Instant};

use history::{
    Call, History, Operation, Outcome, Response, eventual, linearizable, serializable, versions,
};

use crate::support::random::{ALL, Numbers, SINGLE, TRANSACTIONS, Verb, run};

/// 10,000 operations of 16 clients over 10 keys, 5 of 100 with an unknown outcome: a tenth of a second with optimisation, so
/// that this bound fails for a search that has become exponential, not for a slow machine.
const BOUND: Duration = Duration::from_secs(20);

fn long(verbs: &[Verb], seed: u64) -> History {
    let plans = Numbers(seed).plans(verbs, 16, 10, 10_000, 5);
    run(&plans).0
}

fn timed(name: &str, check: impl FnOnce()) {
    let start = Instant::now();
    check();
    let took = start.elapsed();
    println!("{name}: {took:?}");
    assert!(took < BOUND, "{name}: {took:?}");
}

#[test]
fn ten_thousand_operations_on_ten_keys() {
    for (name, verbs) in [("puts, gets, deletes", SINGLE), ("everything", ALL)] {
        for seed in 0..3 {
            let history = long(verbs, seed);
            timed(name, || {
                let checked = linearizable::check(&history).unwrap_or_else(|v| panic!("{v}"));
                assert_eq!(checked.keys, 10);
                assert!(checked.operations > 7_000, "{checked:?}");
            });
        }
    }
}

#[test]
fn ten_thousand_operations_with_one_stale_read_at_the_end() {
    let mut operations = long(SINGLE, 7).operations().to_vec();
    let last = operations.len() * 9 / 10;
    let is_read = |op: &&mut Operation| {
        let consistent = matches!(
            op.call,
            Call::Get {
                consistent: true,
                ..
            }
        );
        consistent && matches!(op.outcome, Outcome::Done(Response::Got { .. }))
    };
    let old = operations[..last / 2].iter_mut().find(is_read).unwrap();
    let (call, outcome) = (old.call.clone(), old.outcome.clone());
    let stale = operations[last..]
        .iter_mut()
        .find(|op| is_read(op) && op.call == call)
        .unwrap();
    stale.outcome = outcome;
    let history = History::new(operations);
    timed("stale, found and shrunk", || {
        let violation = linearizable::check(&history).unwrap_err();
        println!("{violation}");
        assert!(violation.history.len() < 10, "{violation}");
    });
}

#[test]
fn the_other_checkers_on_ten_thousand_operations() {
    let history = long(ALL, 1);
    timed("versions", || {
        versions::check(&history).unwrap();
    });
    timed("eventual", || {
        eventual::check(&history).unwrap();
    });
    timed("serializable", || {
        let checked = serializable::check(&history).unwrap_or_else(|v| panic!("{v}"));
        assert!(
            checked.operations > 4_000 && checked.keys == 10,
            "{checked:?}"
        );
    });
}

#[test]
fn ten_thousand_operations_of_a_store_that_tears_transactions() {
    let mut operations = long(TRANSACTIONS, 2).operations().to_vec();
    // Every fifth reader sees nothing of its last key.
    let mut readers = 0;
    for operation in &mut operations {
        if let Outcome::Done(Response::TransactGet { items }) = &mut operation.outcome {
            readers += 1;
            if let Some(last) = items.last_mut().filter(|_| readers % 5 == 0) {
                *last = None;
            }
        }
    }
    let history = History::new(operations);
    timed("torn, found and shrunk", || {
        let violation = serializable::check(&history).unwrap_err();
        println!("{violation}");
        assert!(violation.history.len() < 5, "{violation}");
    });
}

/// Every third outcome is lost, as behind a network cut, and all clients are on one key.
#[test]
fn three_thousand_operations_on_one_key_a_third_of_them_lost() {
    for seed in 0..3 {
        let plans = Numbers(seed).plans(SINGLE, 32, 1, 3_000, 33);
        let history = run(&plans).0;
        timed("a third lost", || {
            linearizable::check(&history).unwrap_or_else(|v| panic!("{} {}", v.property, v.detail));
        });
    }
}
