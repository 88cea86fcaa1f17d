//! The replicas that can be read on this node, for everybody who doesn't ask the worker.
//!
//! Eventual reads are answered from here, at once, by whichever thread has the request: no worker, no queue.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::{Error, Reason};
use model::{Key, ShardId, Undecided, limits};
use parking_lot::{Mutex, RwLock};

use crate::machine::{Machine, ReadError, ReadHandle};
use crate::operation::Answer;
use crate::worker::{not_hosted, stopped};

/// Checkpoints that were asked for are remembered, so many per node.
const KEPT_CHECKPOINTS: usize = 8192;
/// Undecided transactions that are listed at once.
const LISTED_UNDECIDED: usize = 100;

/// Shared by all who serve this node's replicas.
#[derive(Clone, Default)]
pub struct Hosted {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    replicas: RwLock<HashMap<ShardId, Replica>>,
    checkpoints: Mutex<Checkpoints>,
    eventual_reads: AtomicU64,
}

#[derive(Clone)]
enum Replica {
    Serving(ReadHandle),
    Stopped(Arc<str>),
}

#[derive(Default)]
struct Checkpoints {
    by_id: HashMap<(ShardId, u64), Checkpoint>,
    in_order: BTreeMap<u64, (ShardId, u64)>,
    passed: u64,
}

/// The content of a replica at a checkpoint that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// The checkpoint's Raft index.
    pub index: u64,
    /// The content hash there.
    pub hash: u128,
}

impl Hosted {
    /// A replica can be read.
    pub fn serve(&self, reader: ReadHandle) {
        self.shared
            .replicas
            .write()
            .insert(reader.shard(), Replica::Serving(reader));
    }

    /// A replica has stopped and is not read any more.
    pub fn stop(&self, shard: ShardId, detail: &str) {
        self.shared
            .replicas
            .write()
            .insert(shard, Replica::Stopped(detail.into()));
    }

    /// A replica is gone.
    pub fn remove(&self, shard: ShardId) {
        self.shared.replicas.write().remove(&shard);
    }

    /// Answers an eventual read from what this replica has. May read from disk.
    pub fn read(&self, shard: ShardId, key: &Key) -> Answer {
        let replica = self.shared.replicas.read().get(&shard).cloned();
        match replica {
            None => Answer::Failed(not_hosted()),
            Some(Replica::Stopped(detail)) => Answer::Failed(stopped(&detail)),
            Some(Replica::Serving(reader)) => {
                self.shared.eventual_reads.fetch_add(1, Ordering::Relaxed);
                read_answer(&reader, key)
            }
        }
    }

    /// Whether a replica refuses writes and consistent reads because its table is being deleted.
    pub fn sealed(&self, shard: ShardId) -> bool {
        match self.shared.replicas.read().get(&shard) {
            Some(Replica::Serving(reader)) => reader.sealed(),
            None | Some(Replica::Stopped(_)) => false,
        }
    }

    /// How many transactions are prepared and not decided on these replicas.
    pub fn undecided_count(&self, shards: &[ShardId]) -> usize {
        let readers = self.readers(shards);
        readers.iter().map(ReadHandle::undecided_count).sum()
    }

    /// The transactions that these replicas hold prepared since that time or longer, by the node's monotonic clock, the oldest
    /// first, each with its age: not more of them than an answer has room for. Reads from disk.
    pub fn undecided(
        &self,
        shards: &[ShardId],
        now_millis: u64,
        after_millis: u64,
    ) -> Vec<(Undecided, u64)> {
        let mut old = Vec::new();
        for reader in self.readers(shards) {
            let since = reader.undecided_since(now_millis.saturating_sub(after_millis));
            old.extend(
                since
                    .into_iter()
                    .map(|(since, id)| (since, id, reader.clone())),
            );
        }
        old.sort_by_key(|(since, id, _)| (*since, *id));
        let mut listed = Vec::new();
        let mut bytes = 0;
        for (since, transaction, reader) in old {
            // Decided meanwhile, or unreadable: then the replica will stop, and says why by itself.
            let Ok(Some(undecided)) = reader.undecided(transaction) else {
                continue;
            };
            let keys = undecided
                .participants
                .iter()
                .map(|one| one.key.partition.len());
            bytes += keys.sum::<usize>();
            if listed.len() == LISTED_UNDECIDED || bytes > limits::MAX_BATCH_BYTES {
                break;
            }
            listed.push((undecided, now_millis.saturating_sub(since)));
        }
        listed
    }

    fn readers(&self, shards: &[ShardId]) -> Vec<ReadHandle> {
        let replicas = self.shared.replicas.read();
        let found = shards.iter().filter_map(|shard| replicas.get(shard));
        let serving = found.filter_map(|replica| match replica {
            Replica::Serving(reader) => Some(reader.clone()),
            Replica::Stopped(_) => None,
        });
        serving.collect()
    }

    /// Eventual reads since the start.
    pub fn eventual_reads(&self) -> u64 {
        self.shared.eventual_reads.load(Ordering::Relaxed)
    }

    /// A checkpoint that somebody will ask for was passed.
    pub fn passed_checkpoint(&self, shard: ShardId, verify_id: u64, checkpoint: Checkpoint) {
        let mut checkpoints = self.shared.checkpoints.lock();
        checkpoints.passed += 1;
        let passed = checkpoints.passed;
        checkpoints.by_id.insert((shard, verify_id), checkpoint);
        checkpoints.in_order.insert(passed, (shard, verify_id));
        while checkpoints.in_order.len() > KEPT_CHECKPOINTS {
            if let Some((_, oldest)) = checkpoints.in_order.pop_first() {
                checkpoints.by_id.remove(&oldest);
            }
        }
    }

    /// A checkpoint that was passed, if it is remembered.
    pub fn checkpoint(&self, shard: ShardId, verify_id: u64) -> Option<Checkpoint> {
        self.shared
            .checkpoints
            .lock()
            .by_id
            .get(&(shard, verify_id))
            .copied()
    }
}

/// What a read comes to.
pub fn read_answer(reader: &ReadHandle, key: &Key) -> Answer {
    match reader.get(key) {
        Ok(Some((value, version))) => Answer::Found { value, version },
        Ok(None) => Answer::Absent,
        Err(error) => Answer::Failed(unreadable(&error)),
    }
}

/// What one round of a reading transaction comes to.
pub fn transact_read_answer(machine: &Machine, keys: &[(Key, u64)]) -> Answer {
    match machine.transact_read(keys) {
        Ok(items) => Answer::Items(items),
        Err(error) => Answer::Failed(unreadable(&error)),
    }
}

fn unreadable(error: &ReadError) -> Error {
    match error {
        ReadError::NotThere(_) => not_hosted(),
        ReadError::TooLarge => Error::invalid("keys", format!("{error}: ask for fewer keys")),
        ReadError::Store(error) => {
            let message = format!("the replica's data can't be read: {error}; others serve");
            Error::new(Reason::Corruption, message)
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use model::{
        Condition, NodeId, Participant, TableId, Timestamp, TransactionId, TransactionItem,
    };
    use raft::{Entry, EntryKind, Index, Term};
    use storage::state::MemoryStore;

    use super::*;
    use crate::machine::{Command, CommandBatch};

    fn shard(index: u32) -> ShardId {
        let table = TableId(1);
        ShardId { table, index }
    }

    /// Prepares these transactions, each a minute after the one before it, with one key of that many bytes.
    fn machine(index: u32, transactions: std::ops::Range<u64>, key_bytes: usize) -> Machine {
        let store = Arc::new(MemoryStore::new());
        let mut machine = Machine::create(store, shard(index), vec![NodeId(1)]).unwrap();
        for (id, index) in transactions.zip(1..) {
            let mut name = vec![b'k'; key_bytes];
            name[..8].copy_from_slice(&id.to_be_bytes());
            let key = Key::new(name.into()).unwrap();
            let participant = Participant {
                table: TableId(1),
                key: key.clone(),
            };
            let prepare = Command::Prepare {
                transaction: TransactionId(id.into()),
                timestamp: Timestamp::from_millis(id + 1),
                items: vec![TransactionItem {
                    key,
                    value: Bytes::new(),
                    condition: Condition::Always,
                }],
                participants: vec![participant; limits::MAX_BATCH_ITEMS],
            };
            let batch = CommandBatch {
                now_millis: 0,
                commands: vec![prepare],
            };
            let entry = Entry {
                term: Term(1),
                index: Index(index),
                kind: EntryKind::Commands,
                payload: batch.encode(),
            };
            machine.tell_time(id * 60_000);
            machine.apply(&[entry]).unwrap();
        }
        machine
    }

    #[test]
    fn the_oldest_undecided_transactions_are_listed_first_and_not_too_many() {
        let hosted = Hosted::default();
        hosted.serve(machine(0, 100..200, 100).reader());
        hosted.serve(machine(1, 0..50, 100).reader());
        hosted.serve(machine(2, 500..510, 100).reader());
        let led = [shard(0), shard(1), shard(7)];
        assert_eq!(hosted.undecided_count(&led), 150);
        let now = 200 * 60_000;
        let listed = hosted.undecided(&led, now, 60_000 * 51);
        let ids: Vec<_> = listed.iter().map(|(one, _)| one.transaction.0).collect();
        let expected: Vec<_> = (0..50).chain(100..150).collect();
        assert_eq!(ids, expected);
        assert_eq!((listed[0].1, listed[99].1), (now, 51 * 60_000));
        assert_eq!(
            hosted.undecided(&led, now, now - 1).len(),
            1,
            "younger ones are left out"
        );
    }

    #[test]
    fn a_list_of_undecided_transactions_fits_into_a_message() {
        let hosted = Hosted::default();
        hosted.serve(machine(0, 0..40, limits::MAX_KEY_BYTES).reader());
        let listed = hosted.undecided(&[shard(0)], 60_000_000, 1);
        let one = limits::MAX_BATCH_ITEMS * limits::MAX_KEY_BYTES;
        assert_eq!(listed.len(), limits::MAX_BATCH_BYTES / one);
    }
}
