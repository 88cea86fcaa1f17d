//! Leader append-only (Raft §5.3): a leader never overwrites or deletes entries in its log; it only appends
//! new ones.

use std::collections::BTreeMap;

use model::{NodeId, ShardId};
use raft::{Role, Term};
use storage::log::Record;

use super::{Invariant, Turn};

/// How far each leader's log was seen to go.
#[derive(Default)]
pub(super) struct LeaderAppendOnly {
    ends: BTreeMap<(NodeId, ShardId), (Term, u64)>,
}

impl Invariant for LeaderAppendOnly {
    fn name(&self) -> &'static str {
        "leader-append-only"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for record in turn.outputs.log.iter().flat_map(|write| &write.records) {
            self.written(turn, record)?;
        }
        for (shard, replica) in turn.worker.replicas() {
            let key = (turn.node, shard);
            if replica.role() == Role::Leader {
                let now = (replica.term(), replica.last_index().0);
                let before = self.ends.insert(key, now);
                if before.is_some_and(|(term, end)| term == now.0 && end > now.1) {
                    return Err(format!(
                        "the log of {}, leader of shard {shard} in term {}, became shorter",
                        turn.node, now.0
                    ));
                }
            } else {
                self.ends.remove(&key);
            }
        }
        Ok(())
    }
}

impl LeaderAppendOnly {
    fn written(&self, turn: &Turn<'_>, record: &Record) -> Result<(), String> {
        let Record::Append { group, entries } = record else {
            return Ok(());
        };
        let Some(&(term, end)) = self.ends.get(&(turn.node, *group)) else {
            return Ok(());
        };
        let still = turn.worker.replicas().any(|(shard, replica)| {
            shard == *group && replica.role() == Role::Leader && replica.term() == term
        });
        match entries.first() {
            Some(first) if still && first.index <= end => Err(format!(
                "{} leads shard {group} in term {term} and overwrites entry {}",
                turn.node, first.index
            )),
            _ => Ok(()),
        }
    }
}
