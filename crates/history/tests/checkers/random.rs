//! Random histories: those of a correct store pass, and the search agrees with the trying of every order.

use history::{
    Call, Checked, FinalState, History, Operation, Outcome, Response, Violation, check_all,
    durable, linearizable, serializable,
};
use proptest::prelude::*;

use crate::support::brute;
use crate::support::random::{
    ALL, CONDITIONAL, Fate, Plan, SINGLE, TRANSACTIONS, TRANSACTIONS_AND_DELETES, plans, run,
};

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
            for item in at_rest.values_mut() {
                *item = None;
            }
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

/// Makes one item of one `TransactGet` older, newer or missing, but always something that the key did hold once.
fn tear(history: &History, at: usize, from: usize) -> Option<Vec<Operation>> {
    let mut operations = history.operations().to_vec();
    let reads = operations
        .iter()
        .enumerate()
        .filter_map(|(i, op)| match &op.call {
            Call::TransactGet { keys } => Some((i, keys.clone())),
            _ => None,
        });
    let reads: Vec<_> = reads.collect();
    let (i, keys) = reads.get(at % reads.len().max(1))?;
    let slot = from % keys.len();
    let mut held = vec![None];
    for op in &operations {
        match (&op.call, &op.outcome) {
            (
                Call::Put {
                    table, key, value, ..
                },
                Outcome::Done(Response::Put { version }),
            ) if (table, key) == (&keys[slot].0, &keys[slot].1) => {
                held.push(Some((value.clone(), *version)));
            }
            (Call::TransactPut { items }, Outcome::Done(Response::TransactPut { versions })) => {
                let items = items.iter().zip(versions);
                let here = items
                    .filter(|(item, _)| (&item.table, &item.key) == (&keys[slot].0, &keys[slot].1));
                held.extend(here.map(|(item, version)| Some((item.value.clone()?, (*version)?))));
            }
            _ => {}
        }
    }
    let other = held[from / keys.len() % held.len()].clone();
    if let Outcome::Done(Response::TransactGet { items }) = &mut operations[*i].outcome {
        items[slot] = other;
    }
    Some(operations)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]

    /// With every version told and nothing deleted, a history is strictly serializable if and only if there is no cycle.
    #[test]
    fn no_cycle_means_that_there_is_an_order(
        mut plans in plans(TRANSACTIONS, 5, 3, 0..=8),
        (at, from) in (any::<usize>(), any::<usize>()),
    ) {
        for plan in &mut plans {
            plan.fate = Fate::Told;
        }
        let (history, _) = run(&plans);
        for operations in [Some(history.operations().to_vec()), tear(&history, at, from)] {
            let Some(operations) = operations else { continue };
            let found = serializable::check(&History::new(operations.clone()));
            prop_assert_eq!(
                found.is_ok(),
                brute::serializable(&operations),
                "{:?}\n{}",
                found,
                history::render(&operations)
            );
            if let Err(violation) = found {
                prop_assert!(!brute::serializable(&violation.history), "{}", violation);
            }
        }
    }

    /// With deletes, not every violation is seen, but what is reported is one.
    #[test]
    fn a_cycle_means_that_there_is_no_order(
        mut plans in plans(TRANSACTIONS_AND_DELETES, 5, 2, 0..=8),
        (at, from) in (any::<usize>(), any::<usize>()),
    ) {
        for plan in &mut plans {
            plan.fate = Fate::Told;
        }
        let (history, _) = run(&plans);
        let Some(operations) = tear(&history, at, from) else { return Ok(()) };
        if let Err(violation) = serializable::check(&History::new(operations.clone())) {
            prop_assert!(
                !brute::serializable(&operations),
                "{}\n{}",
                violation,
                history::render(&operations)
            );
        }
    }
}
