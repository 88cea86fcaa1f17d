//! A transaction is decided once (Idziorek et al., ATC 2023, section 4): whoever applies its decision, on whatever shard, applies
//! the same one.

use std::collections::BTreeMap;

use datanode::machine::{Command, CommandBatch};
use datanode::worker::ApplyJob;
use model::{ShardId, TransactionId};
use raft::EntryKind;

use super::{Invariant, Turn};

/// Whether it was committed, and the shard where that was seen first.
#[derive(Default)]
pub(super) struct DecidedOnce {
    decisions: BTreeMap<TransactionId, (bool, ShardId)>,
}

impl Invariant for DecidedOnce {
    fn name(&self) -> &'static str {
        "decided-once"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for job in &turn.outputs.apply {
            let ApplyJob::Entries { shard, entries, .. } = job else {
                continue;
            };
            let commands = entries.iter().filter(|e| e.kind == EntryKind::Commands);
            for entry in commands {
                let Ok(batch) = CommandBatch::decode(&entry.payload) else {
                    continue;
                };
                for command in batch.commands {
                    self.decided(*shard, &command)?;
                }
            }
        }
        Ok(())
    }
}

impl DecidedOnce {
    fn decided(&mut self, shard: ShardId, command: &Command) -> Result<(), String> {
        let Command::Decide {
            transaction,
            commit,
            ..
        } = *command
        else {
            return Ok(());
        };
        let (first, elsewhere) = *self.decisions.entry(transaction).or_insert((commit, shard));
        if first == commit {
            return Ok(());
        }
        let word = |commit| if commit { "committed" } else { "cancelled" };
        Err(format!(
            "transaction {transaction} is {} on shard {shard} and was {} on shard {elsewhere}",
            word(commit),
            word(first)
        ))
    }
}
