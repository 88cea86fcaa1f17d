//! The state store: one ordered map from bytes to bytes, on disk.
//!
//! It holds what the Raft log led to: the items of all shards of a node, with their applied indexes, under the keys
//! of [`crate::keys`]. It is **not** the thing that makes a write durable. That is the log, which is synced before a
//! write is confirmed; so the store need not sync anything per write, and after a crash it may have
//! forgotten the last batches. What it may not do is to keep a part of a batch, or a later batch without
//! an earlier one:
//!
//! | written | persisted | after a crash the store holds one of |
//! |---|---|---|
//! | A, B, C | – | nothing; A; A B; A B C |
//! | A, B, C | after A | A; A B; A B C |
//! | A, B, C | after C | A B C |
//!
//! The node then reads each shard's applied index and applies the log from there. The log is purged only up to
//! what [`StateStore::persist`] has made durable:
//!
//! ```text
//! purged ≤ persisted ≤ applied ≤ committed ≤ last
//! ```
//!
//! Two stores keep this contract: [`FjallStore`] on disk, and [`MemoryStore`], its model, which the
//! simulation uses and which forgets on demand whatever was not persisted. One conformance suite
//! (`testing`, behind the cargo feature of that name) runs against both.
//!
//! # Caveats
//!
//! * A [`StateStore::get`] and the next one may see different states. Who needs two keys of one state, such as a shard's
//!   current generation and an item in it, takes a [view](StateStore::view).
//! * A view keeps alive everything that it can see. Views are for snapshots and reads, not for keeping.

mod delete;
mod error;
pub mod fjall;
mod memory;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

pub use delete::{DELETE_CHUNK, RangeDeletion, delete_range};
pub use error::StoreError;
pub use fjall::{FjallOptions, FjallStore};
pub use memory::MemoryStore;

use crate::keys::KeyRange;

/// An ordered map from bytes to bytes that survives crashes, as a prefix of what was written to it.
///
/// Every method may block on the disk, so none belongs on a thread that must not wait. All of them may be called from
/// several threads at once.
pub trait StateStore: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// Sees every batch whose [`write`](StateStore::write) has returned. Of a batch that is being written at this
    /// moment it sees the old or the new value of this key. May read from disk.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// Applies a batch: all of it or, on an error or after a crash, none of it.
    ///
    /// It is visible when this returns, to `get` and to every view that is taken from then on. It is **not** durable
    /// then. It may wait for the disk if writes come faster than it takes them. An empty batch does nothing.
    ///
    /// After an error the store takes no further writes ([`StoreError::Failed`]): memory and disk may
    /// differ, and only opening it again shows what there is.
    fn write(&self, batch: Batch) -> Result<(), StoreError> {
        self.write_all(vec![batch])
    }

    /// Applies batches in this order, as if they were one: what [`StateStore::write`] says of a batch holds for all of them together.
    /// For many small ones this is cheaper.
    fn write_all(&self, batches: Vec<Batch>) -> Result<(), StoreError>;

    /// Makes everything durable whose `write` returned before this was called.
    ///
    /// Waits for a sync of the disk; writes and reads go on meanwhile, except for a short moment. The first
    /// failure is final: from then on every `persist` and `write` fails, because after a failed sync nothing is
    /// certain about what is on disk, not even after another one that succeeds.
    fn persist(&self) -> Result<(), StoreError>;

    /// The whole store as it is at this moment. Later writes don't change it, and it doesn't stop them.
    ///
    /// Cheap. Contains each batch whole or not at all.
    fn view(&self) -> Arc<dyn StateView>;

    /// What the store takes up.
    fn stats(&self) -> StoreStats;
}

/// An unchanging state of a store, see [`StateStore::view`].
pub trait StateView: Send + Sync {
    /// The value of a key in this state. May read from disk.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError>;

    /// The keys of a range with their values, in order. May read from disk at every step. An error ends it.
    ///
    /// A range that ends before it starts is empty.
    fn scan(&self, range: &KeyRange) -> Scan<'_>;
}

/// Keys and values in the order of the keys.
pub type Scan<'a> = Box<dyn Iterator<Item = Result<(Bytes, Bytes), StoreError>> + Send + 'a>;

/// What a store takes up. Figures for people and for back-pressure, not exact.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Bytes on disk, journals and what compaction has yet to remove included.
    pub disk_bytes: u64,
    /// Bytes of those that are journals.
    pub journal_bytes: u64,
    /// Bytes of writes that are held in memory until they are written into tables.
    pub write_buffer_bytes: u64,
}

/// Puts and deletes that take effect together.
///
/// For one key the last operation counts. What is in the batch so far can be asked for ([`Batch::get`]), so that the
/// commands of one Raft entry see what the earlier ones among them did.
///
/// Keys and values are kept as they are given, not copied, until the store has written them to a table. A small
/// slice of a large buffer would keep the whole buffer in memory that long: copy it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    // Sorted, because that is the order in which a store takes them fastest, and so that it is the same every time.
    operations: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
}

impl Batch {
    /// An empty batch.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets a key.
    pub fn put(&mut self, key: impl Into<Bytes>, value: impl Into<Bytes>) {
        self.insert(key.into(), Some(value.into()));
    }

    /// Removes a key. It need not exist.
    pub fn delete(&mut self, key: impl Into<Bytes>) {
        self.insert(key.into(), None);
    }

    /// What the batch makes of a key: `None` if it doesn't touch it, `Some(None)` if it removes it.
    pub fn get(&self, key: &[u8]) -> Option<Option<&Bytes>> {
        self.operations.get(key).map(Option::as_ref)
    }

    /// The number of keys that it touches.
    pub fn len(&self) -> usize {
        self.operations.len()
    }

    /// Whether it does nothing.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// The bytes of its keys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The operations in the order of their keys; `None` removes.
    pub fn iter(&self) -> impl Iterator<Item = (&Bytes, Option<&Bytes>)> {
        self.operations
            .iter()
            .map(|(key, value)| (key, value.as_ref()))
    }

    fn insert(&mut self, key: Bytes, value: Option<Bytes>) {
        let value_len = value.as_ref().map_or(0, Bytes::len);
        let key_len = key.len();
        match self.operations.insert(key, value) {
            Some(old) => self.bytes -= old.map_or(0, |old| old.len()),
            None => self.bytes += key_len,
        }
        self.bytes += value_len;
    }
}

impl IntoIterator for Batch {
    type Item = (Bytes, Option<Bytes>);
    type IntoIter = std::collections::btree_map::IntoIter<Bytes, Option<Bytes>>;

    fn into_iter(self) -> Self::IntoIter {
        self.operations.into_iter()
    }
}

#[cfg(test)]
mod tests;
