//! Reading items beside a machine that goes on applying.
//!
//! A read needs the number of the shard's current generation to find an item's key ([`storage::keys`]), and a
//! snapshot may switch to another generation, and then remove the old one, at any moment. Asking for the
//! pointer with each read would cost every read a second one. So the handle remembers the number and asks again only
//! when it finds nothing:
//!
//! | in the remembered generation | the pointer, read after that | so |
//! |---|---|---|
//! | found | not read | that is the item |
//! | not found | the same number | the key is absent |
//! | not found | another number | once more, there |
//! | not found | none | the shard is gone |
//!
//! The second row is right because a generation loses keys only after the pointer to its successor is written. So if
//! the pointer still names the remembered generation after the miss, nothing was missing from it then.
//!
//! # Caveats
//!
//! * Between the switch and [`Machine::reload`](super::Machine::reload) a read may find an item of the
//!   old generation. It is an older state of the key, which is what an eventual read may show; a consistent
//!   read waits for the machine, and so comes after the reload.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use links::{Content, ReadItem};
use model::{Item, Key, Lsn, ShardId, TransactionId, Undecided, limits};
use parking_lot::Mutex;
use storage::keys;
use storage::meta::PreparedRecord;
use storage::snapshot::current_generation;
use storage::state::{StateStore, StoreError};

use super::Machine;
use super::error::damaged;

/// Why a read has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The shard's state was removed from this node.
    #[error("shard {0} is not in the state store")]
    NotThere(ShardId),
    /// More is asked for at once than one answer may have.
    #[error("the values together have more than {max} bytes", max = limits::MAX_BATCH_BYTES)]
    TooLarge,
    /// The state store failed, or what is in it can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Reads a shard's items, from any thread, while its machine applies. Clones share everything.
///
/// What it shows is what has been applied on this node and no more: that is an eventual read. A consistent read is the same
/// after the machine has applied the index that `ReadIndex` named.
#[derive(Clone)]
pub struct ReadHandle {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn StateStore>,
    shard: ShardId,
    /// The current generation or one that was current before. Never one that is yet to become current.
    generation: AtomicU32,
    sealed: AtomicBool,
    /// The transactions that are prepared here, and since when this node knows it, by its monotonic clock.
    undecided: Mutex<BTreeMap<TransactionId, u64>>,
}

impl ReadHandle {
    pub(super) fn new(
        store: Arc<dyn StateStore>,
        shard: ShardId,
        generation: u32,
        sealed: bool,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                store,
                shard,
                generation: AtomicU32::new(generation),
                sealed: AtomicBool::new(sealed),
                undecided: Mutex::default(),
            }),
        }
    }

    /// The shard.
    pub fn shard(&self) -> ShardId {
        self.shared.shard
    }

    /// Whether the table is being deleted, as far as this replica has applied.
    pub fn sealed(&self) -> bool {
        self.shared.sealed.load(Ordering::Acquire)
    }

    /// The value of a key and its version, or `None` if the key is absent. Values that a transaction has
    /// only prepared are not shown. May read from disk.
    pub fn get(&self, key: &Key) -> Result<Option<(Bytes, u64)>, ReadError> {
        let item = self.item(key)?;
        Ok(item.and_then(|item| item.value.map(|value| (value, item.lsn.0))))
    }

    /// How many transactions are prepared here and not decided. Cheap.
    pub fn undecided_count(&self) -> usize {
        self.shared.undecided.lock().len()
    }

    /// The transactions that were prepared here at that time or before, by the node's monotonic clock, and when that was: when
    /// this replica applied the prepare, or when it began to take part.
    pub fn undecided_since(&self, monotonic_millis: u64) -> Vec<(u64, TransactionId)> {
        let undecided = self.shared.undecided.lock();
        let old = undecided
            .iter()
            .filter(|(_, since)| **since <= monotonic_millis);
        old.map(|(transaction, since)| (*since, *transaction))
            .collect()
    }

    /// What is known of a transaction, if it is still prepared. May read from disk.
    pub fn undecided(&self, transaction: TransactionId) -> Result<Option<Undecided>, ReadError> {
        let shard = self.shared.shard;
        let record = self.stored(|generation| {
            let key = keys::Key::Prepared {
                shard,
                generation,
                transaction,
            };
            key.encode()
        })?;
        let Some(record) = record else {
            return Ok(None);
        };
        let record = PreparedRecord::decode(&record).map_err(|error| damaged(shard, &error))?;
        Ok(Some(Undecided {
            transaction,
            timestamp: record.timestamp,
            participants: record.participants,
        }))
    }

    fn item(&self, key: &Key) -> Result<Option<Item>, ReadError> {
        let shard = self.shared.shard;
        match self.stored(|generation| keys::item(shard, generation, key))? {
            Some(bytes) => Ok(Some(decode(shard, &bytes)?)),
            None => Ok(None),
        }
    }

    /// What is stored under a key of the current generation.
    fn stored(&self, key: impl Fn(u32) -> Bytes) -> Result<Option<Bytes>, ReadError> {
        let Shared { store, shard, .. } = &*self.shared;
        let mut generation = self.shared.generation.load(Ordering::Acquire);
        loop {
            if let Some(bytes) = store.get(&key(generation))? {
                return Ok(Some(bytes));
            }
            match current_generation(&*store.view(), *shard)? {
                None => return Err(ReadError::NotThere(*shard)),
                Some(current) if current == generation || mutant!(OldGenerationRead) => {
                    return Ok(None);
                }
                Some(current) => {
                    // Others needn't find out by a miss of their own. Of two that were current the higher is the later.
                    self.shared.generation.fetch_max(current, Ordering::AcqRel);
                    generation = current;
                }
            }
        }
    }

    pub(super) fn moved_to(&self, generation: u32) {
        if !mutant!(OldGenerationRead) {
            self.shared.generation.store(generation, Ordering::Release);
        }
    }

    /// Transactions were prepared (true) or decided.
    pub(super) fn transactions_changed(
        &self,
        changes: &[(TransactionId, bool)],
        monotonic_millis: u64,
    ) {
        let mut undecided = self.shared.undecided.lock();
        for &(transaction, prepared) in changes {
            if prepared {
                undecided.insert(transaction, monotonic_millis);
            } else {
                undecided.remove(&transaction);
            }
        }
    }

    /// These are the transactions that are prepared now. What was known before keeps its time.
    pub(super) fn transactions_are<'a>(
        &self,
        prepared: impl Iterator<Item = &'a TransactionId>,
        monotonic_millis: u64,
    ) {
        let mut undecided = self.shared.undecided.lock();
        let known = std::mem::take(&mut *undecided);
        let since = |id| known.get(id).copied().unwrap_or(monotonic_millis);
        undecided.extend(prepared.map(|id| (*id, since(id))));
    }

    /// The node's part in the shard begins now: only from here on can it know how long something takes.
    pub(super) fn begin(&self, monotonic_millis: u64) {
        for since in self.shared.undecided.lock().values_mut() {
            *since = monotonic_millis;
        }
    }

    pub(super) fn set_sealed(&self, sealed: bool) {
        self.shared.sealed.store(sealed, Ordering::Release);
    }
}

fn decode(shard: ShardId, bytes: &[u8]) -> Result<Item, StoreError> {
    Item::decode(bytes).map_err(|error| damaged(shard, &error))
}

impl Machine {
    /// One round of a reading transaction: keys, each with the lsn that the last round has seen of it (0 for none).
    ///
    /// The lsn of an item is its version. An absent key has none, and the shard's last one stands for it: a number from
    /// the moment of the answer, after which the key can't come and go without a delete that has a higher one. So if the question
    /// names an lsn and the key is certain to have been absent ever since, the answer has that lsn again. Equal lsns in
    /// two rounds mean that neither value nor existence have changed in between.
    ///
    /// Shows the state that is applied, all of it at one index; linearizable after `ReadIndex` like any other read.
    pub fn transact_read(&self, keys: &[(Key, u64)]) -> Result<Vec<ReadItem>, ReadError> {
        let mut bytes = 0;
        let mut items = Vec::with_capacity(keys.len());
        for (key, known) in keys {
            let at = keys::item(self.shard, self.generation, key);
            let stored = self.store.get(&at)?;
            let stored = stored.map(|bytes| decode(self.shard, &bytes)).transpose()?;
            let item = self.read_item(key, Lsn(*known), stored);
            if let Some(Content::Value(value)) = &item.content {
                bytes += value.len();
            }
            if bytes > limits::MAX_BATCH_BYTES {
                return Err(ReadError::TooLarge);
            }
            items.push(item);
        }
        Ok(items)
    }

    fn read_item(&self, key: &Key, known: Lsn, stored: Option<Item>) -> ReadItem {
        let locked = stored.as_ref().is_some_and(|item| item.intent.is_some());
        let present = stored.and_then(|item| item.value.map(|value| (value, item.lsn)));
        let Some((value, lsn)) = present else {
            let Lsn(lsn) = self.absent_lsn(key, known);
            return ReadItem {
                content: None,
                lsn,
                locked,
            };
        };
        let content = if lsn == known {
            Content::Unchanged
        } else {
            Content::Value(value)
        };
        ReadItem {
            content: Some(content),
            lsn: lsn.0,
            locked,
        }
    }

    fn absent_lsn(&self, key: &Key, known: Lsn) -> Lsn {
        if mutant!(AbsentWithoutLsn) {
            return Lsn(0);
        }
        let unchanged = known > Lsn(0) && self.meta.deletes.none_since(key.hash(), known);
        if unchanged { known } else { self.meta.last_lsn }
    }
}
