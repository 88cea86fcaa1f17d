//! Which part of the log is not needed any more.
//!
//! The log is the only write-ahead log of the state, so it is purged only up to what the store has made durable:
//!
//! ```text
//! purged ≤ durable ≤ applied ≤ committed ≤ last
//! ```
//!
//! Within that, a group keeps what its followers still lack, up to a bound in bytes; beyond it the follower that
//! is furthest behind gets a snapshot instead.

use model::ShardId;
use raft::Index;
use storage::log::Record;

use super::group::{Group, Running};
use super::{Turn, Worker};

/// A follower that a snapshot is being sent to keeps the log from being purged, up to this many times the group's bound.
const PIN_FACTOR: u64 = 4;

impl Worker {
    /// Asks for the state store to be made durable, now and then, if there is anything new in it.
    pub(super) fn maintain_store(&mut self, turn: &mut Turn) {
        if turn.now.monotonic_millis < self.next_persist_millis {
            return;
        }
        self.next_persist_millis =
            turn.now.monotonic_millis + self.tuning.store_persist_interval_millis;
        let points: Vec<_> = self
            .groups
            .iter()
            .filter_map(|(&shard, group)| match group {
                Group::Running(group) if group.replica.applied_index() > group.durable => {
                    Some((shard, group.replica.applied_index()))
                }
                _ => None,
            })
            .collect();
        if !points.is_empty() {
            turn.outputs.persist_store = Some(points);
        }
    }

    pub(super) fn store_durable(&mut self, points: Vec<(ShardId, Index)>, turn: &mut Turn) {
        for (shard, index) in points {
            if let Some(Group::Running(group)) = self.groups.get_mut(&shard) {
                group.durable = group.durable.max(index);
                self.compact(shard, turn);
            }
        }
    }

    /// Purges a group's log, if that is worth while.
    pub(super) fn compact(&mut self, shard: ShardId, turn: &mut Turn) {
        let portion = self.tuning.log_budget_bytes / (self.groups.len() as u64).max(1);
        let bound = portion.clamp(
            self.tuning.group_log_bytes.min(MIN_BOUND),
            self.tuning.group_log_bytes,
        );
        if let Some(Group::Running(group)) = self.groups.get_mut(&shard)
            && let Some(record) = group.purge(shard, bound)
        {
            turn.records.push(record);
        }
    }
}

/// However many groups there are, each may keep this much of its log.
const MIN_BOUND: u64 = 1024 * 1024;

impl Running {
    /// Decides whether a purge is worth while, and up to where.
    fn purge(&mut self, group: ShardId, bound: u64) -> Option<Record> {
        if mutant!(LogNeverCompacted) {
            return None;
        }
        let durable = if mutant!(CompactionBeyondDurable) {
            self.replica.applied_index()
        } else {
            self.durable
        };
        let mut limit = if self.log_size.bytes() > bound {
            durable
        } else if self.is_leader() {
            let followers = self.replica.progress();
            let replicated = followers.iter().map(|follower| follower.matched).min();
            replicated.unwrap_or(Index(0))
        } else {
            // A follower doesn't know what the others have; it keeps what it would need as their leader.
            Index(0)
        };
        if let Some(pinned) = self
            .pinned()
            .filter(|_| self.log_size.bytes() < PIN_FACTOR * bound)
        {
            limit = limit.min(pinned);
        }
        let ((index, term), bytes) = self
            .log_size
            .purgeable(limit.min(durable).min(self.replica.persisted_index()))?;
        // Small purges aren't worth a record each.
        if bytes < bound / 4 {
            return None;
        }
        self.log_size.purged(index);
        self.replica.compacted(index, term);
        Some(Record::Purge {
            group,
            index: index.0,
            term: term.0,
        })
    }
}
