//! `Describe`: what this node holds.

use api::internal::{DescribeRequest, DescribeResponse, ReplicaStatus as Wire};
use api::v1::ReplicaState;
use model::TableId;
use raft::Role;
use tokio::sync::oneshot;

use super::Service;
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
        DescribeResponse {
            node: self.node.0,
            replica_count: replicas.len() as u32,
            leader_count: replicas
                .iter()
                .filter(|r| r.role == Some(Role::Leader))
                .count() as u32,
            items: replicas.iter().map(|replica| replica.items).sum(),
            bytes: replicas.iter().map(|replica| replica.bytes).sum(),
            quarantined: self.destroyer.quarantined(),
            eventual_reads: self.hosted.eventual_reads(),
            replicas: if request.totals_only {
                Vec::new()
            } else {
                replicas.into_iter().map(encode).collect()
            },
        }
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
    }
}
