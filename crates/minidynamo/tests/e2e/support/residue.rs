//! What there is when everything is done: tree and disks hold exactly what the tables say.
//!
//! | where | what is looked at |
//! |---|---|
//! | ZooKeeper | `/names`, `/tables`, `/deleted` |
//! | each data node that runs | its replicas and those that it keeps out, as it tells them |
//! | each data directory | its files, the records of replicas, what is stored of shards, the groups of the log |

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use coordination::tree::Node;
use coordination::{Coordination, registry};
use model::{NodeId, ShardId, Table, TableId, TableState};
use storage::disk::RealDisk;
use storage::keys::{self, Key};
use storage::log::{Log, LogOptions};
use storage::meta::{ReplicaRecord, ReplicaState};
use storage::snapshot::stored_shards;
use storage::state::{FjallOptions, FjallStore, StateStore};

use super::{Cluster, eventually};

/// How long it may take until everything is as it should be.
const WITHIN: Duration = Duration::from_secs(60);

/// What a data directory holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct OnDisk {
    /// Shards by what is remembered of their replicas.
    pub(crate) replicas: BTreeMap<ShardId, ReplicaState>,
    /// Shards of which the state store has anything.
    pub(crate) stored: BTreeSet<ShardId>,
    /// Shards that have a group in the log.
    pub(crate) logged: BTreeSet<ShardId>,
}

impl OnDisk {
    /// Reads a data directory that no process uses.
    pub(crate) fn read(data_dir: &Path) -> Self {
        let files = fs::read_dir(data_dir).unwrap();
        let files = files.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let files: BTreeSet<_> = files.collect();
        let known = ["identity.json", "lock", "log", "store"].map(str::to_owned);
        assert_eq!(files, known.into(), "{}", data_dir.display());

        let store = FjallStore::open(&data_dir.join("store"), &FjallOptions::default()).unwrap();
        let view = store.view();
        let records = view.scan(&keys::replicas()).map(|entry| {
            let (key, record) = entry.unwrap();
            let Key::Replica(shard) = Key::decode(&key).unwrap() else {
                panic!("not a replica's record: {key:?}");
            };
            (shard, ReplicaRecord::decode(&record).unwrap().state)
        });
        let replicas = records.collect();
        let stored = stored_shards(&*view).unwrap().into_iter().collect();
        let disk = Arc::new(RealDisk);
        let log = Log::open(disk, &data_dir.join("log"), LogOptions::default());
        let (log, groups) = log.unwrap();
        log.close().unwrap();
        Self {
            replicas,
            stored,
            logged: groups.into_keys().collect(),
        }
    }

    /// The shards whose replicas are in this state.
    pub(crate) fn in_state(&self, state: ReplicaState) -> BTreeSet<ShardId> {
        let replicas = self.replicas.iter();
        let those = replicas.filter(|(_, is)| **is == state);
        those.map(|(shard, _)| *shard).collect()
    }

    /// Checks that these are the replicas of the node, and that of others it remembers no more than their end.
    pub(crate) fn assert_exactly(&self, whose: &str, wanted: &BTreeSet<ShardId>) {
        assert_eq!(&self.in_state(ReplicaState::Hosted), wanted, "{whose}");
        assert_eq!(&self.stored, wanted, "state store of {whose}");
        assert_eq!(&self.logged, wanted, "log of {whose}");
        let unfinished = [ReplicaState::Building, ReplicaState::Destroying];
        for state in unfinished {
            assert_eq!(self.in_state(state), [].into(), "{whose}: {state:?}");
        }
    }
}

/// The id that stands in a data directory.
pub(crate) fn node_id_in(data_dir: &Path) -> NodeId {
    let identity = fs::read(data_dir.join("identity.json")).unwrap();
    let identity: serde_json::Value = serde_json::from_slice(&identity).unwrap();
    identity["node"].as_str().unwrap().parse().unwrap()
}

/// A node's part of these tables.
pub(crate) fn shards_on(node: NodeId, tables: &[Table]) -> BTreeSet<ShardId> {
    let shards = tables.iter().flat_map(Table::shard_ids);
    let ours = shards.filter(|(_, shard)| shard.nodes.contains(&node));
    ours.map(|(id, _)| id).collect()
}

/// Waits until ZooKeeper has these tables, all available, and nothing else, and every data node that runs has its part of
/// them and nothing else.
pub(crate) async fn assert_settled(cluster: &Cluster, names: &[&str]) -> Vec<Table> {
    let session = cluster.session().await;
    let what = format!("there are the tables {names:?} and nothing else");
    let tables = eventually(&what, WITHIN, || async {
        let tables = tree_has(&*session, names).await?;
        for node in (0..cluster.nodes.len()).filter(|&node| cluster.nodes[node].is_running()) {
            node_has(cluster, node, &tables).await?;
        }
        Ok::<_, String>(tables)
    })
    .await;
    session.close().await;
    tables
}

/// The same, and looks into the data directories when all data nodes have been stopped, which they are then.
pub(crate) async fn assert_nothing_left(cluster: &mut Cluster, names: &[&str]) {
    let tables = assert_settled(cluster, names).await;
    for index in 0..cluster.nodes.len() {
        if cluster.nodes[index].is_running() {
            cluster.nodes[index].terminate().await;
        }
        let data_dir = cluster.data_dir(index);
        let wanted = shards_on(node_id_in(&data_dir), &tables);
        OnDisk::read(&data_dir).assert_exactly(&format!("node{index}"), &wanted);
    }
}

async fn tree_has(store: &dyn Coordination, names: &[&str]) -> Result<Vec<Table>, String> {
    let path = Node::Cluster.path();
    store.sync(&path).await.map_err(|error| error.to_string())?;
    let children = async |parent: Node| {
        let children = store.children(&parent.path()).await;
        let children = children.map_err(|error| error.to_string())?;
        Ok::<BTreeSet<_>, String>(children.unwrap_or_default().into_iter().collect())
    };
    let listed = registry::read_tables(store).await;
    let listed = listed.map_err(|error| error.to_string())?;
    let tables: Vec<_> = listed
        .entries
        .into_values()
        .map(|found| found.value)
        .collect();
    let ids: BTreeSet<TableId> = tables.iter().map(|table| table.id).collect();
    let unavailable = tables
        .iter()
        .find(|table| table.state != TableState::Available);
    if let Some(table) = unavailable {
        return Err(format!("{} is {}", table.name, table.state));
    }
    let expected: BTreeSet<_> = names.iter().map(|&name| name.to_owned()).collect();
    let their_names: BTreeSet<_> = tables.iter().map(|table| table.name.to_string()).collect();
    let found = [
        ("tables", their_names, expected.clone()),
        ("names", children(Node::Names).await?, expected),
        (
            "ids of tables",
            children(Node::Tables).await?,
            ids.iter().map(ToString::to_string).collect(),
        ),
        ("deleted tables", children(Node::Deleted).await?, [].into()),
    ];
    for (what, found, expected) in found {
        if found != expected {
            return Err(format!("{what} in ZooKeeper: {found:?}, not {expected:?}"));
        }
    }
    Ok(tables)
}

async fn node_has(cluster: &Cluster, node: usize, tables: &[Table]) -> Result<(), String> {
    let answer = cluster.direct(node).describe().await;
    let answer = answer.map_err(|status| format!("node{node}: {status}"))?;
    let held = answer.replicas.iter().map(|replica| ShardId {
        table: TableId(replica.table),
        index: replica.shard,
    });
    let held: BTreeSet<_> = held.collect();
    let wanted = shards_on(NodeId(answer.node), tables);
    if held == wanted && answer.quarantined == 0 {
        return Ok(());
    }
    let quarantined = answer.quarantined;
    Err(format!(
        "node{node} holds {held:?} and keeps {quarantined} out; wanted: {wanted:?}"
    ))
}
