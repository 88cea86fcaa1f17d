//! Reading a whole shard and comparing it with what its meta says.

use model::{Item, ShardId};

use super::{SnapshotError, load_meta};
use crate::keys::{self, Key};
use crate::meta::{ContentHash, PreparedRecord, RequestBlock, ShardMeta};
use crate::state::{StateView, StoreError};

/// What a shard's current generation really contains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The number of the generation.
    pub generation: u32,
    /// The Raft index of the last entry in the state.
    pub applied_index: u64,
    /// Its term.
    pub applied_term: u64,
    /// Items found.
    pub items: u64,
    /// Bytes of the items found, as [`ShardMeta::bytes`] counts them.
    pub bytes: u64,
    /// Hash of the items and of the prepared transactions found.
    pub content: ContentHash,
    /// The hash that the meta has, kept up to date write by write.
    pub stored_content: ContentHash,
    /// All that the meta says.
    pub stored: ShardMeta,
}

impl Verified {
    /// Whether the shard contains what its meta says.
    pub fn agrees(&self) -> bool {
        let stored = &self.stored;
        (self.items, self.bytes, self.content) == (stored.items, stored.bytes, stored.content)
    }
}

/// Reads every key of a shard's current generation and computes its counters and its content hash anew.
///
/// A key or a value that can't be decoded is [`StoreError::Damaged`]. What can be decoded but is not what was written shows
/// in [`Verified::agrees`]. Reads the whole shard: about a second per million small items.
pub fn verify_shard(view: &dyn StateView, shard: ShardId) -> Result<Verified, SnapshotError> {
    let (generation, stored) = load_meta(view, shard)?.ok_or(SnapshotError::NoSuchShard(shard))?;
    let damaged =
        |error: &dyn std::fmt::Display| StoreError::Damaged(format!("shard {shard}: {error}"));
    let mut found = ShardMeta::default();
    for entry in view.scan(&keys::contents(shard, generation)) {
        let (key, value) = entry?;
        match Key::decode(&key).map_err(|e| damaged(&e))? {
            Key::Item { .. } => {
                Item::decode(&value).map_err(|e| damaged(&e))?;
                found.replace_item(keys::item_part(&key), None, Some(&value));
            }
            Key::Requests { .. } => {
                RequestBlock::decode(&value).map_err(|e| damaged(&e))?;
            }
            Key::Prepared { .. } => {
                PreparedRecord::decode(&value).map_err(|e| damaged(&e))?;
                found.replace_record(keys::generation_part(&key), None, Some(&value));
            }
            Key::Replica(_) | Key::Generation(_) | Key::Meta { .. } => {
                Err(damaged(&"a key is out of its place"))?;
            }
        }
    }
    Ok(Verified {
        generation,
        applied_index: stored.applied_index,
        applied_term: stored.applied_term,
        items: found.items,
        bytes: found.bytes,
        content: found.content,
        stored_content: stored.content,
        stored,
    })
}
