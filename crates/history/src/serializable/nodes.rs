//! The operations that have to be put in order, and what each did to which key.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::touch::{Effect, Fate, Place, Touch};
use crate::{Call, Condition, Operation, Outcome, Version};

/// Position among the nodes.
pub(super) type Id = usize;

/// All nodes, and each key's history.
pub(super) struct Nodes<'h> {
    /// By invocation.
    pub(super) operations: Vec<&'h Operation>,
    pub(super) places: BTreeMap<Place<'h>, Key<'h>>,
}

/// What happened to one key.
#[derive(Default)]
pub(super) struct Key<'h> {
    /// Puts that happened.
    pub(super) writes: Vec<Write<'h>>,
    /// Deletes that happened, or may have.
    pub(super) deletes: Vec<Delete>,
    /// What nodes saw.
    pub(super) reads: Vec<Read<'h>>,
    /// Values that several operations may have written: only the version tells which one a read saw.
    pub(super) ambiguous: BTreeSet<&'h Bytes>,
    /// Values of writes that were refused.
    pub(super) refused: BTreeMap<&'h Bytes, &'h Operation>,
}

pub(super) struct Write<'h> {
    pub(super) node: Id,
    pub(super) value: &'h Bytes,
    /// Answered, or else seen.
    pub(super) version: Option<Version>,
    /// Its own transaction writes the key again.
    pub(super) intermediate: bool,
}

pub(super) struct Delete {
    /// None if it is not known to have happened.
    pub(super) node: Option<Id>,
    pub(super) invoked: u64,
    pub(super) end: u64,
}

pub(super) struct Read<'h> {
    pub(super) node: Id,
    pub(super) saw: Saw<'h>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Saw<'h> {
    Value(&'h Bytes, Version),
    /// A condition held: only the version is known.
    Version(Version),
    Missing,
}

impl<'h> Nodes<'h> {
    pub(super) fn new(touches: &[Touch<'h>]) -> Self {
        let seen = Seen::new(touches);
        let mut nodes = Self {
            operations: Vec::new(),
            places: BTreeMap::new(),
        };
        for touches in touches.chunk_by(|a, b| std::ptr::eq(a.operation, b.operation)) {
            let happened = seen.happened(touches);
            let node = nodes.operations.len();
            if happened {
                nodes.operations.push(touches[0].operation);
            }
            for touch in touches {
                nodes.add(touch, happened.then_some(node), &seen);
            }
        }
        for (place, value) in seen.ambiguous {
            let key = nodes.places.entry(place).or_default();
            key.ambiguous.insert(value);
        }
        for key in nodes.places.values_mut() {
            key.mark_intermediate();
        }
        nodes
    }

    pub(super) fn len(&self) -> usize {
        self.operations.len()
    }

    pub(super) fn invoked(&self, node: Id) -> u64 {
        self.operations[node].invoked
    }

    pub(super) fn end(&self, node: Id) -> u64 {
        self.operations[node].end()
    }

    fn add(&mut self, touch: &Touch<'h>, node: Option<Id>, seen: &Seen<'h>) {
        let key = self.places.entry(touch.place).or_default();
        match (touch.effect, node) {
            (Effect::Read { found, .. }, Some(node)) => {
                let saw = found.map_or(Saw::Missing, |(value, version)| Saw::Value(value, version));
                key.reads.push(Read { node, saw });
            }
            (
                Effect::Write {
                    value: Some(value),
                    fate: Fate::Refused,
                    ..
                },
                _,
            ) => {
                key.refused.insert(value, touch.operation);
            }
            (
                Effect::Write {
                    value,
                    version,
                    condition,
                    ..
                },
                Some(node),
            ) => {
                key.observe(node, condition);
                if let Some(value) = value {
                    let version = version.or_else(|| seen.version(touch.place, value));
                    let intermediate = false;
                    key.writes.push(Write {
                        node,
                        value,
                        version,
                        intermediate,
                    });
                } else {
                    key.delete(touch, Some(node));
                }
            }
            (
                Effect::Write {
                    value: None,
                    fate: Fate::Unknown,
                    ..
                },
                None,
            ) => key.delete(touch, None),
            (Effect::Tested { condition, held }, Some(node)) if held => {
                key.observe(node, condition);
            }
            _ => {}
        }
    }
}

impl<'h> Key<'h> {
    fn delete(&mut self, touch: &Touch<'_>, node: Option<Id>) {
        let (invoked, end) = (touch.invoked(), touch.end());
        self.deletes.push(Delete { node, invoked, end });
    }

    /// A condition that held.
    fn observe(&mut self, node: Id, condition: Condition) {
        let saw = match condition {
            Condition::None | Condition::Present => return,
            Condition::Absent => Saw::Missing,
            Condition::Version(version) => Saw::Version(version),
        };
        self.reads.push(Read { node, saw });
    }

    /// The write that a read saw, if that is certain.
    pub(super) fn source(&self, saw: Saw<'h>) -> Option<&Write<'h>> {
        match saw {
            Saw::Missing => None,
            Saw::Version(version) => {
                only(self.writes.iter().filter(|w| w.version == Some(version)))
            }
            Saw::Value(value, version) => {
                let ambiguous = self.ambiguous.contains(value);
                let fits = |write: &&Write<'_>| {
                    write.value == value && (!ambiguous || write.version == Some(version))
                };
                only(self.writes.iter().filter(fits))
            }
        }
    }

    fn mark_intermediate(&mut self) {
        let mut last: BTreeMap<Id, usize> = BTreeMap::new();
        for i in 0..self.writes.len() {
            if let Some(before) = last.insert(self.writes[i].node, i) {
                self.writes[before].intermediate = true;
            }
        }
    }
}

fn only<T>(mut items: impl Iterator<Item = T>) -> Option<T> {
    let first = items.next()?;
    items.next().is_none().then_some(first)
}

/// What reads of every kind have shown.
struct Seen<'h> {
    versions: BTreeMap<(Place<'h>, &'h Bytes), Version>,
    /// Values that several operations may have written to a key.
    ambiguous: BTreeSet<(Place<'h>, &'h Bytes)>,
}

impl<'h> Seen<'h> {
    fn new(touches: &[Touch<'h>]) -> Self {
        let mut versions = BTreeMap::new();
        let mut writers = BTreeMap::new();
        let mut ambiguous = BTreeSet::new();
        for touch in touches {
            match touch.effect {
                Effect::Read {
                    found: Some((value, version)),
                    ..
                } => {
                    versions.entry((touch.place, value)).or_insert(version);
                }
                Effect::Write {
                    value: Some(value),
                    fate,
                    ..
                } if fate != Fate::Refused => {
                    let written = (touch.place, value);
                    if writers.insert(written, touch.operation).is_some() {
                        ambiguous.insert(written);
                    }
                }
                _ => {}
            }
        }
        Self {
            versions,
            ambiguous,
        }
    }

    fn version(&self, place: Place<'h>, value: &'h Bytes) -> Option<Version> {
        let written = (place, value);
        let version = self.versions.get(&written).copied();
        version.filter(|_| !self.ambiguous.contains(&written))
    }

    /// Whether an operation is a node.
    fn happened(&self, touches: &[Touch<'h>]) -> bool {
        let operation = touches[0].operation;
        match (&operation.call, &operation.outcome) {
            (Call::Get { .. }, _) | (_, Outcome::Refused(_)) => false,
            (_, Outcome::Done(_)) => true,
            (_, Outcome::Unknown) => touches.iter().any(|touch| match touch.effect {
                Effect::Write {
                    value: Some(value), ..
                } => self.version(touch.place, value).is_some(),
                _ => false,
            }),
        }
    }
}
