//! No orphans (T3): at rest a node holds what its tables list for it, and nothing else.

use std::collections::BTreeSet;

use model::ShardId;
use storage::snapshot::stored_shards;
use storage::state::StateStore as _;

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
        }
        Ok(())
    }
}
