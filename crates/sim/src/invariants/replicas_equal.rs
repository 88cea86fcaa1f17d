//! Replicas are equal byte for byte at the same index: items, remembered identities and all that goes with
//! them, on whatever node, before and after whatever crash.

use std::collections::BTreeMap;

use model::ShardId;
use storage::keys;
use storage::snapshot::{load_meta, stored_shards};
use storage::state::{StateStore as _, StateView};

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
        let view = disks.store.view();
        let shards = stored_shards(&*view).map_err(|error| error.to_string())?;
        for shard in shards {
            let Some((index, state)) = state_of(&*view, shard)? else {
                continue;
            };
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
        for disks in rest.nodes {
            self.disks(disks)?;
            let view = disks.store.view();
            let shards = stored_shards(&*view).map_err(|error| error.to_string())?;
            for shard in shards {
                let Some((index, _)) = state_of(&*view, shard)? else {
                    continue;
                };
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

/// A shard's applied index and everything in it.
fn state_of(view: &dyn StateView, shard: ShardId) -> Result<Option<(u64, u64)>, String> {
    let Ok(Some((generation, meta))) = load_meta(view, shard) else {
        return Ok(None);
    };
    let mut state = 0;
    for entry in view.scan(&keys::generation(shard, generation)) {
        let (key, value) = entry.map_err(|error| error.to_string())?;
        state = digest([
            &u64::to_le_bytes(state)[..],
            keys::generation_part(&key),
            &value,
        ]);
    }
    Ok(Some((meta.applied_index, state)))
}
