//! Random histories: those of a correct store pass, and the search agrees with the trying of every order.

use history::{
    Call, Checked, FinalState, History, Operation, Outcome, Response, Violation, check_all,
    durable, linearizable,
};
use proptest::prelude::*;

use crate::support::brute;
use crate::support::random::{ALL, CONDITIONAL, Plan, SINGLE, plans, run};

fn fine(history: &History, at_rest: &FinalState) {
    let violations = check_all(history, Some(at_rest));
    if let Some(violation) = violations.first() {
        panic!("{violation}\n{}", history::render(history.operations()));
    }
}

/// One thing goes wrong with a history.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// A read answers what another read or write of the history had.
    Stale,
    /// A read finds nothing.
    Lost,
    /// A delete or a missing item is answered with some value of before.
    Resurrected,
    /// A confirmed write was none, or the other way round.
    Unconfirmed,
    /// An operation is said to be later than it was.
    Moved,
}

fn faults() -> impl Strategy<Value = Fault> {
    prop_oneof![
        Just(Fault::Stale),
        Just(Fault::Lost),
        Just(Fault::Resurrected),
        Just(Fault::Unconfirmed),
        Just(Fault::Moved),
    ]
}

fn corrupt(history: &History, fault: Fault, at: usize, from: usize) -> Option<Vec<Operation>> {
    let mut operations = history.operations().to_vec();
    let values = operations.iter().filter_map(|op| match &op.call {
        Call::Put { value, .. } => Some(value.clone()),
        _ => None,
    });
    let values: Vec<_> = values.collect();
    let value = values.get(from % values.len().max(1))?.clone();
    let got = |value| Outcome::Done(Response::Got { value, version: 1 });
    let read = |op: &Operation| matches!(op.call, Call::Get { .. });
    let done = |op: &Operation| matches!(op.outcome, Outcome::Done(_));
    let hit = |op: &Operation| match fault {
        Fault::Stale | Fault::Lost => read(op) && done(op),
        Fault::Resurrected => op.outcome == Outcome::Done(Response::Missing),
        Fault::Unconfirmed => !read(op) && done(op),
        Fault::Moved => true,
    };
    let hits: Vec<usize> = (0..operations.len())
        .filter(|i| hit(&operations[*i]))
        .collect();
    let target = &mut operations[*hits.get(at % hits.len().max(1))?];
    match fault {
        Fault::Stale | Fault::Resurrected => target.outcome = got(value),
        Fault::Lost => target.outcome = Outcome::Done(Response::Missing),
        Fault::Unconfirmed => target.outcome = Outcome::Refused(history::Refusal::Other),
        Fault::Moved => {
            target.invoked += 15;
            target.returned = target.returned.map(|returned| returned + 15);
        }
    }
    Some(operations)
}

fn verdict(operations: &[Operation]) -> Result<Checked, Violation> {
    linearizable::check(&History::new(operations.to_vec()))
}

fn agree(operations: &[Operation]) -> Result<(), TestCaseError> {
    let expected = brute::linearizable(operations);
    let found = verdict(operations);
    prop_assert_eq!(
        found.is_ok(),
        expected,
        "{:?}\n{}",
        found,
        history::render(operations)
    );
    if let Err(violation) = found {
        // What is left of it fails by itself, and by the other checker's lights as well.
        prop_assert!(!brute::linearizable(&violation.history), "{}", violation);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_a_correct_store_answers_passes(plans in plans(ALL, 8, 4, 0..120)) {
        let (history, at_rest) = run(&plans);
        fine(&history, &at_rest);
    }

    #[test]
    fn what_a_correct_store_answers_about_one_busy_key_passes(plans in plans(SINGLE, 10, 1, 0..120)) {
        let (history, at_rest) = run(&plans);
        fine(&history, &at_rest);
    }

    #[test]
    fn a_missing_last_write_is_noticed(plans in plans(SINGLE, 3, 1, 1..20)) {
        let (history, mut at_rest) = run(&plans);
        let last = history.operations().iter().rfind(|op| {
            matches!(op.outcome, Outcome::Done(Response::Put { .. }))
        });
        let Some(last) = last else { return Ok(()) };
        // Alone at the end, with nothing that could have undone it.
        let alone = history.operations().iter().all(|op| {
            op == last || op.precedes(last) || matches!(op.call, Call::Get { .. })
        });
        if alone {
            prop_assert!(durable::check(&history, &at_rest).is_ok());
            at_rest.values_mut().for_each(|item| *item = None);
            prop_assert!(durable::check(&history, &at_rest).is_err());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    #[test]
    fn the_search_agrees_with_trying_every_order(
        plans in plans(SINGLE, 4, 1, 0..=8),
        fault in faults(),
        (at, from) in (any::<usize>(), any::<usize>()),
    ) {
        both_agree(&plans, fault, at, from)?;
    }

    #[test]
    fn the_search_agrees_with_trying_every_order_under_conditions(
        plans in plans(CONDITIONAL, 4, 1, 0..=8),
        fault in faults(),
        (at, from) in (any::<usize>(), any::<usize>()),
    ) {
        both_agree(&plans, fault, at, from)?;
    }
}

fn both_agree(plans: &[Plan], fault: Fault, at: usize, from: usize) -> Result<(), TestCaseError> {
    let (history, _) = run(plans);
    prop_assert!(brute::linearizable(history.operations()));
    agree(history.operations())?;
    if let Some(operations) = corrupt(&history, fault, at, from) {
        agree(&operations)?;
    }
    Ok(())
}
