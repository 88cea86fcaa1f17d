//! What operations did to, and saw of, single registers: the form that all checkers work on.
//!
//! A transaction touches several registers, and has a [`Touch`] for each. What says nothing (a read without an answer, a
//! refused read) has none.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::violation::{Kind, Violation};
use crate::{Call, Condition, History, Operation, Outcome, Refusal, Register, Response, Version};

/// A register, borrowed from the history.
pub(crate) type Place<'h> = (&'h str, &'h Bytes);

/// One operation's part in one register.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Touch<'h> {
    pub(crate) operation: &'h Operation,
    pub(crate) place: Place<'h>,
    pub(crate) effect: Effect<'h>,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect<'h> {
    /// An answered read.
    Read {
        found: Option<(&'h Bytes, Version)>,
        consistent: bool,
    },
    /// A put, a delete (`value` is none), confirmed or not.
    Write {
        value: Option<&'h Bytes>,
        /// That the store answered.
        version: Option<Version>,
        condition: Condition,
        fate: Fate,
    },
    /// A condition that held, in a transaction, without a write; or one that did not hold and refused a single write.
    Tested { condition: Condition, held: bool },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Confirmed,
    Unknown,
    Refused,
}

impl Touch<'_> {
    pub(crate) fn invoked(&self) -> u64 {
        self.operation.invoked
    }

    /// The last moment at which it can have taken effect.
    pub(crate) fn end(&self) -> u64 {
        self.operation.end()
    }
}

/// All touches in the order of invocation.
pub(crate) fn touches<'h>(
    history: &'h History,
    property: &'static str,
) -> Result<Vec<Touch<'h>>, Violation> {
    let mut found = Vec::with_capacity(history.len());
    for operation in history.operations() {
        let ordered = match operation.returned {
            Some(returned) => returned >= operation.invoked,
            None => operation.outcome == Outcome::Unknown,
        };
        let effects = effects(operation).filter(|_| ordered);
        let Some(effects) = effects else {
            return Err(Violation {
                property,
                kind: Kind::Malformed,
                detail: "this answer does not fit its call, or has no time or one before it".into(),
                history: vec![operation.clone()],
            });
        };
        found.extend(effects.into_iter().map(|(place, effect)| Touch {
            operation,
            place,
            effect,
        }));
    }
    Ok(found)
}

/// Touches by register, each list in the order of invocation.
pub(crate) fn by_place(touches: Vec<Touch<'_>>) -> BTreeMap<Place<'_>, Vec<Touch<'_>>> {
    let mut places: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for touch in touches {
        places.entry(touch.place).or_default().push(touch);
    }
    places
}

/// An owned register as one that is borrowed.
pub(crate) fn borrow(register: &Register) -> Place<'_> {
    (&register.0, &register.1)
}

type Effects<'h> = Vec<(Place<'h>, Effect<'h>)>;

fn effects(operation: &Operation) -> Option<Effects<'_>> {
    match &operation.call {
        Call::Get {
            table,
            key,
            consistent,
        } => {
            let found = match &operation.outcome {
                Outcome::Done(Response::Got { value, version }) => Some((value, *version)),
                Outcome::Done(Response::Missing) => None,
                Outcome::Done(_) => return None,
                Outcome::Refused(_) | Outcome::Unknown => return Some(Vec::new()),
            };
            let consistent = *consistent;
            Some(vec![((table, key), Effect::Read { found, consistent })])
        }
        Call::Put {
            table,
            key,
            value,
            condition,
        } => {
            let version = match &operation.outcome {
                Outcome::Done(Response::Put { version }) => Some(*version),
                Outcome::Done(_) => return None,
                Outcome::Refused(_) | Outcome::Unknown => None,
            };
            let write = write(operation, Some(value), version, *condition);
            Some(single((table, key), write, operation))
        }
        Call::Delete {
            table,
            key,
            condition,
        } => {
            if let Outcome::Done(response) = &operation.outcome
                && *response != Response::Deleted
            {
                return None;
            }
            let write = write(operation, None, None, *condition);
            Some(single((table, key), write, operation))
        }
        Call::TransactPut { items } => {
            let versions: &[Option<Version>] = match &operation.outcome {
                Outcome::Done(Response::TransactPut { versions })
                    if versions.is_empty() || versions.len() == items.len() =>
                {
                    versions
                }
                Outcome::Done(_) => return None,
                Outcome::Refused(_) | Outcome::Unknown => &[],
            };
            let done = matches!(operation.outcome, Outcome::Done(_));
            let versions = versions.iter().copied().chain(std::iter::repeat(None));
            let pairs = items.iter().zip(versions);
            Some(
                pairs
                    .filter_map(|(item, version)| transact_item(operation, item, version, done))
                    .collect(),
            )
        }
        Call::TransactGet { keys } => {
            let items = match &operation.outcome {
                Outcome::Done(Response::TransactGet { items }) if items.len() == keys.len() => {
                    items
                }
                Outcome::Done(_) => return None,
                Outcome::Refused(_) | Outcome::Unknown => return Some(Vec::new()),
            };
            Some(
                keys.iter()
                    .zip(items)
                    .map(|(register, item)| {
                        let found = item.as_ref().map(|(value, version)| (value, *version));
                        let consistent = true;
                        (borrow(register), Effect::Read { found, consistent })
                    })
                    .collect(),
            )
        }
    }
}

fn write<'h>(
    operation: &Operation,
    value: Option<&'h Bytes>,
    version: Option<Version>,
    condition: Condition,
) -> Effect<'h> {
    let fate = match operation.outcome {
        Outcome::Done(_) => Fate::Confirmed,
        Outcome::Unknown => Fate::Unknown,
        Outcome::Refused(_) => Fate::Refused,
    };
    Effect::Write {
        value,
        version,
        condition,
        fate,
    }
}

/// A single put or delete: the write, and what its refusal tells of the key.
fn single<'h>(place: Place<'h>, write: Effect<'h>, operation: &'h Operation) -> Effects<'h> {
    let mut effects = vec![(place, write)];
    if operation.outcome == Outcome::Refused(Refusal::ConditionFailed)
        && let Effect::Write { condition, .. } = write
        && condition != Condition::None
    {
        let held = false;
        effects.push((place, Effect::Tested { condition, held }));
    }
    effects
}

fn transact_item<'h>(
    operation: &'h Operation,
    item: &'h crate::TransactItem,
    version: Option<Version>,
    done: bool,
) -> Option<(Place<'h>, Effect<'h>)> {
    let place = (item.table.as_str(), &item.key);
    let condition = item.condition;
    match &item.value {
        Some(value) => Some((place, write(operation, Some(value), version, condition))),
        // Which item's condition failed is not recorded, so only success tells something.
        None => done.then_some((
            place,
            Effect::Tested {
                condition,
                held: true,
            },
        )),
    }
}
