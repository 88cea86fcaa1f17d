//! The replicas that a node keeps out, for those who ask what to do with them.
//!
//! A replica's record says what its table was: name, number of shards, this shard's hashes and nodes. Together the nodes
//! can so describe a table of which the coordination store knows nothing. What its state holds is read when somebody
//! asks; that does not happen often.

use std::collections::BTreeMap;

use api::internal::QuarantinedReplica;
use model::{ShardId, TableId};
use parking_lot::RwLock;
use storage::meta::{ReplicaRecord, ShardMeta};
use storage::snapshot::load_meta;
use storage::state::StateView;

/// See the [module](self). Written by the keeper after each comparison.
#[derive(Default)]
pub(crate) struct Quarantine {
    replicas: RwLock<BTreeMap<ShardId, KeptOut>>,
}

/// A replica that is kept out.
#[derive(Clone)]
pub(crate) struct KeptOut {
    /// What the node knows of it.
    pub(crate) record: ReplicaRecord,
    /// Why it could not take part, or empty.
    pub(crate) fault: String,
    /// What its log has beyond its state seals it.
    pub(crate) seal_in_log: bool,
}

impl Quarantine {
    /// These are kept out now.
    pub(super) fn set(&self, replicas: BTreeMap<ShardId, KeptOut>) {
        *self.replicas.write() = replicas;
    }

    /// How many are.
    pub(crate) fn count(&self) -> u32 {
        self.replicas.read().len() as u32
    }

    /// Those of one table, or all.
    pub(crate) fn of(&self, table: Option<TableId>) -> BTreeMap<ShardId, KeptOut> {
        let replicas = self.replicas.read();
        let wanted = replicas
            .iter()
            .filter(|(shard, _)| table.is_none_or(|table| shard.table == table));
        wanted.map(|(&shard, out)| (shard, out.clone())).collect()
    }
}

impl KeptOut {
    /// What there is to say of it. Reads from the store.
    pub(crate) fn describe(self, shard: ShardId, view: &dyn StateView) -> QuarantinedReplica {
        let Self {
            record,
            mut fault,
            seal_in_log,
        } = self;
        let meta = match load_meta(view, shard) {
            Ok(Some((_, meta))) => meta,
            Ok(None) => {
                if fault.is_empty() {
                    "its state is missing".clone_into(&mut fault);
                }
                ShardMeta::default()
            }
            Err(error) => {
                fault = error.to_string();
                ShardMeta::default()
            }
        };
        QuarantinedReplica {
            table: shard.table.0,
            shard: shard.index,
            table_name: record.table_name.to_string(),
            table_shards: record.table_shards,
            first_hash: record.hashes.0,
            last_hash: record.hashes.1,
            voters: record.voters.iter().map(|node| node.0).collect(),
            created_millis: record.created_millis,
            items: meta.items,
            bytes: meta.bytes,
            sealed: meta.sealed || seal_in_log,
            fault,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use model::NodeId;
    use storage::meta::ReplicaState;
    use storage::state::{MemoryStore, StateStore};

    use super::*;
    use crate::machine::Machine;

    fn shard(table: u64) -> ShardId {
        ShardId {
            table: TableId(table),
            index: 1,
        }
    }

    fn kept_out() -> KeptOut {
        KeptOut {
            record: ReplicaRecord {
                state: ReplicaState::Hosted,
                voters: vec![NodeId(1), NodeId(2)],
                table_name: "people".parse().unwrap(),
                table_shards: 2,
                hashes: (3, 4),
                created_millis: 5,
                was_available: true,
            },
            fault: String::new(),
            seal_in_log: false,
        }
    }

    #[test]
    fn a_replica_says_what_its_table_was_and_whether_it_could_take_part() {
        let store: Arc<dyn StateStore> = Arc::new(MemoryStore::new());
        Machine::create(store.clone(), shard(7), vec![NodeId(1)]).unwrap();
        let described = kept_out().describe(shard(7), &*store.view());
        assert_eq!((described.table, described.shard), (7, 1));
        assert_eq!(
            (&*described.table_name, described.table_shards),
            ("people", 2)
        );
        assert_eq!((described.first_hash, described.last_hash), (3, 4));
        assert_eq!(
            (described.voters, described.fault),
            (vec![1, 2], String::new())
        );
        assert!(!described.sealed);
        let sealed = KeptOut {
            seal_in_log: true,
            ..kept_out()
        };
        assert!(sealed.describe(shard(7), &*store.view()).sealed);
        let stateless = kept_out().describe(shard(8), &*store.view());
        assert_eq!(stateless.fault, "its state is missing");
    }

    #[test]
    fn one_table_or_all_can_be_asked_for() {
        let quarantine = Quarantine::default();
        quarantine.set([7, 8].map(|table| (shard(table), kept_out())).into());
        assert_eq!((quarantine.count(), quarantine.of(None).len()), (2, 2));
        let of_one = quarantine.of(Some(TableId(7)));
        assert_eq!(of_one.into_keys().collect::<Vec<_>>(), [shard(7)]);
    }
}
