//! Election Safety: "at most one leader can be elected in a given term" (§5.2).

use std::collections::BTreeMap;

use raft::{ReplicaId, Role, Term};

use super::{Invariant, Step};

#[derive(Default)]
pub struct ElectionSafety {
    leaders: BTreeMap<Term, ReplicaId>,
}

impl Invariant for ElectionSafety {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        let replica = &step.node().replica;
        if replica.role() != Role::Leader {
            return Ok(());
        }
        let first = *self.leaders.entry(replica.term()).or_insert(step.id);
        if first == step.id {
            return Ok(());
        }
        Err(format!(
            "Election Safety: {first} and {} lead in term {}",
            step.id,
            replica.term()
        ))
    }
}
