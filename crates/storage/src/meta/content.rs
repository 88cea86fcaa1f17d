//! A hash of a set of items that changes with each item in constant time.

use std::fmt;
use std::ops::{AddAssign, SubAssign};

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_seed};

/// The hash of a multiset of items: the sum, modulo 2^128, of a hash of each.
///
/// A sum does not depend on the order, and what was added can be taken away again. So the same value comes
/// out whether it is kept up to date write by write or computed from scratch by a scan, and replicas of equal
/// content have equal hashes whatever way led there.
///
/// One item counts `xxh3_128(encoded item, seed = xxh3_64(key))`, where the key is its
/// [`item_part`](crate::keys::item_part), which is the same on all replicas. Replicas compare these values with each other
/// and they are stored, so the formula is pinned.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentHash(pub u128);

impl ContentHash {
    /// Of no items.
    pub const EMPTY: Self = Self(0);

    /// Of one item.
    pub fn of(key: &[u8], item: &[u8]) -> Self {
        Self(xxh3_128_with_seed(item, xxh3_64(key)))
    }
}

/// Adds items.
impl AddAssign for ContentHash {
    fn add_assign(&mut self, items: Self) {
        self.0 = self.0.wrapping_add(items.0);
    }
}

/// Takes away items that were added.
impl SubAssign for ContentHash {
    fn sub_assign(&mut self, items: Self) {
        self.0 = self.0.wrapping_sub(items.0);
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}
