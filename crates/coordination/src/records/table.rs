//! The record of a table, which must fit into one znode with 4096 shards of 5 replicas.
//!
//! Written out, with every hash range and every node id in each shard, it would come close to ZooKeeper's
//! 1 MiB. So the hash ranges are left out while they are the even division that every table starts with,
//! the nodes are listed once, and the shards name them by their position in that list:
//!
//! ```text
//! {"format":1,"id":"00000000000000aa","name":"people","state":"available","replicas":3,
//!  "created_millis":1700000000000,
//!  "nodes":["0000000000000001","0000000000000002","0000000000000003","0000000000000004"],
//!  "shards":[[0,1,2],[1,2,3]]}
//! ```
//!
//! | field | when |
//! |---|---|
//! | `nodes`, `shards` | always; the shards in the order of their hash ranges |
//! | `starts` | only if the ranges are uneven: the first hash of each shard |
//! | `never_available` | only while a table that was still `creating` is being deleted |

use bytes::Bytes;
use model::{HashRange, NodeId, Shard, Table, TableId, TableName, TableState};
use serde::{Deserialize, Serialize};

use super::{FORMAT, Record, RecordFault, from_json, to_json};
use crate::tree::Node;

#[derive(Serialize, Deserialize)]
struct Encoded {
    format: u32,
    id: TableId,
    name: TableName,
    state: TableState,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    never_available: bool,
    replicas: u32,
    created_millis: u64,
    nodes: Vec<NodeId>,
    shards: Vec<Vec<u32>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    starts: Option<Vec<String>>,
}

impl Record for Table {
    fn encode(&self) -> Bytes {
        to_json(&Encoded::from(self))
    }

    fn decode_content(data: &[u8]) -> Result<Self, RecordFault> {
        let table = Self::try_from(from_json::<Encoded>(data)?)?;
        table.validate().map_err(RecordFault::Table)?;
        Ok(table)
    }

    fn belongs_to(&self, node: &Node) -> bool {
        *node == Node::Table(self.id)
    }
}

impl From<&Table> for Encoded {
    fn from(table: &Table) -> Self {
        let mut nodes: Vec<NodeId> = table
            .shards
            .iter()
            .flat_map(|shard| shard.nodes.iter().copied())
            .collect();
        nodes.sort_unstable();
        nodes.dedup();
        // Every node is in the list, so the search finds it.
        let position = |node| nodes.partition_point(|other| other < node) as u32;
        let shards = table
            .shards
            .iter()
            .map(|shard| shard.nodes.iter().map(position).collect())
            .collect();
        let even = HashRange::divide(table.shards.len() as u32);
        let starts = (!even
            .iter()
            .eq(table.shards.iter().map(|shard| &shard.range)))
        .then(|| {
            table
                .shards
                .iter()
                .map(|shard| format!("{:016x}", shard.range.first))
                .collect()
        });
        Self {
            format: FORMAT,
            id: table.id,
            name: table.name.clone(),
            state: table.state,
            never_available: table.never_available,
            replicas: table.replicas,
            created_millis: table.created_millis,
            nodes,
            shards,
            starts,
        }
    }
}

impl TryFrom<Encoded> for Table {
    type Error = RecordFault;

    fn try_from(encoded: Encoded) -> Result<Self, RecordFault> {
        let ranges = match &encoded.starts {
            None => HashRange::divide(encoded.shards.len() as u32),
            Some(starts) => ranges_from(starts, encoded.shards.len())?,
        };
        let node = |position: &u32| {
            encoded
                .nodes
                .get(*position as usize)
                .copied()
                .ok_or_else(|| {
                    RecordFault::Malformed(format!("there is no node at position {position}"))
                })
        };
        let shards = ranges
            .into_iter()
            .zip(&encoded.shards)
            .map(|(range, positions)| {
                let nodes = positions.iter().map(node).collect::<Result<_, _>>()?;
                Ok(Shard { range, nodes })
            })
            .collect::<Result<_, RecordFault>>()?;
        Ok(Self {
            id: encoded.id,
            name: encoded.name,
            state: encoded.state,
            never_available: encoded.never_available,
            replicas: encoded.replicas,
            created_millis: encoded.created_millis,
            shards,
        })
    }
}

/// The ranges that begin at these hashes, each up to the next. What makes no sense, starts that don't grow
/// say, comes out as ranges that [`Table::validate`] refuses.
fn ranges_from(starts: &[String], shards: usize) -> Result<Vec<HashRange>, RecordFault> {
    if starts.len() != shards {
        return Err(RecordFault::Malformed(format!(
            "{} shards have {} hash ranges",
            shards,
            starts.len()
        )));
    }
    let starts: Vec<u64> = starts
        .iter()
        .map(|start| u64::from_str_radix(start, 16))
        .collect::<Result<_, _>>()
        .map_err(|error| RecordFault::Malformed(error.to_string()))?;
    let lasts = starts
        .iter()
        .skip(1)
        .map(|next| next.wrapping_sub(1))
        .chain([u64::MAX]);
    Ok(starts
        .iter()
        .zip(lasts)
        .map(|(&first, last)| HashRange { first, last })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::limits::{MAX_SHARDS, MAX_TABLE_NAME_BYTES, MAX_ZNODE_BYTES};
    use model::table::InvalidTable;
    use proptest::prelude::*;

    fn table(shards: u32, replicas: u32, nodes: u64) -> Table {
        let place = |shard: u64, replica: u64| {
            // Spread over all 64 bits, as random ids are.
            NodeId(
                ((shard * u64::from(replicas) + replica) % nodes)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15),
            )
        };
        Table {
            id: TableId(0xaa),
            name: "people".parse().unwrap(),
            state: TableState::Available,
            never_available: false,
            replicas,
            created_millis: 1_700_000_000_000,
            shards: (0u64..)
                .zip(HashRange::divide(shards))
                .map(|(shard, range)| Shard {
                    range,
                    nodes: (0..u64::from(replicas)).map(|r| place(shard, r)).collect(),
                })
                .collect(),
        }
    }

    /// Moves every inner boundary by one, so that no range is implied.
    fn uneven(mut table: Table) -> Table {
        for i in 1..table.shards.len() {
            table.shards[i].range.first += 1;
            table.shards[i - 1].range.last += 1;
        }
        table
    }

    #[test]
    fn the_json_is_pinned_and_readable() {
        let mut table = table(2, 3, 6);
        for (i, shard) in table.shards.iter_mut().enumerate() {
            shard.nodes = (1..=3).map(|n| NodeId(n + i as u64)).collect();
        }
        assert_eq!(
            std::str::from_utf8(&table.encode()).unwrap(),
            r#"{"format":1,"id":"00000000000000aa","name":"people","state":"available","replicas":3,"created_millis":1700000000000,"nodes":["0000000000000001","0000000000000002","0000000000000003","0000000000000004"],"shards":[[0,1,2],[1,2,3]]}"#
        );
    }

    #[test]
    fn a_table_that_was_never_available_says_so_and_one_that_does_not_say_was() {
        let mut table = table(1, 3, 6);
        let plain = table.encode();
        assert!(!Table::decode("/", &plain).unwrap().never_available);
        table.never_available = true;
        let marked = table.encode();
        let text = std::str::from_utf8(&marked).unwrap();
        assert!(text.contains(r#""never_available":true"#), "{text}");
        assert_eq!(Table::decode("/", &marked), Ok(table));
    }

    #[test]
    fn the_largest_table_fits_into_a_znode_whatever_its_placement_and_ranges() {
        for nodes in [5, 1000, u64::from(MAX_SHARDS) * 5] {
            let mut largest = uneven(table(MAX_SHARDS, 5, nodes));
            largest.name = "x".repeat(MAX_TABLE_NAME_BYTES).parse().unwrap();
            let encoded = largest.encode();
            assert!(encoded.len() < MAX_ZNODE_BYTES - 4096, "{}", encoded.len());
            assert_eq!(Table::decode("/", &encoded), Ok(largest));
        }
    }

    proptest! {
        #[test]
        fn tables_survive_their_encoding(
            shards in 1u32..100,
            replicas in proptest::sample::select(vec![1u32, 3, 5]),
            nodes in 5u64..50,
            is_uneven: bool,
        ) {
            let mut table = table(shards, replicas, nodes);
            if is_uneven {
                table = uneven(table);
            }
            prop_assert_eq!(Table::decode("/", &table.encode()), Ok(table));
        }
    }

    #[test]
    fn impossible_tables_are_refused() {
        let decode = |json: &str| {
            Table::decode("/tables/x", json.as_bytes())
                .unwrap_err()
                .fault
        };
        let json = |tail: &str| {
            format!(
                r#"{{"format":1,"id":"00000000000000aa","name":"people","state":"creating","replicas":3,"created_millis":0,"nodes":["0000000000000001","0000000000000002","0000000000000003"],{tail}}}"#
            )
        };
        assert!(matches!(
            decode(&json(r#""shards":[[0,1,7]]"#)),
            RecordFault::Malformed(_)
        ));
        assert_eq!(
            decode(&json(r#""shards":[[0,1,1]]"#)),
            RecordFault::Table(InvalidTable::Placement(0))
        );
        assert_eq!(
            decode(&json(r#""shards":[]"#)),
            RecordFault::Table(InvalidTable::ShardCount(0))
        );
        assert_eq!(
            decode(&json(
                r#""shards":[[0,1,2],[0,1,2]],"starts":["0000000000000000","0000000000000000"]"#
            )),
            RecordFault::Table(InvalidTable::Ranges(1))
        );
        assert!(matches!(
            decode(&json(r#""shards":[[0,1,2]],"starts":[]"#)),
            RecordFault::Malformed(_)
        ));
    }
}
