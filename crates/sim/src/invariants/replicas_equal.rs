//! Replicas are equal byte for byte at the same index: items, remembered identities and all that goes with
//! them, on whatever node, before and after whatever crash.

use std::collections::BTreeMap;

use model::ShardId;
use storage::keys;
use storage::meta::ReplicaState;
use storage::snapshot::load_meta;
use storage::state::{StateStore as _, StateView};

use super::found::records;
use super::{Disks, Invariant, Rest, digest};

/// What was seen of a shard at an index, and on which host first.
#[derive(Default)]
pub(super) struct ReplicasEqual {
    states: BTreeMap<(ShardId, u64), (u64, u8)>,
}

impl Invariant for ReplicasEqual {
    fn name(&self) -> &'static str {
        "replicas-equal"
    }

    fn disks(&mut self, disks: &Disks<'_>) -> Result<(), String> {
        for (shard, index, state) in states(disks)? {
            let seen = (state, disks.host.0);
            let first = *self.states.entry((shard, index)).or_insert(seen);
            if first.0 != state {
                return Err(format!(
                    "shard {shard} at index {index} is something else on host {} than on host {}",
                    disks.host.0, first.1
                ));
            }
        }
        Ok(())
    }

    fn at_rest(&mut self, rest: &Rest<'_>) -> Result<(), String> {
        let mut ends: BTreeMap<ShardId, (u64, u8)> = BTreeMap::new();
        for (disks, _) in rest.nodes {
            self.disks(disks)?;
            for (shard, index, _) in states(disks)? {
                // What must not run stays where it was.
                if rest.without_log.contains(&(disks.host, shard)) {
                    continue;
                }
                let first = *ends.entry(shard).or_insert((index, disks.host.0));
                if first.0 != index {
                    return Err(format!(
                        "at rest shard {shard} is at index {index} on host {}, at {} on host {}",
                        disks.host.0, first.0, first.1
                    ));
                }
            }
        }
        Ok(())
    }
}

/// Each replica that a node hosts, its applied index, and everything in it. Of one that is being made or destroyed
/// there may be a part, which nothing reads.
fn states(disks: &Disks<'_>) -> Result<Vec<(ShardId, u64, u64)>, String> {
    let view = disks.store.view();
    let records = records(&*view)?;
    let hosted = records
        .into_iter()
        .filter(|(_, state)| *state == ReplicaState::Hosted);
    hosted
        .map(|(shard, _)| {
            let (index, state) = state_of(&*view, shard)
                .map_err(|error| format!("host {}, shard {shard}: {error}", disks.host.0))?;
            Ok((shard, index, state))
        })
        .collect()
}

/// A shard's applied index and everything in it.
fn state_of(view: &dyn StateView, shard: ShardId) -> Result<(u64, u64), String> {
    let loaded = load_meta(view, shard).map_err(|error| error.to_string())?;
    let (generation, meta) = loaded.ok_or("its state is missing")?;
    let mut state = 0;
    for entry in view.scan(&keys::generation(shard, generation)) {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        state = digest([
            &u64::to_le_bytes(state)[..],
            keys::generation_part(&key),
            &value,
        ]);
    }
    Ok((meta.applied_index, state))
}
