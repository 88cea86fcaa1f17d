//! Shards and a ledger as small as they can be: no replicas, no messages but those that a script delivers.
//!
//! A group is a shard. What a script wants to happen late it keeps: every effect is carried out by hand.

use std::collections::BTreeMap;

use model::{
    Condition, Objection, Timestamp, TransactionId, TransactionState, limits::REMEMBERED_DELETES,
};
use txn::coordinator::{Answer, Effect, Event};
use txn::recovery::{self, End};
use txn::{Clock, Coordinator, Decision, Recovery, Rounds, Seen, Standing, Verdict};

pub(crate) type Key = &'static str;
pub(crate) type Value = i64;

#[derive(Debug, Clone, Copy)]
pub(crate) struct Write {
    pub(crate) shard: usize,
    pub(crate) key: Key,
    pub(crate) value: Value,
    pub(crate) condition: Condition,
}

pub(crate) fn write(shard: usize, key: Key, value: Value) -> Write {
    write_if(shard, key, value, Condition::Always)
}

pub(crate) fn write_if(shard: usize, key: Key, value: Value, condition: Condition) -> Write {
    Write {
        shard,
        key,
        value,
        condition,
    }
}

#[derive(Debug, Clone, Copy)]
struct Intent {
    transaction: TransactionId,
    timestamp: Timestamp,
    value: Value,
}

#[derive(Debug, Clone, Default)]
struct Item {
    value: Option<Value>,
    timestamp: Timestamp,
    lsn: u64,
    intent: Option<Intent>,
}

#[derive(Debug, Clone, Default)]
struct Shard {
    items: BTreeMap<Key, Item>,
    lsn: u64,
    max_delete: Timestamp,
    deletes: Vec<(Key, u64)>,
    last_delete: u64,
    finished: BTreeMap<TransactionId, Decision>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) version: i32,
    pub(crate) standing: Standing,
}

#[derive(Debug)]
pub(crate) struct World {
    shards: Vec<Shard>,
    pub(crate) ledger: BTreeMap<TransactionId, Entry>,
    clock: Clock,
    wall: u64,
    ids: u128,
}

/// What comes of a set in the ledger.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Done,
    Decided(Decision),
    Gone,
}

impl World {
    pub(crate) fn new(shards: usize) -> Self {
        Self {
            shards: vec![Shard::default(); shards],
            ledger: BTreeMap::new(),
            clock: Clock::new(),
            wall: 1000,
            ids: 0,
        }
    }

    pub(crate) fn id(&mut self) -> TransactionId {
        self.ids += 1;
        TransactionId(self.ids)
    }

    pub(crate) fn stamp(&mut self) -> Timestamp {
        self.wall += 1;
        self.clock.draw(self.wall, 0)
    }

    /// A plain get.
    pub(crate) fn get(&self, shard: usize, key: Key) -> Option<Value> {
        self.shards[shard].items.get(key)?.value
    }

    pub(crate) fn version(&self, shard: usize, key: Key) -> u64 {
        self.shards[shard].items[key].lsn
    }

    pub(crate) fn is_locked(&self, shard: usize, key: Key) -> bool {
        let item = self.shards[shard].items.get(key);
        item.is_some_and(|item| item.intent.is_some())
    }

    /// A plain put. Fails on a locked key.
    pub(crate) fn put(&mut self, shard: usize, key: Key, value: Value) -> Result<(), Objection> {
        let now = self.stamp();
        let shard = &mut self.shards[shard];
        let before = shard.items.get(key).cloned();
        if before.as_ref().is_some_and(|item| item.intent.is_some()) {
            return Err(Objection::TransactionConflict);
        }
        let floor = before.map_or(shard.max_delete, |item| item.timestamp);
        shard.set(key, value, now.max(floor.next()));
        Ok(())
    }

    /// A plain delete. Fails on a locked key.
    pub(crate) fn delete(&mut self, shard: usize, key: Key) -> Result<(), Objection> {
        let now = self.stamp();
        let shard = &mut self.shards[shard];
        let before = shard.items.get(key).cloned().unwrap_or_default();
        if before.intent.is_some() {
            return Err(Objection::TransactionConflict);
        }
        shard.max_delete = shard.max_delete.max(before.timestamp.next()).max(now);
        if shard.items.remove(key).is_some() {
            shard.lsn += 1;
            shard.deletes.push((key, shard.lsn));
            if shard.deletes.len() > REMEMBERED_DELETES {
                shard.last_delete = shard.deletes.remove(0).1;
            }
        }
        Ok(())
    }

    pub(crate) fn prepare(
        &mut self,
        shard: usize,
        transaction: TransactionId,
        timestamp: Timestamp,
        writes: &[Write],
    ) -> Result<(), Vec<Option<Objection>>> {
        let shard = &mut self.shards[shard];
        let objection = |write: &Write| shard.objection(transaction, timestamp, write);
        let objections: Vec<_> = writes.iter().map(objection).collect();
        if objections.iter().any(Option::is_some) {
            return Err(objections);
        }
        for write in writes {
            let item = shard.items.entry(write.key).or_default();
            item.intent = Some(Intent {
                transaction,
                timestamp,
                value: write.value,
            });
        }
        Ok(())
    }

    pub(crate) fn decide(&mut self, shard: usize, transaction: TransactionId, decision: Decision) {
        let shard = &mut self.shards[shard];
        shard.finished.entry(transaction).or_insert(decision);
        let keys: Vec<Key> = shard.items.keys().copied().collect();
        for key in keys {
            let item = shard.items.get_mut(key).unwrap();
            let Some(intent) = item.intent.filter(|i| i.transaction == transaction) else {
                continue;
            };
            item.intent = None;
            match decision {
                Decision::Committed => shard.set(key, intent.value, intent.timestamp),
                Decision::Cancelled if item.value.is_none() => drop(shard.items.remove(key)),
                Decision::Cancelled => {}
            }
        }
    }

    pub(crate) fn inquire(&self, shard: usize, transaction: TransactionId) -> TransactionState {
        let shard = &self.shards[shard];
        let mut intents = shard.items.values().filter_map(|item| item.intent);
        match shard.finished.get(&transaction) {
            _ if intents.any(|i| i.transaction == transaction) => TransactionState::Prepared,
            Some(Decision::Committed) => TransactionState::Committed,
            Some(Decision::Cancelled) => TransactionState::Cancelled,
            None => TransactionState::Unknown,
        }
    }

    /// A shard forgets what has become of the transactions that it has finished, as its memory is bounded.
    pub(crate) fn forget_finished(&mut self) {
        for shard in &mut self.shards {
            shard.finished.clear();
        }
    }

    pub(crate) fn seen(&self, shard: usize, key: Key) -> (Option<Value>, Seen) {
        let shard = &self.shards[shard];
        let item = shard.items.get(key).cloned().unwrap_or_default();
        let deleted = shard.deletes.iter().rfind(|(deleted, _)| *deleted == key);
        let absent = deleted.map_or(shard.last_delete, |(_, lsn)| *lsn);
        let seen = Seen {
            lsn: if item.value.is_some() {
                item.lsn
            } else {
                absent
            },
            locked: item.intent.is_some(),
        };
        (item.value, seen)
    }

    pub(crate) fn create(&mut self, transaction: TransactionId) {
        let entry = Entry {
            version: 0,
            standing: Standing::Pending,
        };
        assert!(self.ledger.insert(transaction, entry).is_none());
    }

    pub(crate) fn set(&mut self, transaction: TransactionId, decision: Decision) -> Set {
        match self.ledger.get_mut(&transaction) {
            None => Set::Gone,
            Some(entry) => match entry.standing {
                Standing::Decided(found) => Set::Decided(found),
                Standing::Pending => {
                    entry.version += 1;
                    entry.standing = Standing::Decided(decision);
                    Set::Done
                }
            },
        }
    }

    /// Runs a recovery to its end.
    pub(crate) fn recover(&mut self, transaction: TransactionId) -> End {
        let mut recovery = Recovery::new(self.shards.len());
        let mut effects = recovery.step(recovery::Event::Begin);
        loop {
            assert!(!effects.is_empty(), "a recovery does not end");
            let mut next = Vec::new();
            for effect in effects {
                let event = match effect {
                    recovery::Effect::End(end) => return end,
                    other => self.recover_step(transaction, other),
                };
                next.extend(recovery.step(event));
            }
            effects = next;
        }
    }

    fn recover_step(
        &mut self,
        transaction: TransactionId,
        effect: recovery::Effect,
    ) -> recovery::Event {
        use recovery::{Effect, Event};
        match effect {
            Effect::Read => {
                let entry = self.ledger.get(&transaction);
                Event::Read(entry.map(|entry| entry.standing))
            }
            Effect::Write(decision) => match self.set(transaction, decision) {
                Set::Done => Event::Written,
                Set::Decided(found) => Event::FoundDecided(found),
                Set::Gone => Event::EntryGone,
            },
            Effect::CreateCancelled => {
                let entry = Entry {
                    version: 1,
                    standing: Standing::Decided(Decision::Cancelled),
                };
                self.ledger.insert(transaction, entry);
                Event::Written
            }
            Effect::Inquire { group } => Event::Answered {
                group,
                state: self.inquire(group, transaction),
            },
            Effect::Apply { group, decision } => {
                self.decide(group, transaction, decision);
                Event::Applied { group }
            }
            Effect::Remove => {
                self.ledger.remove(&transaction);
                Event::Removed
            }
            Effect::End(_) => unreachable!(),
        }
    }
}

impl Shard {
    fn set(&mut self, key: Key, value: Value, timestamp: Timestamp) {
        self.lsn += 1;
        let lsn = self.lsn;
        let item = self.items.entry(key).or_default();
        assert!(timestamp > item.timestamp, "a key's timestamp never falls");
        item.value = Some(value);
        item.timestamp = timestamp;
        item.lsn = lsn;
    }

    fn objection(
        &self,
        transaction: TransactionId,
        timestamp: Timestamp,
        write: &Write,
    ) -> Option<Objection> {
        let item = self.items.get(write.key);
        if let Some(intent) = item.and_then(|item| item.intent) {
            let own = intent.transaction == transaction;
            return (!own).then_some(Objection::TransactionConflict);
        }
        let version = item.and_then(|item| item.value.map(|_| item.lsn));
        if !write.condition.holds(version) {
            return Some(Objection::ConditionFailed);
        }
        let floor = item.map_or(self.max_delete, |item| item.timestamp);
        (floor >= timestamp).then_some(Objection::TimestampTooOld(floor))
    }
}

/// A transaction with its coordinator, and the effects that were not carried out yet.
pub(crate) struct Transaction {
    pub(crate) coordinator: Coordinator,
    pub(crate) writes: Vec<Write>,
    pub(crate) timestamp: Timestamp,
    pub(crate) waiting: Vec<Effect>,
    pub(crate) answer: Option<Answer>,
}

impl Transaction {
    pub(crate) fn begin(world: &mut World, writes: &[Write]) -> Self {
        let mut coordinator = Coordinator::new(world.id(), world.shards.len());
        let waiting = coordinator.step(Event::Begin);
        Self {
            coordinator,
            writes: writes.to_vec(),
            timestamp: Timestamp::ZERO,
            waiting,
            answer: None,
        }
    }

    pub(crate) fn id(&self) -> TransactionId {
        self.coordinator.id()
    }

    pub(crate) fn event(&mut self, event: Event) {
        let effects = self.coordinator.step(event);
        self.waiting.extend(effects);
    }

    pub(crate) fn writes_of(&self, shard: usize) -> Vec<Write> {
        let writes = self.writes.iter().copied();
        writes.filter(|write| write.shard == shard).collect()
    }

    /// Carries out the first waiting effect that is wanted, and what follows from it stays waiting.
    #[track_caller]
    pub(crate) fn carry_out(&mut self, world: &mut World, wanted: impl Fn(&Effect) -> bool) {
        let position = self.waiting.iter().position(wanted);
        let effect = self.waiting.remove(position.expect("the effect waits"));
        self.carry_out_effect(world, &effect);
    }

    /// Carries out whatever waits until nothing does.
    pub(crate) fn run(&mut self, world: &mut World) {
        while !self.waiting.is_empty() {
            let effect = self.waiting.remove(0);
            self.carry_out_effect(world, &effect);
        }
    }

    /// Up to the moment at which every shard has prepared it and the decision waits to be written.
    pub(crate) fn prepare_all(&mut self, world: &mut World) {
        while !matches!(self.waiting.first(), Some(Effect::Write(_))) {
            let effect = self.waiting.remove(0);
            self.carry_out_effect(world, &effect);
        }
    }

    pub(crate) fn prepare(&mut self, world: &mut World, shard: usize) {
        self.carry_out(world, |e| *e == Effect::Prepare { group: shard });
    }

    pub(crate) fn write(&mut self, world: &mut World) {
        self.carry_out(world, |e| matches!(e, Effect::Write(_)));
    }

    pub(crate) fn apply(&mut self, world: &mut World, shard: usize) {
        let is = |e: &Effect| matches!(e, Effect::Apply { group, .. } if *group == shard);
        self.carry_out(world, is);
    }

    fn carry_out_effect(&mut self, world: &mut World, effect: &Effect) {
        let event = match *effect {
            Effect::Create(id) => {
                world.create(id);
                Event::Confirmed
            }
            Effect::Stamp => {
                self.timestamp = world.stamp();
                return;
            }
            Effect::Prepare { group } => {
                let writes = self.writes_of(group);
                match world.prepare(group, self.id(), self.timestamp, &writes) {
                    Ok(()) => Event::Prepared { group },
                    Err(objections) => Event::Rejected { group, objections },
                }
            }
            Effect::Write(decision) => match world.set(self.id(), decision) {
                Set::Done => Event::Written,
                Set::Decided(found) => Event::FoundDecided(found),
                Set::Gone => Event::EntryGone,
            },
            Effect::Apply { group, decision } => {
                world.decide(group, self.id(), decision);
                Event::Applied { group }
            }
            Effect::Remove => {
                world.ledger.remove(&self.id());
                Event::Removed
            }
            Effect::Answer(answer) => {
                self.answer = Some(answer);
                return;
            }
        };
        self.event(event);
    }
}

/// Runs a transaction from beginning to end.
pub(crate) fn transact(world: &mut World, writes: &[Write]) -> Answer {
    let mut transaction = Transaction::begin(world, writes);
    transaction.run(world);
    assert!(transaction.coordinator.is_ended());
    transaction.answer.unwrap()
}

/// A `TransactGet` with whatever goes on between the reads of its keys: `between(world, round, read)` comes after
/// each of them, both counted from 0.
pub(crate) fn read(
    world: &mut World,
    keys: &[(usize, Key)],
    mut between: impl FnMut(&mut World, usize, usize),
) -> Option<Vec<Option<Value>>> {
    let pause = std::time::Duration::from_millis(1);
    let mut rounds = Rounds::new((pause, pause));
    for round in 0.. {
        let mut values = Vec::new();
        let mut seen = Vec::new();
        for (read, &(shard, key)) in keys.iter().enumerate() {
            let (value, key_seen) = world.seen(shard, key);
            values.push(value);
            seen.push(key_seen);
            between(world, round, read);
        }
        match rounds.round(&seen) {
            Verdict::Consistent => return Some(values),
            Verdict::Again(_) => {}
            Verdict::Conflict => return None,
        }
    }
    None
}
