//! Reading the tree into typed records.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use model::{NodeId, RouterId, Table, TableId, TableName};

use super::Error;
use crate::records::{
    ClusterRecord, LiveNodeRecord, MemberRecord, NameRecord, Record, RecordError, RouterRecord,
    TombstoneRecord, decode_at,
};
use crate::tree::{Node, UnknownPath};
use crate::{Coordination, Znode, path};

/// Reads in flight at the same time.
const PARALLEL_READS: usize = 64;

/// A record with the version that a conditional write expects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The record.
    pub value: T,
    /// Of its znode.
    pub version: i32,
}

/// All records of one kind.
///
/// They are read one by one, so each is a state of its own; whoever must be in step watches the parent
/// first and reads then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing<K, T> {
    /// Those that can be read.
    pub entries: BTreeMap<K, Versioned<T>>,
    /// Those that can't. They don't hide the others; nothing may be concluded about what they describe.
    pub unreadable: Vec<RecordError>,
    /// Paths of znodes among them that are none of ours. They are left alone.
    pub foreign: Vec<String>,
}

impl<K, T> Listing<K, T> {
    /// Whether there is such a znode with content that can't be read.
    pub fn is_unreadable(&self, node: &Node) -> bool {
        let path = node.path();
        self.unreadable.iter().any(|error| error.path == path)
    }
}

/// The cluster's record; `None` in a store that nobody has initialised.
pub async fn read_cluster(
    store: &dyn Coordination,
) -> Result<Option<Versioned<ClusterRecord>>, Error> {
    read(store, &Node::Cluster).await
}

/// A table.
pub async fn read_table(
    store: &dyn Coordination,
    table: TableId,
) -> Result<Option<Versioned<Table>>, Error> {
    read(store, &Node::Table(table)).await
}

/// The table of a name.
pub async fn find_table(
    store: &dyn Coordination,
    name: &TableName,
) -> Result<Option<Versioned<Table>>, Error> {
    loop {
        let Some(table) = table_of(store, name).await? else {
            return Ok(None);
        };
        if let Some(table) = read_table(store, table).await? {
            return Ok(Some(table));
        }
        // Removed between the two reads, name and table at once: the name is gone too, or is another
        // table's. Unless someone has removed the table alone, by hand.
        if table_of(store, name).await? == Some(table) {
            return Ok(None);
        }
    }
}

/// The id of the table of a name.
pub(super) async fn table_of(
    store: &dyn Coordination,
    name: &TableName,
) -> Result<Option<TableId>, Error> {
    let record: Option<Versioned<NameRecord>> = read(store, &Node::Name(name.clone())).await?;
    Ok(record.map(|record| record.value.table))
}

/// These tables, in this order; with each that can't be read what is wrong with it.
pub async fn read_each_table(
    store: &dyn Coordination,
    tables: impl IntoIterator<Item = TableId>,
) -> Result<Vec<Found<Table>>, Error> {
    let nodes: Vec<Node> = tables.into_iter().map(Node::Table).collect();
    read_each(store, &nodes).await
}

/// All tables.
pub async fn read_tables(store: &dyn Coordination) -> Result<Listing<TableId, Table>, Error> {
    read_all(store, &Node::Tables, |node| match node {
        Node::Table(table) => Some(*table),
        _ => None,
    })
    .await
}

/// All data nodes that have ever joined.
pub async fn read_members(
    store: &dyn Coordination,
) -> Result<Listing<NodeId, MemberRecord>, Error> {
    read_all(store, &Node::Members, |node| match node {
        Node::Member(id) => Some(*id),
        _ => None,
    })
    .await
}

/// The data nodes that are alive.
pub async fn read_live_nodes(
    store: &dyn Coordination,
) -> Result<Listing<NodeId, LiveNodeRecord>, Error> {
    read_all(store, &Node::Nodes, |node| match node {
        Node::Live(id) => Some(*id),
        _ => None,
    })
    .await
}

/// The routers that are alive.
pub async fn read_routers(
    store: &dyn Coordination,
) -> Result<Listing<RouterId, RouterRecord>, Error> {
    read_all(store, &Node::Routers, |node| match node {
        Node::Router(id) => Some(*id),
        _ => None,
    })
    .await
}

/// The removed tables, each with the nodes that have not confirmed that their replicas are destroyed.
pub async fn read_tombstones(
    store: &dyn Coordination,
) -> Result<BTreeMap<TableId, BTreeSet<NodeId>>, Error> {
    let tables = children(store, &Node::Deleted).await?;
    let tables = tables.into_iter().filter_map(|node| match node {
        Node::Tombstones(table) => Some(table),
        _ => None,
    });
    stream::iter(tables)
        .map(|table| async move { Ok((table, tombstones(store, table).await?)) })
        .buffer_unordered(PARALLEL_READS)
        .try_collect()
        .await
}

/// The removed tables whose replicas this node has not confirmed to be destroyed.
pub async fn tombstones_of(
    store: &dyn Coordination,
    node: NodeId,
) -> Result<BTreeSet<TableId>, Error> {
    let all = read_tombstones(store).await?;
    let of_node = all.into_iter().filter(|(_, nodes)| nodes.contains(&node));
    Ok(of_node.map(|(table, _)| table).collect())
}

/// Whether a node's tombstone is that of a table that was never available, as far as the store knew: then the node destroys
/// only what nobody has written to. False if there is none.
pub async fn is_undone(
    store: &dyn Coordination,
    table: TableId,
    node: NodeId,
) -> Result<bool, Error> {
    let record: Option<Versioned<TombstoneRecord>> =
        read(store, &Node::Tombstone(table, node)).await?;
    Ok(record.is_some_and(|record| record.value.never_available))
}

/// The nodes whose tombstones stand below a removed table; none if it is not there.
pub(super) async fn tombstones(
    store: &dyn Coordination,
    table: TableId,
) -> Result<BTreeSet<NodeId>, Error> {
    let nodes = store.children(&Node::Tombstones(table).path()).await?;
    let nodes = nodes.unwrap_or_default();
    Ok(nodes.iter().filter_map(|name| name.parse().ok()).collect())
}

/// A record, if it is there.
pub(super) async fn read<T: Record>(
    store: &dyn Coordination,
    node: &Node,
) -> Result<Option<Versioned<T>>, Error> {
    let znode = store.get(&node.path()).await?;
    Ok(znode.map(|znode| versioned(node, &znode)).transpose()?)
}

/// The children that are ours.
pub(super) async fn children(store: &dyn Coordination, parent: &Node) -> Result<Vec<Node>, Error> {
    Ok(sorted_children(store, parent).await?.0)
}

/// The children that are ours, and the paths of those that are not.
async fn sorted_children(
    store: &dyn Coordination,
    parent: &Node,
) -> Result<(Vec<Node>, Vec<String>), Error> {
    let parent = parent.path();
    let names = store.children(&parent).await?;
    let names = names.ok_or_else(|| Error::NotInitialised {
        path: parent.clone(),
    })?;
    let mut ours = Vec::new();
    let mut foreign = Vec::new();
    for name in names {
        match Node::parse(&path::join(&parent, &name)) {
            Ok(node) => ours.push(node),
            Err(UnknownPath(path)) => foreign.push(path),
        }
    }
    Ok((ours, foreign))
}

async fn read_all<K: Ord, T: Record>(
    store: &dyn Coordination,
    parent: &Node,
    key: fn(&Node) -> Option<K>,
) -> Result<Listing<K, T>, Error> {
    let (nodes, foreign) = sorted_children(store, parent).await?;
    if !foreign.is_empty() {
        tracing::warn!(?foreign, "znodes that are none of ours are left alone");
    }
    let mut listing = Listing {
        entries: BTreeMap::new(),
        unreadable: Vec::new(),
        foreign,
    };
    let found = read_each(store, &nodes).await?;
    for (node, record) in nodes.iter().zip(found) {
        match (key(node), record) {
            (Some(key), Ok(Some(record))) => {
                listing.entries.insert(key, record);
            }
            // Gone since its name was read, or none of this kind.
            (None, _) | (_, Ok(None)) => {}
            (_, Err(error)) => {
                tracing::warn!(%error, "a record is left out");
                listing.unreadable.push(error);
            }
        }
    }
    Ok(listing)
}

/// A record, if it is there, or what is wrong with it.
pub type Found<T> = Result<Option<Versioned<T>>, RecordError>;

/// These records, in this order.
pub(super) async fn read_each<T: Record>(
    store: &dyn Coordination,
    nodes: &[Node],
) -> Result<Vec<Found<T>>, Error> {
    let paths: Vec<String> = nodes.iter().map(Node::path).collect();
    let znodes = store.get_all(&paths).await?;
    let records = nodes.iter().zip(znodes);
    let records =
        records.map(|(node, znode)| znode.map(|znode| versioned(node, &znode)).transpose());
    Ok(records.collect())
}

fn versioned<T: Record>(node: &Node, znode: &Znode) -> Result<Versioned<T>, RecordError> {
    Ok(Versioned {
        value: decode_at(node, &znode.data)?,
        version: znode.stat.version,
    })
}
