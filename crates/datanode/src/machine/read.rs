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

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use model::{Item, Key, ShardId};
use storage::keys;
use storage::snapshot::current_generation;
use storage::state::{StateStore, StoreError};

use super::error::damaged;

/// Why a read has no answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    /// The shard's state was removed from this node.
    #[error("shard {0} is not in the state store")]
    NotThere(ShardId),
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

    fn item(&self, key: &Key) -> Result<Option<Item>, ReadError> {
        let Shared { store, shard, .. } = &*self.shared;
        let mut generation = self.shared.generation.load(Ordering::Acquire);
        loop {
            if let Some(bytes) = store.get(&keys::item(*shard, generation, key))? {
                let item = Item::decode(&bytes).map_err(|error| damaged(*shard, &error))?;
                return Ok(Some(item));
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

    pub(super) fn set_sealed(&self, sealed: bool) {
        self.shared.sealed.store(sealed, Ordering::Release);
    }
}
