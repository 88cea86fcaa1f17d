//! The timestamp of a key never falls, deletes included (Idziorek et al., ATC 2023, section 4.2): else a late duplicate of a
//! prepare could apply a finished transaction once more.
//!
//! An absent key has its shard's `max_delete_timestamp`. Of a key with a placeholder nothing is said: the shard may delete
//! other keys meanwhile, at later timestamps than the one at which the transaction will write.

use std::collections::{BTreeMap, BTreeSet};

use model::{ShardId, Timestamp};

use super::stored::{StoredShard, stored};
use super::{Disks, Invariant};

/// Of each key, the highest applied index at which it was seen, and its timestamp then.
#[derive(Default)]
pub(super) struct Timestamps {
    seen: BTreeMap<ShardId, BTreeMap<Vec<u8>, (u64, Timestamp)>>,
}

impl Invariant for Timestamps {
    fn name(&self) -> &'static str {
        "timestamps-never-fall"
    }

    fn disks(&mut self, disks: &Disks<'_>) -> Result<(), String> {
        for shard in stored(disks)? {
            let fell = self.look(&shard);
            fell.map_err(|fell| format!("host {}, shard {}: {fell}", disks.host.0, shard.shard))?;
        }
        Ok(())
    }
}

impl Timestamps {
    fn look(&mut self, shard: &StoredShard) -> Result<(), String> {
        let seen = self.seen.entry(shard.shard).or_default();
        let index = shard.meta.applied_index;
        let stored: BTreeSet<_> = shard.items.iter().map(|(key, _)| key).collect();
        for (key, known) in seen.iter_mut().filter(|(key, _)| !stored.contains(key)) {
            rises(key, known, (index, shard.meta.max_delete_timestamp))?;
        }
        for (key, item) in shard.items.iter().filter(|(_, item)| item.value.is_some()) {
            let now = (index, item.timestamp);
            let known = seen.entry(key.clone()).or_insert(now);
            rises(key, known, now)?;
        }
        Ok(())
    }
}

/// Compares two looks at a key, in the order of the log, and keeps the later one.
fn rises(key: &[u8], known: &mut (u64, Timestamp), now: (u64, Timestamp)) -> Result<(), String> {
    let (earlier, later) = (now.min(*known), now.max(*known));
    if earlier.1 > later.1 {
        return Err(format!(
            "{:?} had the timestamp {} at index {} and {} at index {}",
            String::from_utf8_lossy(key),
            earlier.1,
            earlier.0,
            later.1,
            later.0
        ));
    }
    *known = later;
    Ok(())
}
