//! The machine against a model of it that is as simple as can be.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::determinism::any_log;
use super::*;

const BOUNDS: WindowBounds = WindowBounds {
    millis: 20,
    entries: 5,
};

/// Remembers everything, and computes what a shard may still know.
#[derive(Default)]
struct Model {
    items: BTreeMap<Key, (Bytes, u64)>,
    changes: u64,
    sealed: bool,
    floor: u64,
    applied: BTreeMap<RequestId, u64>,
}

impl Model {
    fn known(&self) -> impl Iterator<Item = u64> {
        let issued = self.applied.keys().map(|request| request.issued_millis);
        issued.filter(|issued| *issued > self.floor)
    }

    fn apply(&mut self, batch: CommandBatch) -> Vec<Option<Outcome>> {
        let oldest = batch.now_millis - BOUNDS.millis;
        let gone = self.known().filter(|issued| *issued < oldest).max();
        self.floor = gone.unwrap_or(self.floor);
        let commands = batch.commands.into_iter();
        commands
            .map(|command| self.command(command, oldest))
            .collect()
    }

    /// `None` for a checkpoint, whose hash a model does not have.
    fn command(&mut self, command: Command, oldest: u64) -> Option<Outcome> {
        let (key, value, request) = match command {
            Command::Put {
                key,
                value,
                request,
            } => (key, Some(value), request),
            Command::Delete { key, request } => (key, None, request),
            Command::Seal => {
                self.sealed = true;
                return Some(Outcome::Sealed);
            }
            Command::Checkpoint { .. } => return None,
        };
        let done = |version| match value {
            Some(_) => Outcome::Written { version },
            None => Outcome::Deleted,
        };
        if request.issued_millis <= self.floor {
            return Some(EXPIRED);
        }
        if let Some(version) = self.applied.get(&request) {
            return Some(done(*version));
        }
        if request.issued_millis < oldest {
            return Some(EXPIRED);
        }
        if self.sealed {
            return Some(SEALED);
        }
        if value.is_some() || self.items.contains_key(&key) {
            self.changes += 1;
        }
        let outcome = done(self.changes);
        match value {
            Some(value) => self.items.insert(key, (value, self.changes)),
            None => self.items.remove(&key),
        };
        self.applied.insert(request, self.changes);
        while self.known().count() > BOUNDS.entries {
            self.floor = self.known().min().unwrap();
        }
        Some(outcome)
    }
}

proptest! {
    #[test]
    fn the_machine_does_what_the_model_does(log in any_log(50)) {
        let mut replica = Replica::with(BOUNDS);
        let mut model = Model::default();
        for entry in &log {
            let applied = replica.machine.apply(std::slice::from_ref(entry)).unwrap();
            let expected = match entry.kind {
                EntryKind::Commands => model.apply(CommandBatch::decode(&entry.payload).unwrap()),
                _ => Vec::new(),
            };
            prop_assert_eq!(applied[0].outcomes.len(), expected.len());
            for (outcome, expected) in applied[0].outcomes.iter().zip(expected) {
                if let Some(expected) = expected {
                    prop_assert_eq!(*outcome, expected);
                } else {
                    let checkpoint = matches!(outcome, Outcome::Checkpoint { .. });
                    prop_assert!(checkpoint, "{:?}", outcome);
                }
            }
            let meta = replica.machine.meta();
            prop_assert_eq!(meta.request_floor_millis, model.floor);
            prop_assert_eq!(meta.last_lsn.0, model.changes);
            prop_assert_eq!(meta.items as usize, model.items.len());
            prop_assert_eq!(replica.machine.window.len(), model.known().count());
            for name in ["a", "b", "c", "d"] {
                let found = replica.machine.reader().get(&key(name)).unwrap();
                prop_assert_eq!(found.as_ref(), model.items.get(&key(name)));
            }
        }
        replica.check();
    }
}
