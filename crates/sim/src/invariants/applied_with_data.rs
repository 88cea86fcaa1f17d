//! The applied index and the data agree: a store never shows an index without the data of that index, or the
//! data without the index. (etcd 3.5 lost this under load and served inconsistent data for months.)
//!
//! The content that is there is read and compared with the counts and the hash that were written in the
//! batch of the applied index.

use storage::snapshot::{stored_shards, verify_shard};
use storage::state::StateStore as _;

use super::{Disks, Invariant};

/// See the [module](self).
pub(super) struct AppliedWithData;

impl Invariant for AppliedWithData {
    fn name(&self) -> &'static str {
        "applied-with-data"
    }

    fn disks(&mut self, disks: &Disks<'_>) -> Result<(), String> {
        let view = disks.store.view();
        let shards = stored_shards(&*view).map_err(|error| error.to_string())?;
        for shard in shards {
            let Ok(verified) = verify_shard(&*view, shard) else {
                // Half made or half destroyed: its record says so, and nothing reads it.
                continue;
            };
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
