//! The comparison of the replicas' contents (requirement K4).
//!
//! Now and then the leader proposes a checkpoint. Each replica notes the hash of its content at exactly that
//! entry and tells the others. Whoever sees that a majority has another hash stops himself; where no
//! hash can reach a majority, nobody knows who is right, and the shard refuses writes and consistent reads.

use model::{NodeId, ShardId};
use storage::meta::ContentHash;

use super::group::{Group, Proposal, Running};
use super::{Turn, Worker, peers};
use crate::machine::{Command, Verdict};
use crate::wire::PeerMessage;

impl Running {
    /// The leader's regular checkpoint, if anything has changed since the last.
    pub(super) fn regular_checkpoint(&mut self, now_millis: u64, interval_millis: u64) {
        // Under distrust nothing changes any more, and only another comparison can end it.
        let due = self.changed || self.distrust.is_some();
        if !due || !self.is_leader() || now_millis < self.next_checkpoint_millis {
            return;
        }
        self.changed = false;
        self.next_checkpoint_millis = now_millis + interval_millis;
        self.proposals.push(Proposal {
            command: Command::Checkpoint { verify_id: 0 },
            waiter: None,
        });
    }
}

impl Worker {
    pub(super) fn own_checkpoint(
        &mut self,
        shard: ShardId,
        index: u64,
        hash: u128,
        turn: &mut Turn,
    ) {
        let Some(Group::Running(group)) = self.groups.get(&shard) else {
            return;
        };
        for node in peers(group, self.node) {
            let frame = turn.outputs.send.entry(node).or_default();
            frame.push((shard, PeerMessage::Content { index, hash }));
        }
        self.content_report(shard, self.node, index, hash, turn);
    }

    pub(super) fn content_report(
        &mut self,
        shard: ShardId,
        from: NodeId,
        index: u64,
        hash: u128,
        turn: &mut Turn,
    ) {
        let Some(Group::Running(group)) = self.groups.get_mut(&shard) else {
            return;
        };
        match group.content.report(from, index, ContentHash(hash)) {
            Verdict::Undecided => {}
            Verdict::Agree => group.distrust = None,
            Verdict::OthersDiffer(nodes) => {
                group.distrust = None;
                tracing::error!(%shard, index, ?nodes, "replicas differ from the majority");
            }
            // While a dispute lasts nobody knows who is right either; mostly the next report ends it.
            verdict @ (Verdict::NoMajority | Verdict::Disputed) => {
                if verdict == Verdict::NoMajority {
                    tracing::error!(%shard, index, "no majority of replicas has equal contents");
                }
                group.distrust = Some(format!(
                    "no majority of the shard's replicas has equal contents at index {index}; \
                     eventual reads go on, an operator must look at the replicas"
                ));
            }
            Verdict::OwnDiffers => {
                let detail = format!("its content differs from the majority's at index {index}");
                self.stop(shard, detail, turn);
            }
        }
    }
}
