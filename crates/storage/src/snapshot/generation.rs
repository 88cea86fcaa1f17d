//! The generations of a shard: which one is current, and the removal of the others.

use model::ShardId;

use super::SnapshotError;
use crate::keys::{self, Key};
use crate::meta::ShardMeta;
use crate::state::{Batch, DELETE_CHUNK, StateStore, StateView, StoreError, delete_range};

/// Keys of one batch when a generation is removed.
pub(super) const CLEAN_CHUNK: usize = DELETE_CHUNK;

/// Adds to a batch a new, empty shard with its first generation, and returns that generation's number.
///
/// Only for a shard that the store has nothing of. A shard without items is whole: it can be read, and a snapshot
/// of it can be taken.
pub fn create_shard(batch: &mut Batch, shard: ShardId, meta: &ShardMeta) -> u32 {
    let generation = 1;
    batch.put(Key::Generation(shard).encode(), encode_pointer(generation));
    batch.put(Key::Meta { shard, generation }.encode(), meta.encode());
    generation
}

/// The number of a shard's current generation. `None` if the store has no such shard.
pub fn current_generation(view: &dyn StateView, shard: ShardId) -> Result<Option<u32>, StoreError> {
    match view.get(&Key::Generation(shard).encode())? {
        None => Ok(None),
        Some(bytes) => match <[u8; 4]>::try_from(&bytes[..]) {
            Ok(number) => Ok(Some(u32::from_be_bytes(number))),
            Err(_) => Err(StoreError::Damaged(format!(
                "the pointer to the generation of shard {shard} has {} bytes",
                bytes.len()
            ))),
        },
    }
}

/// The number and the meta of a shard's current generation. `None` if the store has no such shard.
///
/// Takes a view, because pointer and meta must be of one state. Of a store: `load_meta(&*store.view(), shard)`.
pub fn load_meta(
    view: &dyn StateView,
    shard: ShardId,
) -> Result<Option<(u32, ShardMeta)>, StoreError> {
    let Some(generation) = current_generation(view, shard)? else {
        return Ok(None);
    };
    match meta_of(view, shard, generation)? {
        Some(meta) => Ok(Some((generation, meta))),
        None => Err(StoreError::Damaged(format!(
            "shard {shard} points at generation {generation}, which is not there"
        ))),
    }
}

fn meta_of(
    view: &dyn StateView,
    shard: ShardId,
    generation: u32,
) -> Result<Option<ShardMeta>, StoreError> {
    view.get(&Key::Meta { shard, generation }.encode())?
        .map(|bytes| ShardMeta::decode(&bytes))
        .transpose()
        .map_err(|error| StoreError::Damaged(format!("shard {shard}: {error}")))
}

/// Makes a generation that was received whole the current one: one batch, then durable.
///
/// On return the switch survives everything, and the log may be reset to the index and term of the returned meta. On an
/// error, or after a crash on the way, the shard has its old generation or the new one, each of them whole. A generation
/// that is current already is left so.
pub fn switch_generation(
    store: &dyn StateStore,
    shard: ShardId,
    generation: u32,
) -> Result<ShardMeta, SnapshotError> {
    // The meta is written last, so a generation that has one is whole.
    let meta =
        meta_of(&*store.view(), shard, generation)?.ok_or(SnapshotError::NoSuchShard(shard))?;
    let mut batch = Batch::new();
    batch.put(Key::Generation(shard).encode(), encode_pointer(generation));
    store.write(batch)?;
    if !mutant!(SnapshotSwitchNotDurable) {
        store.persist()?;
    }
    Ok(meta)
}

/// Removes every generation of a shard that is not the current one, in batches of bounded size, and says how many keys
/// that were.
///
/// For a start, where a crash may have left a half-received snapshot, and for after a switch. Not while a snapshot is
/// being received. A shard without a current generation loses all its keys. Can be done again after a crash.
pub fn clean_generations(store: &dyn StateStore, shard: ShardId) -> Result<u64, StoreError> {
    let view = store.view();
    let current = current_generation(&*view, shard)?;
    let others = generations(&*view, shard)?;
    // Not kept while deleting: it would keep what is deleted.
    drop(view);
    let mut deleted = 0;
    for generation in others.into_iter().filter(|g| Some(*g) != current) {
        deleted += delete_range(store, keys::generation(shard, generation), CLEAN_CHUNK)?;
    }
    Ok(deleted)
}

/// Removes everything that the store has of a shard, in batches of bounded size, and says how many keys that were. The
/// node's [`ReplicaRecord`](crate::meta::ReplicaRecord) stays.
///
/// The first batch takes the pointer, so that from then on the shard is not there. Not durable until the store is
/// persisted. Can be done again after a crash.
pub fn destroy_shard(store: &dyn StateStore, shard: ShardId) -> Result<u64, StoreError> {
    delete_range(store, keys::shard(shard), CLEAN_CHUNK)
}

/// Every shard of which the store has any key, whole or not.
///
/// Takes a few reads per shard, not one per key.
pub fn stored_shards(view: &dyn StateView) -> Result<Vec<ShardId>, StoreError> {
    let mut shards = Vec::new();
    // Behind the node's own keys, to the end.
    let mut range = keys::replicas().end..vec![0xff; ShardId::ENCODED_LEN + 1];
    while let Some(entry) = view.scan(&range).next() {
        let (key, _) = entry?;
        let Some(prefix) = key.first_chunk() else {
            return Err(StoreError::Damaged("a stored key is too short".into()));
        };
        let shard = ShardId::from_bytes(*prefix);
        shards.push(shard);
        range.start = keys::shard(shard).end;
    }
    Ok(shards)
}

/// The numbers of all generations of a shard of which there is any key, in order, the current one included.
pub(super) fn generations(view: &dyn StateView, shard: ShardId) -> Result<Vec<u32>, StoreError> {
    let mut found = Vec::new();
    if let Some(current) = current_generation(view, shard)? {
        found.push(current);
    }
    let mut next = Some(0);
    while let Some(from) = next {
        let Some(entry) = view.scan(&keys::generations_from(shard, from)).next() else {
            break;
        };
        let (key, _) = entry?;
        let generation = keys::generation_of(&key)
            .ok_or_else(|| StoreError::Damaged(format!("shard {shard} has a cut key")))?;
        found.push(generation);
        next = generation.checked_add(1);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// The number after `last`. A shard that has received 2^32 snapshots can't receive another one.
pub(super) fn next_generation(last: u32) -> Result<u32, StoreError> {
    last.checked_add(1)
        .ok_or_else(|| StoreError::Failed("a shard has used up its generations".into()))
}

fn encode_pointer(generation: u32) -> Vec<u8> {
    generation.to_be_bytes().to_vec()
}
