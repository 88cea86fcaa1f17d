//! Tables: name, state, hash ranges and placement.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{HashRange, KeyHash, NodeId, ShardId, TableId, limits};

/// A table's name: 3 to 255 of `A-Z a-z 0-9 _ . -` (DynamoDB's rule).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TableName(String);

/// A text that can't be a table's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a table name has {min} to {max} characters of A-Z, a-z, 0-9, `_`, `.` and `-`",
    min = limits::MIN_TABLE_NAME_BYTES, max = limits::MAX_TABLE_NAME_BYTES)]
pub struct InvalidTableName;

impl TableName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TableName {
    type Error = InvalidTableName;

    fn try_from(name: String) -> Result<Self, InvalidTableName> {
        let length = limits::MIN_TABLE_NAME_BYTES..=limits::MAX_TABLE_NAME_BYTES;
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        if length.contains(&name.len()) && name.bytes().all(allowed) {
            Ok(Self(name))
        } else {
            Err(InvalidTableName)
        }
    }
}

impl FromStr for TableName {
    type Err = InvalidTableName;

    fn from_str(name: &str) -> Result<Self, InvalidTableName> {
        name.to_owned().try_into()
    }
}

impl From<TableName> for String {
    fn from(name: TableName) -> Self {
        name.0
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a table is in its life. It only moves forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TableState {
    /// Recorded; its shards are being built. Not for data yet.
    Creating,
    /// Every shard has had a leader: for use.
    Available,
    /// Being destroyed. For data it does not exist any more.
    Deleting,
}

impl fmt::Display for TableState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Available => "available",
            Self::Deleting => "deleting",
        })
    }
}

/// One shard of a table: the hashes that fall to it and the data nodes that hold its replicas.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// The key hashes of this shard.
    pub range: HashRange,
    /// The nodes of its replicas, all different.
    pub nodes: Vec<NodeId>,
}

/// A table as the coordination store records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    /// Never used again.
    pub id: TableId,
    /// Unique among the tables that exist.
    pub name: TableName,
    /// See [`TableState`].
    pub state: TableState,
    /// It went from `creating` to `deleting`: as far as the coordination store knows, nobody was ever served. A store that was
    /// restored from an older backup may be wrong about that.
    pub never_available: bool,
    /// Replicas of each shard: 3 or 5 (1 only in a cluster of one node).
    pub replicas: u32,
    /// When it was created, milliseconds since the Unix epoch by the creating router's clock.
    pub created_millis: u64,
    /// In the order of their ranges, which cover the hash space without gap or overlap.
    pub shards: Vec<Shard>,
}

/// What is wrong with a table record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidTable {
    /// Number of shards out of bounds.
    #[error("a table has 1 to {max} shards, this one has {0}", max = limits::MAX_SHARDS)]
    ShardCount(usize),
    /// The ranges don't cover the hash space once.
    #[error("the hash ranges of shard {0} and its neighbour leave a gap or overlap")]
    Ranges(usize),
    /// A shard without the right number of different nodes.
    #[error("shard {0} is not placed on as many different nodes as the table has replicas")]
    Placement(usize),
}

impl Table {
    /// The shard of a key hash.
    pub fn shard_of(&self, hash: KeyHash) -> ShardId {
        let index = self
            .shards
            .partition_point(|shard| shard.range.last < hash.0);
        ShardId {
            table: self.id,
            index: index as u32,
        }
    }

    /// All shards with their ids.
    pub fn shard_ids(&self) -> impl Iterator<Item = (ShardId, &Shard)> {
        (0..).zip(&self.shards).map(|(index, shard)| {
            (
                ShardId {
                    table: self.id,
                    index,
                },
                shard,
            )
        })
    }

    /// Checks a record that was read from outside.
    pub fn validate(&self) -> Result<(), InvalidTable> {
        if !(1..=limits::MAX_SHARDS as usize).contains(&self.shards.len()) {
            return Err(InvalidTable::ShardCount(self.shards.len()));
        }
        let mut next = Some(0);
        for (i, shard) in self.shards.iter().enumerate() {
            if next != Some(shard.range.first) || shard.range.last < shard.range.first {
                return Err(InvalidTable::Ranges(i));
            }
            next = shard.range.last.checked_add(1);
            let mut nodes = shard.nodes.clone();
            nodes.sort_unstable();
            nodes.dedup();
            if nodes.len() != shard.nodes.len() || nodes.len() != self.replicas as usize {
                return Err(InvalidTable::Placement(i));
            }
        }
        match next {
            None => Ok(()),
            Some(_) => Err(InvalidTable::Ranges(self.shards.len() - 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn table(shards: u32) -> Table {
        Table {
            id: TableId(1),
            name: "people".parse().unwrap(),
            state: TableState::Available,
            never_available: false,
            replicas: 3,
            created_millis: 0,
            shards: HashRange::divide(shards)
                .into_iter()
                .map(|range| Shard {
                    range,
                    nodes: vec![NodeId(1), NodeId(2), NodeId(3)],
                })
                .collect(),
        }
    }

    #[test]
    fn names_follow_dynamodbs_rule() {
        for name in ["abc", "A.b-c_9", &"x".repeat(255)] {
            assert!(name.parse::<TableName>().is_ok(), "{name}");
        }
        for name in ["", "ab", "a b", "abé", "a/b", &"x".repeat(256)] {
            assert!(name.parse::<TableName>().is_err(), "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_hash_falls_to_the_shard_whose_range_contains_it(shards in 1u32..200, hash: u64) {
            let table = table(shards);
            let shard = table.shard_of(KeyHash(hash));
            prop_assert!(table.shards[shard.index as usize].range.contains(KeyHash(hash)));
        }
    }

    #[test]
    fn a_record_with_a_gap_an_overlap_or_a_doubled_node_is_refused() {
        assert_eq!(table(4).validate(), Ok(()));
        let mut gap = table(4);
        gap.shards[1].range.first += 1;
        assert_eq!(gap.validate(), Err(InvalidTable::Ranges(1)));
        let mut short = table(4);
        short.shards.pop();
        assert_eq!(short.validate(), Err(InvalidTable::Ranges(2)));
        let mut doubled = table(4);
        doubled.shards[2].nodes[1] = NodeId(1);
        assert_eq!(doubled.validate(), Err(InvalidTable::Placement(2)));
        let mut empty = table(1);
        empty.shards.clear();
        assert_eq!(empty.validate(), Err(InvalidTable::ShardCount(0)));
    }
}
