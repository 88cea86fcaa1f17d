//! No orphans (T3): at rest a node holds what its tables list for it, and nothing else; of everything else it
//! remembers no more than that it was destroyed.

use std::collections::{BTreeMap, BTreeSet};

use model::ShardId;
use storage::keys::{self, Key};
use storage::meta::{ReplicaRecord, ReplicaState};
use storage::snapshot::stored_shards;
use storage::state::{StateStore as _, StateView};

use super::{Invariant, Rest};
use crate::cluster::wanted_shards;

/// See the [module](self).
pub(super) struct NoOrphans;

impl Invariant for NoOrphans {
    fn name(&self) -> &'static str {
        "no-orphans"
    }

    fn at_rest(&mut self, rest: &Rest<'_>) -> Result<(), String> {
        let wanted = wanted_shards(rest.tree)?;
        for disks in rest.nodes {
            let view = disks.store.view();
            let held: BTreeSet<ShardId> = stored_shards(&*view)
                .map_err(|error| error.to_string())?
                .into_iter()
                .collect();
            if let Some(orphan) = held.iter().find(|shard| !wanted.contains_key(shard)) {
                return Err(format!(
                    "host {} holds shard {orphan}, which no table lists",
                    disks.host.0
                ));
            }
            for (shard, state) in records(&*view)? {
                let as_it_should = match state {
                    ReplicaState::Hosted => wanted.contains_key(&shard),
                    ReplicaState::Destroyed => !wanted.contains_key(&shard),
                    ReplicaState::Building | ReplicaState::Destroying => false,
                };
                if !as_it_should {
                    return Err(format!(
                        "host {} remembers shard {shard} as {state:?}",
                        disks.host.0
                    ));
                }
            }
        }
        Ok(())
    }
}

/// What a node remembers of its replicas.
fn records(view: &dyn StateView) -> Result<BTreeMap<ShardId, ReplicaState>, String> {
    let mut records = BTreeMap::new();
    for entry in view.scan(&keys::replicas()) {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        let key = Key::decode(&key).map_err(|error| error.to_string())?;
        let record = ReplicaRecord::decode(&value).map_err(|error| error.to_string())?;
        if let Key::Replica(shard) = key {
            records.insert(shard, record.state);
        }
    }
    Ok(records)
}
