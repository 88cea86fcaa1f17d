//! Entries that wait to be applied, of all groups.

use std::collections::BTreeMap;

use model::{NodeId, ShardId};
use raft::Entry;

use super::Replies;

/// Nothing more gathers beyond so many bytes of entries: whoever waits for the first one is not to wait for many others.
const MOST_BYTES: usize = 1 << 20;

/// See the [module](self).
#[derive(Default)]
pub(super) struct Gathered {
    groups: BTreeMap<ShardId, OfGroup>,
    bytes: usize,
}

/// What one group is to apply.
#[derive(Default)]
pub(super) struct OfGroup {
    /// Contiguous, in order.
    pub(super) entries: Vec<Entry>,
    pub(super) replies: Replies,
    pub(super) leader: Option<NodeId>,
}

impl Gathered {
    /// Adds what comes next.
    pub(super) fn add(
        &mut self,
        shard: ShardId,
        entries: Vec<Entry>,
        replies: Replies,
        leader: Option<NodeId>,
    ) {
        let bytes = entries.iter().map(|entry| entry.payload.len());
        self.bytes += bytes.sum::<usize>();
        let group = self.groups.entry(shard).or_default();
        group.entries.extend(entries);
        group.replies.extend(replies);
        group.leader = leader;
    }

    /// Whether a group has something to apply.
    pub(super) fn has(&self, shard: ShardId) -> bool {
        self.groups.contains_key(&shard)
    }

    /// Whether it is time to apply it.
    pub(super) fn is_full(&self) -> bool {
        self.bytes >= MOST_BYTES
    }

    /// All of it.
    pub(super) fn take(&mut self) -> BTreeMap<ShardId, OfGroup> {
        self.bytes = 0;
        std::mem::take(&mut self.groups)
    }
}
