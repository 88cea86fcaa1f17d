//! `Cluster.ListNodes`: every data node that is known, whether it is there or not.

use std::collections::{BTreeMap, BTreeSet};

use api::Error;
use api::v1::{ListNodesRequest, ListNodesResponse, NodeDescription};
use coordination::records::{LiveNodeRecord, MemberRecord};
use coordination::registry;
use futures::future::join_all;
use model::{NodeId, Table, TableId};
use tokio::time::{Instant, timeout_at};

use super::status::node_status;
use crate::directory::{read, unavailable};
use crate::state::{Session, State};

/// Lists the nodes.
pub(crate) async fn list_nodes(
    state: &State,
    _request: ListNodesRequest,
    deadline: Instant,
) -> Result<ListNodesResponse, Error> {
    let session = state.connected()?;
    let known = match timeout_at(deadline, Known::read(&session)).await {
        Ok(known) => known.map_err(unavailable)?,
        Err(_) => return Err(unavailable("it did not answer in time")),
    };
    let nodes = known.nodes().into_iter().map(|node| {
        let known = &known;
        async move {
            // Nobody knows the address of one that is no member.
            let answer = match known.members.get(&node) {
                Some(_) => state.describe_node(node, None, true).await.ok(),
                None => None,
            };
            known.describe(node, answer.as_ref())
        }
    });
    Ok(ListNodesResponse {
        nodes: join_all(nodes).await,
    })
}

/// What the coordination store says of data nodes.
struct Known {
    members: BTreeMap<NodeId, MemberRecord>,
    live: BTreeMap<NodeId, LiveNodeRecord>,
    placed: BTreeMap<NodeId, u32>,
    tombstones: BTreeMap<TableId, BTreeSet<NodeId>>,
}

impl Known {
    async fn read(session: &Session) -> Result<Self, registry::Error> {
        let store = &*session.store;
        read::sync(store).await?;
        let (members, live, tables, tombstones) = tokio::try_join!(
            registry::read_members(store),
            registry::read_live_nodes(store),
            registry::read_tables(store),
            registry::read_tombstones(store),
        )?;
        let members = members.entries.into_iter().map(|(id, m)| (id, m.value));
        let live = live.entries.into_iter().map(|(id, l)| (id, l.value));
        let mut placed = BTreeMap::new();
        for table in tables.entries.values() {
            for (node, replicas) in placed_on(&table.value) {
                *placed.entry(node).or_default() += replicas;
            }
        }
        Ok(Self {
            members: members.collect(),
            live: live.collect(),
            placed,
            tombstones,
        })
    }

    fn nodes(&self) -> BTreeSet<NodeId> {
        let members = self.members.keys();
        let others = self.live.keys().chain(self.placed.keys());
        members.chain(others).copied().collect()
    }

    fn describe(
        &self,
        node: NodeId,
        answer: Option<&api::internal::DescribeResponse>,
    ) -> NodeDescription {
        let live = self.live.get(&node);
        let member = self.members.get(&node).cloned();
        let is_member = member.is_some();
        let member = member.unwrap_or_else(|| MemberRecord {
            id: node,
            address: live.map(|live| live.address.clone()).unwrap_or_default(),
            zone: None,
            tenure: None,
            void_to: None,
        });
        let tombstones = self.tombstones.values();
        NodeDescription {
            status: Some(node_status(&member, live.is_some(), answer)),
            member: is_member,
            live_since_millis: live.map(|live| live.started_millis).unwrap_or_default(),
            placed: self.placed.get(&node).copied().unwrap_or_default(),
            tombstones: tombstones.filter(|nodes| nodes.contains(&node)).count() as u32,
        }
    }
}

/// How many replicas of a table each node has a place for.
pub(crate) fn placed_on(table: &Table) -> BTreeMap<NodeId, u32> {
    let mut placed = BTreeMap::new();
    for node in table.shards.iter().flat_map(|shard| &shard.nodes) {
        *placed.entry(*node).or_default() += 1;
    }
    placed
}
