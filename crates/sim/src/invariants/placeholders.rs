//! Nothing stands in the place of an absent key but the intent of a transaction (transactions, `machine::transact`): with the
//! intent goes its placeholder, and a delete leaves nothing.

use super::stored::stored;
use super::{Disks, Invariant};

/// See the [module](self).
pub(super) struct Placeholders;

impl Invariant for Placeholders {
    fn name(&self) -> &'static str {
        "placeholders-have-intents"
    }

    fn disks(&mut self, disks: &Disks<'_>) -> Result<(), String> {
        for shard in stored(disks)? {
            let mut items = shard.items.iter();
            let empty = items.find(|(_, item)| item.value.is_none() && item.intent.is_none());
            if let Some((key, _)) = empty {
                return Err(format!(
                    "host {} has an item for {:?} in shard {}, at index {}, with neither a value nor an intent",
                    disks.host.0,
                    String::from_utf8_lossy(key),
                    shard.shard,
                    shard.meta.applied_index
                ));
            }
        }
        Ok(())
    }
}
