//! Whether the cluster is at rest: every node is registered and holds what its tables list, all replicas of a
//! shard have applied the same, and nothing is being created or deleted.

use std::collections::BTreeMap;

use model::{NodeId, ShardId, TableState};
use storage::snapshot::load_meta;
use storage::state::StateStore as _;

use crate::cluster::{Cluster, tables_of, wanted_shards};

/// See the [module](self).
pub(super) fn is_at_rest(cluster: &Cluster) -> bool {
    why_not(cluster).is_none()
}

/// What is missing.
pub(super) fn why_not(cluster: &Cluster) -> Option<String> {
    let tree = cluster.ensemble.tree();
    let tables = match tables_of(&tree) {
        Ok(tables) => tables,
        Err(error) => return Some(error),
    };
    for table in &tables {
        if table.state != TableState::Available {
            return Some(format!("table {} is {}", table.name, table.state));
        }
    }
    if let Some(tombstone) = tree.keys().find(|path| path.starts_with("/deleted/")) {
        return Some(format!("the tombstone {tombstone} is there"));
    }
    let live = tree.keys().filter(|path| path.starts_with("/nodes/"));
    let live: Vec<&String> = live.collect();
    if live.len() != cluster.nodes().len() {
        return Some(format!("only these nodes are registered: {live:?}"));
    }
    let wanted = match wanted_shards(&tree) {
        Ok(wanted) => wanted,
        Err(error) => return Some(error),
    };
    let mut found: BTreeMap<ShardId, Vec<u64>> = BTreeMap::new();
    for node in cluster.nodes() {
        let Some(disks) = cluster.disks(node) else {
            continue;
        };
        let view = disks.store().view();
        for &shard in wanted.keys() {
            if let Ok(Some((_, meta))) = load_meta(&*view, shard) {
                found.entry(shard).or_default().push(meta.applied_index);
            }
        }
    }
    wanted
        .iter()
        .find_map(|(shard, nodes)| unequal(*shard, nodes, found.get(shard)))
}

fn unequal(shard: ShardId, nodes: &[NodeId], found: Option<&Vec<u64>>) -> Option<String> {
    let found = found.cloned().unwrap_or_default();
    let equal = found.windows(2).all(|pair| pair[0] == pair[1]);
    (found.len() != nodes.len() || !equal)
        .then(|| format!("shard {shard} of {nodes:?} has applied {found:?}"))
}
