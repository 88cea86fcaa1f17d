//! Scripts that a machine plays, and what they need.

mod broken;
mod commands;
mod determinism;
mod model_based;
#[cfg(feature = "mutants")]
mod noticed;
mod once;
mod reads;
mod transactions;

use std::sync::Arc;

use bytes::Bytes;
use model::{
    Condition, Item, Key, NodeId, Objection, Participant, RequestId, ShardId, TableId, Timestamp,
    TransactionId, TransactionItem, TransactionState,
};
use raft::{Entry, EntryKind, Index, Term};
use storage::keys;
use storage::snapshot::{SnapshotSink, SnapshotSource, switch_generation, verify_shard};
use storage::state::{Batch, MemoryStore, StateStore};

use super::*;

const SHARD: ShardId = ShardId {
    table: TableId(7),
    index: 3,
};

/// The clock of the first entry of most scripts: long after the epoch, as real clocks are.
const NOW: u64 = 1_000_000_000;

/// Takes a shard's state into another store, as a generation that is not in use yet.
pub(crate) fn transfer(from: &MemoryStore, to: &MemoryStore, shard: ShardId) -> u32 {
    let mut source = SnapshotSource::new(from.view(), shard).unwrap();
    let header = source.header().clone();
    let mut sink = SnapshotSink::begin(Arc::new(to.clone()), header).unwrap();
    while let Some(chunk) = source.next_chunk(1000).unwrap() {
        sink.add(chunk).unwrap();
    }
    sink.finish().unwrap().generation
}

fn key(name: &str) -> Key {
    Key::new(Bytes::copy_from_slice(name.as_bytes())).unwrap()
}

fn voters() -> Vec<NodeId> {
    vec![NodeId(1), NodeId(2), NodeId(3)]
}

/// The identity of the write of that number, issued at that time.
fn request(issued_millis: u64, sequence: u64) -> RequestId {
    RequestId {
        issued_millis,
        client: 5,
        sequence,
    }
}

fn put(name: &str, value: &str, request: RequestId) -> Command {
    Command::Put {
        key: key(name),
        value: Bytes::copy_from_slice(value.as_bytes()),
        request,
        condition: Condition::Always,
    }
}

fn delete(name: &str, request: RequestId) -> Command {
    Command::Delete {
        key: key(name),
        request,
        condition: Condition::Always,
    }
}

/// The same put or delete under a condition.
fn only_if(condition: Condition, command: Command) -> Command {
    match command {
        Command::Put {
            key,
            value,
            request,
            ..
        } => Command::Put {
            key,
            value,
            request,
            condition,
        },
        Command::Delete { key, request, .. } => Command::Delete {
            key,
            request,
            condition,
        },
        other => other,
    }
}

fn items(values: &[(&str, &str, Condition)]) -> Vec<TransactionItem> {
    let items = values
        .iter()
        .map(|(name, value, condition)| TransactionItem {
            key: key(name),
            value: Bytes::copy_from_slice(value.as_bytes()),
            condition: *condition,
        });
    items.collect()
}

/// Unconditional puts.
fn puts(values: &[(&str, &str)]) -> Vec<TransactionItem> {
    let items = values.iter().map(|(k, v)| (*k, *v, Condition::Always));
    self::items(&items.collect::<Vec<_>>())
}

/// Of these items and one of another table.
fn prepare(id: u128, timestamp: Timestamp, items: Vec<TransactionItem>) -> Command {
    let here = items.iter().map(|item| (SHARD.table, item.key.clone()));
    let all = here.chain([(TableId(99), key("elsewhere"))]);
    Command::Prepare {
        transaction: TransactionId(id),
        timestamp,
        participants: all.map(|(table, key)| Participant { table, key }).collect(),
        items,
    }
}

fn decide(id: u128, timestamp: Timestamp, commit: bool) -> Command {
    Command::Decide {
        transaction: TransactionId(id),
        timestamp,
        commit,
    }
}

fn inquire(id: u128, timestamp: Timestamp) -> Command {
    inquire_of(id, timestamp, &[])
}

fn inquire_of(id: u128, timestamp: Timestamp, keys: &[&str]) -> Command {
    Command::Inquire {
        transaction: TransactionId(id),
        timestamp,
        keys: keys.iter().map(|name| key(name)).collect(),
    }
}

fn transact_write(id: u128, issued_millis: u64, items: Vec<TransactionItem>) -> Command {
    Command::TransactWrite {
        transaction: TransactionId(id),
        issued_millis,
        items,
    }
}

/// The timestamp of that millisecond and counter.
fn at(millis: u64, counter: u64) -> Timestamp {
    Timestamp(Timestamp::from_millis(millis).0 + counter)
}

fn entry(index: u64, now_millis: u64, commands: Vec<Command>) -> Entry {
    let batch = CommandBatch {
        now_millis,
        commands,
    };
    Entry {
        index: Index(index),
        term: Term(1),
        kind: EntryKind::Commands,
        payload: batch.encode(),
    }
}

fn noop(index: u64, term: u64) -> Entry {
    Entry {
        index: Index(index),
        term: Term(term),
        kind: EntryKind::Noop,
        payload: Bytes::new(),
    }
}

/// Everything that a store has of the shard.
fn dump(store: &MemoryStore) -> Vec<(Bytes, Bytes)> {
    let view = store.view();
    let all = view.scan(&keys::shard(SHARD));
    all.collect::<Result<_, _>>().unwrap()
}

/// One replica, with a log that grows by one entry per step.
struct Replica {
    store: MemoryStore,
    machine: Machine,
    bounds: WindowBounds,
    now_millis: u64,
    log: Vec<Entry>,
}

impl Replica {
    fn new() -> Self {
        Self::with(WindowBounds::default())
    }

    fn with(bounds: WindowBounds) -> Self {
        let store = MemoryStore::new();
        let machine =
            Machine::create_with(Arc::new(store.clone()), SHARD, voters(), bounds).unwrap();
        store.persist().unwrap();
        Self {
            store,
            machine,
            bounds,
            now_millis: NOW,
            log: Vec::new(),
        }
    }

    /// Applies one entry of these commands at the current time.
    fn step(&mut self, commands: Vec<Command>) -> Vec<Outcome> {
        let index = self.machine.meta().applied_index + 1;
        let entry = entry(index, self.now_millis, commands);
        self.log.push(entry.clone());
        let mut applied = self.machine.apply(&[entry]).unwrap();
        assert_eq!(applied.len(), 1);
        self.check();
        applied.remove(0).outcomes
    }

    fn one(&mut self, command: Command) -> Outcome {
        let outcomes = self.step(vec![command]);
        assert_eq!(outcomes.len(), 1);
        outcomes.into_iter().next().unwrap()
    }

    /// The process ends and starts again, without the machine losing power.
    fn restart(&mut self) {
        let store = Arc::new(self.store.clone());
        let opened = Machine::open_with(store, SHARD, self.bounds)
            .unwrap()
            .unwrap();
        assert_eq!(opened.meta(), self.machine.meta());
        assert_eq!(opened.window, self.machine.window);
        assert_eq!(opened.prepared, self.machine.prepared);
        let undecided = |machine: &Machine| {
            let since = machine.reader().undecided_since(u64::MAX);
            since.into_iter().map(|(_, id)| id).collect::<Vec<_>>()
        };
        assert_eq!(undecided(&opened), undecided(&self.machine));
        self.machine = opened;
    }

    /// Takes this replica's state into another store, as a follower that lagged does. The old generation stays.
    fn send_snapshot(&self, to: &MemoryStore) {
        switch_generation(to, SHARD, transfer(&self.store, to, SHARD)).unwrap();
    }

    fn item(&self, name: &str) -> Option<Item> {
        let at = keys::item(SHARD, self.machine.generation(), &key(name));
        let bytes = self.store.get(&at).unwrap()?;
        Some(Item::decode(&bytes).unwrap())
    }

    /// What a reader sees: value and version.
    fn get(&self, name: &str) -> Option<(String, u64)> {
        let found = self.machine.reader().get(&key(name)).unwrap();
        found.map(|(value, version)| (String::from_utf8(value.to_vec()).unwrap(), version))
    }

    /// Puts an item into the store by hand, such as a transaction will leave it.
    fn plant(&mut self, name: &str, item: &Item) {
        let at = keys::item(SHARD, self.machine.generation(), &key(name));
        let old = self.store.get(&at).unwrap();
        let meta = &mut self.machine.meta;
        meta.replace_item(keys::item_part(&at), old.as_deref(), Some(&item.encode()));
        let mut batch = Batch::new();
        batch.put(at, item.encode());
        batch.put(self.machine.meta_key(), self.machine.meta.encode());
        self.store.write(batch).unwrap();
    }

    /// The counters and the hash in the meta are those of what is stored.
    fn check(&self) {
        let verified = verify_shard(&*self.store.view(), SHARD).unwrap();
        assert!(verified.agrees(), "{verified:?}");
        assert_eq!(&verified.stored, self.machine.meta());
    }
}

const EXPIRED: Outcome = Outcome::Refused(Refusal::Expired);
const SEALED: Outcome = Outcome::Refused(Refusal::Sealed);

fn conflict(id: u128) -> Outcome {
    Outcome::Refused(Refusal::TransactionConflict(TransactionId(id)))
}

fn condition_failed(version: Option<u64>) -> Outcome {
    Outcome::Refused(Refusal::ConditionFailed(version.map(model::Lsn)))
}

fn rejected(objections: &[Option<Objection>]) -> Outcome {
    Outcome::Rejected(objections.to_vec())
}

fn state(state: TransactionState) -> Outcome {
    Outcome::State(state)
}

fn written(version: u64) -> Outcome {
    Outcome::Written { version }
}
