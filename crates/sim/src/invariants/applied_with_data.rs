//! The applied index and the data agree: a store never shows an index without the data of that index, or the
//! data without the index. (etcd 3.5 lost this under load and served inconsistent data for months.)
//!
//! The content that is there is read and compared with the counts and the hash that were written in the
//! batch of the applied index. Of a replica that is being made or destroyed there may be a part: its record says
//! so, and nothing reads it. Everything else must be there, and readable.

use std::collections::BTreeSet;

use storage::meta::ReplicaState;
use storage::snapshot::{stored_shards, verify_shard};
use storage::state::StateStore as _;

use super::found::records;
use super::{Disks, Invariant};

/// See the [module](self).
pub(super) struct AppliedWithData;

impl Invariant for AppliedWithData {
    fn name(&self) -> &'static str {
        "applied-with-data"
    }

    fn disks(&mut self, disks: &Disks<'_>) -> Result<(), String> {
        let view = disks.store.view();
        let records = records(&*view)?;
        let stored = stored_shards(&*view).map_err(|error| error.to_string())?;
        let hosted = records
            .iter()
            .filter(|(_, state)| **state == ReplicaState::Hosted);
        let there: BTreeSet<_> = hosted.map(|(shard, _)| *shard).chain(stored).collect();
        for shard in there {
            match records.get(&shard) {
                Some(ReplicaState::Hosted) => {}
                Some(_) => continue,
                None => {
                    return Err(format!(
                        "host {} has something of shard {shard}, which it knows nothing of",
                        disks.host.0
                    ));
                }
            }
            let verified = verify_shard(&*view, shard).map_err(|error| {
                format!("host {} can't read shard {shard}: {error}", disks.host.0)
            })?;
            if !verified.agrees() {
                return Err(format!(
                    "on host {} shard {shard} at index {} holds {} items with hash {:?}, its meta says {} and {:?}",
                    disks.host.0,
                    verified.applied_index,
                    verified.items,
                    verified.content,
                    verified.stored.items,
                    verified.stored_content
                ));
            }
        }
        Ok(())
    }
}
