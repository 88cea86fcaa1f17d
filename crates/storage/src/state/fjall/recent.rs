//! What was written last, by key: a cache in front of the tree.
//!
//! Reading an item, and applying a command, begins with a search in the tree, from level to level of a skip list, each step a cache
//! line that is somewhere else; here it is one look. Reads gain by that. A Put gains nothing: keeping its item costs what looking up the
//! old one saves (`docs/performance.md`, "The small parts").
//!
//! It can't show anything that the tree does not hold, because only writes fill it:
//!
//! | who | does |
//! |---|---|
//! | a write, once the tree has it, before it returns | replaces what is kept of its keys, or forgets it |
//! | a read that finds a key here | is done |
//! | a read that does not | reads the tree, and leaves nothing behind |
//!
//! Writes come one after the other (the store holds a lock over both steps), and no read ever puts anything in, so an older value
//! can't come after a newer one. While a write is going on a read may see the old value, as [`StateStore::get`] says, even after another has seen
//! the new one.
//!
//! Items only: nobody reads the other kinds of key while a shard serves.
//!
//! [`StateStore::get`]: crate::state::StateStore::get

use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::keys;

/// What an entry takes beside the bytes of key and value: two handles with their counters, its place in the table.
const ENTRY_BYTES: usize = 192;
/// For the size of the first tables only.
const TYPICAL_ENTRY_BYTES: u64 = 512;

/// See the [module](self).
pub(super) struct Recent {
    kept: Cache<Bytes, Bytes, InBytes>,
    /// Also what is no item.
    everything: bool,
}

#[derive(Clone)]
struct InBytes;

impl Weighter<Bytes, Bytes> for InBytes {
    fn weight(&self, key: &Bytes, value: &Bytes) -> u64 {
        (key.len() + value.len() + ENTRY_BYTES) as u64
    }
}

impl Recent {
    /// Keeps up to so many bytes.
    pub(super) fn new(bytes: u64, everything: bool) -> Self {
        let entries = usize::try_from(bytes / TYPICAL_ENTRY_BYTES).unwrap_or(usize::MAX);
        Self {
            kept: Cache::with_weighter(entries, bytes, InBytes),
            everything,
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.kept.get(key)
    }

    /// Whether what is written under a key is kept.
    pub(super) fn wants(&self, key: &[u8]) -> bool {
        self.everything || keys::is_item(key)
    }

    /// The tree has taken this in.
    pub(super) fn wrote(&self, key: Bytes, value: Option<Bytes>) {
        match value {
            Some(value) => self.kept.insert(key, value),
            None => drop(self.kept.remove(&key)),
        }
    }
}
