//! The machine against a model of it that is as simple as can be.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::determinism::any_log;
use super::*;

const BOUNDS: WindowBounds = WindowBounds {
    millis: 20,
    entries: 5,
};

/// How something ended.
#[derive(Debug, Clone, PartialEq)]
enum Ended {
    Applied(u64),
    ConditionFailed(Option<u64>),
    Transaction(Outcome),
    Decided(bool),
}

/// Remembers everything, and computes what a shard may still know.
#[derive(Default)]
struct Model {
    /// Value, version, timestamp.
    items: BTreeMap<Key, (Bytes, u64, Timestamp)>,
    max_delete: Timestamp,
    prepared: BTreeMap<TransactionId, (Timestamp, Vec<TransactionItem>)>,
    changes: u64,
    sealed: bool,
    floor: u64,
    ended: BTreeMap<RequestId, Ended>,
    /// Of the current entry.
    now: u64,
}

enum Seen {
    New,
    Ended(Ended),
    Expired,
}

impl Model {
    fn known(&self) -> impl Iterator<Item = u64> {
        let issued = self.ended.keys().map(|request| request.issued_millis);
        issued.filter(|issued| *issued > self.floor)
    }

    fn oldest(&self) -> u64 {
        self.now - BOUNDS.millis
    }

    fn apply(&mut self, batch: CommandBatch) -> Vec<Option<Outcome>> {
        self.now = batch.now_millis;
        let oldest = self.oldest();
        let gone = self.known().filter(|issued| *issued < oldest).max();
        self.floor = gone.unwrap_or(self.floor);
        let commands = batch.commands.into_iter();
        commands.map(|command| self.command(command)).collect()
    }

    fn look(&self, request: RequestId) -> Seen {
        if request.issued_millis <= self.floor {
            return Seen::Expired;
        }
        match self.ended.get(&request) {
            Some(ended) => Seen::Ended(ended.clone()),
            None if request.issued_millis < self.oldest() => Seen::Expired,
            None => Seen::New,
        }
    }

    fn end(&mut self, request: RequestId, ended: Ended) {
        self.ended.insert(request, ended);
        while self.known().count() > BOUNDS.entries {
            self.floor = self.known().min().unwrap();
        }
    }

    fn locked_by(&self, key: &Key) -> Option<u128> {
        let of = |items: &[TransactionItem]| items.iter().any(|item| item.key == *key);
        let found = self.prepared.iter().find(|(_, (_, items))| of(items));
        found.map(|(id, _)| id.0)
    }

    fn version(&self, key: &Key) -> Option<u64> {
        self.items.get(key).map(|(_, version, _)| *version)
    }

    fn last_timestamp(&self, key: &Key) -> Timestamp {
        let item = self.items.get(key);
        item.map_or(self.max_delete, |(_, _, timestamp)| *timestamp)
    }

    fn set(&mut self, key: Key, value: Bytes, timestamp: Option<Timestamp>) -> u64 {
        self.changes += 1;
        let next = Timestamp::from_millis(self.now).max(self.last_timestamp(&key).next());
        let item = (value, self.changes, timestamp.unwrap_or(next));
        self.items.insert(key, item);
        self.changes
    }

    /// `None` for a checkpoint, whose hash a model does not have.
    fn command(&mut self, command: Command) -> Option<Outcome> {
        Some(match command {
            Command::Put {
                key,
                value,
                request,
                condition,
            } => self.write(key, Some(&value), request, condition),
            Command::Delete {
                key,
                request,
                condition,
            } => self.write(key, None, request, condition),
            Command::Seal => {
                self.sealed = true;
                Outcome::Sealed
            }
            Command::Checkpoint { .. } => return None,
            Command::TransactWrite {
                transaction,
                issued_millis,
                items,
            } => self.transact(RequestId::of_transaction(issued_millis, transaction), items),
            Command::Prepare {
                transaction,
                timestamp,
                items,
                ..
            } => self.prepare(transaction, timestamp, items),
            Command::Decide {
                transaction,
                timestamp,
                commit,
            } => self.decide(transaction, timestamp, commit),
            Command::Inquire {
                transaction,
                timestamp,
                keys,
            } => self.inquire(transaction, timestamp, &keys),
        })
    }

    fn write(
        &mut self,
        key: Key,
        value: Option<&Bytes>,
        request: RequestId,
        condition: Condition,
    ) -> Outcome {
        let done = |version| match value {
            Some(_) => Outcome::Written { version },
            None => Outcome::Deleted,
        };
        match self.look(request) {
            Seen::Expired => return EXPIRED,
            Seen::Ended(Ended::Applied(version)) => return done(version),
            Seen::Ended(Ended::ConditionFailed(version)) => return condition_failed(version),
            Seen::Ended(other) => panic!("{other:?}"),
            Seen::New if self.sealed => return SEALED,
            Seen::New => {}
        }
        if let Some(id) = self.locked_by(&key) {
            return conflict(id);
        }
        let version = self.version(&key);
        if !condition.holds(version) {
            self.end(request, Ended::ConditionFailed(version));
            return condition_failed(version);
        }
        if let Some(value) = value {
            self.set(key, value.clone(), None);
        } else {
            let last = self.items.get(&key).map(|item| item.2.next());
            let timestamp = Timestamp::from_millis(self.now).max(last.unwrap_or_default());
            self.max_delete = self.max_delete.max(timestamp);
            self.changes += u64::from(self.items.remove(&key).is_some());
        }
        self.end(request, Ended::Applied(self.changes));
        done(self.changes)
    }

    fn doubled(items: &[TransactionItem]) -> Option<Outcome> {
        let mut seen = BTreeSet::new();
        let doubled = items.iter().map(|item| !seen.insert(&item.key));
        let objections: Vec<_> = doubled.map(|d| d.then_some(Objection::Invalid)).collect();
        objections
            .iter()
            .any(Option::is_some)
            .then_some(Outcome::Rejected(objections))
    }

    fn objection(&self, item: &TransactionItem) -> Option<Objection> {
        if self.locked_by(&item.key).is_some() {
            Some(Objection::TransactionConflict)
        } else if item.condition.holds(self.version(&item.key)) {
            None
        } else {
            Some(Objection::ConditionFailed)
        }
    }

    fn transact(&mut self, identity: RequestId, items: Vec<TransactionItem>) -> Outcome {
        if let Some(doubled) = Self::doubled(&items) {
            return doubled;
        }
        match self.look(identity) {
            Seen::Expired => return EXPIRED,
            Seen::Ended(Ended::Transaction(outcome)) => return outcome,
            Seen::Ended(other) => panic!("{other:?}"),
            Seen::New if self.sealed => return SEALED,
            Seen::New => {}
        }
        let objections: Vec<_> = items.iter().map(|item| self.objection(item)).collect();
        let outcome = if objections.iter().any(Option::is_some) {
            Outcome::Rejected(objections)
        } else {
            for item in items {
                self.set(item.key, item.value, None);
            }
            Outcome::Committed
        };
        self.end(identity, Ended::Transaction(outcome.clone()));
        outcome
    }

    fn prepare(
        &mut self,
        id: TransactionId,
        timestamp: Timestamp,
        items: Vec<TransactionItem>,
    ) -> Outcome {
        if self.prepared.contains_key(&id) {
            return Outcome::Prepared;
        }
        if let Some(doubled) = Self::doubled(&items) {
            return doubled;
        }
        let all = |objection| Outcome::Rejected(vec![Some(objection); items.len()]);
        if self.sealed {
            return all(Objection::Invalid);
        }
        match self.look(RequestId::of_transaction(timestamp.millis(), id)) {
            Seen::New => {}
            Seen::Ended(_) => return all(Objection::TimestampTooOld(timestamp)),
            Seen::Expired => {
                let oldest = Timestamp::from_millis(self.oldest().max(self.floor + 1));
                return all(Objection::TimestampTooOld(oldest));
            }
        }
        let objections = items.iter().map(|item| {
            let last = self.last_timestamp(&item.key);
            let too_old = (last >= timestamp).then_some(Objection::TimestampTooOld(last));
            self.objection(item).or(too_old)
        });
        let objections: Vec<_> = objections.collect();
        if objections.iter().any(Option::is_some) {
            return Outcome::Rejected(objections);
        }
        self.prepared.insert(id, (timestamp, items));
        Outcome::Prepared
    }

    fn decide(&mut self, id: TransactionId, timestamp: Timestamp, commit: bool) -> Outcome {
        let prepared = self.prepared.remove(&id);
        let timestamp = prepared.as_ref().map_or(timestamp, |prepared| prepared.0);
        for item in prepared.into_iter().flat_map(|(_, items)| items) {
            if commit {
                self.set(item.key, item.value, Some(timestamp));
            }
        }
        let identity = RequestId::of_transaction(timestamp.millis(), id);
        if timestamp > Timestamp::ZERO && matches!(self.look(identity), Seen::New) {
            self.end(identity, Ended::Decided(commit));
        }
        Outcome::Decided
    }

    fn inquire(&self, id: TransactionId, timestamp: Timestamp, keys: &[Key]) -> Outcome {
        if self.prepared.contains_key(&id) {
            return state(TransactionState::Prepared);
        }
        let committed = |committed| {
            state(if committed {
                TransactionState::Committed
            } else {
                TransactionState::Cancelled
            })
        };
        match self.look(RequestId::of_transaction(timestamp.millis(), id)) {
            Seen::Ended(Ended::Decided(commit)) => committed(commit),
            Seen::Ended(Ended::Transaction(outcome)) => committed(outcome == Outcome::Committed),
            Seen::Ended(_) | Seen::New => state(TransactionState::Unknown),
            Seen::Expired => {
                let denied = keys.iter().any(|key| self.last_timestamp(key) < timestamp);
                state(if denied {
                    TransactionState::Unknown
                } else {
                    TransactionState::Forgotten
                })
            }
        }
    }

    /// What is stored for keys that are absent.
    fn placeholders(&self) -> usize {
        let items = self.prepared.values().flat_map(|(_, items)| items);
        items
            .filter(|item| !self.items.contains_key(&item.key))
            .count()
    }
}

/// That a reading transaction sees what the model has, and that its lsns move when something does.
fn check_reads(replica: &Replica, model: &Model, last: &mut BTreeMap<Key, (Option<Bytes>, u64)>) {
    let keys = ["a", "b", "c", "d"].map(key);
    let asked = keys.iter().map(|key| {
        let known = last.get(key).map_or(0, |(_, lsn)| *lsn);
        (key.clone(), known)
    });
    let asked: Vec<_> = asked.collect();
    let found = replica.machine.transact_read(&asked).unwrap();
    for ((key, known), item) in asked.into_iter().zip(found) {
        let before = last.get(&key).cloned();
        let there = model.items.get(&key);
        let value = match item.content {
            None => None,
            Some(links::Content::Unchanged) => before.clone().unwrap().0,
            Some(links::Content::Value(value)) => Some(value),
        };
        assert_eq!(value.as_ref(), there.map(|(value, ..)| value));
        assert_eq!(item.locked, model.locked_by(&key).is_some());
        if let Some((_, version, _)) = there {
            assert_eq!(item.lsn, *version);
        }
        if let Some(before) = before
            && known > 0
            && item.lsn == known
        {
            assert_eq!(value, before.0, "another value under the same lsn");
        }
        last.insert(key, (value, item.lsn));
    }
}

proptest! {
    #[test]
    fn the_machine_does_what_the_model_does(log in any_log(60)) {
        let mut replica = Replica::with(BOUNDS);
        let mut model = Model::default();
        let mut last_read = BTreeMap::new();
        for entry in &log {
            let applied = replica.machine.apply(std::slice::from_ref(entry)).unwrap();
            let expected = match entry.kind {
                EntryKind::Commands => model.apply(CommandBatch::decode(&entry.payload).unwrap()),
                _ => Vec::new(),
            };
            prop_assert_eq!(applied[0].outcomes.len(), expected.len());
            for (outcome, expected) in applied[0].outcomes.iter().zip(expected) {
                if let Some(expected) = expected {
                    prop_assert_eq!(outcome, &expected);
                } else {
                    let checkpoint = matches!(outcome, Outcome::Checkpoint { .. });
                    prop_assert!(checkpoint, "{:?}", outcome);
                }
            }
            let meta = replica.machine.meta();
            prop_assert_eq!(meta.request_floor_millis, model.floor);
            prop_assert_eq!(meta.last_lsn.0, model.changes);
            prop_assert_eq!(meta.max_delete_timestamp, model.max_delete);
            prop_assert_eq!(meta.items as usize, model.items.len() + model.placeholders());
            prop_assert_eq!(replica.machine.window.len(), model.known().count());
            prop_assert_eq!(replica.machine.reader().undecided_count(), model.prepared.len());
            for name in ["a", "b", "c", "d"] {
                let found = replica.machine.reader().get(&key(name)).unwrap();
                let expected = model.items.get(&key(name));
                prop_assert_eq!(found, expected.map(|(value, version, _)| (value.clone(), *version)));
                let timestamp = expected.map(|(_, _, timestamp)| *timestamp);
                let stored = replica.item(name).filter(|item| item.value.is_some());
                prop_assert_eq!(stored.map(|item| item.timestamp), timestamp);
            }
            // Not after each entry, so that several changes lie between two reads.
            if entry.index.0 % 3 == 0 {
                check_reads(&replica, &model, &mut last_read);
            }
        }
        replica.check();
        replica.restart();
    }
}
