//! The items that a node has stored, shard by shard, as applying has left them.

use model::{Item, ShardId};
use storage::keys::{self, Key};
use storage::meta::{ReplicaState, ShardMeta};
use storage::snapshot::load_meta;
use storage::state::{StateStore as _, StateView};

use super::Disks;
use super::found::records;

/// A shard's items at one applied index.
pub(super) struct StoredShard {
    pub(super) shard: ShardId,
    pub(super) meta: ShardMeta,
    /// By partition key.
    pub(super) items: Vec<(Vec<u8>, Item)>,
}

/// What a node has of the replicas that it hosts. Of one that is being made or destroyed there may be a part, which
/// nothing reads.
pub(super) fn stored(disks: &Disks<'_>) -> Result<Vec<StoredShard>, String> {
    let view = disks.store.view();
    let records = records(&*view)?.into_iter();
    let hosted = records.filter(|(_, state)| *state == ReplicaState::Hosted);
    let shards = hosted.map(|(shard, _)| {
        let read = read(&*view, shard);
        read.map_err(|error| format!("host {}, shard {shard}: {error}", disks.host.0))
    });
    shards.collect()
}

fn read(view: &dyn StateView, shard: ShardId) -> Result<StoredShard, String> {
    let loaded = load_meta(view, shard).map_err(|error| error.to_string())?;
    let (generation, meta) = loaded.ok_or("its state is missing")?;
    let mut items = Vec::new();
    for entry in view.scan(&keys::items(shard, generation)) {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        let Ok(Key::Item { key, .. }) = Key::decode(&key) else {
            return Err("a key among the items is none".to_owned());
        };
        let item = Item::decode(&value).map_err(|error| error.to_string())?;
        items.push((key.partition.to_vec(), item));
    }
    Ok(StoredShard { shard, meta, items })
}
