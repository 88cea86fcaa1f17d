//! Keys and their hashes.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::limits;

/// The key of an item: a partition key, which alone decides the shard, and a sort key.
///
/// Sort keys are empty for now. They stand here from the first on-disk format on, so that they can come
/// without a migration.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key {
    /// Decides the shard, by its hash.
    pub partition: Bytes,
    /// Orders the items of one partition key. Empty for now.
    pub sort: Bytes,
}

/// Why bytes can't be a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// There is no item without a key.
    #[error("a key must have at least 1 byte")]
    Empty,
    /// Longer than [`limits::MAX_KEY_BYTES`].
    #[error("a key has at most {max} bytes, this one has {0}", max = limits::MAX_KEY_BYTES)]
    TooLong(usize),
}

impl Key {
    /// A key from a client, checked against the limits.
    pub fn new(partition: Bytes) -> Result<Self, InvalidKey> {
        match partition.len() {
            0 => Err(InvalidKey::Empty),
            n if n > limits::MAX_KEY_BYTES => Err(InvalidKey::TooLong(n)),
            _ => Ok(Self {
                partition,
                sort: Bytes::new(),
            }),
        }
    }

    /// The hash that decides the shard.
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(&self.partition)
    }
}

/// Shows the length and the hash only: keys are users' data and don't go to logs.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Key({} B, hash {:016x})",
            self.partition.len(),
            self.hash().0
        )
    }
}

/// `xxh3_64` (seed 0) of a partition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// The hash of a partition key.
    pub fn of(partition: &[u8]) -> Self {
        Self(xxh3_64(partition))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_1_to_2048_bytes() {
        assert_eq!(Key::new(Bytes::new()), Err(InvalidKey::Empty));
        assert!(Key::new(Bytes::from(vec![0; 2048])).is_ok());
        assert_eq!(
            Key::new(Bytes::from(vec![0; 2049])),
            Err(InvalidKey::TooLong(2049))
        );
    }

    #[test]
    fn the_hash_is_pinned_because_data_on_disk_is_placed_by_it() {
        assert_eq!(KeyHash::of(b"").0, 0x2d06_8005_38d3_94c2);
        assert_eq!(KeyHash::of(b"a").0, 0xe6c6_32b6_1e96_4e1f);
    }

    #[test]
    fn debug_shows_no_user_data() {
        let key = Key::new(Bytes::from_static(b"secret")).unwrap();
        assert!(!format!("{key:?}").contains("secret"));
    }
}
