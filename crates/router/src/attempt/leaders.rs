//! Who led each shard when it was last heard of.
//!
//! A hint and nothing more: a wrong one costs a hop, because every replica hands a request on to the leader.

use std::collections::HashMap;

use model::{NodeId, ShardId};
use parking_lot::RwLock;

/// Number of independently locked parts, a power of two.
const PARTS: usize = 16;

/// The remembered leaders of all shards.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    parts: [RwLock<HashMap<ShardId, NodeId>>; PARTS],
}

impl Leaders {
    pub(crate) fn get(&self, shard: ShardId) -> Option<NodeId> {
        self.part(shard).read().get(&shard).copied()
    }

    pub(crate) fn remember(&self, shard: ShardId, leader: NodeId) {
        if self.get(shard) != Some(leader) {
            self.part(shard).write().insert(shard, leader);
        }
    }

    /// Forgets this leader; one that was learnt meanwhile stays.
    pub(crate) fn forget(&self, shard: ShardId, leader: NodeId) {
        if self.get(shard) == Some(leader) {
            let mut part = self.part(shard).write();
            if part.get(&shard) == Some(&leader) {
                part.remove(&shard);
            }
        }
    }

    /// Forgets the shards of tables that do not exist any more.
    pub(crate) fn retain(&self, exists: impl Fn(ShardId) -> bool) {
        for part in &self.parts {
            part.write().retain(|&shard, _| exists(shard));
        }
    }

    fn part(&self, shard: ShardId) -> &RwLock<HashMap<ShardId, NodeId>> {
        let hash = shard.table.0 ^ u64::from(shard.index);
        &self.parts[hash as usize % PARTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::TableId;

    const SHARD: ShardId = ShardId {
        table: TableId(7),
        index: 3,
    };

    #[test]
    fn a_leader_is_forgotten_only_by_who_saw_it_fail() {
        let leaders = Leaders::default();
        leaders.remember(SHARD, NodeId(1));
        leaders.remember(SHARD, NodeId(2));
        leaders.forget(SHARD, NodeId(1));
        assert_eq!(leaders.get(SHARD), Some(NodeId(2)));
        leaders.forget(SHARD, NodeId(2));
        assert_eq!(leaders.get(SHARD), None);
    }

    #[test]
    fn the_shards_of_a_dropped_table_go() {
        let leaders = Leaders::default();
        leaders.remember(SHARD, NodeId(1));
        leaders.retain(|shard| shard.table != SHARD.table);
        assert_eq!(leaders.get(SHARD), None);
    }
}
