//! Leader Append-Only: "a leader never overwrites or deletes entries in its log; it only appends new entries" (§5.3).

use raft::Role;

use super::{Invariant, Step};

pub struct LeaderAppendOnly;

impl Invariant for LeaderAppendOnly {
    fn check(&mut self, step: &Step<'_>) -> Result<(), String> {
        let replica = &step.node().replica;
        let stays = step.before.role == Role::Leader
            && replica.role() == Role::Leader
            && step.before.term == replica.term();
        let Some(persist) = step.effects.persist.as_ref().filter(|_| stays) else {
            return Ok(());
        };
        let overwrites = persist
            .append
            .first()
            .is_some_and(|first| first.index <= step.before.last);
        if overwrites || persist.reset.is_some() || replica.last_index() < step.before.last {
            return Err(format!(
                "Leader Append-Only: {} changes its log: {persist:?}",
                step.id
            ));
        }
        Ok(())
    }
}
