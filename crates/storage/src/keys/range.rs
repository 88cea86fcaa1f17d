//! The ranges of keys that belong together.
//!
//! Every tag is below `ff`, so a range can end at its prefix followed by `ff`, and no prefix is ever counted up.

use std::ops::Range;

use model::{HashRange, ShardId};

use super::{
    KIND_ITEM, KIND_PREPARED, KIND_REQUESTS, NODE, NODE_REPLICA, generation_prefix, in_generation,
};

/// Encoded keys from the first, included, to the last, excluded.
pub type KeyRange = Range<Vec<u8>>;

/// Above every tag.
const ABOVE_TAGS: u8 = 0xff;

/// All [`Key::Replica`](super::Key::Replica) of the node.
pub fn replicas() -> KeyRange {
    let mut start = NODE.to_bytes().to_vec();
    start.push(NODE_REPLICA);
    let mut end = NODE.to_bytes().to_vec();
    end.push(NODE_REPLICA + 1);
    start..end
}

/// All keys of a shard: the pointer first, then every generation.
pub fn shard(shard: ShardId) -> KeyRange {
    let start = shard.to_bytes().to_vec();
    let mut end = start.clone();
    end.push(ABOVE_TAGS);
    start..end
}

/// All keys of one generation of a shard.
pub fn generation(shard: ShardId, generation: u32) -> KeyRange {
    let start = generation_prefix(shard, generation).to_vec();
    let mut end = start.clone();
    end.push(ABOVE_TAGS);
    start..end
}

/// All keys of all generations of a shard from this one on.
pub(crate) fn generations_from(shard_id: ShardId, generation: u32) -> KeyRange {
    generation_prefix(shard_id, generation).to_vec()..shard(shard_id).end
}

/// Everything of a generation that a snapshot carries before [`Key::Meta`](super::Key::Meta): the request
/// blocks, the items, and the transactions that are prepared on them.
pub(crate) fn contents(shard: ShardId, generation: u32) -> KeyRange {
    requests(shard, generation).start..prepared(shard, generation).end
}

/// The items of a generation, in the order of their hashes.
pub fn items(shard: ShardId, generation: u32) -> KeyRange {
    kind(shard, generation, KIND_ITEM)
}

/// The request blocks of a generation, in the order of their Raft indexes.
pub fn requests(shard: ShardId, generation: u32) -> KeyRange {
    kind(shard, generation, KIND_REQUESTS)
}

/// The prepared transactions of a generation, in the order of their ids.
pub fn prepared(shard: ShardId, generation: u32) -> KeyRange {
    kind(shard, generation, KIND_PREPARED)
}

/// The items of a generation whose hashes fall into a range.
pub fn hashes(shard: ShardId, generation: u32, range: HashRange) -> KeyRange {
    let all = items(shard, generation);
    let mut start = all.start.clone();
    start.extend_from_slice(&range.first.to_be_bytes());
    let end = match range.last.checked_add(1) {
        Some(next) => {
            let mut end = all.start;
            end.extend_from_slice(&next.to_be_bytes());
            end
        }
        None => all.end,
    };
    start..end
}

fn kind(shard: ShardId, generation: u32, kind: u8) -> KeyRange {
    in_generation(shard, generation, kind, 0)..in_generation(shard, generation, kind + 1, 0)
}
