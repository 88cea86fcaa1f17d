//! Snapshots, as far as the worker decides about them: who needs one, whether one is wanted, and when it counts.

use model::{NodeId, ShardId};
use raft::{Index, Membership, Term};

use super::group::{Group, Installing, Running};
use super::{Answer, ApplyJob, Turn, Worker};
use crate::wire;

impl Worker {
    pub(super) fn snapshot_sent(
        &mut self,
        shard: ShardId,
        to: NodeId,
        installed: Option<Index>,
        turn: &mut Turn,
    ) {
        self.with_running(shard, turn, |group| {
            group.unpin(to);
            group
                .replica
                .snapshot_sent(wire::replica_id(to), installed.ok_or(()));
        });
    }

    pub(super) fn snapshot_offered(
        &mut self,
        shard: ShardId,
        from: NodeId,
        term: Term,
        index: Index,
        answer: Answer<bool>,
        turn: &mut Turn,
    ) {
        let mut wanted = false;
        self.with_running(shard, turn, |group| {
            let installing = Installing { from, term, index };
            wanted = group.accept(installing);
            group.installing = wanted.then_some(installing);
        });
        answer(wanted);
    }

    pub(super) fn snapshot_received(
        &mut self,
        shard: ShardId,
        generation: u32,
        answer: Answer<Option<Index>>,
        turn: &mut Turn,
    ) {
        let mut wanted = false;
        self.with_running(shard, turn, |group| {
            wanted = group
                .installing
                .is_some_and(|installing| group.accept(installing));
        });
        if wanted {
            turn.outputs.apply.push(ApplyJob::Install {
                shard,
                generation,
                answer,
            });
        } else {
            answer(None);
        }
    }

    pub(super) fn snapshot_installed(
        &mut self,
        shard: ShardId,
        index: Index,
        term: Term,
        membership: Membership,
        answer: Answer<Option<Index>>,
        turn: &mut Turn,
    ) {
        let Some(Group::Running(group)) = self.groups.get_mut(&shard) else {
            return answer(None);
        };
        turn.touched.insert(shard);
        group.installing = None;
        // If entries beyond the snapshot are on their way to the applier already, the log has them and stays as it is.
        if index >= group.handed {
            // Dropped: whoever waited for an entry that the snapshot stands for can't be told how it ended.
            group.waiting.retain(|&(at, _), _| at > index);
            group.handed = index;
            group.durable = group.durable.max(index);
            group.replica.snapshot_installed(index, term, membership);
        }
        // The log is reset, if need be, by a record of this turn; without one there is nothing to wait for, and
        // the first batch that follows is as good.
        self.visit(shard, turn);
        if turn.records.is_empty() {
            answer(Some(index));
        } else {
            turn.unsynced.installed.push((index, answer));
        }
    }
}

impl Running {
    fn accept(&mut self, installing: Installing) -> bool {
        let Installing { from, term, index } = installing;
        self.replica
            .accept_snapshot(wire::replica_id(from), term, index)
            .is_ok()
    }

    /// Tells the core that a snapshot is still on its way, so that it applies nothing meanwhile.
    pub(super) fn keep_installing(&mut self) {
        if let Some(installing) = self.installing
            && !self.accept(installing)
        {
            self.installing = None;
        }
    }
}
