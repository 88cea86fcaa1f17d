//! Entries of the ledger that are lost, as in a coordination store that was restored from a backup: for some seconds, that
//! of every transaction whose commit some of its shards have applied and others not. Mostly its coordinator falls with it, so that others have to find out what it was.
//!
//! ```text
//! ledger        pending ─── committed ──┤✗
//! one shard       prepared ──── committed         knows what became of it, and has to be asked
//! another one     prepared ──────────────────────────────────────▶ committed
//! ```
//!
//! Nothing else of the ledger may be lost: an entry that nobody has applied yet is all that is known of its decision, and
//! one that is pending in a restored store is cancelled without a question (decisions 23 and 25).

use std::collections::{BTreeMap, BTreeSet};

use coordination::Znode;
use coordination::records::{EntryRecord, EntryState, decode_at};
use coordination::tree::Node;
use model::{ShardId, TransactionId};

use super::deletion::Known;
use crate::cluster::{Cluster, tables_of};
use crate::fabric::HostId;

/// See the [module](self).
pub(super) struct Losses {
    /// Transactions that some shard has committed, up to now.
    seen: usize,
}

impl Losses {
    /// From now on.
    pub(super) fn new(cluster: &Cluster) -> Self {
        let seen = cluster.invariants.commits().after(0).len();
        Self { seen }
    }

    /// Loses the entries of what was committed for the first time just now, and names their coordinators.
    pub(super) fn go_on(&mut self, cluster: &Cluster) -> Vec<HostId> {
        let committed = cluster.invariants.commits().after(self.seen);
        self.seen += committed.len();
        if committed.is_empty() {
            return Vec::new();
        }
        let tree = cluster.ensemble.tree();
        let known = Known::new(cluster);
        let mut coordinators = Vec::new();
        for (id, _, entry) in entries(&tree) {
            if committed.contains(&id) && is_half_applied(cluster, &tree, id, &entry) {
                cluster.say(|| format!("the entry of transaction {id} is lost"));
                cluster.ensemble.lose(&Node::Transaction(id).path());
                coordinators.extend(known.host_of_router(entry.router));
            }
        }
        coordinators
    }
}

fn is_half_applied(
    cluster: &Cluster,
    tree: &BTreeMap<String, Znode>,
    id: TransactionId,
    entry: &EntryRecord,
) -> bool {
    let applied = cluster.invariants.commits().of(id);
    let tables = tables_of(tree).unwrap_or_default();
    let mut shards: BTreeSet<ShardId> = BTreeSet::new();
    for participant in &entry.participants {
        let table = tables.iter().find(|table| table.id == participant.table);
        shards.extend(table.map(|table| table.shard_of(participant.key.hash())));
    }
    entry.state == EntryState::Committed && !applied.is_empty() && applied.len() < shards.len()
}

/// What is in the ledger, with the versions of the entries.
pub(super) fn entries(tree: &BTreeMap<String, Znode>) -> Vec<(TransactionId, i32, EntryRecord)> {
    let entries = tree.iter().filter_map(|(path, znode)| {
        let node @ Node::Transaction(id) = Node::parse(path).ok()? else {
            return None;
        };
        let record = decode_at::<EntryRecord>(&node, &znode.data).ok()?;
        Some((id, znode.stat.version, record))
    });
    entries.collect()
}
