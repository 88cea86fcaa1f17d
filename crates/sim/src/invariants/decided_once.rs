//! A transaction is decided once (Idziorek et al., ATC 2023, section 4): whoever applies its decision, on whatever shard, applies
//! the same one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datanode::machine::{Command, CommandBatch};
use datanode::worker::ApplyJob;
use model::{ShardId, TransactionId};
use parking_lot::Mutex;
use raft::EntryKind;

use super::{Invariant, Turn};

/// Where transactions were committed, as far as a replica has applied it. Clones are the same.
#[derive(Clone, Default)]
pub struct Commits(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    shards: BTreeMap<TransactionId, BTreeSet<ShardId>>,
    /// In the order in which they were first seen.
    order: Vec<TransactionId>,
}

impl Commits {
    /// The shards that have applied a transaction's commit.
    pub fn of(&self, transaction: TransactionId) -> BTreeSet<ShardId> {
        let seen = self.0.lock();
        seen.shards.get(&transaction).cloned().unwrap_or_default()
    }

    /// Those that were first seen after so many others.
    pub fn after(&self, others: usize) -> Vec<TransactionId> {
        let seen = self.0.lock();
        seen.order.get(others..).unwrap_or_default().to_vec()
    }

    fn add(&self, transaction: TransactionId, shard: ShardId) {
        let mut seen = self.0.lock();
        let shards = seen.shards.entry(transaction).or_default();
        let first = shards.is_empty();
        shards.insert(shard);
        if first {
            seen.order.push(transaction);
        }
    }
}

/// Whether it was committed, and the shard where that was seen first.
pub(super) struct DecidedOnce {
    decisions: BTreeMap<TransactionId, (bool, ShardId)>,
    commits: Commits,
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
    /// Notes what is committed there.
    pub(super) fn new(commits: Commits) -> Self {
        Self {
            decisions: BTreeMap::new(),
            commits,
        }
    }

    fn decided(&mut self, shard: ShardId, command: &Command) -> Result<(), String> {
        let Command::Decide {
            transaction,
            commit,
            ..
        } = *command
        else {
            return Ok(());
        };
        if commit {
            self.commits.add(transaction, shard);
        }
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
