//! No orphans (T3): at rest a node holds what its tables place on it, and nothing else; of everything else it
//! remembers no more than that it was destroyed, and its log remembers nothing.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, ShardId};
use storage::meta::ReplicaState;
use storage::snapshot::stored_shards;
use storage::state::StateStore as _;

use super::found::records;
use super::{Disks, FoundLog, Invariant, Rest, Turn};
use crate::cluster::wanted_shards;
use crate::fabric::HostId;

/// Which node runs on which host. A host's node stays the same, as long as its disks do.
#[derive(Default)]
pub(super) struct NoOrphans {
    nodes: BTreeMap<HostId, NodeId>,
}

impl Invariant for NoOrphans {
    fn name(&self) -> &'static str {
        "no-orphans"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        let node = *self.nodes.entry(turn.host).or_insert(turn.node);
        if node == turn.node {
            return Ok(());
        }
        let host = turn.host.0;
        Err(format!("host {host} was {node} and is {} now", turn.node))
    }

    fn at_rest(&mut self, rest: &Rest<'_>) -> Result<(), String> {
        let wanted = wanted_shards(rest.tree)?;
        for (disks, log) in rest.nodes {
            let node = self.nodes.get(&disks.host);
            let placed = wanted
                .iter()
                .filter(|(_, nodes)| node.is_some_and(|node| nodes.contains(node)));
            let placed = placed.map(|(shard, _)| *shard).collect();
            holds(disks, log, &placed).map_err(|held| format!("host {} {held}", disks.host.0))?;
        }
        Ok(())
    }
}

/// Compares what a node holds with what is placed on it.
fn holds(disks: &Disks<'_>, log: &FoundLog, placed: &BTreeSet<ShardId>) -> Result<(), String> {
    let view = disks.store.view();
    let held = stored_shards(&*view).map_err(|error| error.to_string())?;
    if let Some(orphan) = held.iter().find(|shard| !placed.contains(shard)) {
        return Err(format!("holds shard {orphan}, which no table places on it"));
    }
    if let Some(orphan) = log.groups.keys().find(|shard| !placed.contains(shard)) {
        return Err(format!(
            "has shard {orphan} in its log, which no table places on it"
        ));
    }
    for (shard, state) in records(&*view)? {
        let as_it_should = match state {
            ReplicaState::Hosted => placed.contains(&shard),
            ReplicaState::Destroyed => !placed.contains(&shard),
            ReplicaState::Building | ReplicaState::Destroying => false,
        };
        if !as_it_should {
            return Err(format!("remembers shard {shard} as {state:?}"));
        }
    }
    Ok(())
}
