//! Removing a table, and the tombstones of nodes that have not destroyed their replicas yet.
//!
//! Only members get tombstones. A node that was forgotten will not come to confirm, and if it comes all the same,
//! what it has of the table is quarantined. So that nobody lists the table again from what such nodes have, they are noted in
//! `/deleted/<table>`, which stays as long as it notes any: one for each table that they could bring back, and no more.

use std::collections::{BTreeMap, BTreeSet};

use model::{NodeId, Table, TableId, TableState};

use super::Error;
use super::attempts::Attempts;
use super::quarantine::{absent, new_tombstones};
use super::reading::{Versioned, children, read, read_cluster, read_table};
use crate::records::{DeletedRecord, NameRecord, Record as _, TombstoneRecord};
use crate::tree::Node;
use crate::{ANY_VERSION, Coordination, Operation};

/// Removes a table that is being deleted: record and name go, and a tombstone appears for each node that
/// has not confirmed that its replicas are destroyed, all in one `multi`. The same `multi` sets `/cluster`
/// to what it is, so that its version moves; see [`create_table`](super::create_table).
///
/// Nothing is removed unless each of the `forgotten` nodes is neither a member nor alive at that moment:
/// [`Error::NotForgotten`].
///
/// A table that is gone already is a success. [`Error::Changed`] if it is not as it was read.
pub async fn remove_table(
    store: &dyn Coordination,
    table: &Versioned<Table>,
    unconfirmed: &BTreeSet<NodeId>,
    forgotten: &BTreeSet<NodeId>,
) -> Result<(), Error> {
    if table.value.state != TableState::Deleting {
        return Err(Error::Backwards {
            from: table.value.state,
            to: TableState::Deleting,
        });
    }
    let mut attempts = Attempts::new();
    loop {
        let operations = removal(store, table, unconfirmed, forgotten).await;
        let operations = operations.map_err(|error| attempts.honest_read(error))?;
        let Err(error) = store.multi(operations).await else {
            return Ok(());
        };
        attempts.look(store, error).await?;
        let current = read_table(store, table.value.id).await;
        match current.map_err(|error| attempts.honest_read(error))? {
            None => return Ok(()),
            Some(current) if current.version == table.version => {}
            Some(_) => {
                return Err(Error::Changed {
                    table: table.value.id,
                });
            }
        }
    }
}

/// The operations, from what stands there now. The first one makes all of them fail if the table has
/// changed or gone.
async fn removal(
    store: &dyn Coordination,
    table: &Versioned<Table>,
    unconfirmed: &BTreeSet<NodeId>,
    forgotten: &BTreeSet<NodeId>,
) -> Result<Vec<Operation>, Error> {
    let Table { id, name, .. } = &table.value;
    if let Some(&node) = members_of(store, forgotten).await?.first() {
        return Err(Error::NotForgotten { node });
    }
    let cluster = read_cluster(store)
        .await?
        .ok_or_else(|| Error::NotInitialised {
            path: Node::Cluster.path(),
        })?;
    let mut operations = vec![Operation::delete(Node::Table(*id).path(), table.version)];
    if !mutant!(ClusterNotMoved) {
        let path = Node::Cluster.path();
        operations.push(Operation::set(
            path,
            cluster.value.encode(),
            cluster.version,
        ));
    }
    let name_node = Node::Name(name.clone());
    let holder: Option<Versioned<NameRecord>> = read(store, &name_node).await?;
    if let Some(holder) = holder.filter(|holder| holder.value.table == *id)
        && !mutant!(NameLeftBehind)
    {
        operations.push(Operation::delete(name_node.path(), holder.version));
    }
    let members = members_of(store, unconfirmed).await?;
    let record = TombstoneRecord {
        never_available: table.value.never_available,
    };
    operations.extend(new_tombstones(store, *id, name, record, &members, unconfirmed).await?);
    for &node in forgotten {
        operations.extend(absent(&Node::Member(node)));
        operations.extend(absent(&Node::Live(node)));
    }
    Ok(operations)
}

/// Those of the nodes that are members, whatever their records say.
pub(super) async fn members_of(
    store: &dyn Coordination,
    nodes: &BTreeSet<NodeId>,
) -> Result<BTreeSet<NodeId>, Error> {
    if nodes.is_empty() {
        return Ok(BTreeSet::new());
    }
    let members = children(store, &Node::Members).await?.into_iter();
    let members = members.filter_map(|member| match member {
        Node::Member(node) => Some(node),
        _ => None,
    });
    Ok(members.filter(|node| nodes.contains(node)).collect())
}

/// Records that a node has destroyed all its replicas of a removed table: its tombstone goes, and with
/// the last one their parent, unless forgotten nodes are noted there; this node is none any more. A tombstone that is gone
/// already is a success.
pub async fn confirm_destroyed(
    store: &dyn Coordination,
    table: TableId,
    node: NodeId,
) -> Result<(), Error> {
    // Paths with ids are never used again, so a delete that lands late finds nothing.
    delete_if_present(store, &Node::Tombstone(table, node)).await?;
    clear_parent(store, table, Some(node)).await
}

/// Removes the parent of tombstones that are all gone, unless forgotten nodes are noted in it. `confirmed` is not
/// noted any more.
async fn clear_parent(
    store: &dyn Coordination,
    table: TableId,
    confirmed: Option<NodeId>,
) -> Result<(), Error> {
    let parent = Node::Tombstones(table);
    let path = parent.path();
    let mut attempts = Attempts::new();
    loop {
        let found = match read::<DeletedRecord>(store, &parent).await {
            Ok(Some(found)) => found,
            Ok(None) => return Ok(()),
            // Nobody knows what it noted.
            Err(Error::Record(_)) => return delete_if_present(store, &parent).await,
            Err(error) => return Err(attempts.honest_read(error)),
        };
        let mut record = found.value;
        let noted = confirmed.is_some_and(|node| record.forgotten.remove(&node));
        let empty = record.forgotten.is_empty();
        let mut written = Ok(());
        if empty {
            written = store.delete(&path, found.version).await;
        }
        // Others have still to confirm.
        let stays = !empty || matches!(written, Err(crate::Error::NotEmpty { .. }));
        if stays && noted {
            let set = store.set(&path, record.encode(), found.version).await;
            written = set.map(drop);
        } else if stays {
            return Ok(());
        }
        match written {
            Ok(()) | Err(crate::Error::NoNode { .. }) => return Ok(()),
            Err(error) => attempts.look(store, error).await?,
        }
    }
}

/// Removes the parents of tombstones that are all gone, of those that [`read_tombstones`] has found. One
/// stays behind when a process dies, or loses its session, between the two steps of [`confirm_destroyed`];
/// its node has nothing left to confirm, so whoever comes across it clears it away. A parent with
/// tombstones is never removed.
///
/// [`read_tombstones`]: super::read_tombstones
pub async fn sweep_tombstones(
    store: &dyn Coordination,
    found: &BTreeMap<TableId, BTreeSet<NodeId>>,
) -> Result<(), Error> {
    for (table, _) in found.iter().filter(|(_, nodes)| nodes.is_empty()) {
        clear_parent(store, *table, None).await?;
    }
    Ok(())
}

/// Deletes a znode that is never made again, unless it has children.
async fn delete_if_present(store: &dyn Coordination, node: &Node) -> Result<(), Error> {
    let mut attempts = Attempts::new();
    loop {
        match store.delete(&node.path(), ANY_VERSION).await {
            Ok(()) | Err(crate::Error::NoNode { .. } | crate::Error::NotEmpty { .. }) => {
                return Ok(());
            }
            Err(error) => attempts.look(store, error).await?,
        }
    }
}
