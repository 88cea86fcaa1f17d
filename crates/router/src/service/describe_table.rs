//! `Tables.DescribeTable`: the record from the coordination store, the replicas as the nodes see them.

use api::internal::ReplicaStatus;
use api::v1::{
    DescribeTableRequest, ReplicaDescription, ReplicaState, ShardDescription, TableDescription,
};
use api::{Error, convert};
use model::{NodeId, Shard, ShardId, TableId};
use std::collections::BTreeSet;
use tokio::time::Instant;

use coordination::registry;
use coordination::tree::Node;

use super::progress::{self, Statuses};
use crate::directory::{TableEntry, nodes_of, not_found};
use crate::state::State;
use crate::survey::Answers;

/// Shows a table.
pub(crate) async fn describe_table(
    state: &State,
    request: DescribeTableRequest,
    deadline: Instant,
) -> Result<TableDescription, Error> {
    let name = convert::table_name("name", &request.name)?;
    state.connected()?;
    let entry = state.directory.look_up(name.clone(), deadline).await?;
    let entry = entry.ok_or_else(|| not_found(&name))?;
    let mut description = describe(state, &entry).await;
    if request.verify {
        super::verify::verify(state, &entry, &mut description, deadline).await;
    }
    Ok(description)
}

/// A table as its nodes see it now.
pub(crate) async fn describe(state: &State, entry: &TableEntry) -> TableDescription {
    let table = &entry.value;
    let answers = state.survey(nodes_of(table), Some(table.id)).await;
    let statuses = by_replica(&answers, table.id);
    let lost = lost(state, nodes_of(table)).await;
    let snapshot = state.directory.snapshot();
    let shards = table.shard_ids().map(|(id, shard)| {
        let replicas = shard.nodes.iter().map(|&node| {
            let address = snapshot.members.get(&node);
            let address = address.map(|member| member.address.clone());
            let status = statuses.get(&(node, id.index)).copied();
            let mut replica = replica(
                node,
                address.unwrap_or_default(),
                answers.get(&node),
                status,
            );
            if lost.contains(&node) {
                replica.set_state(ReplicaState::Lost);
                "its data node was forgotten".clone_into(&mut replica.detail);
            }
            replica
        });
        describe_shard(id, shard, replicas.collect(), &statuses)
    });
    let shards: Vec<ShardDescription> = shards.collect();
    let under_replicated = shards
        .iter()
        .filter(|shard| progress::is_under_replicated(&shard.replicas));
    TableDescription {
        summary: Some(super::list_tables::summary(table)),
        progress: progress::progress(table, &answers, &statuses, &snapshot.live, &lost),
        under_replicated_shards: under_replicated.count() as u32,
        shards,
    }
}

/// Those of the nodes that are no members. The copy of the members may lag, so the store has the last word; without
/// one nobody is lost.
pub(super) async fn lost(state: &State, mut nodes: BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    {
        let snapshot = state.directory.snapshot();
        nodes.retain(|node| !snapshot.members.contains_key(node));
    }
    if nodes.is_empty() {
        return nodes;
    }
    let Ok(session) = state.connected() else {
        return BTreeSet::new();
    };
    match registry::read_members(&*session.store).await {
        // One whose record is damaged is a member.
        Ok(members) => {
            nodes.retain(|&node| {
                let damaged = members.is_unreadable(&Node::Member(node));
                !damaged && !members.entries.contains_key(&node)
            });
            nodes
        }
        Err(_) => BTreeSet::new(),
    }
}

pub(super) fn by_replica(answers: &Answers, table: TableId) -> Statuses<'_> {
    let answered = answers
        .iter()
        .filter_map(|(&node, answer)| Some((node, answer.as_ref().ok()?)));
    answered
        .flat_map(|(node, answer)| {
            let of_table = answer.replicas.iter().filter(move |r| r.table == table.0);
            of_table.map(move |replica| ((node, replica.shard), replica))
        })
        .collect()
}

fn replica(
    node: NodeId,
    address: String,
    answer: Option<&Result<api::internal::DescribeResponse, String>>,
    status: Option<&ReplicaStatus>,
) -> ReplicaDescription {
    let mut description = ReplicaDescription {
        node: node.to_string(),
        address,
        ..ReplicaDescription::default()
    };
    match (answer, status) {
        (_, Some(status)) => {
            description.state = status.state;
            description.applied_index = status.applied_index;
            description.last_index = status.last_index;
            description.items = status.items;
            description.bytes = status.bytes;
            description.detail.clone_from(&status.detail);
        }
        (Some(Ok(_)), None) => description.set_state(ReplicaState::Absent),
        (Some(Err(reason)), None) => {
            description.set_state(ReplicaState::Unreachable);
            description.detail.clone_from(reason);
        }
        (None, None) => description.set_state(ReplicaState::Unreachable),
    }
    description
}

fn describe_shard(
    id: ShardId,
    shard: &Shard,
    replicas: Vec<ReplicaDescription>,
    statuses: &Statuses<'_>,
) -> ShardDescription {
    let leader = leader(shard.nodes.iter().filter_map(|&node| {
        let status = statuses.get(&(node, id.index))?;
        Some((node, *status))
    }));
    ShardDescription {
        index: id.index,
        first_hash: shard.range.first,
        last_hash: shard.range.last,
        replicas,
        leader: leader.map(|(node, _)| node.to_string()).unwrap_or_default(),
        term: leader.map(|(_, term)| term).unwrap_or_default(),
        verification: None,
    }
}

/// Who leads, and in which term. The highest term counts: a leader that was deposed may not know it yet.
fn leader<'a>(
    statuses: impl Iterator<Item = (NodeId, &'a ReplicaStatus)>,
) -> Option<(NodeId, u64)> {
    let known = statuses.filter_map(|(node, status)| match status.state() {
        ReplicaState::Leader => Some((status.term, true, node)),
        _ if status.leader != 0 => Some((status.term, false, NodeId(status.leader))),
        _ => None,
    });
    known.max().map(|(term, _, node)| (node, term))
}
