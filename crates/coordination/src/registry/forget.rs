//! Forgetting a data node that will never return.

use std::collections::BTreeSet;

use model::{NodeId, TableId};

use super::Error;
use super::attempts::Attempts;
use super::quarantine::absent;
use super::reading::{Versioned, is_undone, read, read_tombstones};
use crate::records::{DeletedRecord, LiveNodeRecord, Record as _, decode_at};
use crate::tree::Node;
use crate::{ANY_VERSION, Coordination, Operation};

/// Tombstones that go in one `multi`, which has a bound on its size.
const TOMBSTONES_AT_ONCE: usize = 1000;

/// What was forgotten of a data node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// It was a member.
    pub member: bool,
    /// The removed tables whose tombstones waited for it.
    pub tombstones: BTreeSet<TableId>,
}

/// Forgets a data node: it is a member no more, and nobody waits any longer for it to destroy what it has of
/// removed tables. A node of which there is nothing to forget is a success.
///
/// [`Error::StillAlive`] if its ephemeral is there. ZooKeeper can't check that a znode is absent, so the same
/// `multi` makes it and takes it away again: that fails as long as the node is alive.
///
/// A node that comes back all the same registers again. It finds no tombstones, so what it has of tables that
/// were removed is quarantined, not destroyed. In `/deleted/<table>` it is noted that it may have some, so that such a
/// table is not listed again; not so of a table whose creation was undone, which may be.
pub async fn forget_node(store: &dyn Coordination, node: NodeId) -> Result<Forgotten, Error> {
    let mut attempts = Attempts::new();
    let mut forgotten = Forgotten::default();
    loop {
        let trace = trace(store, node).await;
        let trace = trace.map_err(|error| attempts.honest_read(error))?;
        forgotten.member |= trace.member.is_some();
        forgotten
            .tombstones
            .extend(trace.tombstones.iter().map(|(table, _)| *table));
        let Some(operations) = trace.removal(node) else {
            return Ok(forgotten);
        };
        // Once the member is gone there are no new tombstones for it. One that came just before is found by
        // the next look.
        if let Err(error) = store.multi(operations).await {
            attempts.look(store, error).await?;
        }
    }
}

/// What there is of a node that is not alive.
struct Trace {
    /// The version of the member's record, which need not be readable.
    member: Option<i32>,
    /// The removed tables with a tombstone of this node, and their records, if they can be read and the node is to be noted
    /// there: it is not if what it has of the table would not be destroyed either.
    tombstones: Vec<(TableId, Option<Versioned<DeletedRecord>>)>,
}

async fn trace(store: &dyn Coordination, node: NodeId) -> Result<Trace, Error> {
    let live = Node::Live(node);
    if let Some(znode) = store.get(&live.path()).await?
        && !mutant!(AliveIsForgotten)
    {
        let record = decode_at::<LiveNodeRecord>(&live, &znode.data).ok();
        let (host, data_dir) = record.map(|r| (r.host, r.data_dir)).unwrap_or_default();
        return Err(Error::StillAlive {
            node,
            host,
            data_dir,
        });
    }
    let member = store.get(&Node::Member(node).path()).await?;
    let tombstones = read_tombstones(store).await?.into_iter();
    let ours = tombstones.filter(|(_, nodes)| nodes.contains(&node));
    let mut tombstones = Vec::new();
    for (table, _) in ours {
        let record = match is_undone(store, table, node).await {
            Ok(true) => Ok(None),
            Ok(false) => read(store, &Node::Tombstones(table)).await,
            Err(error) => Err(error),
        };
        match record {
            Ok(record) => tombstones.push((table, record)),
            Err(Error::Record(_)) => tombstones.push((table, None)),
            Err(error) => return Err(error),
        }
    }
    Ok(Trace {
        member: member.map(|znode| znode.stat.version),
        tombstones,
    })
}

impl Trace {
    /// The next `multi`; `None` if there is nothing left.
    fn removal(&self, node: NodeId) -> Option<Vec<Operation>> {
        if self.member.is_none() && self.tombstones.is_empty() {
            return None;
        }
        let mut operations = Vec::new();
        if !mutant!(AliveIsForgotten) {
            operations.extend(absent(&Node::Live(node)));
        }
        if let Some(version) = self.member {
            operations.push(Operation::delete(Node::Member(node).path(), version));
        }
        for (table, record) in self.tombstones.iter().take(TOMBSTONES_AT_ONCE) {
            // Paths with ids of removed tables are never made again.
            let tombstone = Node::Tombstone(*table, node).path();
            operations.push(Operation::delete(tombstone, ANY_VERSION));
            if let Some(Versioned { value, version }) = record {
                let mut record = value.clone();
                record.forgotten.insert(node);
                let parent = Node::Tombstones(*table).path();
                operations.push(Operation::set(parent, record.encode(), *version));
            }
        }
        Some(operations)
    }
}
