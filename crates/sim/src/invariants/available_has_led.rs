//! What is available can be used: a table becomes available only when each of its shards has had a leader.

use std::collections::{BTreeMap, BTreeSet};

use coordination::Znode;
use model::{ShardId, Table, TableState};
use raft::Role;

use super::{Invariant, Turn};
use crate::cluster::tables_of;

/// The shards that have had a leader.
#[derive(Default)]
pub(super) struct AvailableHasLed {
    led: BTreeSet<ShardId>,
}

impl Invariant for AvailableHasLed {
    fn name(&self) -> &'static str {
        "available-has-led"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for (shard, replica) in turn.worker.replicas() {
            if replica.role() == Role::Leader {
                self.led.insert(shard);
            }
        }
        Ok(())
    }

    fn tables(&mut self, tree: &BTreeMap<String, Znode>) -> Result<(), String> {
        let tables = tables_of(tree)?;
        let available = tables
            .iter()
            .filter(|table| table.state == TableState::Available);
        let mut shards = available.flat_map(Table::shard_ids).map(|(id, _)| id);
        match shards.find(|shard| !self.led.contains(shard)) {
            Some(shard) => Err(format!(
                "the table of shard {shard} is available, and the shard has never had a leader"
            )),
            None => Ok(()),
        }
    }
}
