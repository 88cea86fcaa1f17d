//! Linearizability and strict serializability by trying every order: slow, and too simple to be wrong.

use std::collections::BTreeMap;

use bytes::Bytes;
use history::{Call, Condition, Operation, Outcome, Refusal, Register, Response, Version};

/// Whether some order of these operations on one key explains every answer. Of at most 8 or so.
pub fn linearizable(operations: &[Operation]) -> bool {
    let concerned: Vec<&Operation> = operations.iter().filter(|op| concerns(op)).collect();
    let mut placed = vec![false; concerned.len()];
    explain(&concerned, &mut placed, &None)
}

fn concerns(operation: &Operation) -> bool {
    match (&operation.call, &operation.outcome) {
        (Call::Get { consistent, .. }, outcome) => {
            *consistent && matches!(outcome, Outcome::Done(_))
        }
        (_, Outcome::Refused(refusal)) => *refusal == Refusal::ConditionFailed,
        _ => true,
    }
}

/// The last moment at which it can have happened.
fn end(operation: &Operation) -> u64 {
    match operation.outcome {
        Outcome::Unknown => u64::MAX,
        _ => operation.returned.unwrap(),
    }
}

type State = Option<Bytes>;

fn explain(operations: &[&Operation], placed: &mut [bool], state: &State) -> bool {
    let open = |i: &usize| !placed[*i];
    let left: Vec<usize> = (0..operations.len()).filter(open).collect();
    if left.iter().all(|i| end(operations[*i]) == u64::MAX) {
        return true;
    }
    let deadline = left.iter().map(|i| end(operations[*i])).min().unwrap();
    for i in left {
        if operations[i].invoked > deadline {
            continue;
        }
        for next in after(operations[i], state) {
            placed[i] = true;
            if explain(operations, placed, &next) {
                return true;
            }
            placed[i] = false;
        }
    }
    false
}

/// The states that an operation may leave behind; none if it can't happen in this one.
fn after(operation: &Operation, state: &State) -> Vec<State> {
    let holds = |condition: Condition| match (condition, state) {
        (Condition::None, _) | (Condition::Present, Some(_)) | (Condition::Absent, None) => true,
        (Condition::Version(_), _) => panic!("values only"),
        (Condition::Present, None) | (Condition::Absent, Some(_)) => false,
    };
    let (condition, to) = match &operation.call {
        Call::Get { .. } => {
            let agrees = match (&operation.outcome, state) {
                (Outcome::Done(Response::Missing), None) => true,
                (Outcome::Done(Response::Got { value, .. }), Some(held)) => value == held,
                _ => false,
            };
            return if agrees {
                vec![state.clone()]
            } else {
                Vec::new()
            };
        }
        Call::Put {
            value, condition, ..
        } => (*condition, Some(value.clone())),
        Call::Delete { condition, .. } => (*condition, None),
        Call::TransactPut { .. } | Call::TransactGet { .. } => panic!("one key only"),
    };
    match operation.outcome {
        Outcome::Refused(_) if holds(condition) => Vec::new(),
        Outcome::Refused(_) => vec![state.clone()],
        _ if holds(condition) => vec![to],
        _ => Vec::new(),
    }
}

/// Whether some order of these puts, deletes, `TransactPut`s and `TransactGet`s, all of them answered and none of them on a condition,
/// explains every answer, with the versions of each key rising.
pub fn serializable(operations: &[Operation]) -> bool {
    let concerned = |op: &&Operation| {
        matches!(op.outcome, Outcome::Done(_)) && !matches!(op.call, Call::Get { .. })
    };
    let concerned: Vec<&Operation> = operations.iter().filter(concerned).collect();
    let mut placed = vec![false; concerned.len()];
    order(&concerned, &mut placed, &Items::new())
}

/// A deleted item keeps its last version.
type Items = BTreeMap<Register, (Option<Bytes>, Version)>;

fn order(operations: &[&Operation], placed: &mut [bool], items: &Items) -> bool {
    let left: Vec<usize> = (0..operations.len()).filter(|i| !placed[*i]).collect();
    let Some(deadline) = left.iter().map(|i| end(operations[*i])).min() else {
        return true;
    };
    for i in left {
        if operations[i].invoked > deadline {
            continue;
        }
        if let Some(next) = transact(operations[i], items) {
            placed[i] = true;
            if order(operations, placed, &next) {
                return true;
            }
            placed[i] = false;
        }
    }
    false
}

fn transact(operation: &Operation, items: &Items) -> Option<Items> {
    let mut next = items.clone();
    let mut write = |register: Register, value: &Bytes, version| {
        let before = next.insert(register, (Some(value.clone()), version));
        before.is_none_or(|(_, before)| before < version)
    };
    let fine = match (&operation.call, &operation.outcome) {
        (
            Call::Put {
                table, key, value, ..
            },
            Outcome::Done(Response::Put { version }),
        ) => write((table.clone(), key.clone()), value, *version),
        (Call::TransactPut { items }, Outcome::Done(Response::TransactPut { versions })) => {
            items.iter().zip(versions).all(|(item, version)| {
                let register = (item.table.clone(), item.key.clone());
                write(register, item.value.as_ref().unwrap(), version.unwrap())
            })
        }
        (Call::TransactGet { keys }, Outcome::Done(Response::TransactGet { items: seen })) => {
            keys.iter().zip(seen).all(|(key, seen)| {
                let held = items.get(key).cloned();
                let held = held.and_then(|(value, version)| Some((value?, version)));
                held == *seen
            })
        }
        (Call::Delete { table, key, .. }, Outcome::Done(_)) => {
            let item = next.get_mut(&(table.clone(), key.clone()));
            if let Some((value, _)) = item {
                *value = None;
            }
            true
        }
        _ => panic!("not of this kind"),
    };
    fine.then_some(next)
}
