//! `Describe`: what this node holds.

use std::collections::BTreeMap;

use api::internal::{
    DescribeRequest, DescribeResponse, QuarantinedReplica, ReplicaStatus as Wire,
    UndecidedTransaction,
};
use api::v1::ReplicaState;
use model::{ShardId, TableId, Undecided};
use raft::Role;
use tokio::sync::oneshot;

use super::Service;
use crate::node::KeptOut;
use crate::worker::{Input, ReplicaStatus};

impl Service {
    pub(super) async fn describe_replicas(&self, request: DescribeRequest) -> DescribeResponse {
        let table = (request.table != 0).then_some(TableId(request.table));
        let mut replicas = Vec::new();
        for seat in 0..self.workers.count() {
            let (answer, wait) = oneshot::channel();
            let answer = Box::new(move |statuses| drop(answer.send(statuses)));
            self.workers
                .send_to(seat, Input::Describe { table, answer });
            // A worker that has ended has no replicas any more.
            replicas.extend(wait.await.unwrap_or_default());
        }
        replicas.sort_by_key(|replica: &ReplicaStatus| replica.shard);
        let quarantine = self.destroyer.quarantined();
        let mut kept_out = quarantine.of(table);
        // What is kept out is with its worker too, unless it was never let in. There it is as it was then.
        replicas.retain(|replica| match kept_out.get_mut(&replica.shard) {
            Some(kept_out) => {
                kept_out.seal_in_log |= replica.seal_in_log;
                if replica.role.is_none() {
                    kept_out.fault.clone_from(&replica.detail);
                }
                false
            }
            None => true,
        });
        let quarantined = quarantine.count();
        let quarantined_replicas = if request.totals_only {
            Vec::new()
        } else {
            self.describe_quarantined(kept_out).await
        };
        // Whoever leads has applied the decisions that there are; a follower may not have heard of them.
        let leads = |replica: &&ReplicaStatus| replica.role == Some(Role::Leader);
        let led: Vec<_> = replicas.iter().filter(leads).map(|r| r.shard).collect();
        let leader_count = led.len() as u32;
        let prepared_transactions = self.hosted.undecided_count(&led) as u64;
        let undecided = match request.undecided_after_millis {
            0 => Vec::new(),
            millis => self.describe_undecided(led, millis.into()).await,
        };
        DescribeResponse {
            undecided,
            prepared_transactions,
            node: self.node.0,
            incarnation: self.incarnation,
            host: self.place.host.clone(),
            data_dir: self.place.dir.clone(),
            replica_count: replicas.len() as u32,
            leader_count,
            items: replicas.iter().map(|replica| replica.items).sum(),
            bytes: replicas.iter().map(|replica| replica.bytes).sum(),
            quarantined,
            quarantined_replicas,
            eventual_reads: self.hosted.eventual_reads(),
            lease_reads: replicas.iter().map(|replica| replica.lease_reads).sum(),
            replicas: if request.totals_only {
                Vec::new()
            } else {
                replicas
                    .into_iter()
                    .map(|status| self.encode(status))
                    .collect()
            },
        }
    }

    async fn describe_quarantined(
        &self,
        kept_out: BTreeMap<ShardId, KeptOut>,
    ) -> Vec<QuarantinedReplica> {
        if kept_out.is_empty() {
            return Vec::new();
        }
        let store = self.store.clone();
        let described = self.offload.run(move || {
            let view = store.view();
            let described = kept_out
                .into_iter()
                .map(|(shard, kept_out)| kept_out.describe(shard, &*view));
            described.collect()
        });
        match described.await {
            Ok(described) => described,
            Err(error) => {
                tracing::warn!(%error, "what is quarantined can't be described");
                Vec::new()
            }
        }
    }

    async fn describe_undecided(
        &self,
        shards: Vec<ShardId>,
        after_millis: u64,
    ) -> Vec<UndecidedTransaction> {
        let (hosted, now) = (self.hosted.clone(), self.clock.now().monotonic_millis);
        let listed = move || hosted.undecided(&shards, now, after_millis);
        match self.offload.run(listed).await {
            Ok(listed) => listed.into_iter().map(encode_undecided).collect(),
            Err(error) => {
                tracing::warn!(%error, "what is undecided can't be described");
                Vec::new()
            }
        }
    }

    fn encode(&self, status: ReplicaStatus) -> Wire {
        Wire {
            sealed: self.hosted.sealed(status.shard),
            ..encode(status)
        }
    }
}

fn encode_undecided((undecided, age_millis): (Undecided, u64)) -> UndecidedTransaction {
    UndecidedTransaction {
        transaction: api::convert::transaction_bytes(undecided.transaction),
        timestamp: undecided.timestamp.0,
        participants: undecided.participants.into_iter().map(Into::into).collect(),
        age_millis,
    }
}

fn encode(status: ReplicaStatus) -> Wire {
    let state = match status.role {
        None => ReplicaState::Stopped,
        Some(Role::Follower) => ReplicaState::Follower,
        Some(Role::PreCandidate | Role::Candidate) => ReplicaState::Candidate,
        Some(Role::Leader) => ReplicaState::Leader,
    };
    Wire {
        table: status.shard.table.0,
        shard: status.shard.index,
        state: state.into(),
        term: status.term,
        leader: status.leader.map_or(0, |node| node.0),
        applied_index: status.applied_index,
        last_index: status.last_index,
        items: status.items,
        bytes: status.bytes,
        no_quorum: status.no_quorum,
        detail: status.detail,
        first_index: status.first_index,
        sealed: false,
    }
}
