//! Leader completeness (Raft §5.4): if an entry is committed in a given term, it is present in the logs of
//! the leaders of all later terms.

use std::collections::{BTreeMap, BTreeSet};

use model::ShardId;
use raft::{Index, Role, Term};

use super::{Invariant, Turn};

/// What was seen to be committed, and who was seen to lead.
#[derive(Default)]
pub(super) struct LeaderCompleteness {
    /// By shard: the highest index that anybody held for committed, its term, and the term in which that
    /// was first seen.
    committed: BTreeMap<ShardId, (Index, Term, Term)>,
    led: BTreeSet<(ShardId, Term)>,
}

impl Invariant for LeaderCompleteness {
    fn name(&self) -> &'static str {
        "leader-completeness"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for (shard, replica) in turn.worker.replicas() {
            let term = replica.term();
            if replica.role() == Role::Leader && self.led.insert((shard, term)) {
                self.elected(turn, shard, replica)?;
            }
            let index = replica.committed();
            let known = self.committed.get(&shard);
            if known.is_none_or(|known| known.0 < index)
                && let Some(of) = replica.term_at(index)
            {
                self.committed.insert(shard, (index, of, term));
            }
        }
        Ok(())
    }
}

impl LeaderCompleteness {
    fn elected(
        &self,
        turn: &Turn<'_>,
        shard: ShardId,
        replica: &raft::Replica,
    ) -> Result<(), String> {
        let Some(&(index, of, seen)) = self.committed.get(&shard) else {
            return Ok(());
        };
        let term = replica.term();
        if seen >= term {
            return Ok(());
        }
        let has = replica.term_at(index);
        if replica.last_index() < index || has.is_some_and(|has| has != of) {
            return Err(format!(
                "{} was elected in term {term} of shard {shard} without the committed entry {index} of term {of} \
                 (its log ends at {}, it has {has:?} there)",
                turn.node,
                replica.last_index()
            ));
        }
        Ok(())
    }
}
