//! Whether the cluster is at rest: every node is registered and holds what its tables list, all replicas of a
//! shard have applied the same, and nothing is being created, deleted or prepared.

use std::collections::{BTreeMap, BTreeSet};

use history::{Call, FinalState, History, Outcome};
use model::{NodeId, ShardId, TableId, TableState};
use storage::keys::{self, Key};
use storage::snapshot::load_meta;
use storage::state::StateStore as _;

use crate::cluster::{Cluster, tables_of, wanted_shards};
use crate::fabric::HostId;
use crate::invariants::{intents, ledger_entries};

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
    if let Some(entry) = ledger_entries(&tree).next() {
        return Some(format!("the transaction {entry} is not finished"));
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
    let mut stopped: BTreeMap<ShardId, usize> = BTreeMap::new();
    for node in cluster.nodes() {
        let Some(disks) = cluster.disks(node) else {
            continue;
        };
        let view = disks.store().view();
        for &shard in wanted.keys() {
            if let Ok(Some((_, meta))) = load_meta(&*view, shard) {
                if cluster.is_without_log(node, shard) {
                    *stopped.entry(shard).or_default() += 1;
                } else {
                    found.entry(shard).or_default().push(meta.applied_index);
                }
            }
        }
    }
    let unequal = wanted.iter().find_map(|(shard, nodes)| {
        let stopped = stopped.get(shard).copied().unwrap_or_default();
        unequal(*shard, nodes, stopped, found.get(shard))
    });
    unequal.or_else(|| still_prepared(cluster))
}

/// A transaction that a node holds. The ledger may have finished it already: where the one who cancelled it did not know its timestamp,
/// a shard can't remember that, and takes a late prepare, until a router sees that it is old.
fn still_prepared(cluster: &Cluster) -> Option<String> {
    cluster.nodes().into_iter().find_map(|node| {
        let store = cluster.disks(node)?.store();
        let left = intents(store, |shard| cluster.is_without_log(node, shard));
        let left = left.unwrap_or_else(Some)?;
        Some(format!("host {} has {left}", node.0))
    })
}

fn unequal(
    shard: ShardId,
    nodes: &[NodeId],
    stopped: usize,
    found: Option<&Vec<u64>>,
) -> Option<String> {
    let found = found.cloned().unwrap_or_default();
    let equal = found.windows(2).all(|pair| pair[0] == pair[1]);
    (found.len() + stopped != nodes.len() || !equal)
        .then(|| format!("shard {shard} of {nodes:?} has applied {found:?}"))
}

/// What a store has that the clients did not read: at rest it holds nothing in the place of items that don't exist.
/// A put of unknown outcome may land after the last read, so its key is left out.
pub(super) fn unlike_what_was_read(
    cluster: &Cluster,
    read: &FinalState,
    history: &History,
) -> Option<String> {
    let open = history
        .operations()
        .iter()
        .filter(|operation| operation.outcome == Outcome::Unknown);
    let open: BTreeSet<_> = open
        .flat_map(|operation| match &operation.call {
            Call::Put { table, key, .. } => vec![(table.clone(), key.clone())],
            Call::TransactPut { items } => {
                let items = items.iter();
                items
                    .map(|item| (item.table.clone(), item.key.clone()))
                    .collect()
            }
            _ => Vec::new(),
        })
        .collect();
    let tree = cluster.ensemble.tree();
    let tables = tables_of(&tree).ok()?;
    let mut expected: BTreeMap<TableId, BTreeSet<Vec<u8>>> = BTreeMap::new();
    for (register @ (name, key), found) in read {
        if let Some(table) = tables.iter().find(|table| table.name.as_str() == name) {
            let keys = expected.entry(table.id).or_default();
            if found.is_some() || open.contains(register) {
                keys.insert(key.to_vec());
            }
        }
    }
    let nodes = cluster.nodes();
    for table in tables
        .iter()
        .filter(|table| expected.contains_key(&table.id))
    {
        for (shard, _) in table.shard_ids() {
            let running = nodes
                .iter()
                .filter(|node| !cluster.is_without_log(**node, shard));
            for &node in running {
                for key in items_of(cluster, node, shard)? {
                    if !expected[&table.id].contains(&key) {
                        return Some(format!(
                            "host {} has something for {:?} in shard {shard}, which clients don't find",
                            node.0,
                            String::from_utf8_lossy(&key)
                        ));
                    }
                }
            }
        }
    }
    None
}

/// The keys under which a node's store has anything in a shard.
fn items_of(cluster: &Cluster, node: HostId, shard: ShardId) -> Option<Vec<Vec<u8>>> {
    let view = cluster.disks(node)?.store().view();
    let Ok(Some((generation, _))) = load_meta(&*view, shard) else {
        return Some(Vec::new());
    };
    let mut found = Vec::new();
    for entry in view.scan(&keys::items(shard, generation)) {
        let (key, _) = entry.ok()?;
        if let Ok(Key::Item { key, .. }) = Key::decode(&key) {
            found.push(key.partition.to_vec());
        }
    }
    Some(found)
}
