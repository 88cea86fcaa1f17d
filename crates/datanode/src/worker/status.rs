//! How the replicas of a worker are.

use model::{NodeId, ShardId, TableId};
use raft::{Availability, EntryKind, Replica, Role};

use super::Worker;
use super::group::Group;
use crate::machine::{Command, CommandBatch};

/// How one replica is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplicaStatus {
    /// Its group.
    pub shard: ShardId,
    /// What it does in the group; `None` if it has stopped.
    pub role: Option<Role>,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// Last index applied.
    pub applied_index: u64,
    /// Last index in its log.
    pub last_index: u64,
    /// First index still in its log.
    pub first_index: u64,
    /// Items in its state.
    pub items: u64,
    /// Bytes of keys and values in its state.
    pub bytes: u64,
    /// How often it has let consistent reads go by its lease.
    pub lease_reads: u64,
    /// Replicas of the group.
    pub voters: usize,
    /// It has heard nothing of a majority for longer than an election takes, or the contents of no majority agree.
    pub no_quorum: bool,
    /// Why it has stopped, or what is wrong although it goes on.
    pub detail: String,
    /// It is quarantined, and what its log has beyond its state seals it.
    pub seal_in_log: bool,
}

/// Whether there is a seal in that part of a replica's log that is not applied. It may be committed without this replica's
/// knowing: then of each majority one has it, in its log at the least.
pub(crate) fn has_seal_to_apply(replica: &Replica) -> bool {
    let applied = replica.applied_index();
    let ahead = replica.in_memory().rev();
    ahead
        .take_while(|entry| entry.index > applied)
        .any(|entry| {
            entry.kind == EntryKind::Commands
                && CommandBatch::decode(&entry.payload)
                    .is_ok_and(|batch| batch.commands.contains(&Command::Seal))
        })
}

impl ReplicaStatus {
    /// It leads, and there is somebody else who could.
    pub fn can_hand_over(&self) -> bool {
        self.role == Some(Role::Leader) && self.voters > 1
    }
}

impl Worker {
    /// The replicas that have not stopped, quarantined ones included.
    pub fn replicas(&self) -> impl Iterator<Item = (ShardId, &Replica)> {
        self.groups
            .iter()
            .filter_map(|(&shard, group)| match group {
                Group::Running(group) => Some((shard, &group.replica)),
                Group::Stopped(_) => None,
            })
    }

    pub(super) fn describe(&self, table: Option<TableId>) -> Vec<ReplicaStatus> {
        let groups = self.groups.iter();
        let wanted = groups.filter(|(shard, _)| table.is_none_or(|table| shard.table == table));
        wanted.map(|(&shard, group)| status(shard, group)).collect()
    }
}

fn status(shard: ShardId, group: &Group) -> ReplicaStatus {
    match group {
        Group::Stopped(detail) => ReplicaStatus {
            shard,
            role: None,
            term: 0,
            leader: None,
            applied_index: 0,
            last_index: 0,
            first_index: 0,
            items: 0,
            bytes: 0,
            lease_reads: 0,
            voters: 0,
            no_quorum: false,
            detail: detail.clone(),
            seal_in_log: false,
        },
        Group::Running(group) => ReplicaStatus {
            shard,
            role: Some(group.replica.role()),
            term: group.replica.term().0,
            leader: group.leader(),
            applied_index: group.replica.applied_index().0,
            last_index: group.replica.last_index().0,
            first_index: group.replica.snapshot_point().0.0 + 1,
            items: group.items,
            bytes: group.bytes,
            lease_reads: group.replica.lease_reads(),
            voters: group.replica.membership().members().count(),
            no_quorum: group.distrust.is_some()
                || group.replica.availability() == Availability::NoQuorum,
            detail: group.distrust.clone().unwrap_or_default(),
            seal_in_log: group.quarantined && has_seal_to_apply(&group.replica),
        },
    }
}
