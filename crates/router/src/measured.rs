//! For the benchmarks of this crate: the way from a key to a node, without sending anything. No part of the interface.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use api::internal::operation;
use environment::Environment;
use futures::FutureExt as _;
use links::Nodes;
use model::{Key, NodeId, ShardId, Table};
use tokio::time::Instant;

use crate::attempt::leaders::Leaders;
use crate::attempt::policy::{Event, Kind, Policy, Step};
use crate::attempt::run::{Means, Request};
use crate::directory::{Directory, Snapshot, TableEntry, nodes_of};
use crate::options::Timing;

/// What a router knows of tables, nodes and leaders.
pub struct Routing {
    directory: Directory,
    nodes: Nodes,
    leaders: Leaders,
    timing: Timing,
}

impl Routing {
    /// A router that knows these tables, and for each shard that its first replica leads. To be made in a runtime: links to the nodes are
    /// begun, and are good as long as that runtime does not run.
    pub fn new(tables: impl IntoIterator<Item = Table>) -> Self {
        let routing = Self {
            directory: Directory::new(),
            nodes: Nodes::new(Environment::default().network, links::Timing::default()),
            leaders: Leaders::default(),
            timing: Timing::default(),
        };
        let mut snapshot = Snapshot::default();
        let mut members = BTreeSet::new();
        for value in tables {
            routing.know_leaders(&value);
            members.append(&mut nodes_of(&value));
            let entry = Arc::new(TableEntry { value, version: 0 });
            snapshot.set_table(entry.value.id, Some(entry));
        }
        let members = members.into_iter().map(|node| (node, "localhost:1"));
        routing.nodes.set_members(members);
        routing.directory.publish(snapshot);
        routing
    }

    fn know_leaders(&self, table: &Table) {
        for (id, shard) in table.shard_ids() {
            self.leaders.remember(id, shard.nodes[0]);
        }
    }

    /// The shard of a key, by what is known of the table.
    pub fn shard(&self, table: &str, key: &Key) -> Option<ShardId> {
        let entry = self.entry(table)?;
        Some(entry.value.shard_of(key.hash()))
    }

    /// The node that a get is sent to first.
    pub fn first(&self, table: &str, key: &Key, consistent: bool) -> Option<NodeId> {
        let entry = self.entry(table)?;
        let shard = entry.value.shard_of(key.hash());
        let kind = if consistent {
            Kind::ConsistentRead
        } else {
            Kind::EventualRead
        };
        let partition = key.partition.clone();
        let request = Request {
            kind,
            shard,
            replicas: &entry.value.shards.get(shard.index as usize)?.nodes,
            operation: operation::Kind::Get(api::internal::Get {
                key: partition,
                consistent,
            }),
            deadline: Instant::now() + Duration::from_secs(5),
        };
        self.ask(&request)
    }

    fn ask(&self, request: &Request<'_>) -> Option<NodeId> {
        let means = Means {
            nodes: &self.nodes,
            leaders: &self.leaders,
            timing: &self.timing,
        };
        let limits = means.limits(request, Instant::now());
        let mut policy = Policy::new(request.kind, limits, means.in_order(request));
        match policy.step(Duration::ZERO, Event::Begin) {
            Step::Send(node, _) => Some(node),
            _ => None,
        }
    }

    fn entry(&self, table: &str) -> Option<Arc<TableEntry>> {
        let deadline = Instant::now() + Duration::from_secs(5);
        let found = self.directory.table_for_data(table, deadline);
        found.now_or_never()?.ok()
    }
}
