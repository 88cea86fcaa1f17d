//! The division of the hash space into shards.
//!
//! The 2^64 key hashes are cut into as many ranges as a table has shards, as even as they come:
//!
//! | shards | ranges |
//! |---|---|
//! | 1 | `0000000000000000..=ffffffffffffffff` |
//! | 2 | `0000000000000000..=7fffffffffffffff`, `8000000000000000..=ffffffffffffffff` |

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::KeyHash;

/// The key hashes of one shard, both ends included.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HashRange {
    /// The lowest hash.
    #[serde(with = "hexadecimal")]
    pub first: u64,
    /// The highest hash.
    #[serde(with = "hexadecimal")]
    pub last: u64,
}

impl HashRange {
    /// Every hash.
    pub const ALL: Self = Self {
        first: 0,
        last: u64::MAX,
    };

    /// Whether a hash falls into this range.
    pub fn contains(&self, hash: KeyHash) -> bool {
        (self.first..=self.last).contains(&hash.0)
    }

    /// The whole hash space in `count` ranges of sizes that differ by one at most. None for 0.
    pub fn divide(count: u32) -> Vec<Self> {
        let start = |i: u32| ((u128::from(i) << 64) / u128::from(count.max(1))) as u64;
        (0..count)
            .map(|i| Self {
                first: start(i),
                last: if i + 1 == count {
                    u64::MAX
                } else {
                    start(i + 1) - 1
                },
            })
            .collect()
    }
}

impl fmt::Display for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}..={:016x}", self.first, self.last)
    }
}

impl fmt::Debug for HashRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HashRange({self})")
    }
}

/// Hashes in JSON are hexadecimal texts: its numbers end at 2^53.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    // serde asks for a reference.
    #[allow(clippy::trivially_copy_pass_by_ref)]
    pub(super) fn serialize<S: Serializer>(value: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{value:016x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u64::from_str_radix(&text, 16).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn ranges_cover_everything_once_and_are_even(count in 1u32..5000) {
            let ranges = HashRange::divide(count);
            prop_assert_eq!(ranges.len(), count as usize);
            prop_assert_eq!(ranges[0].first, 0);
            prop_assert_eq!(ranges[ranges.len() - 1].last, u64::MAX);
            for pair in ranges.windows(2) {
                prop_assert_eq!(pair[0].last + 1, pair[1].first);
            }
            let sizes = ranges.iter().map(|r| r.last - r.first);
            prop_assert!(sizes.clone().max().unwrap() - sizes.min().unwrap() <= 1);
        }
    }

    #[test]
    fn ranges_read_well_in_json() {
        let json = serde_json::to_string(&HashRange::divide(2)[0]).unwrap();
        assert_eq!(
            json,
            r#"{"first":"0000000000000000","last":"7fffffffffffffff"}"#
        );
        assert_eq!(
            serde_json::from_str::<HashRange>(&json).unwrap(),
            HashRange::divide(2)[0]
        );
    }
}
