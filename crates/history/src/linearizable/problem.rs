//! One key's operations as steps over a small state: what the search works on.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use crate::touch::{Effect, Fate, Touch};
use crate::{Condition, Version};

/// What a key holds: [`ABSENT`], or a number for each value.
pub(super) type State = u32;

pub(super) const ABSENT: State = 0;

/// The value of unknown puts that nobody read. They are all alike.
const UNSEEN: State = 1;

/// What a step needs of the state before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Test {
    Any,
    Is(State),
    Present,
    Version(Version),
    NotVersion(Version),
}

/// One operation's part in this key.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step<'h> {
    pub(super) touch: Touch<'h>,
    pub(super) call: u64,
    /// `u64::MAX` if it may happen at any time, or never.
    pub(super) end: u64,
    pub(super) test: Test,
    /// The state that it leaves, if it changes it.
    pub(super) to: Option<State>,
}

impl Step<'_> {
    /// Whether it may take effect at any later time, or never.
    pub(super) fn unknown(&self) -> bool {
        self.end == u64::MAX
    }
}

/// What is known of values, from the whole history of the key.
#[derive(Debug, Default)]
pub(super) struct Facts {
    /// By state: the versions it was seen with, and how many operations write it.
    versions: BTreeMap<State, BTreeSet<Version>>,
    writers: BTreeMap<State, usize>,
    owners: BTreeMap<Version, State>,
    /// Whether any step looks at more than the value: then a write that nobody read matters, too.
    pub(super) conditions: bool,
}

impl Facts {
    /// Whether a step may follow a state. Where the version of a value is not known, both a condition and its opposite may
    /// hold: nothing is called a violation that could be right.
    pub(super) fn accepts(&self, test: Test, state: State) -> bool {
        match test {
            Test::Any => true,
            Test::Is(wanted) => state == wanted,
            Test::Present => state != ABSENT,
            Test::Version(version) => {
                self.has(state, version)
                    || state != ABSENT
                        && !self.owners.contains_key(&version)
                        && self.seen(state) < self.writers(state)
            }
            Test::NotVersion(version) => {
                state == ABSENT || !self.has(state, version) || self.writers(state) > 1
            }
        }
    }

    fn has(&self, state: State, version: Version) -> bool {
        let versions = self.versions.get(&state);
        versions.is_some_and(|versions| versions.contains(&version))
    }

    fn seen(&self, state: State) -> usize {
        self.versions.get(&state).map_or(0, BTreeSet::len)
    }

    fn writers(&self, state: State) -> usize {
        self.writers.get(&state).copied().unwrap_or(0)
    }
}

/// One key.
pub(super) struct Problem<'h> {
    /// By invocation.
    pub(super) steps: Vec<Step<'h>>,
    pub(super) facts: Facts,
}

impl<'h> Problem<'h> {
    pub(super) fn new(touches: &[Touch<'h>]) -> Self {
        let names = Names::new(touches);
        let mut facts = Facts::default();
        for touch in touches {
            names.learn(touch, &mut facts);
        }
        let mut steps: Vec<Step<'h>> = touches
            .iter()
            .filter_map(|touch| names.step(touch))
            .collect();
        let conditional = |step: &Step<'_>| {
            step.to.is_some() && step.test != Test::Any
                || matches!(
                    step.test,
                    Test::Present | Test::Version(_) | Test::NotVersion(_)
                )
        };
        facts.conditions = steps.iter().any(conditional);
        if !facts.conditions {
            // An unknown put that nobody read explains nothing.
            steps.retain(|step| !(step.unknown() && step.to == Some(UNSEEN)));
        }
        Self { steps, facts }
    }
}

/// Numbers for the values that were confirmed or read, consistently or not.
struct Names<'h> {
    states: BTreeMap<&'h Bytes, State>,
}

impl<'h> Names<'h> {
    fn new(touches: &[Touch<'h>]) -> Self {
        let mut states = BTreeMap::new();
        for touch in touches {
            let value = match touch.effect {
                Effect::Read { found, .. } => found.map(|(value, _)| value),
                Effect::Write { value, fate, .. } => {
                    // Confirmed writes keep a name of their own, read or not.
                    value.filter(|_| fate == Fate::Confirmed)
                }
                Effect::Tested { .. } => None,
            };
            if let Some(value) = value {
                let next = UNSEEN + 1 + states.len() as State;
                states.entry(value).or_insert(next);
            }
        }
        Self { states }
    }

    fn state(&self, value: Option<&'h Bytes>) -> State {
        match value {
            None => ABSENT,
            Some(value) => self.states.get(value).copied().unwrap_or(UNSEEN),
        }
    }

    fn learn(&self, touch: &Touch<'h>, facts: &mut Facts) {
        let (value, version) = match touch.effect {
            Effect::Read {
                found: Some((value, version)),
                ..
            } => (value, Some(version)),
            Effect::Write {
                value: Some(value),
                version,
                fate,
                ..
            } if fate != Fate::Refused => {
                *facts.writers.entry(self.state(Some(value))).or_default() += 1;
                (value, version)
            }
            _ => return,
        };
        if let Some(version) = version {
            let state = self.state(Some(value));
            facts.versions.entry(state).or_default().insert(version);
            facts.owners.insert(version, state);
        }
    }

    fn step(&self, touch: &Touch<'h>) -> Option<Step<'h>> {
        let (test, to) = match touch.effect {
            Effect::Read {
                consistent: false, ..
            }
            | Effect::Write {
                fate: Fate::Refused,
                ..
            } => return None,
            Effect::Read { found, .. } => {
                (Test::Is(self.state(found.map(|(value, _)| value))), None)
            }
            Effect::Write {
                value, condition, ..
            } => (held(condition), Some(self.state(value))),
            Effect::Tested {
                condition,
                held: true,
            } => (held(condition), None),
            Effect::Tested {
                condition,
                held: false,
            } => (failed(condition)?, None),
        };
        Some(Step {
            touch: *touch,
            call: touch.invoked(),
            end: touch.end(),
            test,
            to,
        })
    }
}

fn held(condition: Condition) -> Test {
    match condition {
        Condition::None => Test::Any,
        Condition::Present => Test::Present,
        Condition::Absent => Test::Is(ABSENT),
        Condition::Version(version) => Test::Version(version),
    }
}

fn failed(condition: Condition) -> Option<Test> {
    match condition {
        Condition::None => None,
        Condition::Present => Some(Test::Is(ABSENT)),
        Condition::Absent => Some(Test::Present),
        Condition::Version(version) => Some(Test::NotVersion(version)),
    }
}
