//! What becomes of a table that data nodes have replicas of and the tree says nothing of: it is listed again, or
//! it gets tombstones.
//!
//! Both are one `multi` under the id that the table always had, and each makes the other impossible:
//!
//! | | the `multi` checks | and writes |
//! |---|---|---|
//! | [`restore_table`] | `/cluster` as it was before the nodes were asked, no `/deleted/<table>`, no `/names/<name>` | name and table |
//! | [`condemn_table`] | no `/tables/<table>`, every node a member | `/cluster` again, so that its version moves; tombstones |
//!
//! So a restoration whose answer was lost can't land after the table was deleted or dropped: either moves
//! `/cluster`. That a znode is absent can't be checked; it is made and taken away again in the same `multi`.

use std::collections::BTreeSet;

use model::{NodeId, Table, TableId, TableName};

use super::Error;
use super::attempts::Attempts;
use super::reading::{read, read_cluster, read_table, table_of, tombstones};
use super::removal::members_of;
use crate::records::{DeletedRecord, NameRecord, Record as _, TombstoneRecord};
use crate::tree::Node;
use crate::{ANY_VERSION, Coordination, CreateMode, Operation};

/// How a restoration ended. All of these are certain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restoration {
    /// The table is listed, as it was given.
    Restored,
    /// A table of this id is listed already, and not as it was given.
    Listed,
    /// The name belongs to another table.
    NameTaken(TableId),
    /// The table was removed or dropped on purpose, and these nodes have not confirmed yet; if there are none, those that had not
    /// were forgotten.
    Removed(BTreeSet<NodeId>),
    /// The table's creation was undone, and these nodes have not confirmed yet.
    Undone(BTreeSet<NodeId>),
    /// Nothing was written, and nothing will be: since the version of `/cluster` was read, a table was
    /// removed. It may be this one: ask the nodes again.
    ClusterMoved,
}

/// Lists a table again, under the id that it had. `cluster_version` was read before the nodes told what they
/// have of it.
pub async fn restore_table(
    store: &dyn Coordination,
    table: &Table,
    cluster_version: i32,
) -> Result<Restoration, Error> {
    let mut attempts = Attempts::new();
    loop {
        let Err(error) = store.multi(restoration(table, cluster_version)).await else {
            return Ok(Restoration::Restored);
        };
        attempts.look(store, error).await?;
        let obstacle = obstacle(store, table, cluster_version).await;
        if let Some(end) = obstacle.map_err(|error| attempts.honest_read(error))? {
            return Ok(end);
        }
    }
}

fn restoration(table: &Table, cluster_version: i32) -> Vec<Operation> {
    let record = NameRecord { table: table.id };
    let mut operations = Vec::new();
    if !mutant!(KeepUnfenced) {
        operations.push(Operation::check(Node::Cluster.path(), cluster_version));
        operations.extend(absent(&Node::Tombstones(table.id)));
    }
    operations.extend([
        Operation::create(
            Node::Name(table.name.clone()).path(),
            record.encode(),
            CreateMode::Persistent,
        ),
        Operation::create(
            Node::Table(table.id).path(),
            table.encode(),
            CreateMode::Persistent,
        ),
    ]);
    operations
}

/// What stands in the way, or shows that an attempt was carried out.
async fn obstacle(
    store: &dyn Coordination,
    table: &Table,
    cluster_version: i32,
) -> Result<Option<Restoration>, Error> {
    if let Some(listed) = read_table(store, table.id).await? {
        let same = listed.value == *table;
        return Ok(Some(if same {
            Restoration::Restored
        } else {
            Restoration::Listed
        }));
    }
    let parent = Node::Tombstones(table.id).path();
    if store.get(&parent).await?.is_some() {
        return removal_of(store, table.id).await;
    }
    if let Some(owner) = table_of(store, &table.name).await? {
        return Ok(Some(Restoration::NameTaken(owner)));
    }
    let cluster = read_cluster(store).await?.ok_or_else(no_cluster)?;
    let moved = cluster.version != cluster_version;
    Ok(moved.then_some(Restoration::ClusterMoved))
}

/// What is said of a removed table that is not gone everywhere: [`Restoration::Removed`] or [`Restoration::Undone`]. `None`: the
/// tombstones that there were have just gone, so look again.
pub async fn removal_of(
    store: &dyn Coordination,
    table: TableId,
) -> Result<Option<Restoration>, Error> {
    let listed = tombstones(store, table).await?;
    let (mut nodes, mut undone) = (BTreeSet::new(), true);
    for &node in &listed {
        let path = Node::Tombstone(table, node);
        // One that was confirmed since says nothing about the others.
        if let Some(found) = read::<TombstoneRecord>(store, &path).await? {
            nodes.insert(node);
            undone &= found.value.never_available;
        }
    }
    Ok(match (nodes.is_empty(), undone) {
        (true, _) if !listed.is_empty() => None,
        (false, true) => Some(Restoration::Undone(nodes)),
        (_, _) => Some(Restoration::Removed(nodes)),
    })
}

/// Whether there is a note that the table was removed on purpose, which stays until everybody has destroyed what he has of it.
/// False of a creation that was undone: that spares what was used.
pub async fn is_removed(store: &dyn Coordination, table: TableId) -> Result<bool, Error> {
    if store
        .children(&Node::Tombstones(table).path())
        .await?
        .is_none()
    {
        return Ok(false);
    }
    let removal = removal_of(store, table).await?;
    Ok(matches!(removal, Some(Restoration::Removed(_))))
}

/// Writes tombstones for a table that is not listed, so that these nodes destroy what they have of it and
/// remember that they did. Returns the nodes that got one: those that are members. `None` if the table is
/// listed: then nothing was written.
pub async fn condemn_table(
    store: &dyn Coordination,
    table: TableId,
    name: &TableName,
    nodes: &BTreeSet<NodeId>,
) -> Result<Option<BTreeSet<NodeId>>, Error> {
    let mut attempts = Attempts::new();
    loop {
        let listed = store.get(&Node::Table(table).path()).await;
        let listed = listed.map_err(|error| attempts.honest(error))?.is_some();
        if listed && !mutant!(ListedIsDropped) {
            return Ok(None);
        }
        let members = members_of(store, nodes).await;
        let members = members.map_err(|error| attempts.honest_read(error))?;
        if members.is_empty() {
            return Ok(Some(members));
        }
        let operations = condemnation(store, table, name, &members, nodes).await;
        let operations = operations.map_err(|error| attempts.honest_read(error))?;
        // An attempt whose answer was lost is made again. What it may have written by then has moved
        // `/cluster` and is seen; a tombstone that was confirmed meanwhile is confirmed once more.
        match store.multi(operations).await {
            Ok(_) => return Ok(Some(members)),
            Err(error) => attempts.look(store, error).await?,
        }
    }
}

async fn condemnation(
    store: &dyn Coordination,
    table: TableId,
    name: &TableName,
    members: &BTreeSet<NodeId>,
    nodes: &BTreeSet<NodeId>,
) -> Result<Vec<Operation>, Error> {
    let cluster = read_cluster(store).await?.ok_or_else(no_cluster)?;
    let mut operations = vec![Operation::set(
        Node::Cluster.path(),
        cluster.value.encode(),
        cluster.version,
    )];
    if !mutant!(ListedIsDropped) {
        operations.extend(absent(&Node::Table(table)));
    }
    let record = TombstoneRecord::default();
    operations.extend(new_tombstones(store, table, name, record, members, nodes).await?);
    Ok(operations)
}

/// The tombstones, with this record, of those `nodes` that are `members`, and a check that they are members still: a tombstone
/// for one that was forgotten would stay for ever. The others are noted in the parent's record, unless the table was never
/// available: what they may have of it would not be destroyed either.
pub(super) async fn new_tombstones(
    store: &dyn Coordination,
    table: TableId,
    name: &TableName,
    record: TombstoneRecord,
    members: &BTreeSet<NodeId>,
    nodes: &BTreeSet<NodeId>,
) -> Result<Vec<Operation>, Error> {
    let mut operations = Vec::new();
    let mut forgotten = nodes - members;
    if record.never_available {
        forgotten.clear();
    }
    if members.is_empty() && forgotten.is_empty() {
        return Ok(operations);
    }
    operations.extend(parent_of_tombstones(store, table, name, forgotten).await?);
    let present = tombstones(store, table).await?;
    for node in members {
        let member = Node::Member(*node).path();
        let tombstone = Node::Tombstone(table, *node).path();
        if present.contains(node) {
            // What is decided on purpose holds instead of an undone creation.
            operations.push(Operation::set(tombstone, record.encode(), ANY_VERSION));
        } else {
            operations.push(Operation::check(member, ANY_VERSION));
            operations.push(Operation::create(
                tombstone,
                record.encode(),
                CreateMode::Persistent,
            ));
        }
    }
    Ok(operations)
}

/// What makes the parent, or notes these nodes in it.
async fn parent_of_tombstones(
    store: &dyn Coordination,
    table: TableId,
    name: &TableName,
    forgotten: BTreeSet<NodeId>,
) -> Result<Option<Operation>, Error> {
    let parent = Node::Tombstones(table);
    let Some(found) = read::<DeletedRecord>(store, &parent).await? else {
        let name = name.clone();
        let record = DeletedRecord { name, forgotten }.encode();
        let create = Operation::create(parent.path(), record, CreateMode::Persistent);
        return Ok(Some(create));
    };
    let mut record = found.value;
    if forgotten.is_subset(&record.forgotten) {
        return Ok(None);
    }
    record.forgotten.extend(forgotten);
    Ok(Some(Operation::set(
        parent.path(),
        record.encode(),
        found.version,
    )))
}

/// Fails a `multi` if the znode is there.
pub(super) fn absent(node: &Node) -> [Operation; 2] {
    [
        Operation::create(node.path(), "", CreateMode::Persistent),
        Operation::delete(node.path(), 0),
    ]
}

fn no_cluster() -> Error {
    Error::NotInitialised {
        path: Node::Cluster.path(),
    }
}
