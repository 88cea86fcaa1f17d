//! From the keys of a request to the shards that they lie in.
//!
//! Tables are looked up once, and from then on stand for themselves by their ids: a table that is made again under its
//! name is none of the transaction's.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::{Error, Reason};
use model::{Key, Participant, ShardId, TableId};
use tokio::time::Instant;

use crate::directory::TableEntry;
use crate::state::State;

/// The keys of one shard.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) shard: ShardId,
    /// As it was looked up. `None`: there is no such table any more.
    pub(crate) table: Option<Arc<TableEntry>>,
    /// Which of the transaction's keys lie in it, in their order.
    pub(crate) positions: Vec<usize>,
}

/// The keys of a request, by shard; groups are in the order of shard ids.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) groups: Vec<Group>,
    pub(crate) participants: Vec<Participant>,
}

impl State {
    /// Finds the shards of these keys, each given as table name and key. `field` is what the request calls them.
    pub(crate) async fn plan(
        &self,
        field: &str,
        keys: &[(&str, &Key)],
        deadline: Instant,
    ) -> Result<Plan, Error> {
        let mut tables: BTreeMap<&str, Arc<TableEntry>> = BTreeMap::new();
        for &(name, _) in keys {
            if let Entry::Vacant(place) = tables.entry(name) {
                place.insert(self.directory.table_for_data(name, deadline).await?);
            }
        }
        let mut seen = BTreeSet::new();
        let mut placed = Vec::with_capacity(keys.len());
        for (position, &(name, key)) in keys.iter().enumerate() {
            let Some(table) = tables.get(name) else {
                continue;
            };
            if !seen.insert((table.value.id, key)) {
                let message = format!(
                    "a key can be there once: the one at position {position} is there before"
                );
                return Err(Error::invalid(field, message));
            }
            placed.push((
                Participant {
                    table: table.value.id,
                    key: key.clone(),
                },
                Some(Arc::clone(table)),
            ));
        }
        group(placed)
    }
}

/// Groups keys by shard, each with its table's record if there is one. Of a table that is gone every key is in one group.
pub(crate) fn group(placed: Vec<(Participant, Option<Arc<TableEntry>>)>) -> Result<Plan, Error> {
    let mut groups: BTreeMap<ShardId, Group> = BTreeMap::new();
    let mut participants = Vec::with_capacity(placed.len());
    for (position, (participant, table)) in placed.into_iter().enumerate() {
        let shard = match &table {
            Some(entry) => entry.value.shard_of(participant.key.hash()),
            None => ShardId {
                table: participant.table,
                index: 0,
            },
        };
        if let Some(entry) = &table
            && entry.value.shards.len() <= shard.index as usize
        {
            // Can't be: records are validated when they are read.
            return Err(corrupt(participant.table));
        }
        let group = groups.entry(shard).or_insert_with(|| Group {
            shard,
            table,
            positions: Vec::new(),
        });
        group.positions.push(position);
        participants.push(participant);
    }
    Ok(Plan {
        groups: groups.into_values().collect(),
        participants,
    })
}

fn corrupt(table: TableId) -> Error {
    Error::new(
        Reason::Corruption,
        format!("the record of table {table} has no shard for a key"),
    )
}
