//! Election safety (Raft §5.2): at most one leader can be elected in a given term.

use std::collections::BTreeMap;

use model::{NodeId, ShardId};
use raft::{Role, Term};

use super::{Invariant, Turn};

/// Who was seen to lead.
#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<(ShardId, Term), NodeId>,
}

impl Invariant for ElectionSafety {
    fn name(&self) -> &'static str {
        "election-safety"
    }

    fn turned(&mut self, turn: &Turn<'_>) -> Result<(), String> {
        for (shard, replica) in turn.worker.replicas() {
            if replica.role() != Role::Leader {
                continue;
            }
            let term = replica.term();
            let leader = *self.leaders.entry((shard, term)).or_insert(turn.node);
            if leader != turn.node {
                return Err(format!(
                    "{leader} and {} both lead shard {shard} in term {term}",
                    turn.node
                ));
            }
        }
        Ok(())
    }
}
