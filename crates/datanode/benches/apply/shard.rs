//! A shard with items, and entries for it.

use std::sync::Arc;

use bytes::Bytes;
use datanode::machine::{Command, CommandBatch, Machine};
use datanode::worker::ApplyJob;
use model::{Condition, Key, NodeId, RequestId, ShardId, TableId};
use raft::{Entry, EntryKind, Index, Term};
use rand::rngs::SmallRng;
use rand::{RngExt as _, SeedableRng as _};
use storage::state::{FjallOptions, FjallStore, MemoryStore, StateStore};
use tempfile::TempDir;

/// Items before anything is measured, 20 MB of them: more than the store on disk keeps in memory before it writes tables.
pub(crate) const ITEMS: u64 = 100_000;
/// So many of them are written or looked up where a row is about recent ones: 2 MB.
const RECENT: u64 = 10_000;
/// Bytes of a value.
const VALUE: usize = 128;
/// The store is made durable after so many entries, as a node does every two seconds.
const PERSIST_EVERY: u64 = 4096;
/// The clock in the first entry; each put is a millisecond later, so that the memory of requests has its full length.
const START: u64 = 1_700_000_000_000;

/// A store in a directory of its own, where it needs one.
pub(crate) trait Kind {
    fn open(directory: &TempDir) -> Arc<dyn StateStore>;
}

/// The model of the store, in memory: what is left is our own work.
pub(crate) struct Memory;

/// The store of a data node, with its defaults.
pub(crate) struct Fjall;

impl Kind for Memory {
    fn open(_: &TempDir) -> Arc<dyn StateStore> {
        Arc::new(MemoryStore::new())
    }
}

impl Kind for Fjall {
    fn open(directory: &TempDir) -> Arc<dyn StateStore> {
        let options = FjallOptions::default();
        Arc::new(FjallStore::open(directory.path(), &options).unwrap())
    }
}

/// Which keys an entry puts.
#[derive(Clone, Copy)]
pub(crate) enum Keys {
    /// Such as the shard does not have.
    New,
    /// Any of the first [`ITEMS`].
    Existing,
    /// Any of the last [`RECENT`] among them: what was written last, and is written again and again.
    Recent,
}

/// Where entries of one shard come from.
pub(crate) struct Source {
    shard: ShardId,
    next_index: u64,
    /// Puts so far.
    sequence: u64,
    /// Keys so far.
    keys: u64,
    value: Bytes,
    random: SmallRng,
}

/// A shard's machine and its entries.
pub(crate) struct Shard {
    pub(crate) machine: Machine,
    pub(crate) source: Source,
    pub(crate) store: Arc<dyn StateStore>,
    _directory: TempDir,
}

/// A directory that is a disk wherever the build is on one: a temporary directory may be memory.
pub(crate) fn directory() -> TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

pub(crate) fn shard_id(index: u32) -> ShardId {
    let table = TableId(1);
    ShardId { table, index }
}

pub(crate) fn machine(store: &Arc<dyn StateStore>, shard: ShardId) -> Machine {
    let voters = [1, 2, 3].map(NodeId).to_vec();
    Machine::create(Arc::clone(store), shard, voters).unwrap()
}

/// A key of 16 bytes. Neighbours in number are none in the order of the store.
fn key(number: u64) -> Key {
    let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    Key::new(format!("{scattered:016x}").into()).unwrap()
}

impl Source {
    pub(crate) fn new(shard: ShardId) -> Self {
        Self {
            shard,
            next_index: 1,
            sequence: 0,
            keys: 0,
            value: Bytes::from(vec![7; VALUE]),
            random: SmallRng::seed_from_u64(1),
        }
    }

    /// The next entry of the log, with so many puts.
    pub(crate) fn entry(&mut self, puts: usize, keys: Keys) -> Entry {
        let commands = (0..puts).map(|_| self.put(keys)).collect();
        let batch = CommandBatch {
            now_millis: START + self.sequence,
            commands,
        };
        let index = Index(self.next_index);
        self.next_index += 1;
        Entry {
            term: Term(1),
            index,
            kind: EntryKind::Commands,
            payload: batch.encode(),
        }
    }

    /// The next entry, of so many puts to new keys, as the worker hands it to the applier. Nobody waits for answers.
    pub(crate) fn job(&mut self, puts: usize) -> ApplyJob {
        ApplyJob::Entries {
            shard: self.shard,
            entries: vec![self.entry(puts, Keys::New)],
            replies: Vec::new(),
            leader: None,
        }
    }

    fn put(&mut self, keys: Keys) -> Command {
        self.sequence += 1;
        Command::Put {
            key: self.key(keys),
            value: self.value.clone(),
            request: RequestId {
                issued_millis: START + self.sequence,
                client: u64::from(self.shard.index),
                sequence: self.sequence,
            },
            condition: Condition::Always,
        }
    }

    /// One of these keys.
    pub(crate) fn key(&mut self, keys: Keys) -> Key {
        let number = match keys {
            Keys::New => {
                self.keys += 1;
                self.keys - 1
            }
            Keys::Existing => self.random.random_range(0..ITEMS),
            Keys::Recent => self.random.random_range(ITEMS - RECENT..ITEMS),
        };
        key(number)
    }
}

impl Shard {
    /// A shard with [`ITEMS`].
    pub(crate) fn new<K: Kind>() -> Self {
        let directory = directory();
        let store = K::open(&directory);
        let mut shard = Self {
            machine: machine(&store, shard_id(0)),
            source: Source::new(shard_id(0)),
            store,
            _directory: directory,
        };
        while shard.source.keys < ITEMS {
            let entry = shard.entry(100, Keys::New);
            shard.machine.apply(&[entry]).unwrap();
        }
        shard
    }

    pub(crate) fn entry(&mut self, puts: usize, keys: Keys) -> Entry {
        if self.source.next_index.is_multiple_of(PERSIST_EVERY) {
            self.store.persist().unwrap();
        }
        self.source.entry(puts, keys)
    }
}
